//! The test kit keeps what `docs/testing.md` says of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use ironcliw::testkit::{TestRuntime, When};
use ironcliw::{
    ActixChild, Actor, ActorState, Backoff, Child, Context, Error, ExitReason, Handler, Message, Overflow, Placement,
    StartError, Strategy, Supervisor, What,
};
use ironcliw_actors::pool::Owner;
use ironcliw_actors::{Config, Subsystems};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A wait that is always the same.
fn wait(time: Duration) -> Backoff {
    Backoff { min: time, max: time, factor: 1.0, jitter: false, reset_after: Duration::from_secs(3600) }
}

/// Counts, in a total that outlives it.
struct Counter(Arc<AtomicU64>);
impl Actor for Counter {}

fn counter(name: &str) -> (Child<Counter>, Arc<AtomicU64>) {
    let total = Arc::<AtomicU64>::default();
    let kept = total.clone();
    (Child::new(name, move || Counter(kept.clone())).backoff(Backoff::NONE), total)
}

#[derive(PartialEq)]
struct Add(u64);
impl Message for Add {
    type Reply = u64;
}
impl Handler<Add> for Counter {
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.0.fetch_add(n, Ordering::Relaxed) + n
    }
}

/// Takes this long, or for ever.
struct Take(Option<Duration>);
impl Message for Take {
    type Reply = ();
}
impl Handler<Take> for Counter {
    async fn handle(&mut self, Take(time): Take, _: &mut Context<Self>) {
        match time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    }
}

/// Tells itself the same again, for ever.
struct Again;
impl Message for Again {
    type Reply = ();
}
impl Handler<Again> for Counter {
    async fn handle(&mut self, _: Again, ctx: &mut Context<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let _ = ctx.address().try_tell(Again);
    }
}

struct WhichThread;
impl Message for WhichThread {
    type Reply = ThreadId;
}
impl Handler<WhichThread> for Counter {
    async fn handle(&mut self, _: WhichThread, _: &mut Context<Self>) -> ThreadId {
        std::thread::current().id()
    }
}

/// What a panic said.
fn panic_of(act: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("it should have panicked");
    panic.downcast_ref::<String>().cloned().expect("a panic says something")
}

#[test]
fn a_backoff_of_ten_minutes_passes_in_no_time() {
    let began = Instant::now();
    TestRuntime::run(1, async |kit| {
        kit.faults().panic_on("user/counter", When::Nth(1));
        let counter = kit.spawn(counter("counter").0.backoff(wait(10 * MINUTE))).await.unwrap();
        let before = kit.now();
        assert!(counter.ask(Add(1)).await.is_err());
        assert_eq!(counter.ask(Add(1)).await, Ok(1));
        let waited = kit.now() - before;
        assert!((10 * MINUTE..11 * MINUTE).contains(&waited), "{waited:?}");
    });
    assert!(began.elapsed() < MINUTE, "ten minutes took time");
}

/// What happened to whom and when, to the millisecond, in a run with random faults and random backoff.
fn history(seed: u64) -> Vec<(u64, String, What)> {
    TestRuntime::run(seed, async |kit| {
        kit.faults().panic_with_probability("user/team/*", 0.2);
        let jittered = Backoff { min: SECOND, max: MINUTE, ..Backoff::default() };
        let team = kit.supervise(Supervisor::new("team").restarts(1000, MINUTE)).await.unwrap();
        let mut members = Vec::new();
        for name in ["a", "b", "c"] {
            members.push(team.spawn(counter(name).0.backoff(jittered)).await.unwrap());
        }
        for n in 0..40 {
            for member in &members {
                let _ = member.ask(Add(n)).await;
            }
        }
        let events = kit.snapshot().events;
        let began = events[0].at_unix_s;
        let since = |at: f64| ((at - began) * 1000.0).round() as u64;
        events.into_iter().map(|event| (since(event.at_unix_s), event.path, event.what)).collect()
    })
}

