//! What the runtime promises of actors that were written for actix.

mod cast;

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, AtomicResponse, Context, Handler, MailboxError, Message,
    ResponseActFuture, ResponseFuture, Running, Supervised, WrapFuture,
};
use cast::{SECOND, eventually, runtime};
use ironcliw::{
    ActixChild, ActorSnapshot, ActorState, Backoff, Error, Placement, Restart, Runtime, Strategy, Supervisor, What,
};

/// What outlives the incarnations of a [`Clerk`].
#[derive(Default)]
struct Desk {
    log: Mutex<Vec<u64>>,
    lives: AtomicU64,
    restarting: AtomicU64,
    stopped: AtomicU64,
    /// The next so many calls of this hook panic.
    bad_starts: AtomicUsize,
    bad_restartings: AtomicUsize,
    bad_drops: AtomicUsize,
    bad_ticks: AtomicUsize,
    bad_stops: AtomicUsize,
    ticks: AtomicU64,
    refuses: AtomicBool,
}

impl Desk {
    fn log(&self) -> Vec<u64> {
        self.log.lock().unwrap().clone()
    }

    fn lives(&self) -> u64 {
        self.lives.load(Ordering::SeqCst)
    }
}

#[track_caller]
fn misbehave(times: &AtomicUsize, what: &str) {
    if times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        panic!("a bad {what}");
    }
}

/// An actor as actix has them. It knows nothing of this runtime.
struct Clerk {
    desk: Arc<Desk>,
    life: u64,
    ticks: bool,
}

impl Actor for Clerk {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        misbehave(&self.desk.bad_starts, "start");
        if self.ticks {
            ctx.run_interval(Duration::from_millis(1), |clerk, _| {
                misbehave(&clerk.desk.bad_ticks, "tick");
                clerk.desk.ticks.fetch_add(1, Ordering::SeqCst);
            });
        }
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        if self.desk.refuses.load(Ordering::SeqCst) { Running::Continue } else { Running::Stop }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        misbehave(&self.desk.bad_stops, "stop");
        self.desk.stopped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Supervised for Clerk {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.desk.restarting.fetch_add(1, Ordering::SeqCst);
        misbehave(&self.desk.bad_restartings, "restarting");
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        misbehave(&self.desk.bad_drops, "drop");
    }
}

macro_rules! message {
    ($name:ty, $result:ty) => {
        impl Message for $name {
            type Result = $result;
        }
    };
}

struct Write(u64);
message!(Write, u64);
impl Handler<Write> for Clerk {
    type Result = u64;
    fn handle(&mut self, Write(n): Write, _: &mut Context<Self>) -> u64 {
        self.desk.log.lock().unwrap().push(n);
        self.life
    }
}

struct Poison;
message!(Poison, ());
impl Handler<Poison> for Clerk {
    type Result = ();
    fn handle(&mut self, _: Poison, _: &mut Context<Self>) {
        panic!("poisoned");
    }
}

/// Holds the thread until the sender is used or dropped.
struct Hold(std::sync::mpsc::Receiver<()>);
message!(Hold, ());
impl Handler<Hold> for Clerk {
    type Result = ();
    fn handle(&mut self, Hold(go): Hold, _: &mut Context<Self>) {
        let _ = go.recv();
    }
}

struct Stop;
message!(Stop, ());
impl Handler<Stop> for Clerk {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// Panics in a future that the handler spawns.
struct PoisonedFuture;
message!(PoisonedFuture, ());
impl Handler<PoisonedFuture> for Clerk {
    type Result = ();
    fn handle(&mut self, _: PoisonedFuture, ctx: &mut Context<Self>) {
        ctx.spawn(tokio::task::yield_now().into_actor(self).map(|(), _, _| panic!("a poisoned future")));
    }
}

struct PoisonedReply;
message!(PoisonedReply, u64);
impl Handler<PoisonedReply> for Clerk {
    type Result = ResponseFuture<u64>;
    fn handle(&mut self, _: PoisonedReply, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async {
            tokio::task::yield_now().await;
            panic!("a poisoned reply")
        })
    }
}

