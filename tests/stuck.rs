//! Promise 6: an actor that holds its thread for longer than it may is seen, named, and replaced where it allows that.

mod cast;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use cast::*;
use ironcliw::{
    ActixChild, Actor, ActorSnapshot, ActorState, Address, Backoff, Child, Context, Error, Handler, Message, Overflow,
    Placement, Runtime, StartError, Supervisor, What,
};

const LIMIT: Duration = Duration::from_millis(100);

fn seen(runtime: &Runtime, path: &str) -> ActorSnapshot {
    runtime.snapshot().actors.into_iter().find(|actor| actor.path == path).unwrap()
}

fn events(runtime: &Runtime, path: &str) -> Vec<What> {
    runtime.snapshot().events.into_iter().filter(|event| event.path == path).map(|event| event.what).collect()
}

type Answer = mpsc::Receiver<Result<u64, Error>>;

/// Has a scribe hold its thread: where it is told to go on, and the answer to that message.
fn block(scribe: &Address<Scribe>, n: u64) -> (mpsc::Sender<()>, Answer) {
    let (go, blocked) = mpsc::channel();
    let in_hand = ask(scribe, Block(blocked, n));
    eventually(|| scribe.depth() == 0);
    (go, in_hand)
}

/// Spawns one that does.
fn held(runtime: &Runtime, child: Child<Scribe>, n: u64) -> (Address<Scribe>, mpsc::Sender<()>, Answer) {
    let scribe = runtime.block_on(runtime.spawn(child)).unwrap();
    let (go, in_hand) = block(&scribe, n);
    (scribe, go, in_hand)
}

/// Returns once the watchdog has seen an actor of the same limit hold its thread for longer: by then it would have seen
/// others do so that had begun before.
fn wait_for_the_watchdog(runtime: &Runtime) {
    let (child, _) = scribe("control");
    let child = child.placement(Placement::Dedicated).stuck_after(Some(LIMIT));
    let (_, go, answer) = held(runtime, child, 0);
    eventually(|| seen(runtime, "user/control").state == ActorState::Stuck);
    go.send(()).unwrap();
    heard(&answer).unwrap();
}