#[test]
fn the_same_seed_gives_the_same_faults_and_restarts_at_the_same_times() {
    let first = history(42);
    let restarts = first.iter().filter(|(_, _, what)| matches!(what, What::Restarted { .. })).count();
    assert!(restarts > 10, "{restarts} restarts");
    assert_eq!(first, history(42));
    assert_ne!(first, history(43));
}

/// Keeps what it was sent, in a log that outlives it.
struct Scribe(Arc<Mutex<Vec<(u64, u64)>>>);
impl Actor for Scribe {}

struct Write(u64, u64);
impl Message for Write {
    type Reply = ();
}
impl Handler<Write> for Scribe {
    async fn handle(&mut self, Write(sender, n): Write, _: &mut Context<Self>) {
        if n.is_multiple_of(7) {
            tokio::task::yield_now().await;
        }
        self.0.lock().unwrap().push((sender, n));
    }
}

/// In which order the messages of senders that crowd a small mailbox are handled, while its actor fails and its siblings
/// are restarted with it.
fn order(seed: u64) -> Vec<(u64, u64)> {
    TestRuntime::run(seed, async |kit| {
        kit.faults().panic_with_probability("user/team/*", 0.02);
        kit.faults().lose_thread_on("user/team/*", When::Probability(0.005));
        let team = Supervisor::new("team").strategy(Strategy::OneForAll).restarts(1000, SECOND);
        let team = kit.supervise(team).await.unwrap();
        let log = Arc::<Mutex<Vec<(u64, u64)>>>::default();
        let mut scribes = Vec::new();
        for name in ["a", "b", "c"] {
            let kept = log.clone();
            let scribe = Child::new(name, move || Scribe(kept.clone())).mailbox(4, Overflow::Block);
            scribes.push(team.spawn(scribe.backoff(Backoff { min: SECOND, ..Backoff::default() })).await.unwrap());
        }
        let done = kit.probe::<Alarm>("done").await;
        for sender in 0..8 {
            let (scribes, done) = (scribes.clone(), done.recipient());
            kit.spawn_task(async move {
                for n in 0..60 {
                    let to = &scribes[((sender + n) % 3) as usize];
                    if n % 5 == 0 {
                        let _ = to.ask(Write(sender, n)).deadline(Duration::from_millis(20)).await;
                    } else {
                        to.tell(Write(sender, n)).await.unwrap();
                    }
                }
                done.tell(Alarm(0)).await.unwrap();
            });
        }
        for _ in 0..8 {
            done.expect_within(60 * MINUTE).await;
        }
        // What is queued waits for the last restart.
        kit.advance(60 * MINUTE).await;
        let written = log.lock().unwrap().clone();
        assert!(written.len() > 300, "{}", written.len());
        written
    })
}

#[test]
fn the_same_seed_gives_the_same_order_of_messages() {
    let first = order(42);
    for _ in 0..5 {
        assert_eq!(first, order(42));
    }
    assert_ne!(first, order(43));
}

#[test]
fn a_deadline_passes_when_the_clock_says_so_and_not_before() {
    TestRuntime::run(1, async |kit| {
        let (child, total) = counter("counter");
        let counter = kit.spawn(child).await.unwrap();
        counter.tell(Take(Some(10 * SECOND))).await.unwrap();
        // A busy machine does not make it late.
        std::thread::sleep(Duration::from_millis(20));
        assert!(counter.ask(Take(None)).deadline(Duration::from_millis(10)).await.is_err());
        let late = counter.ask(Add(1)).deadline(9 * SECOND).await.unwrap_err();
        assert!(matches!(late.error, Error::DeadlineExceeded { .. }), "{late}");
        let in_time = counter.ask(Add(10)).deadline(2 * SECOND).await;
        assert_eq!(in_time, Ok(10));
        assert_eq!(total.load(Ordering::Relaxed), 10, "a message whose deadline had passed was handled");
    });
}