/// Panics in a reply that the mailbox waits for.
struct PoisonedWait;
message!(PoisonedWait, u64);
impl Handler<PoisonedWait> for Clerk {
    type Result = AtomicResponse<Self, u64>;
    fn handle(&mut self, _: PoisonedWait, _: &mut Context<Self>) -> Self::Result {
        let work = tokio::task::yield_now().into_actor(self).map(|(), _, _| panic!("a poisoned wait"));
        AtomicResponse::new(Box::pin(work))
    }
}

/// Replies after a while from a future that borrows the actor, and holds the mailbox up or not.
struct Slow(u64, Duration);
message!(Slow, u64);
impl Handler<Slow> for Clerk {
    type Result = ResponseActFuture<Self, u64>;
    fn handle(&mut self, Slow(n, after): Slow, _: &mut Context<Self>) -> Self::Result {
        Box::pin(tokio::time::sleep(after).into_actor(self).map(move |(), clerk, _| {
            clerk.desk.log.lock().unwrap().push(n);
            n
        }))
    }
}

struct SlowAlone(u64, Duration);
message!(SlowAlone, u64);
impl Handler<SlowAlone> for Clerk {
    type Result = AtomicResponse<Self, u64>;
    fn handle(&mut self, SlowAlone(n, after): SlowAlone, _: &mut Context<Self>) -> Self::Result {
        AtomicResponse::new(Box::pin(tokio::time::sleep(after).into_actor(self).map(move |(), clerk, _| {
            clerk.desk.log.lock().unwrap().push(n);
            n
        })))
    }
}

/// The address that the actor knows as its own.
struct OwnAddress;
message!(OwnAddress, OwnAddr);
struct OwnAddr(Addr<Clerk>);
impl Handler<OwnAddress> for Clerk {
    type Result = actix::MessageResult<OwnAddress>;
    fn handle(&mut self, _: OwnAddress, ctx: &mut Context<Self>) -> Self::Result {
        actix::MessageResult(OwnAddr(ctx.address()))
    }
}

/// Cancels whatever future actix says is running.
struct CancelCurrent;
message!(CancelCurrent, ());
impl Handler<CancelCurrent> for Clerk {
    type Result = ();
    fn handle(&mut self, _: CancelCurrent, ctx: &mut Context<Self>) {
        ctx.cancel_future(ctx.handle());
    }
}

fn clerk(name: &str) -> (ActixChild<Clerk>, Arc<Desk>) {
    make_clerk(name, false)
}

fn ticking_clerk(name: &str) -> (ActixChild<Clerk>, Arc<Desk>) {
    make_clerk(name, true)
}

fn make_clerk(name: &str, ticks: bool) -> (ActixChild<Clerk>, Arc<Desk>) {
    let desk = Arc::new(Desk::default());
    let kept = desk.clone();
    let child = ActixChild::new(name, move || {
        let life = kept.lives.fetch_add(1, Ordering::SeqCst);
        Clerk { desk: kept.clone(), life, ticks }
    });
    (child.backoff(Backoff::NONE), desk)
}

/// Runs `test` beside a runtime, ten seconds at the most.
fn within<T>(runtime: &Runtime, test: impl Future<Output = T>) -> T {
    runtime.block_on(async { tokio::time::timeout(10 * SECOND, test).await.expect("it took too long") })
}

fn spawn(runtime: &Runtime, child: ActixChild<Clerk>) -> Addr<Clerk> {
    within(runtime, runtime.spawn_actix(child)).unwrap()
}

fn seen(runtime: &Runtime, path: &str) -> ActorSnapshot {
    runtime.snapshot().actors.into_iter().find(|actor| actor.path == path).expect("it is in the snapshot")
}

/// Gives the clerk a message that it holds its thread with until the sender is dropped.
fn hold(clerk: &Addr<Clerk>) -> std::sync::mpsc::Sender<()> {
    let (go, held) = std::sync::mpsc::channel();
    clerk.do_send(Hold(held));
    go
}

/// The answer to an ask, which needs no runtime of ours to be heard.
fn answer<T>(asked: impl Future<Output = T>) -> T {
    let waits = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    waits.block_on(async { tokio::time::timeout(SECOND, asked).await.expect("an asker never heard") })
}

fn no_limit() -> Supervisor {
    Supervisor::new("group").restarts(u32::MAX, SECOND)
}

