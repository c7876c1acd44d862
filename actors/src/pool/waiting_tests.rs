//! What the line of those who wait for memory promises, tried through the pool's handles.

use super::admission::Turn;
use super::control_tests::{KIB, MIB, is_exhausted, lease, pool, them, us};
use super::waiting::Waiting;
use super::*;
use crate::Error;
use proptest::prelude::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// A line as the pool's actor keeps it, without the actor.
struct Line {
    pool: Pool,
    waiting: Arc<Waiting>,
    rings: Arc<AtomicUsize>,
}

impl Line {
    fn new(pool: Pool) -> Self {
        let (waiting, rings) = (Arc::new(Waiting::default()), Arc::<AtomicUsize>::default());
        waiting.belong_to(&pool);
        let counted = rings.clone();
        pool.core.set_bell(Some(Arc::new(move || _ = counted.fetch_add(1, Ordering::SeqCst))));
        Self { pool, waiting, rings }
    }

    fn ask(&self, len: usize, owner: Owner, wait: Duration) -> (Receiver<Result<Buffer>>, Arc<AtomicBool>) {
        let (send, receive) = channel();
        let abandoned = Arc::<AtomicBool>::default();
        let asked = abandoned.clone();
        self.waiting.take_in(
            &self.pool,
            AllocateWhenFree {
                len,
                owner,
                options: AllocOptions::for_overwrite(),
                wait,
                is_abandoned: Box::new(move || asked.load(Ordering::SeqCst)),
                done: Box::new(move |outcome| _ = send.send(outcome)),
            },
        );
        (receive, abandoned)
    }

    /// Serves if somebody rang, as the actor does.
    fn serve_if_rung(&self) -> bool {
        let rung = self.rings.swap(0, Ordering::SeqCst) > 0;
        if rung {
            self.waiting.serve(&self.pool);
        }
        rung
    }
}

const FOR_EVER: Duration = Duration::MAX;

#[test]
fn a_release_that_makes_room_rings_and_one_that_does_not_is_silent() {
    let line = Line::new(pool(MIB));
    let mut held: Vec<Buffer> = (0..16).map(|_| lease(&line.pool, 64 * KIB, us())).collect();
    let (first, _) = line.ask(128 * KIB, us(), FOR_EVER);
    held.pop();
    assert!(!line.serve_if_rung() && first.try_recv().is_err());
    held.pop();
    assert!(line.serve_if_rung());
    assert_eq!(first.try_recv().unwrap().unwrap().len(), 128 * KIB);
    let stats = line.pool.stats().waits;
    assert_eq!((stats.waiting, stats.served), (0, 1));
    assert!(stats.longest_ns > 0);
}

#[test]
fn a_large_request_is_served_although_small_leases_come_and_go() {
    let line = Line::new(pool(MIB));
    let mut held: Vec<Buffer> = (0..16).map(|_| lease(&line.pool, 64 * KIB, us())).collect();
    let (large, _) = line.ask(512 * KIB, them(), FOR_EVER);
    let (mut returned, mut refused) = (0, 0);
    let served = loop {
        // Each returns one and at once wants another.
        held.remove(0);
        returned += 64 * KIB;
        match line.pool.allocate_for_overwrite(64 * KIB, us()) {
            Ok(buffer) => held.push(buffer),
            Err(error) => {
                assert!(error.to_string().contains("1 request waits for memory"), "{error}");
                refused += 1;
            }
        }
        line.serve_if_rung();
        if let Ok(served) = large.try_recv() {
            break served.unwrap();
        }
        assert!(returned <= 2 * 512 * KIB, "twice its size was returned, and it still waits");
    };
    assert_eq!(served.len(), 512 * KIB);
    assert!(returned / (64 * KIB) > refused, "the small ones got nothing at all");
}

#[test]
fn those_who_wait_are_served_in_the_order_of_asking() {
    let line = Line::new(pool(MIB));
    let held = lease(&line.pool, MIB, us());
    let asked: Vec<_> = [256, 512, 64, 128].map(|kib| line.ask(kib * KIB, us(), FOR_EVER).0).into();
    assert_eq!(line.pool.stats().waits.waiting, 4);
    line.waiting.serve(&line.pool);
    assert!(asked.iter().all(|answer| answer.try_recv().is_err()));
    drop(held);
    assert!(line.serve_if_rung());
    assert!(asked.iter().all(|answer| answer.try_recv().is_ok()));
    assert!(line.waiting.is_empty());
    drop(lease(&line.pool, 64, us()));
    assert!(!line.pool.core.caches.is_strict(), "nobody waits, and the pool is strict");
}

