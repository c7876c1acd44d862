//! What scopes, and the reports of an owner's crash, promise.

use super::*;
use crate::pool::{AllocOptions, Buffer, Owner, Pool, PoolConfig};
use proptest::prelude::*;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn tracked(level: Level, capacity: usize) -> (Pool, Tracker) {
    let leaks = RecorderConfig { level, capacity, ..RecorderConfig::default() };
    let pool = Pool::new(PoolConfig { leaks, ..PoolConfig::limited(64 << 20) }).unwrap();
    (pool.clone(), Tracker::new(pool, TrackerConfig::default()).unwrap())
}

fn owner() -> Owner {
    Owner::named("scope-test")
}

fn lease(pool: &Pool, site: &str) -> Buffer {
    pool.allocate_with(1000, owner(), AllocOptions::default().at(site)).unwrap()
}

#[test]
fn what_began_within_a_scope_and_is_out_at_its_end_is_reported_at_every_level() {
    for level in Level::ALL {
        let (pool, tracker) = tracked(level, 1000);
        let before = lease(&pool, "app.py:1");
        let mut scope = tracker.scope(None);
        let kept: Vec<_> = (0..3).map(|_| lease(&pool, "app.py:2")).collect();
        drop(lease(&pool, "app.py:3"));
        scope.end();
        let after = lease(&pool, "app.py:4");
        let reports = scope.check();
        assert_eq!(reports.len(), 1, "{level}: {reports:?}");
        assert_eq!((reports[0].kind, reports[0].equal, reports[0].bytes), (LeakKind::StillOut, 3, 3000));
        assert_eq!(reports[0].site.as_deref(), Some("app.py:2"), "every lease within has a record at {level}");
        assert!(!scope.is_clean());
        drop(kept);
        assert!(scope.is_clean(), "what comes back late is back");
        scope.assert_clean();
        drop((before, after));
    }
}

#[test]
#[should_panic(expected = "1 leak: 2 buffers, 1.95 KiB.")]
fn an_unclean_scope_fails_with_its_report() {
    let (pool, tracker) = tracked(Level::Simple, 1000);
    let scope = tracker.scope(None);
    let _kept = [lease(&pool, "app.py:1"), lease(&pool, "app.py:1")];
    scope.assert_clean();
}

#[test]
fn a_scope_is_exact_though_every_event_was_lost() {
    let (pool, tracker) = tracked(Level::Simple, 1);
    let scope = tracker.scope(None);
    let kept: Vec<_> = (0..500).map(|_| lease(&pool, "app.py:1")).collect();
    let gone: Vec<_> = (0..500).map(|_| lease(&pool, "app.py:2")).collect();
    assert_eq!(scope.check().len(), 2);
    drop(gone);
    assert!(pool.recorder().dropped_events() > 400, "of their ends");
    assert_eq!(scope.check().iter().map(|report| report.equal).sum::<u64>(), kept.len() as u64);
}

#[test]
fn a_scope_of_an_owner_sees_nobody_else() {
    let (pool, tracker) = tracked(Level::Simple, 1000);
    let (mine, all) = (tracker.scope(Some(owner())), tracker.scope(None));
    let other = pool.allocate(1000, Owner::named("scope-test/other")).unwrap();
    assert!(mine.is_clean() && !all.is_clean());
    let own = lease(&pool, "app.py:1");
    assert_eq!(mine.check().len(), 1);
    assert_eq!(all.check().len(), 2);
    drop((other, own));
}

#[test]
fn a_buffer_dropped_unreleased_within_a_scope_is_its_leak_and_not_the_next_ones() {
    for capacity in [1000, 1] {
        let (pool, tracker) = tracked(Level::Simple, capacity);
        let drop_one = || drop(pool.allocate_with(1000, owner(), AllocOptions::explicit().at("app.py:1")).unwrap());
        drop_one();
        let mut scope = tracker.scope(None);
        drop_one();
        drop_one();
        scope.end();
        drop_one();
        let reports = scope.check();
        assert!(reports.iter().all(|report| report.kind == LeakKind::DroppedUnreleased));
        assert_eq!(reports.iter().map(|report| report.equal).sum::<u64>(), 2, "{reports:?}");
        assert!(tracker.scope(None).is_clean());
    }
}