#[test]
fn queued_messages_survive_any_number_of_panics_in_order_and_each_poison_asker_is_told() {
    let runtime = runtime();
    let (child, desk) = clerk("clerk");
    let group = within(&runtime, runtime.supervise(no_limit())).unwrap();
    let clerk = within(&runtime, group.spawn_actix(child.mailbox(4096))).unwrap();
    let held = hold(&clerk);
    let mut askers = Vec::new();
    for n in 0..400 {
        clerk.do_send(Write(n));
        if n % 20 == 0 {
            askers.push(clerk.send(Poison));
            clerk.do_send(Poison);
        }
    }
    within(&runtime, async {
        let last = clerk.send(Write(400));
        let (asked, ()) = (
            futures_util::future::join_all(askers.into_iter().map(|asker| async move {
                assert_eq!(asker.await, Err(MailboxError::Closed));
            })),
            drop(held),
        );
        let (_, life) = futures_util::future::join(asked, last).await;
        assert_eq!(life, Ok(40), "each poison costs one incarnation");
    });
    let expected: Vec<u64> = (0..=400).collect();
    assert_eq!(desk.log(), expected);
    assert_eq!(desk.stopped.load(Ordering::SeqCst), 0, "a broken actor is asked nothing more");
    let seen = seen(&runtime, "user/group/clerk");
    assert_eq!((seen.restarts, seen.failures, seen.dead_letters), (40, 40, 0));
}

#[test]
fn an_address_and_the_actors_own_stay_the_same_across_restarts() {
    let runtime = runtime();
    let (child, _) = clerk("clerk");
    let clerk = spawn(&runtime, child);
    within(&runtime, async {
        let before = clerk.send(OwnAddress).await.unwrap().0;
        assert_eq!(clerk.send(Poison).await, Err(MailboxError::Closed));
        let after = clerk.send(OwnAddress).await.unwrap().0;
        assert!(before == clerk && after == clerk && clerk.connected());
        assert_eq!(before.send(Write(1)).await, Ok(1));
        assert_eq!(after.recipient::<Write>().send(Write(2)).await, Ok(1));
    });
}

#[test]
fn the_last_address_dropped_while_restarting_does_not_lose_the_backlog() {
    let runtime = runtime();
    let (child, desk) = clerk("clerk");
    let wait = Backoff { min: SECOND / 20, max: SECOND / 20, jitter: false, ..Backoff::NONE };
    let clerk = spawn(&runtime, child.backoff(wait));
    let held = hold(&clerk);
    clerk.do_send(Poison);
    (0..30).for_each(|n| clerk.do_send(Write(n)));
    drop(clerk);
    drop(held);
    eventually(|| desk.log().len() == 30);
    assert_eq!(desk.log(), (0..30).collect::<Vec<_>>());
    assert_eq!(desk.lives(), 2);
}

#[test]
fn restarts_wait_for_their_backoff() {
    let runtime = runtime();
    let (child, _) = clerk("clerk");
    let backoff = Backoff { min: SECOND / 10, max: SECOND, factor: 2.0, jitter: false, reset_after: 60 * SECOND };
    let clerk = spawn(&runtime, child.backoff(backoff));
    let began = Instant::now();
    clerk.do_send(Poison);
    clerk.do_send(Poison);
    assert_eq!(within(&runtime, clerk.send(Write(1))), Ok(2));
    assert!(began.elapsed() >= SECOND * 3 / 10, "100 ms, then 200 ms: {:?}", began.elapsed());
}

#[test]
fn a_window_that_is_used_up_escalates_and_the_parent_starts_it_again_with_its_queue() {
    let runtime = runtime();
    let spec = Supervisor::new("group").restarts(2, 60 * SECOND).backoff(Backoff::NONE);
    let group = within(&runtime, runtime.supervise(spec)).unwrap();
    let (child, desk) = clerk("clerk");
    let clerk = within(&runtime, group.spawn_actix(child)).unwrap();
    let held = hold(&clerk);
    (0..3).for_each(|_| clerk.do_send(Poison));
    clerk.do_send(Write(7));
    drop(held);
    eventually(|| desk.log() == [7]);
    assert_eq!(desk.lives(), 4);
    let events = runtime.snapshot().events;
    assert!(events.iter().any(|event| event.path == "user/group" && event.what == What::BudgetExhausted));
    assert!(clerk.connected());
}