#[test]
fn who_has_a_reservation_need_not_wait_for_those_who_have_none() {
    let line = Line::new(pool(MIB));
    line.pool.reserve(Reservation::new("control-test", 256 * KIB)).unwrap();
    let ours = lease(&line.pool, 256 * KIB, us());
    let theirs = lease(&line.pool, 768 * KIB, them());
    let (first, _) = line.ask(512 * KIB, them(), FOR_EVER);
    let (second, _) = line.ask(128 * KIB, us(), FOR_EVER);
    drop(ours);
    assert!(line.serve_if_rung());
    assert!(first.try_recv().is_err());
    assert_eq!(second.try_recv().unwrap().unwrap().len(), 128 * KIB);
    drop(theirs);
    assert!(line.serve_if_rung() && first.try_recv().unwrap().is_ok());
}

#[test]
fn who_is_capped_lets_the_others_pass() {
    let line = Line::new(pool(MIB));
    line.pool.reserve(Reservation { cap: Some(128 * KIB), ..Reservation::new("control-test", 0) }).unwrap();
    let ours = lease(&line.pool, 128 * KIB, us());
    let (capped, _) = line.ask(64 * KIB, us(), FOR_EVER);
    let (other, _) = line.ask(64 * KIB, them(), FOR_EVER);
    assert!(capped.try_recv().is_err() && other.try_recv().unwrap().is_ok());
    let (never, _) = line.ask(256 * KIB, us(), FOR_EVER);
    assert!(is_exhausted(never.try_recv().unwrap()), "what no cap allows is refused at once");
    drop(ours);
    assert!(line.serve_if_rung() && capped.try_recv().unwrap().is_ok());
}

#[test]
fn who_is_late_or_gone_leaves_the_line_at_the_next_look_and_nothing_stays_saved() {
    let line = Line::new(pool(MIB));
    let mut held: Vec<Buffer> = (0..16).map(|_| lease(&line.pool, 64 * KIB, us())).collect();
    let (gone, abandoned) = line.ask(MIB, us(), FOR_EVER);
    let (late, _) = line.ask(MIB, us(), Duration::from_nanos(1));
    let (patient, _) = line.ask(64 * KIB, us(), FOR_EVER);
    held.truncate(8);
    abandoned.store(true, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(1));
    line.waiting.serve(&line.pool);
    assert_eq!(gone.try_recv().unwrap().unwrap_err(), Error::Cancelled);
    let late = late.try_recv().unwrap().unwrap_err();
    assert!(matches!(late, Error::Runtime(ironcliw::Error::DeadlineExceeded { .. })), "{late}");
    assert!(patient.try_recv().unwrap().is_ok());
    let stats = line.pool.stats().waits;
    assert_eq!((stats.waiting, stats.timed_out, stats.abandoned), (0, 1, 1));
    assert!(lease(&line.pool, 512 * KIB, us()).len() == 512 * KIB);
}

#[test]
fn the_end_of_the_line_answers_all_who_stand_in_it_and_frees_the_room() {
    let line = Line::new(pool(MIB));
    let held = lease(&line.pool, MIB, us());
    let (asked, _) = line.ask(64, us(), FOR_EVER);
    let Line { pool, waiting, .. } = line;
    drop(waiting);
    let ended = asked.try_recv().unwrap().unwrap_err();
    assert!(matches!(ended, Error::Runtime(ironcliw::Error::ActorStopped { .. })), "{ended}");
    drop(held);
    assert!(pool.allocate(MIB, us()).is_ok());
    assert_eq!(pool.stats().waits.waiting, 0);
}

#[test]
fn room_is_not_saved_for_one_whose_callback_panicked() {
    let line = Line::new(pool(MIB));
    let held = [lease(&line.pool, 512 * KIB, us()), lease(&line.pool, 512 * KIB, us())];
    let request = |len, done: Box<dyn FnOnce(Result<Buffer>) + Send>| AllocateWhenFree {
        len,
        owner: them(),
        options: AllocOptions::for_overwrite(),
        wait: FOR_EVER,
        is_abandoned: Box::new(|| false),
        done,
    };
    line.waiting.take_in(&line.pool, request(MIB, Box::new(|_| panic!("the caller's own mistake"))));
    let [first, second] = held;
    drop(first);
    assert!(is_exhausted(line.pool.allocate(512 * KIB, us())), "half of what came back is saved");
    drop(second);
    assert!(ironcliw::catch_panic(|| line.serve_if_rung()).is_err());
    // Its actor begins a new life, in which nobody waits.
    assert!(line.waiting.is_empty());
    assert_eq!(line.pool.stats().waits.waiting, 0);
    assert!(line.pool.allocate(MIB, us()).is_ok());
    assert!(!line.pool.core.caches.is_strict(), "nobody waits, and the pool is strict");
}

