//! From outside: finding an actor, hearing of its end or of the root's, and living beside it.

mod cast;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Waker};
use std::time::{Duration, Instant};

use cast::*;
use ironcliw::{
    Actor, Address, Child, Context, Error, ExitReason, Handler, Message, Placement, Restart, Runtime, StartError,
    Supervisor,
};

struct Other;
impl Actor for Other {}

#[test]
fn an_actor_is_found_by_its_path_and_type() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        team.spawn(scribe("a").0).await.unwrap();
        let (child, log) = scribe("b");
        team.spawn(child).await.unwrap();
        runtime.find::<Scribe>("user/team/b").unwrap().ask(Write(1)).await.unwrap();
        assert_eq!(*log.lock().unwrap(), [1]);
        assert!(runtime.find::<Other>("user/team/b").is_none());
        for nobody in ["", "user", "user/team", "user/team/c", "/user/team/b", "b"] {
            assert!(runtime.find::<Scribe>(nobody).is_none(), "{nobody:?}");
        }
    });
}

#[test]
fn an_actor_that_restarts_is_found_and_one_that_has_stopped_is_not() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let first = team.spawn(scribe("a").0).await.unwrap();
        first.ask(Poison).await.unwrap_err();
        assert_eq!(runtime.find::<Scribe>("user/team/a").unwrap().ask(WhichLife).await.unwrap(), 1);
        team.stop_child("user/team/a").await;
        assert!(runtime.find::<Scribe>("user/team/a").is_none());
        // Its name is free, for an actor of another type as well.
        team.spawn(Child::new("a", || Other)).await.unwrap();
        assert!(runtime.find::<Scribe>("user/team/a").is_none() && runtime.find::<Other>("user/team/a").is_some());
        // The same path in a supervisor that was stopped and made again.
        runtime.root().unwrap().stop_child("user").await;
        assert!(runtime.find::<Other>("user/team/a").is_none());
        runtime.spawn(scribe("team").0).await.unwrap();
        assert!(runtime.find::<Scribe>("user/team").is_some());
    });
    assert_eq!(runtime.snapshot().actors.len(), 1);
    runtime.shutdown(SECOND).unwrap();
    assert!(runtime.find::<Scribe>("user/team").is_none());
}

#[test]
fn looking_an_actor_up_waits_for_no_mailbox() {
    let runtime = runtime();
    runtime.block_on(async {
        let scribe = runtime.spawn(scribe("busy").0).await.unwrap();
        let (go, blocked) = std::sync::mpsc::channel();
        scribe.try_tell(Block(blocked, 1)).unwrap();
        eventually(|| scribe.depth() == 0);
        while scribe.try_tell(Write(2)).is_ok() {}
        let began = Instant::now();
        assert_eq!(runtime.find::<Scribe>("user/busy").unwrap().depth(), 64);
        assert!(began.elapsed() < SECOND / 2);
        drop(go);
    });
}

#[test]
fn the_end_of_an_actor_is_told_with_its_reason_and_a_restart_is_no_end() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let stays = team.spawn(scribe("stays").0).await.unwrap();
        let stopped = tokio::spawn(stays.stopped());
        stays.ask(Poison).await.unwrap_err();
        assert_eq!(stays.ask(WhichLife).await.unwrap(), 1);
        assert!(!stopped.is_finished());
        team.stop_child(stays.path()).await;
        assert_eq!(stopped.await.unwrap(), ExitReason::Shutdown);
        // Whoever comes late hears at once.
        assert_eq!(stays.stopped().await, ExitReason::Shutdown);

        let fails = team.spawn(scribe("fails").0.restart(Restart::Temporary)).await.unwrap();
        let queued = ask(&fails, Sleep(Duration::from_millis(5)));
        fails.try_tell(Poison).unwrap();
        let left = ask(&fails, Write(1));
        assert!(matches!(fails.stopped().await, ExitReason::Panicked(said) if said.starts_with("poisoned")));
        assert!(queued.try_recv().unwrap().is_ok());
        // Those who had asked have heard by then.
        assert!(matches!(left.try_recv().unwrap(), Err(Error::ActorStopped { .. })));
    });
}

#[test]
fn whoever_waits_for_an_end_hears_of_it_with_the_runtime_at_the_latest() {
    let (first, second) = (runtime(), runtime());
    let held = first.block_on(first.spawn(scribe("held").0)).unwrap();
    let dropped = second.block_on(second.spawn(scribe("dropped").0)).unwrap();
    let wait = |actor: &Address<Scribe>| {
        let stopped = actor.stopped();
        std::thread::spawn(move || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(stopped))
    };
    let (go, blocked) = std::sync::mpsc::channel();
    held.try_tell(Block(blocked, 1)).unwrap();
    eventually(|| held.depth() == 0);
    let waiting = [wait(&held), wait(&dropped)];
    first.shutdown(Duration::from_millis(10)).unwrap_err();
    drop(second);
    assert_eq!(waiting.map(|end| end.join().unwrap()), [ExitReason::ThreadLost, ExitReason::Shutdown]);
    drop(go);
}

#[test]
fn waiting_for_an_end_may_be_given_up() {
    let runtime = runtime();
    let scribe = runtime.block_on(runtime.spawn(scribe("scribe").0)).unwrap();
    for _ in 0..1_000 {
        let stopped = pin!(scribe.stopped());
        assert!(stopped.poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
    }
    runtime.shutdown(SECOND).unwrap();
    runtime.block_on(scribe.stopped());
}

/// Watches a scribe from each of its incarnations.
struct Watcher {
    other: Address<Scribe>,
    heard: Arc<Mutex<Vec<ExitReason>>>,
}

impl Actor for Watcher {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        ctx.watch(&self.other, Ended);
        ctx.watch(&self.other, |_| -> Ended { panic!("no words") });
        Ok(())
    }
}