#[test]
fn a_sibling_in_a_one_for_all_group_restarts_with_it_and_keeps_its_queue() {
    let runtime = runtime();
    let spec = no_limit().strategy(Strategy::OneForAll);
    let group = within(&runtime, runtime.supervise(spec)).unwrap();
    let ((first, _), (second, desk)) = (clerk("first"), clerk("second"));
    let first = within(&runtime, group.spawn_actix(first)).unwrap();
    let second = within(&runtime, group.spawn_actix(second.placement(Placement::Dedicated))).unwrap();
    within(&runtime, async {
        // The message the mailbox waits for is finished before the restart.
        let slow = second.send(SlowAlone(1, SECOND / 10));
        let (slow, ()) = futures_util::future::join(slow, async {
            tokio::time::sleep(SECOND / 50).await;
            first.do_send(Poison);
            (2..20).for_each(|n| second.do_send(Write(n)));
        })
        .await;
        assert_eq!(slow, Ok(1));
        eventually(|| desk.log().len() == 19);
        eventually(|| desk.lives() == 2);
        assert_eq!(second.send(Write(20)).await, Ok(1));
    });
    assert_eq!(desk.log(), (1..=20).collect::<Vec<_>>());
    assert_eq!(desk.stopped.load(Ordering::SeqCst), 1);
    assert_eq!(seen(&runtime, "user/group/second").failures, 0);
}

#[test]
fn a_sibling_that_does_not_end_in_time_is_restarted_and_its_asker_told() {
    let runtime = runtime();
    let group = within(&runtime, runtime.supervise(no_limit().strategy(Strategy::OneForAll))).unwrap();
    let ((first, _), (second, desk)) = (clerk("first"), clerk("second"));
    let first = within(&runtime, group.spawn_actix(first)).unwrap();
    let second = within(&runtime, group.spawn_actix(second.shutdown(SECOND / 20))).unwrap();
    within(&runtime, async {
        let slow = second.send(SlowAlone(1, 60 * SECOND));
        let (slow, ()) = futures_util::future::join(slow, async {
            tokio::time::sleep(SECOND / 50).await;
            first.do_send(Poison);
        })
        .await;
        assert_eq!(slow, Err(MailboxError::Closed));
        assert_eq!(second.send(Write(2)).await, Ok(1));
    });
    assert_eq!(desk.log(), [2]);
}

#[test]
fn a_panic_in_started_is_told_to_the_spawner_and_later_ones_are_tried_again() {
    let runtime = runtime();
    let (child, desk) = clerk("clerk");
    desk.bad_starts.store(1, Ordering::SeqCst);
    let refused = within(&runtime, runtime.spawn_actix(child)).unwrap_err();
    assert!(matches!(&refused, Error::StartFailed { reason, .. } if reason.contains("a bad start")), "{refused}");

    let (child, desk) = clerk("clerk");
    let clerk = spawn(&runtime, child);
    desk.bad_starts.store(2, Ordering::SeqCst);
    clerk.do_send(Poison);
    assert_eq!(within(&runtime, clerk.send(Write(1))), Ok(3));
}

/// Tells its context to wait as it starts.
struct Waiter(Duration);
impl Actor for Waiter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.wait(tokio::time::sleep(self.0).into_actor(self));
    }
}

#[test]
fn a_start_is_over_when_what_started_waits_for_is() {
    let runtime = runtime();
    let began = Instant::now();
    within(&runtime, runtime.spawn_actix(ActixChild::new("waiter", || Waiter(SECOND / 10)))).unwrap();
    assert!(began.elapsed() >= SECOND / 10);

    let endless = ActixChild::new("endless", || Waiter(60 * SECOND)).shutdown(SECOND / 20);
    let handle = runtime.handle().clone();
    let spawner = std::thread::spawn(move || handle.block_on(handle.spawn_actix(endless)).map(drop));
    eventually(|| runtime.snapshot().actors.len() == 2);
    runtime.shutdown(5 * SECOND).unwrap();
    let refused = spawner.join().unwrap().unwrap_err();
    assert!(matches!(&refused, Error::StartFailed { .. } | Error::RuntimeClosed), "{refused}");
}

