//! What a snapshot promises, tried with a pool and its ledger.

use super::history::History;
use super::*;
use crate::leak::{AgeLimits, Level, RecorderConfig, Tracker, TrackerConfig};
use crate::pool::{AllocOptions, LeaseKind, Owner, Pool, PoolConfig};
use ironcliw::{SupervisionEvent, What};
use proptest::prelude::*;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

fn observed(level: Level) -> (Pool, Observer) {
    let leaks = RecorderConfig { level, ..RecorderConfig::default() };
    let pool = Pool::new(PoolConfig { leaks, ..PoolConfig::limited(256 << 20) }).unwrap();
    let ages = AgeLimits { plain: None, explicit: Some(Duration::ZERO) };
    let tracker = Tracker::new(pool.clone(), TrackerConfig { ages, growth: None }).unwrap();
    let observer = Observer::new(pool.clone(), tracker, Arc::<History>::default());
    (pool, observer)
}

fn a() -> Owner {
    Owner::named("snapshot-test/a")
}

fn b() -> Owner {
    Owner::named("snapshot-test/b")
}

/// Sums within a snapshot agree, whatever happened.
fn assert_sums_agree(snapshot: &PoolSnapshot) {
    let PoolSnapshot { totals, owners, classes, leases, threads, .. } = snapshot;
    assert_eq!(totals.live, owners.iter().map(|owner| owner.live).sum::<u64>());
    assert_eq!(totals.live_bytes, owners.iter().map(|owner| owner.live_bytes).sum::<u64>());
    assert_eq!(totals.live_bytes, classes.iter().map(|class| class.live_bytes).sum::<u64>());
    assert_eq!(totals.held_bytes, totals.live_bytes + totals.idle_bytes);
    for class in classes {
        let of_class = threads.iter().flat_map(|thread| &thread.classes).filter(|of| of.size == class.size);
        assert_eq!(class.idle_in_caches, of_class.map(|of| of.idle).sum::<u64>(), "{class:?}");
    }
    for owner in owners {
        assert_eq!(owner.live_bytes, owner.classes.iter().map(|class| class.live_bytes).sum::<u64>());
        for class in &owner.classes {
            let of_class = leases.iter().filter(|lease| lease.owner == owner.owner && lease.size == class.size);
            let stood_for: f64 = of_class.map(|lease| lease.weight * lease.block_bytes as f64).sum();
            let left = stood_for + class.unrecorded_bytes as f64 - class.live_bytes as f64;
            assert!(left.abs() < 1e-3 * (1.0 + stood_for), "{owner:?} {class:?} {stood_for}");
        }
    }
}

#[test]
fn at_paranoid_every_lease_is_listed_and_stands_for_itself() {
    let (pool, observer) = observed(Level::Paranoid);
    let at = |site: &str| AllocOptions::default().at(site);
    let first = pool.allocate_with(1000, a(), at("app.py:1")).unwrap();
    let others: Vec<_> = (0..3).map(|_| pool.allocate_with(5000, b(), at("app.py:2")).unwrap()).collect();
    let snapshot = observer.snapshot(&[]);
    assert_sums_agree(&snapshot);
    assert_eq!((snapshot.totals.live, snapshot.totals.live_bytes), (4, 1024 + 3 * 5120));
    assert_eq!(snapshot.leases.len(), 4);
    assert!(snapshot.leases.iter().all(|lease| lease.weight == 1.0 && !lease.too_old && lease.stack.is_some()));
    assert_eq!((snapshot.leases[0].id, snapshot.leases[0].site.as_deref()), (first.id(), Some("app.py:1")));
    let waste: Vec<_> = snapshot.classes.iter().map(|class| (class.size, class.waste_bytes, class.recorded)).collect();
    assert_eq!(waste, [(1024, Some(24), 1), (5120, Some(360), 3)]);
    assert_eq!(snapshot.leases[1].stack, snapshot.leases[2].stack, "an equal stack is in the table once");
    drop((first, others));
    let after = observer.snapshot(&[]);
    assert_sums_agree(&after);
    assert_eq!((after.totals.live, after.leases.len(), after.totals.idle_bytes), (0, 0, 1024 + 3 * 5120));
    let idle: u64 = after.classes.iter().map(|class| class.idle_in_caches + class.idle_on_shelf).sum();
    assert_eq!(idle, 4);
}