#[test]
fn every_lease_is_recorded_while_any_scope_is_open_and_the_level_is_what_was_set_meanwhile() {
    let (pool, tracker) = tracked(Level::Disabled, 100_000);
    let recorder = pool.recorder();
    let recorded = || {
        let before = recorder.recorded_leases();
        (0..1000).for_each(|_| drop(lease(&pool, "app.py:1")));
        recorder.recorded_leases() - before
    };
    assert_eq!(recorded(), 0);
    let outer = tracker.scope(None);
    let mut inner = tracker.scope(None);
    assert_eq!((recorded(), recorder.level(), recorder.scopes()), (1000, Level::Disabled, 2));
    drop(outer);
    assert_eq!(recorded(), 1000);
    recorder.set_level(Level::Simple);
    assert_eq!(recorded(), 1000);
    inner.end();
    assert!((1..100).contains(&recorded()), "one in 128");
    assert_eq!((recorder.level(), recorder.scopes()), (Level::Simple, 0));
    recorder.set_level(Level::Disabled);
    assert_eq!(recorded(), 0);
}

#[test]
fn scopes_on_several_threads_and_changes_of_the_level_leave_the_last_level_that_was_set() {
    let (pool, tracker) = tracked(Level::Simple, 100_000);
    let start = Barrier::new(4);
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let (pool, tracker, start) = (&pool, &tracker, &start);
            threads.spawn(move || {
                let owner = Owner::named(&format!("scope-test/{thread}"));
                start.wait();
                for round in 0..200 {
                    let scope = tracker.scope(Some(owner));
                    let kept = pool.allocate(64, owner).unwrap();
                    pool.recorder().set_level(Level::ALL[(round + thread) % 3]);
                    assert_eq!(scope.check().iter().map(|report| report.equal).sum::<u64>(), 1);
                    drop(kept);
                    scope.assert_clean();
                }
            });
        }
    });
    pool.recorder().set_level(Level::Disabled);
    assert_eq!(pool.recorder().scopes(), 0);
    let before = pool.recorder().recorded_leases();
    (0..1000).for_each(|_| drop(lease(&pool, "app.py:1")));
    assert_eq!(pool.recorder().recorded_leases(), before);
}

#[test]
fn the_log_is_told_of_each_leak_once() {
    let (pool, tracker) = tracked(Level::Simple, 1000);
    let leak = |site| drop(pool.allocate_with(1000, owner(), AllocOptions::explicit().at(site)).unwrap());
    let unlogged = || -> Vec<u64> { tracker.find_unlogged(Instant::now()).into_iter().map(|(_, new)| new).collect() };
    assert!(unlogged().is_empty());
    leak("a:1");
    leak("a:1");
    assert_eq!(unlogged(), [2]);
    assert!(unlogged().is_empty());
    leak("b:1");
    leak("a:1");
    assert_eq!(unlogged(), [1, 1]);
    assert_eq!(tracker.check().iter().map(|report| report.new).sum::<u64>(), 4, "the log is nobody's check");
    assert_eq!(tracker.counts(), [(LeakKind::DroppedUnreleased, 4)].into());
}

#[test]
fn a_leak_is_new_to_exactly_one_check_whoever_looks_meanwhile() {
    const LEAKS: u64 = 3000;
    let (pool, tracker) = tracked(Level::Simple, 1000);
    let is_over = AtomicBool::new(false);
    let mut told = 0;
    std::thread::scope(|scope| {
        // One leaks and one takes in what there is, as the tracker's actor does.
        scope.spawn(|| {
            (0..LEAKS).for_each(|_| drop(pool.allocate_with(64, owner(), AllocOptions::explicit().at("a:1")).unwrap()));
            is_over.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                tracker.outstanding();
            }
        });
        while !is_over.load(Ordering::Acquire) {
            told += tracker.check().iter().map(|report| report.new).sum::<u64>();
        }
    });
    told += tracker.check().iter().map(|report| report.new).sum::<u64>();
    assert_eq!(told, LEAKS);
}

#[test]
fn what_a_scope_says_of_a_dropped_buffer_is_of_one_that_was_dropped_within() {
    let (pool, tracker) = tracked(Level::Simple, 1000);
    let leak = || {
        let buffer = pool.allocate_with(1000, owner(), AllocOptions::explicit().at("app.py:1")).unwrap();
        let id = buffer.id();
        drop(buffer);
        id
    };
    leak();
    let scope = tracker.scope(None);
    let within = leak();
    let report = scope.check().remove(0);
    assert_eq!((report.equal, report.id, report.site.as_deref()), (1, Some(within), Some("app.py:1")));
    assert!(!report.to_string().contains("events were lost"), "{report}");
}