#[test]
fn a_factory_that_panics_or_fails_is_told_to_the_spawner() {
    let runtime = runtime();
    let child = ActixChild::<Clerk>::new("clerk", || panic!("no clerk"));
    let refused = within(&runtime, runtime.spawn_actix(child)).unwrap_err();
    assert!(refused.to_string().contains("no clerk"), "{refused}");
    let child = ActixChild::<Clerk>::fallible("clerk", || Err("no desk"));
    let refused = within(&runtime, runtime.spawn_actix(child)).unwrap_err();
    assert!(refused.to_string().contains("no desk"), "{refused}");
}

#[test]
fn restarting_is_called_on_the_new_actor_and_a_panic_in_it_is_tried_again() {
    let runtime = runtime();
    let (child, desk) = clerk("clerk");
    let clerk = spawn(&runtime, child.with_restarting());
    assert_eq!(desk.restarting.load(Ordering::SeqCst), 0);
    desk.bad_restartings.store(1, Ordering::SeqCst);
    clerk.do_send(Poison);
    assert_eq!(within(&runtime, clerk.send(Write(1))), Ok(2));
    assert_eq!(desk.restarting.load(Ordering::SeqCst), 2);
}

#[test]
fn a_panic_in_a_spawned_future_or_in_a_wait_restarts_the_actor() {
    let runtime = runtime();
    let (child, _) = clerk("clerk");
    let clerk = spawn(&runtime, child);
    clerk.do_send(PoisonedFuture);
    eventually(|| seen(&runtime, "user/clerk").restarts == 1);
    within(&runtime, async {
        assert_eq!(clerk.send(PoisonedWait).await, Err(MailboxError::Closed));
        assert_eq!(clerk.send(Write(1)).await, Ok(2));
    });
    assert!(seen(&runtime, "user/clerk").last_exit.unwrap().contains("a poisoned wait"));
}

#[test]
fn a_panic_in_an_interval_restarts_the_actor_and_its_interval() {
    let runtime = runtime();
    let (child, desk) = ticking_clerk("clerk");
    let clerk = spawn(&runtime, child);
    desk.bad_ticks.store(2, Ordering::SeqCst);
    eventually(|| seen(&runtime, "user/clerk").restarts == 2);
    let ticked = desk.ticks.load(Ordering::SeqCst);
    eventually(|| desk.ticks.load(Ordering::SeqCst) > ticked + 3);
    assert_eq!(within(&runtime, clerk.send(Write(1))), Ok(2));
}

#[test]
fn a_panic_in_a_response_future_fails_that_ask_alone() {
    let runtime = runtime();
    let (child, desk) = clerk("clerk");
    let clerk = spawn(&runtime, child);
    within(&runtime, async {
        assert_eq!(clerk.send(PoisonedReply).await, Err(MailboxError::Closed));
        assert_eq!(clerk.send(Write(1)).await, Ok(0));
    });
    assert_eq!(desk.lives(), 1);
}

#[test]
fn an_actor_that_panics_as_it_is_dropped_is_restarted_all_the_same() {
    let runtime = runtime();
    let (child, desk) = clerk("clerk");
    let clerk = spawn(&runtime, child);
    desk.bad_drops.store(2, Ordering::SeqCst);
    clerk.do_send(Poison);
    clerk.do_send(Stop);
    assert_eq!(within(&runtime, clerk.send(Write(1))), Ok(2));
    assert_eq!(desk.bad_drops.load(Ordering::SeqCst), 0);
}

#[test]
fn a_stop_of_its_own_is_a_normal_exit_and_the_restart_kind_decides() {
    let runtime = runtime();
    let (permanent, desk) = clerk("permanent");
    let clerk_ = spawn(&runtime, permanent);
    clerk_.do_send(Stop);
    assert_eq!(within(&runtime, clerk_.send(Write(1))), Ok(1));
    assert_eq!(desk.stopped.load(Ordering::SeqCst), 1);
    let after = seen(&runtime, "user/permanent");
    assert_eq!((after.restarts, after.failures, after.last_exit.as_deref()), (1, 0, Some("normal")));

    let (transient, desk) = clerk("transient");
    let clerk_ = spawn(&runtime, transient.restart(Restart::Transient));
    clerk_.do_send(Poison);
    assert_eq!(within(&runtime, clerk_.send(Write(1))), Ok(1), "a panic restarts it");
    let held = hold(&clerk_);
    clerk_.do_send(Stop);
    let late = clerk_.send(Write(2));
    let answer = within(&runtime, async {
        let (late, ()) = futures_util::future::join(late, async { drop(held) }).await;
        late
    });
    assert_eq!(answer, Err(MailboxError::Closed), "what comes after the stop is not handled");
    eventually(|| !clerk_.connected());
    assert_eq!((desk.lives(), desk.log()), (2, vec![1]));
    eventually(|| runtime.snapshot().dead_letters == 1);
}