struct Beat;
impl Message for Beat {
    type Reply = ();
}
struct Clock(Arc<AtomicU64>);
impl Actor for Clock {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        ctx.every(SECOND, || Beat);
        Ok(())
    }
}
impl Handler<Beat> for Clock {
    async fn handle(&mut self, _: Beat, _: &mut Context<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_timer_beats_as_often_as_the_clock_is_moved() {
    TestRuntime::run(1, async |kit| {
        let beats = Arc::<AtomicU64>::default();
        let kept = beats.clone();
        kit.spawn(Child::new("clock", move || Clock(kept.clone()))).await.unwrap();
        kit.settle().await;
        assert_eq!(beats.load(Ordering::Relaxed), 0);
        kit.advance(60 * MINUTE).await;
        assert_eq!(beats.load(Ordering::Relaxed), 3600);
    });
}

#[test]
fn the_window_of_restarts_slides_with_the_clock() {
    TestRuntime::run(1, async |kit| {
        kit.faults().panic_on("user/*/counter", When::Always);
        let fails = async |name: &str, pause: Duration| {
            let spec = Supervisor::new(name).restarts(2, MINUTE).restart(ironcliw::Restart::Temporary);
            let team = kit.supervise(spec).await.unwrap();
            let counter = team.spawn(counter("counter").0).await.unwrap();
            for _ in 0..3 {
                assert!(counter.ask(Add(1)).await.is_err());
                kit.advance(pause).await;
            }
            counter.is_alive()
        };
        assert!(fails("slow", 31 * SECOND).await, "two restarts a minute were too many");
        assert!(!fails("fast", SECOND).await, "three restarts a minute were not too many");
    });
}

#[test]
fn a_handler_that_never_ends_is_given_up_at_its_bound_by_the_clock() {
    let kit = TestRuntime::new(1);
    kit.block_on(async {
        let counter = kit.spawn(counter("counter").0.shutdown(60 * MINUTE)).await.unwrap();
        let asked = counter.ask(Take(None));
        let before = kit.now();
        let (answer, stopped) = tokio::join!(asked, async {
            kit.settle().await;
            kit.shutdown(30 * MINUTE).await
        });
        assert!(matches!(answer.unwrap_err().error, Error::ActorStopped { .. }));
        assert_eq!(stopped, Ok(()), "a handler that waits can be given up without its thread");
        let waited = kit.now() - before;
        assert!((30 * MINUTE..31 * MINUTE).contains(&waited), "{waited:?}");
        assert!(matches!(kit.spawn(self::counter("late").0).await, Err(Error::RuntimeClosed)));
    });
    kit.assert_clean();
}

#[test]
fn everything_runs_on_the_tests_thread_whatever_its_placement() {
    TestRuntime::run(1, async |kit| {
        let placements = [Placement::Any, Placement::Dedicated, Placement::Shared("io"), Placement::Core(0)];
        for (index, placement) in placements.into_iter().enumerate() {
            let child = counter(&index.to_string()).0.placement(placement.clone());
            let thread = kit.spawn(child).await.unwrap().ask(WhichThread).await.unwrap();
            assert_eq!(thread, std::thread::current().id(), "{placement:?}");
        }
    });
}

#[test]
fn an_actor_that_never_rests_starves_nobody() {
    TestRuntime::run(1, async |kit| {
        let (child, turns) = counter("busy");
        kit.spawn(child).await.unwrap().tell(Again).await.unwrap();
        let other = kit.spawn(counter("other").0).await.unwrap();
        assert_eq!(other.ask(Add(1)).await, Ok(1));
        assert!(turns.load(Ordering::Relaxed) > 0);
    });
}

#[test]
fn a_test_that_waits_for_what_never_comes_fails_instead() {
    let kit = TestRuntime::new(1).patience(MINUTE);
    let said = panic_of(|| kit.block_on(std::future::pending()));
    assert!(said.contains("never came"), "{said}");
}

#[test]
fn a_runtime_that_is_dropped_answers_whoever_asked_and_can_be_asked_no_more() {
    struct Sink(std::sync::mpsc::Sender<Result<(), Error>>);
    impl ironcliw::ReplySink<()> for Sink {
        fn send(self: Box<Self>, answer: Result<(), Error>) {
            self.0.send(answer).unwrap();
        }
    }
    let kit = TestRuntime::new(1);
    let counter = kit.block_on(kit.spawn(counter("counter").0)).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    for deadline in [None, Some(MINUTE)] {
        counter.ask_into(Take(None), deadline, Box::new(Sink(tell.clone())));
    }
    kit.block_on(kit.settle());
    let handle = kit.handle().clone();
    drop(kit);
    for _ in 0..2 {
        assert!(matches!(told.try_recv(), Ok(Err(Error::ActorStopped { .. } | Error::ActorRestarting { .. }))));
    }
    assert!(!counter.is_alive());
    assert!(!handle.is_ready());
    assert!(counter.try_tell(Add(1)).is_err());
}

#[test]
fn a_deadline_that_is_set_between_two_runs_is_by_the_kits_clock_too() {
    let kit = TestRuntime::new(1);
    let counter = kit.block_on(kit.spawn(counter("counter").0)).unwrap();
    kit.block_on(kit.advance(60 * MINUTE));
    let asked = counter.ask(Take(None)).deadline(MINUTE);
    let began = kit.now();
    assert!(kit.block_on(asked).is_err());
    assert!((MINUTE..2 * MINUTE).contains(&(kit.now() - began)));
}

#[test]
fn an_actix_actor_lives_here_too() {
    struct Old;
    impl actix::Actor for Old {
        type Context = actix::Context<Self>;
    }
    struct Ask;
    impl actix::Message for Ask {
        type Result = u64;
    }
    impl actix::Handler<Ask> for Old {
        type Result = u64;
        fn handle(&mut self, _: Ask, _: &mut Self::Context) -> u64 {
            7
        }
    }
    TestRuntime::run(1, async |kit| {
        let old = kit.spawn_actix(ActixChild::new("old", || Old)).await.unwrap();
        assert_eq!(old.send(Ask).await.unwrap(), 7);
    });
}

// Probes.

#[derive(Debug, PartialEq)]
struct Alarm(u32);
impl Message for Alarm {
    type Reply = ();
}

#[derive(PartialEq)]
struct Price(&'static str);
impl Message for Price {
    type Reply = u32;
}

#[test]
fn a_probe_sees_what_it_was_sent_in_order() {
    TestRuntime::run(1, async |kit| {
        let probe = kit.probe::<Alarm>("alarms").await;
        let alarms = probe.recipient();
        for n in 0..4 {
            alarms.tell(Alarm(n)).await.unwrap();
        }
        assert_eq!(probe.expect().await, Alarm(0));
        assert_eq!(probe.expect_within(SECOND).await, Alarm(1));
        kit.settle().await;
        assert_eq!(probe.received(), [Alarm(2), Alarm(3)]);
        probe.expect_none_within(60 * MINUTE).await;
        kit.call_later(MINUTE / 2, move || alarms.try_tell(Alarm(9)).unwrap());
        assert_eq!(probe.expect().await, Alarm(9));
    });
}

#[test]
fn a_probe_answers_as_it_was_told_to() {
    TestRuntime::run(1, async |kit| {
        let shop = kit.probe_replying("shop", |Price(of): &Price| of.len() as u32).await;
        assert_eq!(shop.address().ask(Price("apple")).await, Ok(5));
        assert_eq!(shop.expect().await.0, "apple");
    });
}

#[test]
fn a_probe_that_hears_nothing_or_what_it_should_not_says_where() {
    let kit = TestRuntime::new(1);
    let probe = kit.block_on(kit.probe::<Alarm>("alarms"));
    let said = panic_of(|| _ = kit.block_on(probe.expect()));
    assert!(said.contains("probes/alarms heard nothing within 60s") && said.contains("testkit.rs"), "{said}");
    probe.address().try_tell(Alarm(1)).unwrap();
    let said = panic_of(|| kit.block_on(probe.expect_none_within(SECOND)));
    assert!(said.contains("probes/alarms heard something") && said.contains("testkit.rs"), "{said}");
}

// Cleanliness.

#[test]
fn what_was_left_is_named_by_its_path() {
    let kit = TestRuntime::new(1);
    let counter = kit.block_on(async {
        let team = kit.supervise(Supervisor::new("team")).await.unwrap();
        let counter = team.spawn(counter("counter").0.shutdown(SECOND)).await.unwrap();
        counter.tell(Take(None)).await.unwrap();
        counter.tell(Add(1)).await.unwrap();
        counter.tell(Add(1)).await.unwrap();
        kit.settle().await;
        counter
    });
    let said = panic_of(|| kit.assert_clean());
    for line in [
        "user/team/counter: it is running",
        "user/team/counter: 2 messages are queued",
        "user/team/counter: a message is in hand",
        "(seed 1)",
    ] {
        assert!(said.contains(line), "{said}");
    }
    kit.block_on(kit.shutdown(MINUTE)).unwrap();
    let left = kit.check_clean().unwrap_err().left;
    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
    assert_eq!(left, ["user/team/counter: 2 dead letters"]);
    assert!(!counter.is_alive());
    kit.expect_dead_letters("user/team/counter", 1);
    assert!(kit.check_clean().unwrap_err().to_string().contains("1 dead letter was expected, and there are 2"));
    kit.expect_dead_letters("user/team/counter", 2);
    kit.assert_clean();
}

#[test]
fn a_buffer_on_lease_is_named_until_it_is_back() {
    let kit = TestRuntime::new(1);
    let buffer = kit.block_on(async {
        let config = Config { image_workers: 1, scheduler_threads: 1, memory_source: None, ..Config::default() };
        let subsystems = Subsystems::start(kit.handle(), config).await.unwrap();
        kit.assert_clean();
        subsystems.pool.allocate(1000, Owner::named("camera")).unwrap()
    });
    let left = kit.check_clean().unwrap_err().to_string();
    assert!(left.contains("pool: buffers on lease to camera: 1, "), "{left}");
    drop(buffer);
    kit.finish();
}

// Faults.

#[test]
fn an_injected_panic_is_survived_and_its_asker_told() {
    TestRuntime::run(1, async |kit| {
        kit.faults().panic_on("user/counter", When::Nth(3));
        let (child, total) = counter("counter");
        let counter = kit.spawn(child).await.unwrap();
        let answers = counter.ask_many((0..5).map(|_| Add(1))).await;
        assert!(matches!(&answers[2], Err(Error::ActorPanicked { reason, .. }) if reason.contains("injected")));
        assert_eq!(answers.iter().flatten().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(total.load(Ordering::Relaxed), 4, "a message was handled twice or not at all");
        let injected = kit.faults().injected();
        assert_eq!((injected.len(), injected[0].at.as_str(), injected[0].occasion), (1, "user/counter", 3));
        kit.faults().panic_on("user/counter", When::Always);
        kit.faults().clear();
        assert_eq!(counter.ask(Add(1)).await, Ok(5));
    });
}

#[test]
fn what_befalls_one_actor_does_not_hang_on_what_others_do() {
    let fates = |others: u32| {
        TestRuntime::run(5, async |kit| {
            kit.faults().panic_with_probability("user/*/*", 0.3);
            let team = kit.supervise(Supervisor::new("team").restarts(1000, SECOND)).await.unwrap();
            let one = team.spawn(counter("one").0).await.unwrap();
            let other = team.spawn(counter("other").0).await.unwrap();
            let mut fates = Vec::new();
            for _ in 0..50 {
                for _ in 0..others {
                    let _ = other.ask(Add(1)).await;
                }
                fates.push(one.ask(Add(1)).await.is_ok());
            }
            fates
        })
    };
    let alone = fates(0);
    assert!(alone.contains(&true) && alone.contains(&false));
    assert_eq!(alone, fates(2));
}

#[test]
fn a_factory_or_start_that_fails_is_tried_again_after_the_first_time() {
    TestRuntime::run(1, async |kit| {
        kit.faults().fail_factory("user/never", When::Nth(1));
        let refused = kit.spawn(counter("never").0).await.unwrap_err();
        assert!(matches!(&refused, Error::StartFailed { reason, .. } if reason.contains("injected")), "{refused}");

        let counter = kit.spawn(counter("counter").0).await.unwrap();
        // From here on: the first restart fails in the factory, the second in `started`.
        kit.faults().panic_on("user/counter", When::Nth(1));
        kit.faults().fail_factory("user/counter", When::Nth(1));
        kit.faults().panic_in_started("user/counter", When::Nth(1));
        assert!(counter.ask(Add(1)).await.is_err());
        assert_eq!(counter.ask(Add(1)).await, Ok(1));
        let exits: Vec<String> = kit
            .snapshot()
            .events
            .into_iter()
            .filter(|event| event.path == "user/counter")
            .filter_map(|event| if let What::Exited { reason, .. } = event.what { Some(reason) } else { None })
            .collect();
        assert_eq!(exits.len(), 3, "{exits:?}");
        assert!(exits[1].contains("failure at user/counter") && exits[2].contains("`started` panicked"), "{exits:?}");
    });
}

#[test]
fn a_lost_thread_takes_those_who_lived_on_it_along_and_all_come_back() {
    TestRuntime::run(1, async |kit| {
        kit.faults().lose_thread_on("user/one", When::Nth(1));
        let io = Placement::Shared("io");
        let one = kit.spawn(counter("one").0.placement(io.clone())).await.unwrap();
        let two = kit.spawn(counter("two").0.placement(io.clone())).await.unwrap();
        let apart = kit.spawn(counter("apart").0.placement(Placement::Dedicated)).await.unwrap();
        let lost = one.ask(Add(1)).await.unwrap_err();
        assert!(matches!(lost.error, Error::ActorRestarting { .. } | Error::ActorStopped { .. }), "{lost}");
        for (address, restarts) in [(&one, 1), (&two, 1), (&apart, 0)] {
            assert_eq!(address.ask(Add(1)).await, Ok(1));
            let actors = kit.snapshot().actors;
            let actor = actors.iter().find(|actor| actor.path == address.path()).unwrap();
            assert_eq!((actor.restarts, actor.state), (restarts, ActorState::Running), "{}", actor.path);
            assert_eq!(actor.last_exit, (restarts > 0).then(|| ExitReason::ThreadLost.to_string()));
        }
    });
}

#[test]
fn a_delayed_message_is_handled_late_and_those_behind_it_wait() {
    TestRuntime::run(1, async |kit| {
        kit.faults().delay("user/counter", When::Nth(1), MINUTE);
        let counter = kit.spawn(counter("counter").0).await.unwrap();
        let before = kit.now();
        counter.tell(Add(1)).await.unwrap();
        assert_eq!(counter.ask(Add(1)).await, Ok(2));
        assert!(kit.now() - before >= MINUTE);
        kit.faults().delay("user/counter", When::Always, MINUTE);
        let late = counter.ask(Add(1)).deadline(SECOND).await.unwrap_err();
        assert!(matches!(late.error, Error::DeadlineExceeded { .. }));
    });
}

#[test]
fn a_point_of_the_users_own_code_fails_when_it_is_told_to() {
    struct Writer(ironcliw::testkit::Faults, Arc<Mutex<Vec<u64>>>);
    impl Actor for Writer {}
    impl Handler<Add> for Writer {
        async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
            if self.0.point("disk/write").is_ok() {
                self.1.lock().unwrap().push(n);
            }
            n
        }
    }
    TestRuntime::run(1, async |kit| {
        kit.faults().fail_at("disk/*", When::Every(2));
        let written = Arc::<Mutex<Vec<u64>>>::default();
        let (faults, kept) = (kit.faults().clone(), written.clone());
        let writer = kit.spawn(Child::new("writer", move || Writer(faults.clone(), kept.clone()))).await.unwrap();
        writer.ask_many((1..=5).map(Add)).await;
        assert_eq!(*written.lock().unwrap(), [1, 3, 5]);
    });
}