#[test]
fn what_is_saved_for_the_first_stays_saved_when_its_lease_comes_to_nothing() {
    let line = Line::new(pool(MIB));
    let mut held: Vec<Buffer> = (0..16).map(|_| lease(&line.pool, 64 * KIB, us())).collect();
    let (first, _) = line.ask(256 * KIB, them(), FOR_EVER);
    held.truncate(12);
    // It was granted, and the system had no memory.
    drop(line.pool.core.ask(them(), 256 * KIB, Turn::First).unwrap().expect("the pool is strict"));
    held.extend(std::iter::from_fn(|| line.pool.allocate_for_overwrite(64 * KIB, us()).ok()));
    assert_eq!(held.len(), 14, "the other half is anybody's, and no more");
    held.truncate(10);
    assert!(line.serve_if_rung() && first.try_recv().unwrap().is_ok());
}

#[test]
fn who_waits_is_told_of_room_that_another_was_granted_and_did_not_take() {
    let line = Line::new(pool(MIB));
    let (first, _) = {
        let _strict = line.pool.measure(None);
        let granted = line.pool.core.ask(us(), MIB, Turn::None).unwrap().expect("the pool is strict");
        let asked = line.ask(MIB, them(), FOR_EVER);
        assert!(asked.0.try_recv().is_err());
        drop(granted);
        asked
    };
    assert!(line.serve_if_rung() && first.try_recv().unwrap().is_ok());
}

