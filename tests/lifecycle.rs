//! Promises 4, 5, 8 and 9 where the ends of a life misbehave: factories, `stopped`, `Drop`, and supervisors that are stopped
//! in the middle of a restart.

mod cast;

use std::future::IntoFuture;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use cast::*;
use ironcliw::{
    Actor, ActorState, Backoff, Child, Context, Error, ExitReason, Handler, Message, Placement, Restart, Strategy,
    Supervisor,
};

const LONG: Backoff = Backoff {
    min: Duration::from_secs(60),
    max: Duration::from_secs(60),
    factor: 1.0,
    jitter: false,
    reset_after: Duration::from_secs(600),
};

/// Panics as it is dropped.
struct Bomb;

impl Actor for Bomb {}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("as it was dropped");
    }
}

struct Fail;
impl Message for Fail {
    type Reply = ();
}

impl Handler<Fail> for Bomb {
    async fn handle(&mut self, _: Fail, _: &mut Context<Self>) {
        panic!("in a handler");
    }
}

#[test]
fn a_drop_that_panics_after_a_handler_has_does_not_keep_the_actor_from_its_next_life() {
    let runtime = runtime();
    let lives = Arc::new(AtomicUsize::new(0));
    let counted = lives.clone();
    let bomb = Child::new("bomb", move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Bomb
    });
    let bomb = runtime.block_on(runtime.spawn(bomb.backoff(Backoff::NONE))).unwrap();
    for life in 1..4 {
        let failed = runtime.block_on(bomb.ask(Fail).into_future()).unwrap_err();
        assert!(matches!(failed.error, Error::ActorPanicked { .. }));
        eventually(|| lives.load(Ordering::SeqCst) == life + 1);
    }
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_factory_that_panics_at_first_is_the_spawners_and_leaves_the_name_free() {
    let runtime = runtime();
    let broken = Child::new("scribe", || -> Bomb { panic!("no hands") });
    match runtime.block_on(runtime.spawn(broken)).unwrap_err() {
        Error::StartFailed { path, reason } => {
            assert_eq!(path, "user/scribe");
            assert!(reason.contains("its factory panicked: no hands"), "{reason}");
        }
        other => panic!("{other}"),
    }
    let scribe = runtime.block_on(runtime.spawn(scribe("scribe").0)).unwrap();
    assert_eq!(heard(&ask(&scribe, WhichLife)), Ok(0));
    assert_eq!(runtime.snapshot().restarts, 0, "a first start that fails is nobody's restart");
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_factory_that_panics_on_a_restart_is_tried_again_and_the_queue_waits() {
    let runtime = runtime();
    let attempts = Arc::new(AtomicUsize::new(0));
    let (template, log) = scribe("template");
    drop(template);
    let (counted, written) = (attempts.clone(), log.clone());
    let child = Child::new("scribe", move || match counted.fetch_add(1, Ordering::SeqCst) {
        1..4 => panic!("not yet"),
        life => Scribe::new(written.clone(), life as u64),
    });
    let scribe = runtime.block_on(runtime.spawn(child.backoff(Backoff::NONE))).unwrap();
    let go = hold(&scribe);
    let poisoned = ask(&scribe, Poison);
    let queued: Vec<_> = (0..10).map(|n| ask(&scribe, Write(n))).collect();
    go.send(()).unwrap();
    heard(&poisoned).unwrap_err();
    for (n, answer) in (0..).zip(&queued) {
        assert_eq!(heard(answer), Ok(n));
    }
    assert_eq!(heard(&ask(&scribe, WhichLife)), Ok(4));
    assert_eq!(runtime.snapshot().restarts, 4);
    assert_eq!(*log.lock().unwrap(), (0..10).collect::<Vec<_>>());
    runtime.shutdown(SECOND).unwrap();
}

/// Panics in `stopped`.
struct Clumsy;

impl Actor for Clumsy {
    async fn stopped(&mut self, _: &mut Context<Self>) {
        panic!("at the end");
    }
}

impl Handler<Quit> for Clumsy {
    async fn handle(&mut self, _: Quit, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[test]
fn a_panic_in_stopped_is_told_and_holds_nobody_up() {
    let runtime = runtime();
    let order = ["first", "second", "third"].map(|name| {
        let child = Child::new(name, || Clumsy).restart(Restart::Temporary);
        runtime.block_on(runtime.spawn(child)).unwrap()
    });
    runtime.block_on(order[1].ask(Quit).into_future()).unwrap();
    let told = runtime.block_on(order[1].stopped());
    assert!(matches!(&told, ExitReason::Panicked(reason) if reason.starts_with("at the end")), "{told:?}");
    let user = runtime.root().unwrap();
    runtime.block_on(user.stop_child("user"));
    for clumsy in &order {
        assert!(!clumsy.is_alive());
    }
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_panic_in_stopped_makes_a_transient_childs_end_a_failure() {
    let runtime = runtime();
    let child = Child::new("clumsy", || Clumsy).restart(Restart::Transient).backoff(Backoff::NONE);
    let clumsy = runtime.block_on(runtime.spawn(child)).unwrap();
    runtime.block_on(clumsy.ask(Quit).into_future()).unwrap();
    eventually(|| runtime.snapshot().restarts == 1);
    assert!(clumsy.is_alive());
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_factory_that_does_not_return_can_be_given_up_by_the_spawner_and_is_named_by_the_shutdown() {
    let runtime = runtime();
    let (go, stuck) = mpsc::channel::<()>();
    let stuck = std::sync::Mutex::new(stuck);
    let child = Child::new("stuck", move || {
        let _ = stuck.lock().unwrap().recv();
        Bomb
    });
    let child = child.placement(Placement::Dedicated).shutdown(Duration::from_millis(20));
    let spawned = runtime.block_on(async {
        let spawn = runtime.spawn(child);
        tokio::time::timeout(Duration::from_millis(50), spawn).await
    });
    assert!(spawned.is_err(), "the factory returned");
    let other = runtime.block_on(runtime.spawn(scribe("other").0)).unwrap();
    assert_eq!(heard(&ask(&other, WhichLife)), Ok(0), "others are spawned and run");
    let taken = runtime.block_on(runtime.spawn(scribe("stuck").0)).unwrap_err();
    assert_eq!(taken, Error::NameTaken { path: "user/stuck".into() });
    match runtime.shutdown(SECOND).unwrap_err() {
        Error::Abandoned { actors, .. } => assert_eq!(actors, ["user/stuck"]),
        other => panic!("{other}"),
    }
    drop(go);
}

#[test]
fn a_factory_that_does_not_return_can_be_stopped_by_name_and_its_name_is_free_again() {
    let runtime = runtime();
    let (go, stuck) = mpsc::channel::<()>();
    let stuck = std::sync::Mutex::new(stuck);
    let returned = Arc::new(AtomicBool::new(false));
    let returns = returned.clone();
    let group = runtime.block_on(runtime.supervise(Supervisor::new("group"))).unwrap();
    let child = Child::new("stuck", move || {
        let _ = stuck.lock().unwrap().recv();
        returns.store(true, Ordering::SeqCst);
        Clumsy
    });
    let child = child.placement(Placement::Dedicated).shutdown(Duration::from_millis(20));
    let (failed, ()) = runtime.block_on(async {
        tokio::join!(group.spawn(child), async {
            while runtime.snapshot().actors.is_empty() {
                tokio::task::yield_now().await;
            }
            group.stop_child("user/group/stuck").await;
        })
    });
    assert!(matches!(failed.unwrap_err(), Error::StartFailed { path, .. } if path == "user/group/stuck"));
    runtime.block_on(group.spawn(scribe("stuck").0)).unwrap();
    // The thread that returns after all has nothing left to do.
    drop(go);
    eventually(|| returned.load(Ordering::SeqCst));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_supervisor_that_is_stopped_while_a_child_waits_to_be_started_again_ends_at_once() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let runtime = runtime();
        let group = runtime.block_on(runtime.supervise(Supervisor::new("group").strategy(strategy))).unwrap();
        let members = ["a", "b", "c"].map(|name| {
            let child = scribe(name).0.backoff(LONG);
            runtime.block_on(group.spawn(child)).unwrap()
        });
        let go = hold(&members[1]);
        let poisoned = ask(&members[1], Poison);
        let queued = ask(&members[1], Write(1));
        go.send(()).unwrap();
        heard(&poisoned).unwrap_err();
        eventually(|| runtime.snapshot().supervisors.iter().any(|group| group.waiting.len() == 1));
        runtime.block_on(runtime.root().unwrap().stop_child("user"));
        assert!(matches!(heard(&queued), Err(Error::ActorStopped { .. })), "{strategy:?}");
        assert!(members.iter().all(|member| !member.is_alive()));
        let snapshot = runtime.snapshot();
        assert_eq!((snapshot.actors.len(), snapshot.dead_letters), (0, 1), "{strategy:?}");
        runtime.shutdown(SECOND).unwrap();
    }
}

#[test]
fn a_supervisor_that_is_stopped_while_it_stops_children_for_a_restart_starts_none_of_them() {
    let runtime = runtime();
    let group = Supervisor::new("group").strategy(Strategy::OneForAll);
    let group = runtime.block_on(runtime.supervise(group)).unwrap();
    let fails = runtime.block_on(group.spawn(scribe("fails").0)).unwrap();
    let slow = runtime.block_on(group.spawn(scribe("slow").0)).unwrap();
    let go = hold(&slow);
    let queued = ask(&slow, Write(1));
    heard(&ask(&fails, Poison)).unwrap_err();
    eventually(|| runtime.snapshot().actors.iter().any(|a| a.path == slow.path() && a.state == ActorState::Restarting));
    let stops = {
        let handle = runtime.handle().clone();
        std::thread::spawn(move || handle.block_on(async { handle.root().unwrap().stop_child("user").await }))
    };
    eventually(|| runtime.snapshot().actors.iter().any(|a| a.path == slow.path() && a.state == ActorState::Stopping));
    go.send(()).unwrap();
    stops.join().unwrap();
    assert!(matches!(heard(&queued), Ok(1) | Err(Error::ActorStopped { .. })));
    assert_eq!(runtime.snapshot().restarts, 0);
    assert_eq!(runtime.snapshot().actors.len(), 0);
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn of_a_batch_all_are_spawned_in_order_or_none_stays() {
    let runtime = runtime();
    let group = runtime.block_on(runtime.supervise(Supervisor::new("group"))).unwrap();
    let scribes = runtime.block_on(group.spawn_many((0..300).map(|n| scribe(&format!("scribe-{n}")).0))).unwrap();
    assert_eq!(scribes.len(), 300);
    for (n, scribe) in scribes.iter().enumerate() {
        assert_eq!(scribe.path(), format!("user/group/scribe-{n}"));
        assert_eq!(heard(&ask(scribe, WhichLife)), Ok(0));
    }
    let paths: Vec<String> = runtime.snapshot().actors.into_iter().map(|actor| actor.path).collect();
    assert!(paths.iter().map(String::as_str).eq(scribes.iter().map(|scribe| scribe.path())));

    let again = ["fresh", "scribe-7"].map(|name| scribe(name).0);
    let taken = runtime.block_on(group.spawn_many(again)).unwrap_err();
    assert_eq!(taken, Error::NameTaken { path: "user/group/scribe-7".into() });
    let twice = ["twin", "twin"].map(|name| scribe(name).0);
    assert!(matches!(runtime.block_on(group.spawn_many(twice)).unwrap_err(), Error::NameTaken { .. }));
    // More than are entered in one go.
    let late = (0..1_500).chain([3]).map(|n| scribe(&format!("late-{n}")).0);
    let taken = runtime.block_on(group.spawn_many(late)).unwrap_err();
    assert_eq!(taken, Error::NameTaken { path: "user/group/late-3".into() });
    assert!(runtime.find::<Scribe>("user/group/late-3").is_none());
    let nameless = ["fine", "not/fine"].map(|name| scribe(name).0);
    assert!(matches!(runtime.block_on(group.spawn_many(nameless)).unwrap_err(), Error::StartFailed { .. }));
    assert_eq!(runtime.snapshot().actors.len(), 300);
    assert_eq!(runtime.block_on(group.spawn_many(std::iter::empty::<Child<Scribe>>())).unwrap().len(), 0);
    runtime.shutdown(5 * SECOND).unwrap();
}

#[test]
fn a_start_that_fails_ends_its_batch_and_says_which_it_was() {
    let runtime = runtime();
    let group = runtime.block_on(runtime.supervise(Supervisor::new("group"))).unwrap();
    let before = runtime.block_on(group.spawn(scribe("before").0)).unwrap();
    let (ended, children): (Vec<_>, Vec<_>) = (0..50)
        .map(|n| {
            let ended = Arc::new(AtomicUsize::new(0));
            let counted = ended.clone();
            let child = Child::fallible(format!("member-{n}"), move || match n {
                31 => Err("no room for this one"),
                _ => Ok(Member(counted.clone())),
            });
            (ended, child)
        })
        .unzip();
    match runtime.block_on(group.spawn_many(children)).unwrap_err() {
        Error::StartFailed { path, reason } => {
            assert_eq!((path.as_str(), reason.as_str()), ("user/group/member-31", "no room for this one"));
        }
        other => panic!("{other}"),
    }
    // They are gone when the spawner hears, and whoever had started has ended.
    assert_eq!(runtime.snapshot().actors.len(), 1);
    assert!(ended.iter().all(|ended| ended.load(Ordering::SeqCst) == 0), "one still lives");
    assert_eq!(heard(&ask(&before, WhichLife)), Ok(0));
    let again = runtime.block_on(group.spawn_many((0..50).map(|n| scribe(&format!("member-{n}")).0)));
    assert_eq!(again.unwrap().len(), 50, "the names are free again");
    runtime.shutdown(5 * SECOND).unwrap();
}

/// Counts itself while it lives.
struct Member(Arc<AtomicUsize>);

impl Actor for Member {
    async fn started(&mut self, _: &mut Context<Self>) -> Result<(), ironcliw::StartError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<Self>) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn a_batch_that_meets_a_shutdown_is_answered() {
    let runtime = runtime();
    let group = runtime.block_on(runtime.supervise(Supervisor::new("group"))).unwrap();
    let (begun, begins) = mpsc::channel();
    let spawns = std::thread::spawn(move || {
        let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut spawned = 0;
        loop {
            let batch = (0..100).map(|n| scribe(&format!("scribe-{spawned}-{n}")).0);
            match own.block_on(group.spawn_many(batch)) {
                Ok(_) => spawned += 1,
                Err(error) => return error,
            }
            let _ = begun.send(());
        }
    });
    begins.recv().unwrap();
    runtime.shutdown(5 * SECOND).unwrap();
    let error = spawns.join().unwrap();
    assert!(matches!(error, Error::RuntimeClosed | Error::StartFailed { .. } | Error::ActorStopped { .. }), "{error}");
    assert_eq!(runtime.snapshot().actors.len(), 0);
}