struct Ended(ExitReason);
impl Message for Ended {
    type Reply = ();
}

impl Handler<Ended> for Watcher {
    async fn handle(&mut self, Ended(reason): Ended, _: &mut Context<Self>) {
        self.heard.lock().unwrap().push(reason);
    }
}

struct Trip;
impl Message for Trip {
    type Reply = ();
}

impl Handler<Trip> for Watcher {
    async fn handle(&mut self, _: Trip, _: &mut Context<Self>) {
        panic!("tripped");
    }
}

#[test]
fn a_watcher_is_told_once_even_if_it_restarted_in_between() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let other = team.spawn(scribe("other").0).await.unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (watched, hears) = (other.clone(), heard.clone());
        let make = move || Watcher { other: watched.clone(), heard: hears.clone() };
        let watcher = team.spawn(Child::new("watcher", make).backoff(ironcliw::Backoff::NONE)).await.unwrap();
        watcher.ask(Trip).await.unwrap_err();
        watcher.tell(Ended(ExitReason::Normal)).await.unwrap();
        eventually(|| heard.lock().unwrap().len() == 1);
        team.stop_child(other.path()).await;
        eventually(|| heard.lock().unwrap().len() == 2);
        // An incarnation that begins after the end hears of it too.
        watcher.ask(Trip).await.unwrap_err();
        eventually(|| heard.lock().unwrap().len() == 3);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let heard = heard.lock().unwrap();
        assert_eq!(*heard, [ExitReason::Normal, ExitReason::Shutdown, ExitReason::Shutdown]);
    });
}

/// The thread that a scribe runs on.
async fn thread_of(scribe: &Address<Scribe>) -> std::thread::ThreadId {
    scribe.ask(Do(Box::new(|| std::thread::current().id()))).await.unwrap()
}

#[test]
fn an_actor_lives_beside_another_wherever_that_is() {
    let runtime = runtime();
    runtime.block_on(async {
        for placement in [Placement::Any, Placement::Shared("shared"), Placement::Dedicated] {
            let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
            let host = team.spawn(scribe("host").0.placement(placement)).await.unwrap();
            for n in 0..5 {
                let guest = team.spawn(scribe(&format!("guest-{n}")).0.beside(&host)).await.unwrap();
                assert_eq!(thread_of(&guest).await, thread_of(&host).await);
                guest.ask(Poison).await.unwrap_err();
                assert_eq!(thread_of(&guest).await, thread_of(&host).await);
            }
            runtime.root().unwrap().stop_child("user").await;
        }
    });
}

#[test]
fn a_dedicated_thread_ends_with_the_last_actor_on_it() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let host = team.spawn(scribe("host").0.placement(Placement::Dedicated)).await.unwrap();
        let guest = team.spawn(scribe("guest").0.beside(&host)).await.unwrap();
        let thread = thread_of(&host).await;
        team.stop_child(host.path()).await;
        // Neither a message nor a start of the guest's is lost with its host.
        assert_eq!(thread_of(&guest).await, thread);
        guest.ask(Poison).await.unwrap_err();
        assert_eq!((thread_of(&guest).await, guest.ask(WhichLife).await.unwrap()), (thread, 1));
        assert_eq!(runtime.snapshot().arbiters.len(), 1);
        // Beside one that has stopped an actor lives as it was placed before.
        let late = team.spawn(scribe("late").0.placement(Placement::Dedicated).beside(&host)).await.unwrap();
        assert_ne!(thread_of(&late).await, thread);
        team.stop_child(guest.path()).await;
        team.stop_child(late.path()).await;
    });
    assert!(runtime.snapshot().arbiters.is_empty());
}

#[test]
fn an_actor_follows_its_neighbour_to_another_thread_when_it_starts_again() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let host = team.spawn(scribe("host").0.placement(Placement::Dedicated)).await.unwrap();
        let guest = team.spawn(scribe("guest").0.beside(&host)).await.unwrap();
        let first = thread_of(&host).await;
        host.ask(EndThread).await.unwrap_err();
        eventually(|| runtime.snapshot().restarts == 2);
        assert_ne!(thread_of(&host).await, first);
        guest.ask(Poison).await.unwrap_err();
        assert_eq!(thread_of(&guest).await, thread_of(&host).await);
    });
}

#[test]
fn the_failure_of_the_root_is_told_once_and_the_callback_may_shut_down() {
    let (tell, told) = std::sync::mpsc::channel();
    let ends = Arc::new(Mutex::new(None::<Arc<Runtime>>));
    let ended = ends.clone();
    let builder = Runtime::builder().workers(1).on_root_failure(move |last| {
        let runtime = ended.lock().unwrap().take();
        let shut_down = runtime.map(|runtime| runtime.shutdown(SECOND));
        tell.send((last.state, last.supervisors[0].exhausted, shut_down)).unwrap();
        panic!("contained");
    });
    let runtime = Arc::new(builder.clone().build().unwrap());
    *ends.lock().unwrap() = Some(runtime.clone());
    let calm = builder.build().unwrap();
    runtime.block_on(async {
        let scribe = runtime.root().unwrap().spawn(scribe("scribe").0).await.unwrap();
        for _ in 0..6 {
            scribe.ask(Poison).await.unwrap_err();
        }
        scribe.stopped().await;
    });
    assert_eq!(heard(&told), ("failed", true, Some(Ok(()))));
    runtime.shutdown(SECOND).unwrap();
    // A runtime that is shut down has not failed.
    calm.shutdown(SECOND).unwrap();
    drop(calm);
    drop(runtime);
    assert!(told.recv_timeout(SECOND / 20).is_err());
}
