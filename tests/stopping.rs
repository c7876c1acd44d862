//! Promise 9 from outside: stopping is bounded from wherever it is asked for, everybody hears, and nothing stays behind.

mod cast;

use std::future::IntoFuture;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use cast::*;
use ironcliw::{Actor, Child, Error, Placement, Runtime, Supervisor};

#[test]
fn whoever_waits_for_an_actor_that_is_left_behind_hears() {
    let runtime = runtime();
    let (child, _) = scribe("stuck");
    let stuck = runtime.block_on(runtime.spawn(child.placement(Placement::Dedicated))).unwrap();
    let (go, blocked) = mpsc::channel();
    let in_hand = ask(&stuck, Block(blocked, 1));
    eventually(|| stuck.depth() == 0);
    let with_deadline = {
        let asked = stuck.ask(Write(3)).deadline(60 * SECOND).into_future();
        thread::spawn(move || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(asked))
    };
    eventually(|| stuck.depth() == 1);
    let queued = ask(&stuck, Write(2));
    let abandoned = runtime.shutdown(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(abandoned, Error::Abandoned { actors, .. } if actors == ["user/stuck"]));
    assert!(matches!(heard(&in_hand).unwrap_err(), Error::ActorStopped { .. }));
    assert!(matches!(heard(&queued).unwrap_err(), Error::ActorStopped { .. }));
    assert!(matches!(with_deadline.join().unwrap().unwrap_err().error, Error::ActorStopped { .. }));
    drop(go);
}

#[test]
fn a_queue_of_messages_that_never_wait_is_drained_no_longer_than_its_bound() {
    let runtime = runtime();
    let scribe = runtime.block_on(runtime.spawn(scribe("scribe").0)).unwrap();
    let asks: Vec<_> = (0..60).map(|_| ask(&scribe, Sleep(Duration::from_millis(20)))).collect();
    let began = Instant::now();
    runtime.shutdown(Duration::from_millis(100)).unwrap();
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    let answered = asks.iter().filter(|answer| heard(answer).is_ok()).count();
    assert!((1..30).contains(&answered), "{answered}");
}

#[test]
fn a_shutdown_shortens_a_stop_that_is_under_way() {
    let runtime = runtime();
    let slow = scribe("slow").0.shutdown(60 * SECOND);
    let slow = runtime.block_on(runtime.spawn(slow)).unwrap();
    let _go = hold(&slow);
    let user = runtime.handle().clone();
    let stops = thread::spawn(move || {
        let root = user.root().unwrap();
        user.block_on(root.stop_child("user"));
    });
    eventually(|| runtime.snapshot().actors[0].state == ironcliw::ActorState::Stopping);
    let began = Instant::now();
    runtime.shutdown(Duration::from_millis(50)).unwrap();
    assert!(began.elapsed() < SECOND);
    stops.join().unwrap();
}

#[test]
fn many_stuck_actors_do_not_add_up() {
    let runtime = runtime();
    let mut keep = Vec::new();
    for n in 0..10 {
        let stuck = scribe(&format!("stuck-{n}")).0.placement(Placement::Dedicated);
        let stuck = runtime.block_on(runtime.spawn(stuck)).unwrap();
        let (go, blocked) = mpsc::channel();
        stuck.try_tell(Block(blocked, 1)).unwrap();
        eventually(|| stuck.depth() == 0);
        keep.push(go);
    }
    let began = Instant::now();
    match runtime.shutdown(Duration::from_millis(50)).unwrap_err() {
        Error::Abandoned { actors, .. } => assert_eq!(actors.len(), 10),
        other => panic!("{other}"),
    }
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
}