#[test]
fn a_panic_in_stopped_is_a_failure_like_another() {
    let runtime = runtime();
    let (child, desk) = clerk("clerk");
    let clerk = spawn(&runtime, child);
    desk.bad_stops.store(1, Ordering::SeqCst);
    clerk.do_send(Stop);
    assert_eq!(within(&runtime, clerk.send(Write(1))), Ok(1));
    assert_eq!(seen(&runtime, "user/clerk").failures, 1);
}

#[test]
fn shutdown_handles_what_is_queued_and_lets_replies_be_given() {
    let runtime = runtime();
    let (child, desk) = ticking_clerk("clerk");
    let clerk = spawn(&runtime, child);
    let held = hold(&clerk);
    (0..200).for_each(|n| clerk.do_send(Write(n)));
    let asked = clerk.send(Slow(200, SECOND / 20));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| runtime.shutdown(5 * SECOND));
        eventually(|| !clerk.connected());
        assert!(clerk.try_send(Write(999)).is_err(), "a stopping actor takes no more messages");
        drop(held);
        ended.join().unwrap().unwrap();
    });
    assert!(began.elapsed() < 2 * SECOND, "an interval of `started` holds nobody up");
    assert_eq!(desk.log(), (0..=200).collect::<Vec<_>>());
    assert_eq!(answer(asked), Ok(200));
    assert_eq!(desk.stopped.load(Ordering::SeqCst), 1);
}

#[test]
fn stopping_a_child_waits_until_it_is_drained_and_closes_its_address() {
    let runtime = runtime();
    let group = within(&runtime, runtime.supervise(no_limit())).unwrap();
    let (child, desk) = clerk("clerk");
    let clerk = within(&runtime, group.spawn_actix(child)).unwrap();
    within(&runtime, async {
        assert_eq!(clerk.send(Poison).await, Err(MailboxError::Closed));
        assert_eq!(clerk.send(Write(0)).await, Ok(1));
        (1..50).for_each(|n| clerk.do_send(Write(n)));
        group.stop_child("user/group/clerk").await;
        assert_eq!(clerk.send(Write(99)).await, Err(MailboxError::Closed));
    });
    assert!(!clerk.connected());
    assert_eq!(desk.log(), (0..50).collect::<Vec<_>>());
    assert!(runtime.snapshot().actors.is_empty());
}

#[test]
fn groups_of_failing_actors_handle_each_message_once_in_order_per_sender() {
    const SENDERS: u64 = 2;
    const EACH: u64 = 300;
    let runtime = runtime();
    let mut clerks = Vec::new();
    for (name, strategy) in [("one", Strategy::OneForOne), ("all", Strategy::OneForAll), ("rest", Strategy::RestForOne)]
    {
        let spec = Supervisor::new(name).strategy(strategy).restarts(u32::MAX, SECOND);
        let group = within(&runtime, runtime.supervise(spec)).unwrap();
        for n in 0..5 {
            let (child, desk) = clerk(&n.to_string());
            clerks.push((within(&runtime, group.spawn_actix(child)).unwrap(), desk));
        }
    }
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let clerks = &clerks;
            scope.spawn(move || {
                for n in 0..EACH {
                    for (place, (clerk, _)) in clerks.iter().enumerate() {
                        if (n + place as u64).is_multiple_of(20) {
                            clerk.do_send(Poison);
                        }
                        clerk.do_send(Write(n * SENDERS + sender));
                    }
                }
            });
        }
    });
    for (_, desk) in &clerks {
        eventually(|| desk.log.lock().unwrap().len() as u64 >= SENDERS * EACH);
        let log = desk.log();
        for sender in 0..SENDERS {
            let from: Vec<u64> = log.iter().filter(|&n| n % SENDERS == sender).map(|n| n / SENDERS).collect();
            assert_eq!(from, (0..EACH).collect::<Vec<_>>());
        }
    }
}

