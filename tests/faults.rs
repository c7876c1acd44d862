//! Promises 1, 2, 5 and 8 where user code misbehaves: whoever asked hears once, and only the culprit suffers.

mod cast;

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use cast::*;
use ironcliw::{
    Actor, Backoff, Child, Context, Error, Handler, Message, Overflow, Placement, Restart, StartError, Strategy,
    Supervisor,
};

#[test]
fn calls_into_a_full_mailbox_are_handled_in_the_order_of_the_calls() {
    let runtime = runtime();
    let (child, log) = scribe("scribe");
    let scribe = runtime.block_on(runtime.spawn(child.mailbox(2, Overflow::Block))).unwrap();
    let answers: Vec<_> = (0..5_000).map(|n| ask(&scribe, Write(n))).collect();
    for (n, answer) in (0..).zip(&answers) {
        assert_eq!(heard(answer), Ok(n));
    }
    assert!(log.lock().unwrap().is_sorted());
    assert_eq!(log.lock().unwrap().len(), 5_000);
    assert!(runtime.snapshot().actors[0].high_water <= 2);
}

#[test]
fn a_sender_that_stops_waiting_for_room_leaves_the_line() {
    let runtime = runtime();
    let (child, log) = scribe("scribe");
    let scribe = runtime.block_on(runtime.spawn(child.mailbox(1, Overflow::Block))).unwrap();
    let go = hold(&scribe);
    scribe.try_tell(Write(1)).unwrap();
    let mut cx = TaskContext::from_waker(Waker::noop());
    let mut gives_up = Box::pin(scribe.tell(Write(2)));
    assert!(gives_up.as_mut().poll(&mut cx).is_pending());
    let mut stays = Box::pin(scribe.tell(Write(3)));
    assert!(stays.as_mut().poll(&mut cx).is_pending());
    drop(gives_up);
    go.send(()).unwrap();
    runtime.block_on(stays).unwrap();
    runtime.block_on(scribe.ask(Write(4)).into_future()).unwrap();
    assert_eq!(*log.lock().unwrap(), [1, 3, 4]);
}

