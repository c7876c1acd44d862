//! What an operator may rely on: how long things take, who is busy, and who waits for whom.

mod cast;

use std::sync::mpsc;
use std::time::Duration;

use cast::{Do, SECOND, Scribe, Sleep, Write, eventually, heard, hold, scribe};
use ironcliw::{
    Actor, ActorSnapshot, Address, Child, Context, Error, Handler, Message, Overflow, Placement, Runtime, Snapshot,
    What,
};

fn runtime() -> Runtime {
    Runtime::builder().workers(2).build().unwrap()
}

fn spawn(runtime: &Runtime, name: &str) -> Address<Scribe> {
    runtime.block_on(runtime.spawn(scribe(name).0)).unwrap()
}

#[track_caller]
fn of<A: Actor>(snapshot: &Snapshot, address: &Address<A>) -> ActorSnapshot {
    snapshot.actors.iter().find(|actor| actor.path == address.path()).expect("it is listed").clone()
}

/// Asks another one, and answers whether that answered.
struct Relay;
impl Actor for Relay {}

/// To ask those behind, each the next.
struct Ask(Vec<Address<Relay>>, Option<Duration>);
impl Message for Ask {
    type Reply = Result<(), Error>;
}

impl Handler<Ask> for Relay {
    async fn handle(&mut self, Ask(mut behind, bound): Ask, _: &mut Context<Self>) -> Result<(), Error> {
        if behind.is_empty() {
            return Ok(());
        }
        let next = behind.remove(0);
        let ask = next.ask(Ask(behind, bound));
        match bound {
            Some(bound) => ask.deadline(bound).await?,
            None => ask.await?,
        }
    }
}

/// Asks the scribe, whose answer takes its time.
struct AskScribe(Address<Scribe>, tokio::sync::oneshot::Receiver<()>);
impl Message for AskScribe {
    type Reply = ();
}

impl Handler<AskScribe> for Relay {
    async fn handle(&mut self, AskScribe(scribe, go): AskScribe, _: &mut Context<Self>) {
        let _ = scribe.ask(cast::Hold(go)).await;
    }
}

/// Asks the scribe, and gives up when told to.
struct GiveUp(Address<Scribe>, tokio::sync::oneshot::Receiver<()>);
impl Message for GiveUp {
    type Reply = ();
}

impl Handler<GiveUp> for Relay {
    async fn handle(&mut self, GiveUp(scribe, told): GiveUp, _: &mut Context<Self>) {
        tokio::select! {
            _ = scribe.ask(Write(1)) => {}
            _ = told => {}
        }
        // Longer than the ask, so that the test sees that it is the ask's end that counts.
        std::future::pending().await
    }
}

/// Waits until told to go on.
struct Wait(tokio::sync::oneshot::Receiver<()>);
impl Message for Wait {
    type Reply = ();
}

impl Handler<Wait> for Relay {
    async fn handle(&mut self, Wait(told): Wait, _: &mut Context<Self>) {
        let _ = told.await;
    }
}

/// Says that it holds the thread, and does until told to go on.
struct Plug(mpsc::Sender<()>, mpsc::Receiver<()>);
impl Message for Plug {
    type Reply = ();
}

impl Handler<Plug> for Relay {
    async fn handle(&mut self, Plug(holds, told): Plug, _: &mut Context<Self>) {
        holds.send(()).expect("the test waits");
        let _ = told.recv();
    }
}

fn relay(runtime: &Runtime, name: &str) -> Address<Relay> {
    runtime.block_on(runtime.spawn(Child::new(name, || Relay))).unwrap()
}

fn deadlocks_told(snapshot: &Snapshot) -> Vec<Vec<String>> {
    let told = snapshot.events.iter().filter_map(|event| match &event.what {
        What::Deadlock { cycle } => Some(cycle.clone()),
        _ => None,
    });
    told.collect()
}

#[test]
fn handlers_and_waits_are_measured_and_an_actor_that_was_asked_once_has_nothing_to_show() {
    let runtime = runtime();
    let once = spawn(&runtime, "once");
    runtime.block_on(async { once.ask(Write(1)).await }).unwrap();
    let slow = spawn(&runtime, "slow");
    for _ in 0..10 {
        runtime.block_on(async { slow.ask(Sleep(Duration::from_millis(2))).await }).unwrap();
    }
    // A message is counted once it was answered. From the second on each is measured, for they take long.
    eventually(|| {
        let snapshot = runtime.snapshot();
        let slow = of(&snapshot, &slow);
        (slow.handled, slow.handler.count) == (10, 9) && slow.busy_s >= 20e-3
    });
    let snapshot = runtime.snapshot();
    assert_eq!(of(&snapshot, &once).handler.count, 0);
    let slow = of(&snapshot, &slow);
    let handler = &slow.handler;
    assert!(handler.mean_s >= 2e-3 && handler.p50_s >= 1.75e-3 && handler.max_s >= handler.p50_s, "{handler:?}");
    assert!(handler.p50_s <= handler.p90_s && handler.p90_s <= handler.p99_s, "{handler:?}");
    assert_eq!(slow.mailbox_wait.count, 8, "from the third on each: {:?}", slow.mailbox_wait);
    assert!(slow.busy_s >= 20e-3, "{slow:?}");
    assert!(slow.busy_ratio > 0.0 && slow.busy_ratio <= 1.0, "{slow:?}");
    assert!(snapshot.arbiters.iter().any(|arbiter| arbiter.busy_s >= 20e-3 && arbiter.busy_ratio > 0.0));
    runtime.shutdown(5 * SECOND).unwrap();
}