#[test]
fn a_shutdown_from_inside_cannot_wait_and_says_so() {
    let runtime = Arc::new(runtime());
    let scribe = runtime.block_on(runtime.spawn(scribe("scribe").0)).unwrap();
    let inside = runtime.clone();
    let refused = heard(&ask(&scribe, Do(Box::new(move || inside.shutdown(SECOND))))).unwrap();
    assert_eq!(refused, Err(Error::OwnThread));
    eventually(|| runtime.snapshot().state == "closed");
    assert!(!scribe.is_alive());
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_runtime_that_an_actor_drops_ends() {
    let dropped = runtime();
    let handle = dropped.handle().clone();
    let scribe = dropped.block_on(dropped.spawn(scribe("scribe").0)).unwrap();
    heard(&ask(&scribe, Do(Box::new(move || drop(dropped))))).unwrap();
    eventually(|| handle.snapshot().state == "closed");
}

#[test]
fn a_runtime_may_be_shut_down_or_dropped_in_async_code() {
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let handle = second.handle().clone();
    other.block_on(async {
        first.shutdown(SECOND).unwrap();
        drop(second);
    });
    eventually(|| handle.snapshot().state == "closed");
}

#[test]
fn of_two_shutdowns_at_once_neither_returns_before_it_is_over() {
    let runtime = runtime();
    let scribe = runtime.block_on(runtime.spawn(scribe("scribe").0)).unwrap();
    scribe.try_tell(Sleep(Duration::from_millis(100))).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                runtime.shutdown(5 * SECOND).unwrap();
                assert_eq!(runtime.snapshot().state, "closed");
            });
        }
    });
}

#[test]
fn a_closed_runtime_refuses_and_does_not_panic() {
    let runtime = runtime();
    let (scribe, group) = runtime.block_on(async {
        let scribe = runtime.spawn(scribe("scribe").0).await.unwrap();
        (scribe, runtime.supervise(Supervisor::new("group")).await.unwrap())
    });
    let handle = runtime.handle().clone();
    runtime.shutdown(SECOND).unwrap();
    drop(runtime);
    let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
    own.block_on(async {
        let late = scribe.ask(Write(1)).deadline(SECOND).await.unwrap_err();
        assert!(matches!(late.error, Error::ActorStopped { .. }));
        assert_eq!(late.message.map(|Write(n)| n), Some(1));
        assert_eq!(handle.spawn(cast::scribe("late").0).await.unwrap_err(), Error::RuntimeClosed);
        assert_eq!(group.spawn(cast::scribe("late").0).await.unwrap_err(), Error::RuntimeClosed);
        assert_eq!(group.supervise(Supervisor::new("late")).await.unwrap_err(), Error::RuntimeClosed);
        group.stop_child(scribe.path()).await;
    });
    assert!(matches!(heard(&ask(&scribe, Write(2))).unwrap_err(), Error::ActorStopped { .. }));
    handle.call_later(Duration::ZERO, || ());
    assert_eq!(handle.block_on(async { 7 }), 7);
    assert_eq!(handle.snapshot().actors.len(), 0);
}

#[test]
fn what_waits_below_a_root_that_gave_up_is_answered_before_the_end() {
    for _ in 0..20 {
        let runtime = runtime();
        let (root, group) = (runtime.root().unwrap(), Supervisor::new("group"));
        let group = runtime.block_on(root.supervise(group)).unwrap();
        let waits = runtime.block_on(group.spawn(scribe("waits").0.shutdown(Duration::from_millis(1)))).unwrap();
        let fails = runtime.block_on(root.spawn(scribe("fails").0)).unwrap();
        let go = hold(&waits);
        let queued = ask(&waits, Write(1));
        for _ in 0..6 {
            fails.try_tell(Poison).unwrap();
        }
        eventually(|| !runtime.is_ready());
        drop(go);
        runtime.shutdown(SECOND).unwrap();
        let _ = heard(&queued);
    }
}