const SOON: Duration = Duration::from_secs(2);

#[test]
fn what_an_actor_did_not_hand_over_and_outlives_its_crash_is_reported_with_the_incarnation_until_it_ends() {
    for level in Level::ALL {
        let (pool, tracker) = tracked(level, 1000);
        let (stray, answer) = (lease(&pool, "app.py:1"), lease(&pool, "app.py:2").hand_over());
        let of_other = pool.allocate(1000, Owner::named("scope-test/other")).unwrap();
        tracker.crashed("scope-test", 3);
        let of_next = lease(&pool, "app.py:3");
        assert_eq!(tracker.check(), [], "what comes to its end with the crash has time to");
        let reports = tracker.check_at(Instant::now() + SOON);
        assert_eq!(reports.len(), 1, "{reports:?}");
        let report = &reports[0];
        assert_eq!((report.kind, report.id, report.new), (LeakKind::OutlivedOwner, Some(stray.id()), 1));
        assert_eq!((report.owner, report.incarnation), (owner(), Some(3)));
        assert_eq!(tracker.check_at(Instant::now() + SOON)[0].new, 0);
        assert!(pool.is_live(stray.id()), "nothing is taken back");
        tracker.crashed("scope-test", 4);
        let incarnations: Vec<_> =
            tracker.check_at(Instant::now() + SOON).iter().map(|report| report.incarnation).collect();
        assert_eq!(incarnations, [Some(3), Some(4)], "each is the leftover of one incarnation");
        drop((stray, of_next));
        assert_eq!(tracker.check_at(Instant::now() + SOON), []);
        drop((answer, of_other));
    }
}

#[test]
fn a_survivor_that_is_too_old_as_well_is_one_leak() {
    let (pool, tracker) = tracked(Level::Paranoid, 1000);
    let _stray = lease(&pool, "app.py:1");
    tracker.crashed("scope-test", 0);
    let reports = tracker.check_at(Instant::now() + Duration::from_secs(301));
    assert_eq!(reports.iter().map(|report| report.kind).collect::<Vec<_>>(), [LeakKind::OutlivedOwner]);
    assert_eq!(reports[0].site.as_deref(), Some("app.py:1"));
}

#[test]
fn a_table_of_a_real_pool_has_its_totals_and_its_leaks() {
    let (pool, tracker) = tracked(Level::Simple, 1000);
    assert!(tracker.table().to_string().starts_with("No leaks.\n"));
    let _held = lease(&pool, "app.py:1");
    drop(pool.allocate_with(3000, owner(), AllocOptions::explicit().at("app.py:2")).unwrap());
    let table = tracker.table();
    assert_eq!(table.totals, [Total { owner: owner(), class_size: 1024, count: 1, bytes: 1024 }]);
    let text = table.to_string();
    assert!(text.starts_with("1 leak: 1 buffer, 2.93 KiB.\n"), "{text}");
    assert!(text.contains("    site   app.py:2\n"), "{text}");
    assert_eq!(tracker.check()[0].new, 1, "who prints a table leaves the news to the next check");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Nested and overlapping scopes, against a model that remembers when each lease began and ended.
    #[test]
    fn scopes_agree_with_a_model(steps in prop::collection::vec((0u8..5, any::<prop::sample::Index>()), 1..80)) {
        let (pool, tracker) = tracked(Level::Simple, 8);
        let (mut held, mut scopes) = (Vec::<(u64, Buffer)>::new(), Vec::<(u64, Scope)>::new());
        for (now, (step, at)) in steps.into_iter().enumerate() {
            let now = now as u64;
            match step {
                0 | 1 => held.push((now, lease(&pool, "a:1"))),
                2 if !held.is_empty() => drop(held.swap_remove(at.index(held.len()))),
                3 => scopes.push((now, tracker.scope(None))),
                4 if !scopes.is_empty() => {
                    let (began, mut scope) = scopes.swap_remove(at.index(scopes.len()));
                    scope.end();
                    let out = held.iter().filter(|(at, _)| *at > began).count() as u64;
                    prop_assert_eq!(scope.check().iter().map(|report| report.equal).sum::<u64>(), out);
                    prop_assert_eq!(scope.is_clean(), out == 0);
                }
                _ => {}
            }
        }
        let open = scopes.len() as u32;
        prop_assert_eq!(pool.recorder().scopes(), open);
    }
}