#[test]
fn an_ask_that_ends_while_it_waits_for_room_leaves_the_line_and_takes_its_message_with_it() {
    let runtime = runtime();
    let (child, log) = scribe("scribe");
    let scribe = runtime.block_on(runtime.spawn(child.mailbox(1, Overflow::Block))).unwrap();
    let go = hold(&scribe);
    scribe.try_tell(Write(1)).unwrap();
    let mut cx = TaskContext::from_waker(Waker::noop());
    let token = Arc::new(());
    let mut ask_with_token = || {
        let held = token.clone();
        let mut asks = scribe.ask(Do(Box::new(move || drop(held)))).deadline(Duration::from_millis(200));
        assert!(Pin::new(&mut asks).poll(&mut cx).is_pending());
        asks
    };
    let (mut late, given_up) = (ask_with_token(), ask_with_token());
    let mut stays = Box::pin(scribe.tell(Write(2)));
    assert!(stays.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
    // By its deadline, and by nobody's waiting any more: both while the actor is busy.
    let refused = runtime.block_on(&mut late).unwrap_err();
    assert!(matches!(refused.error, Error::DeadlineExceeded { .. }));
    drop(given_up);
    assert_eq!(Arc::strong_count(&token), 1, "a message is in line whose sender has gone");
    assert!(stays.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
    go.send(()).unwrap();
    runtime.block_on(stays).unwrap();
    runtime.block_on(scribe.ask(Write(3)).into_future()).unwrap();
    assert_eq!(*log.lock().unwrap(), [1, 2, 3]);
    assert_eq!(runtime.snapshot().actors[0].skipped, 0);
}

#[test]
fn a_sender_that_waits_for_room_gets_its_message_back_when_the_actor_stops() {
    let runtime = runtime();
    let (child, _) = scribe("scribe");
    let child = child.mailbox(1, Overflow::Block).restart(Restart::Temporary);
    let scribe = runtime.block_on(runtime.spawn(child)).unwrap();
    let go = hold(&scribe);
    scribe.try_tell(Poison).unwrap();
    let detached = ask(&scribe, Write(1));
    let mut waits = Box::pin(scribe.tell(Write(2)));
    assert!(waits.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
    go.send(()).unwrap();
    let refused = runtime.block_on(waits);
    // The first in line may have got the place that the poison left.
    assert!(matches!(heard(&detached).unwrap_err(), Error::ActorStopped { .. }));
    let refused = refused.unwrap_err();
    assert!(matches!(refused.error, Error::ActorStopped { .. }));
    assert_eq!(refused.message.unwrap().0, 2);
}

#[test]
fn the_end_of_an_actors_thread_is_answered_and_the_actor_lives_on_another() {
    for placement in [Placement::Any, Placement::Shared("worker"), Placement::Dedicated] {
        let runtime = runtime();
        let (child, log) = scribe("scribe");
        let scribe = runtime.block_on(runtime.spawn(child.placement(placement.clone()))).unwrap();
        let go = hold(&scribe);
        let in_hand = ask(&scribe, EndThread);
        let queued = ask(&scribe, Write(1));
        go.send(()).unwrap();
        assert!(matches!(heard(&in_hand).unwrap_err(), Error::ActorRestarting { .. }), "{placement:?}");
        assert_eq!(heard(&queued), Ok(1), "{placement:?}");
        assert_eq!(runtime.snapshot().restarts, 1);
        assert_eq!(*log.lock().unwrap(), [1]);
        runtime.shutdown(SECOND).unwrap();
    }
}

#[test]
fn a_thread_that_returns_late_touches_neither_mailbox_nor_reply() {
    let runtime = runtime();
    let group = Supervisor::new("group").strategy(Strategy::OneForAll);
    let group = runtime.block_on(runtime.supervise(group)).unwrap();
    let (slow, log) = scribe("slow");
    let slow = slow.placement(Placement::Dedicated).shutdown(Duration::from_millis(10));
    let slow = runtime.block_on(group.spawn(slow)).unwrap();
    let fails = runtime.block_on(group.spawn(scribe("fails").0)).unwrap();
    let (go, blocked) = mpsc::channel();
    let in_hand = ask(&slow, Block(blocked, 1));
    eventually(|| slow.depth() == 0);
    fails.try_tell(Poison).unwrap();
    // Its thread is held, yet the asker hears and the next life begins.
    assert!(matches!(heard(&in_hand).unwrap_err(), Error::ActorRestarting { .. }));
    assert_eq!(heard(&ask(&slow, WhichLife)), Ok(1));
    let hold = hold(&slow);
    let queued = ask(&slow, Write(2));
    go.send(()).unwrap();
    eventually(|| log.lock().unwrap().len() == 1);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(*log.lock().unwrap(), [1], "the late thread took a message that is not its own");
    hold.send(()).unwrap();
    assert_eq!(heard(&queued), Ok(2));
    assert_eq!(in_hand.try_recv(), Err(mpsc::TryRecvError::Disconnected), "answered twice");
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_sink_that_panics_harms_nobody() {
    let runtime = runtime();
    let (child, _) = scribe("scribe");
    let scribe = runtime.block_on(runtime.spawn(child.restart(Restart::Temporary))).unwrap();
    let panics = || Box::new(Sink(|_: Result<u64, Error>| panic!("in a sink")));
    scribe.ask_into(Write(1), None, panics());
    assert_eq!(heard(&ask(&scribe, WhichLife)), Ok(0), "the actor does not pay for the sink");
    let go = hold(&scribe);
    scribe.try_tell(Poison).unwrap();
    scribe.ask_into(Write(2), None, panics());
    let after = ask(&scribe, Write(3));
    go.send(()).unwrap();
    assert!(matches!(heard(&after).unwrap_err(), Error::ActorStopped { .. }));
    // Its supervisor answered that sink: it stands.
    assert_eq!(runtime.block_on(runtime.spawn(scribe_named("next"))).unwrap().path(), "user/next");
    runtime.shutdown(SECOND).unwrap();
}

fn scribe_named(name: &str) -> Child<Scribe> {
    scribe(name).0
}

/// A reply that panics when nobody takes it.
struct Brittle;
impl Drop for Brittle {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a reply nobody took");
        }
    }
}

#[test]
fn a_reply_that_panics_as_it_is_dropped_does_not_cost_the_actor_its_life() {
    let runtime = runtime();
    let scribe = runtime.block_on(runtime.spawn(scribe_named("scribe"))).unwrap();
    scribe.try_tell(Do(Box::new(|| Brittle))).unwrap();
    assert_eq!(heard(&ask(&scribe, WhichLife)), Ok(0));
}

struct Impatient(Arc<AtomicUsize>);

impl Actor for Impatient {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        ctx.stop();
        Ok(())
    }

    async fn stopped(&mut self, _: &mut Context<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_stop_that_is_asked_for_in_started_is_obeyed() {
    let runtime = runtime();
    let ends = Arc::new(AtomicUsize::new(0));
    let counted = ends.clone();
    let child = Child::new("impatient", move || Impatient(counted.clone())).restart(Restart::Transient);
    let impatient = runtime.block_on(runtime.spawn(child)).unwrap();
    eventually(|| !impatient.is_alive());
    assert_eq!(ends.load(Ordering::SeqCst), 1);
}

#[test]
fn a_spawn_that_is_given_up_leaves_the_way_free_for_others() {
    for polls in 1..4 {
        let runtime = runtime();
        let mut first = Box::pin(runtime.spawn(scribe_named("first")));
        for _ in 0..polls {
            if first.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_ready() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Not polled, it must not stand in the way either.
        let second = runtime.block_on(async {
            let spawned = runtime.spawn(scribe_named("second"));
            tokio::time::timeout(5 * SECOND, spawned).await.expect("a spawner waits for one that sleeps")
        });
        assert_eq!(second.unwrap().path(), "user/second");
        drop(first);
        assert_eq!(runtime.block_on(runtime.spawn(scribe_named("third"))).unwrap().path(), "user/third");
    }
}

#[test]
fn a_spawn_under_a_supervisor_that_is_about_to_start_again_waits_for_it() {
    let runtime = runtime();
    let backoff = Backoff { min: Duration::from_millis(50), jitter: false, ..Backoff::default() };
    let group = Supervisor::new("group").restarts(0, SECOND).backoff(backoff);
    let group = runtime.block_on(runtime.supervise(group)).unwrap();
    let fails = runtime.block_on(group.spawn(scribe_named("fails"))).unwrap();
    assert!(matches!(heard(&ask(&fails, Poison)).unwrap_err(), Error::ActorPanicked { .. }));
    eventually(|| runtime.snapshot().supervisors.iter().any(|group| group.exhausted));
    let late = runtime.block_on(group.spawn(scribe_named("late"))).unwrap();
    assert_eq!(heard(&ask(&late, WhichLife)), Ok(0));
    assert_eq!(heard(&ask(&fails, WhichLife)), Ok(1));
}

struct Grenade;
impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("of the payload");
    }
}

#[test]
fn a_panic_is_reported_with_its_own_reason() {
    let outer = ironcliw::catch_panic(|| {
        let inner = ironcliw::catch_panic(|| panic!("inner")).unwrap_err();
        assert!(inner.starts_with("inner"), "{inner}");
        struct CatchesInDrop;
        impl Drop for CatchesInDrop {
            fn drop(&mut self) {
                let _ = ironcliw::catch_panic(|| ());
            }
        }
        let _catches = CatchesInDrop;
        panic!("outer");
    });
    assert!(outer.unwrap_err().contains("outer (tests/faults.rs:"));
    let payload = ironcliw::catch_panic(|| std::panic::panic_any(Grenade)).unwrap_err();
    assert!(payload.starts_with("a panic whose payload is not text"), "{payload}");
    // What user code caught for itself is not the reason of a later panic that the hook does not see.
    let resumed = ironcliw::catch_panic(|| {
        let _ = std::panic::catch_unwind(|| panic!("caught"));
    });
    assert!(resumed.is_ok());
    let resumed = ironcliw::catch_panic(|| std::panic::resume_unwind(Box::new("resumed")));
    assert_eq!(resumed, Err::<(), _>("resumed".to_owned()));
}

struct Clock {
    beats: u64,
}

struct Beat;
impl Message for Beat {
    type Reply = ();
}

struct Beats;
impl Message for Beats {
    type Reply = u64;
}

impl Actor for Clock {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        let made = std::cell::Cell::new(0);
        ctx.every(Duration::from_millis(2), move || {
            made.set(made.get() + 1);
            assert!(made.get() % 2 == 0, "every other beat cannot be made");
            Beat
        });
        Ok(())
    }
}

impl Handler<Beat> for Clock {
    async fn handle(&mut self, _: Beat, _: &mut Context<Self>) {
        self.beats += 1;
    }
}

impl Handler<Beats> for Clock {
    async fn handle(&mut self, _: Beats, _: &mut Context<Self>) -> u64 {
        self.beats
    }
}

#[test]
fn a_beat_that_cannot_be_made_is_left_out() {
    let runtime = runtime();
    let clock = runtime.block_on(runtime.spawn(Child::new("clock", || Clock { beats: 0 }))).unwrap();
    eventually(|| runtime.block_on(clock.ask(Beats).into_future()).unwrap() >= 2);
}