#[test]
fn one_message_in_sixty_four_is_measured_at_least() {
    let runtime = runtime();
    let (child, _) = scribe("busy");
    let busy = runtime.block_on(runtime.spawn(child.mailbox(100_000, Overflow::Block))).unwrap();
    runtime.block_on(async {
        busy.tell_many((0..64_000).map(Write)).await.unwrap();
        busy.ask(Write(0)).await.unwrap();
    });
    let seen = of(&runtime.snapshot(), &busy);
    assert!(seen.handler.count >= 1000, "{seen:?}");
    assert!(seen.mailbox_wait.count >= 1, "{seen:?}");
    runtime.shutdown(5 * SECOND).unwrap();
}

#[test]
fn the_wait_of_a_message_is_from_when_it_was_queued_to_when_its_handler_begins() {
    let runtime = runtime();
    let slow = spawn(&runtime, "slow");
    // The third is the first whose wait can be measured.
    for n in 0..2 {
        runtime.block_on(async { slow.ask(Write(n)).await }).unwrap();
    }
    for _ in 0..100 {
        let before = of(&runtime.snapshot(), &slow).mailbox_wait;
        let go = hold(&slow);
        slow.try_tell(Write(2)).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        drop(go);
        runtime.block_on(async { slow.ask(Write(3)).await }).unwrap();
        let after = of(&runtime.snapshot(), &slow).mailbox_wait;
        if after.max_s >= 5e-3 {
            assert!(after.count > before.count);
            return runtime.shutdown(5 * SECOND).unwrap();
        }
    }
    panic!("of a hundred messages that waited none was measured");
}

#[test]
fn a_handler_that_does_not_come_back_is_seen_to_be_busy() {
    let runtime = runtime();
    let stuck = spawn(&runtime, "stuck");
    let (go, held) = mpsc::channel();
    stuck.try_tell(cast::Block(held, 1)).unwrap();
    eventually(|| of(&runtime.snapshot(), &stuck).busy_s >= 10e-3);
    go.send(()).unwrap();
    runtime.block_on(async { stuck.ask(Write(2)).await }).unwrap();
    assert!(of(&runtime.snapshot(), &stuck).busy_s >= 10e-3);
    runtime.shutdown(5 * SECOND).unwrap();
}

#[test]
fn two_actors_that_ask_each_other_are_named() {
    let runtime = runtime();
    let (a, b) = (relay(&runtime, "a"), relay(&runtime, "b"));
    let both = vec![b.clone(), a.clone()];
    a.try_tell(Ask(both, None)).unwrap();
    let cycle = vec!["user/a".to_owned(), "user/b".to_owned()];
    eventually(|| deadlocks_told(&runtime.snapshot()) == [cycle.clone()]);
    let snapshot = runtime.snapshot();
    assert_eq!(snapshot.deadlocks, [cycle]);
    assert_eq!(snapshot.deadlocks_seen, 1);
    let mut waits: Vec<_> = snapshot.waits.iter().map(|wait| (wait.from.as_str(), wait.to.as_str())).collect();
    waits.sort_unstable();
    assert_eq!(waits, [("user/a", "user/b"), ("user/b", "user/a")]);
    assert!(snapshot.waits.iter().all(|wait| wait.waited_s >= 0.0));
    let _ = runtime.shutdown(Duration::from_millis(100));
}

#[test]
fn many_that_close_circles_at_the_same_time_are_each_told_once() {
    let runtime = runtime();
    let pairs: Vec<_> =
        (0..50).map(|n| (relay(&runtime, &format!("a{n:02}")), relay(&runtime, &format!("b{n:02}")))).collect();
    for (a, b) in &pairs {
        // Each asks the other at the same time.
        a.try_tell(Ask(vec![b.clone()], None)).unwrap();
        a.try_tell(Ask(vec![b.clone(), a.clone()], None)).unwrap();
        b.try_tell(Ask(vec![a.clone(), b.clone()], None)).unwrap();
    }
    eventually(|| runtime.snapshot().deadlocks.len() == 50);
    let snapshot = runtime.snapshot();
    assert_eq!(snapshot.deadlocks_seen, 50);
    let mut told = deadlocks_told(&snapshot);
    told.sort();
    assert_eq!(told, snapshot.deadlocks);
    let _ = runtime.shutdown(Duration::from_millis(100));
}