/// Holds a token for as long as it lives, and a handle, which could hold it in turn.
struct Holder(#[allow(dead_code)] Arc<()>, #[allow(dead_code)] ironcliw::Handle);
impl Actor for Holder {}

impl ironcliw::Section for Holder {
    fn snapshot(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

fn populated(token: &Arc<()>, name: &str) -> Runtime {
    let runtime = runtime();
    runtime.block_on(async {
        let group = runtime.supervise(Supervisor::new("group")).await.unwrap();
        for placement in [Placement::Any, Placement::Shared("shared"), Placement::Dedicated] {
            let (token, handle) = (token.clone(), runtime.handle().clone());
            let name = format!("{name}-{placement:?}").replace(['"', '(', ')'], "");
            let child = Child::new(name, move || Holder(token.clone(), handle.clone())).placement(placement);
            group.spawn(child).await.unwrap();
        }
    });
    runtime.register("holder", Arc::new(Holder(token.clone(), runtime.handle().clone())));
    assert_eq!(Arc::strong_count(token), 8, "three factories, three actors, a section and the test's own");
    runtime
}

#[test]
fn nothing_is_left_of_the_actors_after_a_shutdown_or_a_drop() {
    let token = Arc::new(());
    let shut = populated(&token, "shut");
    shut.shutdown(SECOND).unwrap();
    assert_eq!(Arc::strong_count(&token), 2, "the section can still be looked at");
    drop(shut);
    assert_eq!(Arc::strong_count(&token), 1);
    drop(populated(&token, "drop"));
    eventually(|| Arc::strong_count(&token) == 1);
}

#[test]
fn spawns_that_race_a_shutdown_are_decided_and_leave_nothing() {
    for round in 0..20 {
        let (token, runtime) = (Arc::new(()), runtime());
        let (began, spawned) = mpsc::channel();
        let spawners: Vec<_> = (0..3)
            .map(|spawner| {
                let (handle, token, began) = (runtime.handle().clone(), token.clone(), began.clone());
                thread::spawn(move || {
                    let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    for n in 0.. {
                        let (held, given) = (token.clone(), handle.clone());
                        let child = Child::new(format!("{spawner}-{n}"), move || Holder(held.clone(), given.clone()))
                            .placement(Placement::Dedicated);
                        let outcome = own.block_on(handle.spawn(child));
                        let _ = began.send(());
                        match outcome {
                            Ok(_) => {}
                            Err(Error::RuntimeClosed | Error::StartFailed { .. }) => return,
                            Err(other) => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        for _ in 0..round {
            heard(&spawned);
        }
        runtime.shutdown(5 * SECOND).unwrap();
        for spawner in spawners {
            spawner.join().unwrap();
        }
        assert_eq!(Arc::strong_count(&token), 1);
    }
}

#[test]
fn when_an_actor_ends_actixs_own_system_everybody_hears_all_the_same() {
    let runtime = runtime();
    let (scribe, waits) = runtime.block_on(async {
        let scribe = runtime.spawn(scribe("scribe").0).await.unwrap();
        (scribe, runtime.spawn(cast::scribe("waits").0).await.unwrap())
    });
    let _go = hold(&waits);
    let queued = ask(&waits, Write(1));
    let with_deadline = {
        let asked = waits.ask(Write(2)).deadline(60 * SECOND).into_future();
        thread::spawn(move || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(asked))
    };
    eventually(|| waits.depth() == 2);
    let _ = heard(&ask(&scribe, Do(Box::new(|| actix::System::current().stop()))));
    // Threads end one after another, so an incarnation that was started again in between may have handled a message: then
    // the answer is right, and otherwise it says that the actor is gone. Nobody is left waiting.
    let gone = |error: &Error| {
        matches!(error, Error::ActorStopped { .. } | Error::ActorRestarting { .. } | Error::RuntimeClosed)
    };
    match heard(&queued) {
        Ok(answer) => assert_eq!(answer, 1),
        Err(error) => assert!(gone(&error), "{error}"),
    }
    match with_deadline.join().unwrap() {
        Ok(answer) => assert_eq!(answer, 2),
        Err(refused) => assert!(gone(&refused.error), "{refused}"),
    }
    // And once they have ended nothing is spawned any more.
    let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut late = 0;
    eventually(|| {
        late += 1;
        own.block_on(runtime.spawn(cast::scribe(&format!("late-{late}")).0)).is_err()
    });
    runtime.shutdown(SECOND).unwrap();
    assert_eq!(runtime.snapshot().state, "closed");
}

#[test]
fn a_user_supervisor_that_was_stopped_is_made_again_for_the_next_spawn() {
    let runtime = runtime();
    runtime.block_on(async {
        let first = runtime.spawn(scribe("scribe").0).await.unwrap();
        runtime.root().unwrap().stop_child("user").await;
        assert!(!first.is_alive());
        assert_eq!(runtime.spawn(scribe("scribe").0).await.unwrap().path(), "user/scribe");
    });
    runtime.shutdown(SECOND).unwrap();
}