#[test]
fn an_actor_that_refuses_to_stop_may_when_it_stops_itself_and_not_when_it_is_told_to() {
    let runtime = runtime();
    let (child, desk) = clerk("clerk");
    let clerk = spawn(&runtime, child);
    desk.refuses.store(true, Ordering::SeqCst);
    clerk.do_send(Stop);
    assert_eq!(within(&runtime, clerk.send(Write(1))), Ok(0), "it is the same actor");
    let began = Instant::now();
    runtime.shutdown(5 * SECOND).unwrap();
    assert!(began.elapsed() < 2 * SECOND);
    assert_eq!((desk.stopped.load(Ordering::SeqCst), desk.lives()), (1, 1));
}

#[test]
fn what_does_not_end_by_itself_ends_at_the_bound() {
    let runtime = runtime();
    let (child, desk) = clerk("clerk");
    let clerk = spawn(&runtime, child.shutdown(SECOND / 10));
    let asked = clerk.send(Slow(1, 60 * SECOND));
    runtime.shutdown(5 * SECOND).unwrap();
    assert_eq!(desk.stopped.load(Ordering::SeqCst), 1);
    assert!(desk.log().is_empty());
    assert_eq!(answer(asked), Err(MailboxError::Closed));
}

#[test]
fn a_handler_that_does_not_come_back_is_left_behind_and_the_actor_lives_on_another_thread() {
    let runtime = runtime();
    let group = within(&runtime, runtime.supervise(no_limit().strategy(Strategy::OneForAll))).unwrap();
    let ((first, _), (second, desk)) = (clerk("first"), clerk("second"));
    let first = within(&runtime, group.spawn_actix(first)).unwrap();
    let second = second.placement(Placement::Dedicated).shutdown(SECOND / 50);
    let second = within(&runtime, group.spawn_actix(second)).unwrap();
    let held = hold(&second);
    second.do_send(Write(1));
    std::thread::sleep(SECOND / 50);
    first.do_send(Poison);
    eventually(|| desk.log() == [1]);
    drop(held);
    assert_eq!(within(&runtime, second.send(Write(2))), Ok(1));
    assert_eq!(desk.stopped.load(Ordering::SeqCst), 0, "who returns late is asked nothing");
    assert_eq!(desk.log(), [1, 2]);
}

#[test]
fn a_flooded_actor_leaves_its_neighbours_their_turns() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let ((flooded, busy), (other, desk)) = (clerk("flooded"), clerk("other"));
    let (flooded, other) = (spawn(&runtime, flooded), spawn(&runtime, other));
    let held = hold(&flooded);
    (0..100_000).for_each(|n| flooded.do_send(Write(n)));
    other.do_send(Write(1));
    drop(held);
    eventually(|| desk.log() == [1]);
    assert!(busy.log().len() < 100_000, "the neighbour came only when the flood was over");
}

#[test]
fn cancelling_the_current_future_in_a_handler_does_not_make_the_actor_deaf() {
    let runtime = runtime();
    let (child, desk) = clerk("clerk");
    let clerk = spawn(&runtime, child);
    clerk.do_send(CancelCurrent);
    assert_eq!(within(&runtime, clerk.send(Write(1))), Ok(0));
    assert_eq!(desk.lives(), 1);
}

#[test]
fn it_shows_in_the_snapshot() {
    let runtime = runtime();
    let (child, _) = clerk("clerk");
    let clerk = spawn(&runtime, child.mailbox(33));
    within(&runtime, async {
        clerk.send(Write(1)).await.unwrap();
        clerk.send(Poison).await.unwrap_err();
        clerk.send(Write(2)).await.unwrap();
    });
    // An answer is on its way before its message counts as handled.
    eventually(|| seen(&runtime, "user/clerk").handled == 2);
    let seen = seen(&runtime, "user/clerk");
    assert!(seen.kind.ends_with("::Clerk"));
    assert_eq!((seen.state, seen.capacity), (ActorState::Running, 33));
    assert_eq!((seen.restarts, seen.failures), (1, 1));
    assert!(seen.last_exit.unwrap().starts_with("panicked: poisoned"));
    assert!(seen.arbiter.starts_with("ironcliw-w"));
    let taken = within(&runtime, runtime.spawn_actix(make_clerk("clerk", false).0)).unwrap_err();
    assert!(matches!(taken, Error::NameTaken { .. }));
}