/// Threads lease, wait and return; the line is served by one that listens to the bell alone.
#[test]
fn nobody_waits_for_ever_while_others_return_and_no_ring_is_lost() {
    let line = Line::new(pool(MIB));
    let (served, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                if !line.serve_if_rung() {
                    thread::yield_now();
                }
            }
        });
        let workers: Vec<_> = (1..=3usize)
            .map(|seed| {
                let (line, served) = (&line, &served);
                scope.spawn(move || {
                    let mut random = seed as u32;
                    for _ in 0..300 {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let len = (random >> 8) as usize % MIB + 1;
                        let (answer, _) = line.ask(len, us(), FOR_EVER);
                        let buffer = answer.recv().unwrap().unwrap();
                        // A small one on top, if there is room, as a pipeline has it.
                        let small = line.pool.allocate_for_overwrite(len / 8, them());
                        drop((buffer, small));
                        served.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(served.into_inner(), 900);
    let stats = line.pool.stats();
    assert_eq!((stats.live_bytes, stats.waits.waiting), (0, 0));
    line.pool.trim(0);
    assert_eq!(line.pool.core.budget.held(), 0);
}

/// A step of one of several threads.
#[derive(Debug, Clone)]
enum Step {
    Allocate { who: usize, len: usize },
    Wait { who: usize, len: usize },
    Free(prop::sample::Index),
    Reserve { group: usize, bytes: usize },
    Measure,
    Serve,
    Trim,
    SetLimit(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let len = || prop_oneof![0usize..600, 0usize..40_000, Just(70_000)];
    prop_oneof![
        8 => (0usize..4, len()).prop_map(|(who, len)| Step::Allocate { who, len }),
        2 => (0usize..4, len()).prop_map(|(who, len)| Step::Wait { who, len }),
        8 => any::<prop::sample::Index>().prop_map(Step::Free),
        1 => (0usize..2, 0usize..60_000).prop_map(|(group, bytes)| Step::Reserve { group, bytes }),
        1 => Just(Step::Measure),
        1 => Just(Step::Serve),
        1 => Just(Step::Trim),
        1 => (150_000usize..300_000).prop_map(Step::SetLimit),
    ]
}

const GROUPS: [&str; 2] = ["control-group-a", "control-group-b"];

fn owners() -> [Owner; 4] {
    ["control-group-a", "control-group-a/0", "control-group-b/1", "control-group-none"].map(Owner::named)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// One thread, whose every lease a model predicts: the limit, the reservations, and who waits first.
    #[test]
    fn a_pool_with_reservations_grants_what_its_model_grants(
        steps in prop::collection::vec(step(), 1..150), limit in 150_000usize..300_000,
    ) {
        let pool = pool(limit);
        let (mut limit, mut reserved) = (limit, [0usize; 2]);
        let mut held: Vec<(usize, Buffer)> = Vec::new();
        for step in steps {
            match step {
                Step::Allocate { who, len } | Step::Wait { who, len } => {
                    let block = SizeClass::block_bytes(len).unwrap();
                    let live = |group: &[usize]| held.iter().filter(|(who, _)| group.contains(who))
                        .map(|(_, buffer)| buffer.block_bytes()).sum::<usize>();
                    let groups: [&[usize]; 2] = [&[0, 1], &[2]];
                    let committed = |extra: usize| live(&[3]) + if who == 3 { extra } else { 0 }
                        + groups.iter().zip(reserved).map(|(members, reserved)| {
                            let extra = if members.contains(&who) { extra } else { 0 };
                            (live(members) + extra).max(reserved)
                        }).sum::<usize>();
                    // A lease within the reservation is granted, if there is room for it at all: it may have been made late.
                    let all = live(&[0, 1, 2, 3]) + block;
                    let fits = all <= limit && (committed(block) <= limit || committed(block) == committed(0));
                    let lease = pool.allocate_for_overwrite(len, owners()[who]);
                    prop_assert_eq!(lease.is_ok(), fits, "{} bytes for {}", len, who);
                    held.extend(lease.ok().map(|buffer| (who, buffer)));
                }
                Step::Free(which) if !held.is_empty() => _ = held.swap_remove(which.index(held.len())),
                Step::Reserve { group, bytes } => {
                    pool.reserve(Reservation::new(GROUPS[group], bytes)).unwrap();
                    reserved[group] = bytes;
                }
                Step::SetLimit(bytes) => {
                    pool.set_limit(bytes).unwrap();
                    limit = bytes;
                }
                Step::Trim => _ = pool.trim(0),
                Step::Measure => {
                    let figures = pool.measure(None).figures();
                    prop_assert_eq!(figures.count_before, held.len() as u64);
                    let bytes: usize = held.iter().map(|(_, buffer)| buffer.block_bytes()).sum();
                    prop_assert_eq!(figures.bytes_before, bytes as u64);
                }
                Step::Serve | Step::Free(_) => _ = pool.purge(),
            }
        }
        held.clear();
        pool.trim(0);
        prop_assert_eq!(pool.core.budget.held(), 0);
    }

    /// Several threads: nothing is lost, no limit is passed, nobody is forgotten in the line.
    #[test]
    fn threads_with_reservations_waits_and_scopes_never_pass_the_limit(
        programs in prop::collection::vec(prop::collection::vec(step(), 1..120), 2..4),
    ) {
        let line = Line::new(pool(300_000));
        let answers = Mutex::new(Vec::new());
        thread::scope(|scope| {
            // Joined: the end of the scope alone does not wait for a thread's locals to go.
            let run = |steps: &Vec<Step>| {
                let (line, answers, steps) = (&line, &answers, steps.clone());
                scope.spawn(move || {
                    let pool = &line.pool;
                    let mut held = Vec::new();
                    let mut open = Vec::new();
                    for step in steps {
                        match step {
                            Step::Allocate { who, len } => held.extend(pool.allocate(len, owners()[who]).ok()),
                            Step::Wait { who, len } => {
                                answers.lock().unwrap().push(line.ask(len, owners()[who], FOR_EVER).0);
                            }
                            Step::Free(which) if !held.is_empty() => {
                                let buffer: Buffer = held.swap_remove(which.index(held.len()));
                                assert!(pool.is_live(buffer.id()));
                            }
                            Step::Free(_) => {}
                            Step::Reserve { group, bytes } => _ = pool.reserve(Reservation::new(GROUPS[group], bytes)),
                            Step::Measure if open.len() > 2 => open.clear(),
                            Step::Measure => open.push(pool.measure(Some(GROUPS[0]))),
                            Step::Serve => line.waiting.serve(pool),
                            Step::Trim => _ = pool.trim(0),
                            Step::SetLimit(bytes) => _ = pool.set_limit(bytes),
                        }
                        assert!(pool.core.budget.held() <= 300_000);
                    }
                })
            };
            let threads: Vec<_> = programs.iter().map(run).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        // What the served ones got is dropped by and by, which makes room for the others.
        let mut answers = answers.into_inner().unwrap();
        for group in GROUPS {
            line.pool.reserve(Reservation::new(group, 0)).unwrap();
        }
        line.pool.set_limit(300_000).unwrap();
        line.waiting.serve(&line.pool);
        while !answers.is_empty() {
            let before = answers.len();
            answers.retain(|answer| answer.try_recv().is_err());
            prop_assert!(line.serve_if_rung() || answers.len() < before, "{} were forgotten in the line", before);
        }
        let stats = line.pool.stats();
        prop_assert_eq!((stats.live_count, stats.live_bytes, stats.waits.waiting), (0, 0, 0));
        line.pool.trim(0);
        prop_assert_eq!(line.pool.core.budget.held(), 0);
        drop(lease(&line.pool, 64, them()));
        prop_assert!(!line.pool.core.caches.is_strict());
        let core = Arc::downgrade(&line.pool.core);
        drop(line);
        prop_assert_eq!(core.strong_count(), 0);
    }
}