#[test]
fn a_handler_that_holds_its_thread_is_seen_and_named_until_it_comes_back() {
    let runtime = runtime();
    let (child, log) = scribe("slow");
    let (slow, go, in_hand) = held(&runtime, child.stuck_after(Some(LIMIT)), 7);
    eventually(|| seen(&runtime, "user/slow").state == ActorState::Stuck);
    assert!(events(&runtime, "user/slow").contains(&What::Stuck { limit_s: LIMIT.as_secs_f64() }));
    go.send(()).unwrap();
    assert_eq!(heard(&in_hand), Ok(7));
    eventually(|| seen(&runtime, "user/slow").state == ActorState::Running);
    eventually(|| events(&runtime, "user/slow").contains(&What::Unstuck));
    assert_eq!(heard(&ask(&slow, WhichLife)), Ok(0), "it allows no replacement");
    assert_eq!(*log.lock().unwrap(), [7]);
    let seen = seen(&runtime, "user/slow");
    assert_eq!((seen.stuck, seen.restarts, seen.failures), (1, 0, 0));
    assert_eq!(runtime.snapshot().lost_threads, 0);
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_stuck_actor_that_allows_it_is_replaced_and_its_queue_goes_on_in_order() {
    for placement in [Placement::Any, Placement::Shared("worker"), Placement::Dedicated] {
        let runtime = runtime();
        let (child, log) = scribe("slow");
        let child = child.placement(placement.clone()).stuck_after(Some(LIMIT)).replace_stuck(true);
        let (slow, go, in_hand) = held(&runtime, child, 99);
        let queued: Vec<_> = (0..20).map(|n| ask(&slow, Write(n))).collect();
        assert!(matches!(heard(&in_hand).unwrap_err(), Error::ActorRestarting { .. }), "{placement:?}");
        for (n, answer) in (0..).zip(&queued) {
            assert_eq!(heard(answer), Ok(n), "{placement:?}");
        }
        assert!(log.lock().unwrap().iter().copied().eq(0..20));
        assert_eq!(heard(&ask(&slow, WhichLife)), Ok(1));
        let lost = "its thread did not come back, or its event loop has ended".to_owned();
        assert!(events(&runtime, "user/slow").contains(&What::Exited { reason: lost, failure: true }));
        eventually(|| seen(&runtime, "user/slow").state == ActorState::Running);
        assert_eq!(runtime.snapshot().lost_threads, 1);
        go.send(()).unwrap();
        eventually(|| runtime.snapshot().lost_threads == 0);
        runtime.shutdown(SECOND).unwrap();
    }
}

#[test]
fn the_neighbours_of_a_stuck_actor_go_on_elsewhere_and_lose_nothing() {
    let runtime = runtime();
    // It bears the culprit's restart and no other.
    let group = Supervisor::new("group").restarts(1, 60 * SECOND);
    let group = runtime.block_on(runtime.supervise(group)).unwrap();
    let together = Placement::Shared("together");
    let slow_to_start_again = Backoff { min: 60 * SECOND, max: 60 * SECOND, jitter: false, ..Backoff::default() };
    let neighbours: Vec<_> = (0..8)
        .map(|n| {
            let (child, log) = scribe(&format!("neighbour-{n}"));
            let child = child.placement(together.clone()).backoff(slow_to_start_again);
            (runtime.block_on(group.spawn(child)).unwrap(), log)
        })
        .collect();
    let (stranger, strangers_log) = scribe("stranger");
    let stranger = runtime.block_on(runtime.spawn(stranger.placement(together.clone()))).unwrap();
    // One of them waits in a handler.
    let (_never, waits) = tokio::sync::oneshot::channel();
    let in_hand = ask(&neighbours[0].0, Hold(waits));
    eventually(|| neighbours[0].0.depth() == 0);
    let (culprit, _) = scribe("culprit");
    let culprit = culprit.placement(together.clone()).stuck_after(Some(LIMIT)).replace_stuck(true);
    let culprit = runtime.block_on(group.spawn(culprit)).unwrap();
    let (go, _) = block(&culprit, 0);
    let queue = |scribe| (0..10).map(|n| ask(scribe, Write(n))).collect::<Vec<_>>();
    let queued: Vec<_> = neighbours.iter().map(|(scribe, _)| queue(scribe)).chain([queue(&stranger)]).collect();
    assert!(matches!(heard(&in_hand).unwrap_err(), Error::ActorRestarting { .. }));
    for answers in &queued {
        for (n, answer) in (0..).zip(answers) {
            assert_eq!(heard(answer), Ok(n));
        }
    }
    for log in neighbours.iter().map(|(_, log)| log).chain([&strangers_log]) {
        assert!(log.lock().unwrap().iter().copied().eq(0..10));
    }
    for (scribe, _) in &neighbours {
        assert_eq!(heard(&ask(scribe, WhichLife)), Ok(1));
    }
    assert_eq!(heard(&ask(&culprit, WhichLife)), Ok(1));
    let snapshot = runtime.snapshot();
    let group = snapshot.supervisors.iter().find(|one| one.path == "user/group").unwrap();
    assert_eq!((group.exhausted, group.budget_left), (false, 0));
    assert_eq!(snapshot.lost_threads, 1, "one thread, whoever lived on it");
    drop(go);
    eventually(|| runtime.snapshot().lost_threads == 0);
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_stuck_thread_that_returns_late_touches_neither_mailbox_nor_reply() {
    let runtime = runtime();
    let (child, log) = scribe("slow");
    let child = child.stuck_after(Some(LIMIT)).replace_stuck(true);
    let (slow, go, in_hand) = held(&runtime, child, 1);
    assert!(matches!(heard(&in_hand).unwrap_err(), Error::ActorRestarting { .. }));
    assert_eq!(heard(&ask(&slow, WhichLife)), Ok(1));
    let hold = hold(&slow);
    let queued = ask(&slow, Write(2));
    go.send(()).unwrap();
    // Its thread ends, and has by then done whatever it does.
    eventually(|| runtime.snapshot().lost_threads == 0);
    assert_eq!(*log.lock().unwrap(), [1], "the late thread took a message that is not its own");
    hold.send(()).unwrap();
    assert_eq!(heard(&queued), Ok(2));
    assert_eq!(in_hand.try_recv(), Err(mpsc::TryRecvError::Disconnected), "answered twice");
    runtime.shutdown(SECOND).unwrap();
}

/// Waits, then leaves a mark.
struct WaitAndMark(tokio::sync::oneshot::Receiver<()>, Arc<AtomicBool>);
impl Message for WaitAndMark {
    type Reply = ();
}

impl Handler<WaitAndMark> for Scribe {
    async fn handle(&mut self, WaitAndMark(go, mark): WaitAndMark, _: &mut Context<Self>) {
        let _ = go.await;
        mark.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_neighbours_handler_goes_no_further_on_the_lost_thread() {
    let runtime = runtime();
    let together = Placement::Shared("together");
    let neighbour = runtime.block_on(runtime.spawn(scribe("neighbour").0.placement(together.clone()))).unwrap();
    let mark = Arc::new(AtomicBool::new(false));
    let (go_on, waits) = tokio::sync::oneshot::channel();
    let waiting = ask(&neighbour, WaitAndMark(waits, mark.clone()));
    eventually(|| neighbour.depth() == 0);
    let culprit = scribe("culprit").0.placement(together.clone()).stuck_after(Some(LIMIT)).replace_stuck(true);
    let (_culprit, go, _in_hand) = held(&runtime, culprit, 1);
    assert!(matches!(heard(&waiting).unwrap_err(), Error::ActorRestarting { .. }));
    // What it waited for comes, then the thread comes back.
    go_on.send(()).unwrap();
    drop(go);
    eventually(|| runtime.snapshot().lost_threads == 0);
    assert!(!mark.load(Ordering::SeqCst), "two incarnations at once");
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_handler_that_waits_is_not_stuck_and_one_without_a_limit_is_left_alone() {
    let runtime = runtime();
    let (waits, _) = scribe("waits");
    let waits = runtime.block_on(runtime.spawn(waits.stuck_after(Some(LIMIT)).replace_stuck(true))).unwrap();
    let go_on = hold(&waits);
    let (computes, _) = scribe("computes");
    let computes = computes.placement(Placement::Dedicated).stuck_after(None).replace_stuck(true);
    let (_, go, answer) = held(&runtime, computes, 5);
    wait_for_the_watchdog(&runtime);
    for path in ["user/waits", "user/computes"] {
        let seen = seen(&runtime, path);
        assert_eq!((seen.state, seen.stuck, seen.restarts), (ActorState::Running, 0, 0), "{path}");
    }
    go.send(()).unwrap();
    go_on.send(()).unwrap();
    assert_eq!(heard(&answer), Ok(5));
    assert_eq!(heard(&ask(&waits, WhichLife)), Ok(0));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn each_message_of_a_queue_has_the_limit_for_itself() {
    let runtime = runtime();
    let (child, _) = scribe("busy");
    let limit = 10 * LIMIT;
    let child = child.mailbox(64, Overflow::Block).stuck_after(Some(limit)).replace_stuck(true);
    let busy = runtime.block_on(runtime.spawn(child)).unwrap();
    let go = hold(&busy);
    // One poll, and all of them together take longer than one may.
    let answers: Vec<_> = (0..60).map(|_| ask(&busy, Sleep(limit / 40))).collect();
    go.send(()).unwrap();
    answers.iter().for_each(|answer| heard(answer).unwrap());
    let seen = seen(&runtime, "user/busy");
    assert_eq!((seen.stuck, seen.restarts), (0, 0));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_start_that_waits_for_a_stuck_thread_is_made_on_another() {
    let runtime = runtime();
    let together = Placement::Shared("together");
    let culprit = scribe("culprit").0.placement(together.clone()).stuck_after(Some(LIMIT)).replace_stuck(true);
    let (_culprit, go, _in_hand) = held(&runtime, culprit, 1);
    let newcomer = runtime.block_on(runtime.spawn(scribe("newcomer").0.placement(together.clone()))).unwrap();
    assert_eq!(heard(&ask(&newcomer, WhichLife)), Ok(0));
    drop(go);
    eventually(|| runtime.snapshot().lost_threads == 0);
    runtime.shutdown(SECOND).unwrap();
}

struct StuckAtBirth(mpsc::Receiver<()>);
impl Actor for StuckAtBirth {
    async fn started(&mut self, _: &mut Context<Self>) -> Result<(), StartError> {
        let _ = self.0.recv();
        Ok(())
    }
}

#[test]
fn a_start_that_is_stuck_is_the_spawners_to_hear_of() {
    let runtime = runtime();
    let (go, blocked) = mpsc::channel();
    let blocked = std::sync::Mutex::new(Some(blocked));
    let child = Child::new("slow", move || StuckAtBirth(blocked.lock().unwrap().take().unwrap()));
    let refused = runtime.block_on(runtime.spawn(child.stuck_after(Some(LIMIT)).replace_stuck(true))).unwrap_err();
    assert!(
        matches!(refused, Error::StartFailed { reason, .. } if reason == "its thread did not come back, or its event loop has ended")
    );
    drop(go);
    eventually(|| runtime.snapshot().lost_threads == 0);
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn the_culprit_is_named_when_a_shutdown_leaves_its_thread_behind() {
    let runtime = runtime();
    let together = Placement::Shared("together");
    let culprit = runtime.block_on(runtime.spawn(scribe("culprit").0.placement(together.clone()))).unwrap();
    // It is stopped first, and waits for its turn in vain.
    let _innocent = runtime.block_on(runtime.spawn(scribe("innocent").0.placement(together.clone()))).unwrap();
    let (go, _in_hand) = block(&culprit, 1);
    let abandoned = runtime.shutdown(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(abandoned, Error::Abandoned { actors, .. } if actors == ["user/culprit"]));
    drop(go);
}

struct Old;
impl actix::Actor for Old {
    type Context = actix::Context<Self>;
}

#[derive(actix::Message)]
#[rtype(result = "u64")]
struct Wait(Option<mpsc::Receiver<()>>, u64);

impl actix::Handler<Wait> for Old {
    type Result = u64;
    fn handle(&mut self, Wait(until, n): Wait, _: &mut actix::Context<Self>) -> u64 {
        until.map(|until| until.recv());
        n
    }
}

#[test]
fn an_actix_actor_is_watched_as_well() {
    let runtime = runtime();
    let child = ActixChild::new("old", || Old).backoff(Backoff::NONE).stuck_after(Some(LIMIT)).replace_stuck(true);
    let old = runtime.block_on(runtime.spawn_actix(child)).unwrap();
    let (go, blocked) = mpsc::channel();
    let in_hand = old.send(Wait(Some(blocked), 1));
    let queued = old.send(Wait(None, 2));
    // Both are queued by now.
    assert_eq!(runtime.block_on(queued), Ok(2));
    assert_eq!((seen(&runtime, "user/old").stuck, seen(&runtime, "user/old").restarts), (1, 1));
    go.send(()).unwrap();
    // actix leaves the reply with the handler.
    assert_eq!(runtime.block_on(in_hand), Ok(1));
    eventually(|| runtime.snapshot().lost_threads == 0);
    runtime.shutdown(SECOND).unwrap();
}