#[test]
fn an_ask_that_was_answered_is_part_of_no_circle_though_its_asker_has_not_run_since() {
    let runtime = runtime();
    let at =
        |name, placement| runtime.block_on(runtime.spawn(Child::new(name, || Relay).placement(placement))).unwrap();
    let (a, b) = (at("a", Placement::Shared("one")), at("b", Placement::Shared("other")));
    let beside_a = at("beside a", Placement::Shared("one"));
    let waits = || {
        let pairs = runtime.snapshot().waits.into_iter().map(|wait| (wait.from, wait.to));
        pairs.collect::<Vec<_>>()
    };
    let pair = |from: &str, to: &str| (format!("user/{from}"), format!("user/{to}"));
    let (go_on, told) = tokio::sync::oneshot::channel();
    b.try_tell(Wait(told)).unwrap();
    a.try_tell(Ask(vec![b.clone()], None)).unwrap();
    eventually(|| waits() == [pair("a", "b")]);
    b.try_tell(Ask(vec![a.clone()], None)).unwrap();
    let (holds, is_held) = mpsc::channel();
    let (unplug, plug) = mpsc::channel();
    beside_a.try_tell(Plug(holds, plug)).unwrap();
    is_held.recv_timeout(10 * SECOND).unwrap();
    // Now b answers a, which is not polled, and asks it.
    go_on.send(()).unwrap();
    eventually(|| waits() == [pair("b", "a")]);
    unplug.send(()).unwrap();
    eventually(|| waits().is_empty());
    assert_eq!(runtime.snapshot().deadlocks_seen, 0);
    runtime.shutdown(5 * SECOND).unwrap();
}

#[test]
fn an_actor_that_asks_itself_is_a_circle_of_one() {
    let runtime = runtime();
    let own = relay(&runtime, "own");
    own.try_tell(Ask(vec![own.clone()], None)).unwrap();
    eventually(|| runtime.snapshot().deadlocks == [["user/own"]]);
    assert_eq!(runtime.snapshot().deadlocks_seen, 1);
    let _ = runtime.shutdown(Duration::from_millis(100));
}

#[test]
fn a_chain_is_no_circle_and_its_waits_end_with_the_answers() {
    let runtime = runtime();
    let (a, b, c) = (relay(&runtime, "a"), relay(&runtime, "b"), relay(&runtime, "c"));
    let last = spawn(&runtime, "last");
    let (go, held) = tokio::sync::oneshot::channel();
    c.try_tell(AskScribe(last, held)).unwrap();
    let (tell, told) = mpsc::channel();
    let answered = cast::Sink(move |answer| drop(tell.send(answer)));
    a.ask_into(Ask(vec![b, c], None), None, Box::new(answered));
    eventually(|| runtime.snapshot().waits.len() == 3);
    let snapshot = runtime.snapshot();
    let waits: Vec<_> = snapshot.waits.iter().map(|wait| (wait.from.as_str(), wait.to.as_str())).collect();
    assert_eq!(waits, [("user/a", "user/b"), ("user/b", "user/c"), ("user/c", "user/last")]);
    assert!(snapshot.deadlocks.is_empty() && snapshot.deadlocks_seen == 0, "{:?}", snapshot.deadlocks);
    go.send(()).unwrap();
    heard(&told).unwrap().unwrap();
    eventually(|| runtime.snapshot().waits.is_empty());
    runtime.shutdown(5 * SECOND).unwrap();
}

#[test]
fn a_wait_ends_when_its_ask_times_out_or_is_dropped() {
    let runtime = runtime();
    let (a, b) = (relay(&runtime, "a"), relay(&runtime, "b"));
    let (tell, told) = mpsc::channel();
    let answered = cast::Sink(move |answer| drop(tell.send(answer)));
    a.ask_into(Ask(vec![b, a.clone()], Some(Duration::from_millis(200))), None, Box::new(answered));
    eventually(|| runtime.snapshot().deadlocks_seen == 1);
    assert!(heard(&told).unwrap().is_err(), "it gave up");
    eventually(|| runtime.snapshot().waits.is_empty());
    assert!(runtime.snapshot().deadlocks.is_empty());

    let held = spawn(&runtime, "held");
    let go = hold(&held);
    let (give_up, told) = tokio::sync::oneshot::channel();
    a.try_tell(GiveUp(held, told)).unwrap();
    eventually(|| runtime.snapshot().waits.len() == 1);
    give_up.send(()).unwrap();
    eventually(|| runtime.snapshot().waits.is_empty());
    drop(go);
    let _ = runtime.shutdown(Duration::from_millis(100));
}

#[test]
fn what_is_asked_from_outside_is_nobodys_wait() {
    let runtime = runtime();
    let held = spawn(&runtime, "held");
    let go = hold(&held);
    let asking = held.clone();
    runtime.spawn_task(async move { drop(asking.ask(Write(1)).await) });
    eventually(|| held.depth() == 1);
    assert!(runtime.snapshot().waits.is_empty());
    drop(go);
    let done = runtime.block_on(async { held.ask(Do(Box::new(|| 7))).await });
    assert_eq!(done.unwrap(), 7);
    runtime.shutdown(5 * SECOND).unwrap();
}