#[test]
fn a_sample_stands_for_what_was_counted_and_an_explicit_lease_for_itself() {
    let (pool, observer) = observed(Level::Simple);
    pool.recorder().set_sample_every(NonZeroU32::new(16).unwrap());
    let plain: Vec<_> = (0..2000).map(|_| pool.allocate(1000, a()).unwrap()).collect();
    let explicit = pool.allocate_with(1000, a(), AllocOptions::explicit()).unwrap();
    let snapshot = observer.snapshot(&[]);
    assert_sums_agree(&snapshot);
    assert_eq!(snapshot.totals.live, 2001);
    assert!((60..250).contains(&snapshot.leases.len()), "{}", snapshot.leases.len());
    let of_explicit = snapshot.leases.iter().find(|lease| lease.kind == LeaseKind::Explicit).unwrap();
    assert_eq!((of_explicit.weight, of_explicit.too_old), (1.0, true));
    let waste = snapshot.classes[0].waste_bytes.unwrap();
    assert_eq!(waste, 2001 * 24, "all buffers of the class are equal, so the estimate is right");
    drop((plain, explicit));
}

#[test]
fn what_is_not_recorded_is_said_to_be_so() {
    let (pool, observer) = observed(Level::Disabled);
    let held = pool.allocate(5000, a()).unwrap();
    let snapshot = observer.snapshot(&[]);
    assert_sums_agree(&snapshot);
    assert_eq!(snapshot.leases, []);
    assert_eq!(snapshot.classes[0].waste_bytes, None);
    assert_eq!(snapshot.owners.iter().find(|of| of.owner == a()).unwrap().classes[0].unrecorded_bytes, 5120);
    drop(held);
}

#[test]
fn known_leaks_are_in_it_and_looking_changes_no_report() {
    let (pool, observer) = observed(Level::Advanced);
    drop(pool.allocate_with(100, a(), AllocOptions::explicit().at("app.py:7")).unwrap());
    for _ in 0..2 {
        let snapshot = observer.snapshot(&[]);
        let [leak] = &snapshot.leaks[..] else { panic!("{:?}", snapshot.leaks) };
        assert_eq!((leak.report.new, leak.report.equal, leak.report.site.as_deref()), (1, 1, Some("app.py:7")));
        let (frames, calls) = snapshot.stacks.read();
        let functions = calls[leak.stack.unwrap()].iter().map(|&frame| &frames[frame].function);
        assert!(functions.into_iter().any(|function| function.contains("known_leaks_are_in_it")));
    }
}

#[test]
fn failures_since_the_history_began_are_marked() {
    let (_pool, observer) = observed(Level::Simple);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let event = |at_unix_s, failure| SupervisionEvent {
        at_unix_s,
        path: "images/0".to_owned(),
        what: What::Exited { reason: "panicked".to_owned(), failure },
    };
    let marks = observer.snapshot(&[event(1.0, true), event(now + 60.0, true), event(now + 60.0, false)]).marks;
    assert_eq!(marks.len(), 1);
    assert_eq!((marks[0].kind, marks[0].text.as_str()), (MarkKind::Crash, "images/0: panicked"));
}

#[test]
fn the_document_names_every_part() {
    let (pool, observer) = observed(Level::Paranoid);
    let held = pool.allocate_with(1000, a(), AllocOptions::default().at("app.py:1")).unwrap();
    let document = serde_json::to_value(observer.snapshot(&[])).unwrap();
    assert_eq!((&document["format"], &document["version"]), (&FORMAT.into(), &VERSION.into()));
    let lease = &document["leases"][0];
    assert_eq!(lease["owner"], "snapshot-test/a");
    assert_eq!(lease["kind"], "plain");
    let calls = &document["stacks"]["calls"][lease["stack"].as_u64().unwrap() as usize];
    let functions: Vec<String> = calls
        .as_array()
        .unwrap()
        .iter()
        .map(|frame| document["stacks"]["frames"][frame.as_u64().unwrap() as usize]["function"].to_string())
        .collect();
    assert!(functions.iter().any(|function| function.contains("the_document_names_every_part")), "{functions:?}");
    assert_eq!(document["history"].as_array().unwrap().len(), 1);
    assert_eq!(document["history"][0]["owners"][0], serde_json::json!(["snapshot-test/a", 1024]));
    drop(held);
}

#[test]
fn idle_blocks_are_shown_with_the_thread_that_keeps_them() {
    let (pool, observer) = observed(Level::Disabled);
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (looked, has_looked) = std::sync::mpsc::channel::<()>();
        let pool = &pool;
        let worker = std::thread::Builder::new().name("keeps-two".to_owned());
        let worker = worker
            .spawn_scoped(scope, move || {
                let held = [pool.allocate(1000, a()).unwrap(), pool.allocate(1000, a()).unwrap()];
                drop((held, pool.allocate(5000, b()).unwrap()));
                ready.send(()).unwrap();
                _ = has_looked.recv();
            })
            .unwrap();
        is_ready.recv().unwrap();
        let snapshot = observer.snapshot(&[]);
        assert_sums_agree(&snapshot);
        let [thread] = &snapshot.threads[..] else { panic!("{:?}", snapshot.threads) };
        let kept: Vec<_> = thread.classes.iter().map(|of| (of.size, of.idle)).collect();
        assert_eq!((kept, thread.idle_bytes), (vec![(1024, 2), (5120, 1)], 2 * 1024 + 5120));
        assert_eq!(snapshot.totals.idle_bytes, thread.idle_bytes);
        if cfg!(target_os = "linux") {
            assert_eq!(thread.name.as_deref(), Some("keeps-two"));
        }
        drop(looked);
        worker.join().unwrap();
    });
    // A thread that ends gives what it kept to the shelves, and its cache, without its name, to the next one.
    let after = observer.snapshot(&[]);
    assert_eq!(after.threads, []);
    assert_eq!(after.classes.iter().map(|class| class.idle_on_shelf).collect::<Vec<_>>(), [2, 1]);
    drop(pool.allocate(1000, a()).unwrap());
    let again = observer.snapshot(&[]);
    let [thread] = &again.threads[..] else { panic!("{:?}", again.threads) };
    assert_ne!(thread.name.as_deref(), Some("keeps-two"));
    if cfg!(target_os = "linux") {
        assert!(thread.id.is_some() && thread.name.is_some());
    }
}

#[test]
fn sums_agree_while_threads_lease() {
    let (pool, observer) = observed(Level::Paranoid);
    std::thread::scope(|scope| {
        let workers: Vec<_> = [a(), b()]
            .into_iter()
            .map(|owner| {
                let pool = &pool;
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for round in 0..3000 {
                        held.push(pool.allocate(64 + 97 * (round % 40), owner).unwrap());
                        if held.len() > 50 {
                            held.swap_remove(round % 50);
                        }
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            assert_sums_agree(&observer.snapshot(&[]));
        }
    });
    let after = observer.snapshot(&[]);
    assert_eq!((after.totals.live, after.totals.live_bytes, after.leases.len()), (0, 0, 0));
}

#[test]
fn no_recorded_lease_is_without_its_owner_and_class() {
    let sizes: Vec<usize> = (0..14).map(|power| 64 << power).collect();
    for round in 0..10 {
        let (pool, observer) = observed(Level::Paranoid);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let lease = |n: usize| {
                    let owner = Owner::named(&format!("snapshot-test/new/{}", n % 20));
                    pool.allocate(sizes[(n + round) % sizes.len()], owner).unwrap()
                };
                (0..sizes.len() * 20).map(lease).collect::<Vec<_>>()
            });
            while !worker.is_finished() {
                let snapshot = observer.snapshot(&[]);
                assert_sums_agree(&snapshot);
                for lease in &snapshot.leases {
                    let owner = snapshot.owners.iter().find(|of| of.owner == lease.owner);
                    let held = owner.and_then(|of| of.classes.iter().find(|class| class.size == lease.size));
                    assert!(held.is_some(), "{lease:?}");
                    assert!(snapshot.classes.iter().any(|class| class.size == lease.size), "{lease:?}");
                }
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was leased at whatever level, huge blocks included.
    #[test]
    fn sums_agree_after_any_leases(
        leases in prop::collection::vec((1usize..200_000, any::<bool>(), any::<bool>(), 0usize..4), 0..60),
    ) {
        let (pool, observer) = observed(Level::Simple);
        pool.recorder().set_sample_every(NonZeroU32::new(3).unwrap());
        let mut held = Vec::new();
        for (len, explicit, of_a, level) in leases {
            pool.recorder().set_level(Level::ALL[level]);
            let options = if explicit { AllocOptions::explicit() } else { AllocOptions::default() };
            held.push(pool.allocate_with(len, if of_a { a() } else { b() }, options).unwrap());
        }
        let snapshot = observer.snapshot(&[]);
        assert_sums_agree(&snapshot);
        prop_assert_eq!(snapshot.totals.live, held.len() as u64);
        prop_assert_eq!(snapshot.totals.live_bytes, pool.stats().live_bytes as u64);
        held.into_iter().for_each(|buffer| buffer.release());
    }
}
