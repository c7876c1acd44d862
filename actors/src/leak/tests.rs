//! What leak tracking promises, tried with a pool.

use super::*;
use crate::pool::{AllocOptions, LeaseId, LeaseKind, Owner, Pool, PoolConfig};
use proptest::prelude::*;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

fn pool(level: Level, capacity: usize) -> Pool {
    let leaks = RecorderConfig { level, capacity, ..RecorderConfig::default() };
    Pool::new(PoolConfig { leaks, ..PoolConfig::limited(64 << 20) }).unwrap()
}

fn owner() -> Owner {
    Owner::named("leak-test")
}

fn explicit(site: &str) -> AllocOptions {
    AllocOptions::explicit().at(site)
}

/// A moment at which everything leased now is too old.
fn much_later() -> Instant {
    Instant::now() + Duration::from_secs(301)
}

#[test]
fn a_dropped_plain_buffer_is_no_leak_at_any_level() {
    for level in Level::ALL {
        let pool = pool(level, 1000);
        let mut ledger = Ledger::default();
        (0..200).for_each(|_| drop(pool.allocate(100, owner()).unwrap()));
        assert_eq!(ledger.check(much_later(), &pool), []);
        assert_eq!(ledger.outstanding().len(), 0);
    }
}

#[test]
fn an_explicit_lease_is_a_leak_when_dropped_and_none_when_released() {
    for level in Level::ALL {
        let pool = pool(level, 1000);
        let mut ledger = Ledger::default();
        pool.allocate_with(100, owner(), explicit("app.py:1")).unwrap().release();
        assert_eq!(ledger.check(Instant::now(), &pool), []);
        let leaked = pool.allocate_with(100, owner(), explicit("app.py:2")).unwrap();
        let id = leaked.id();
        drop(leaked);
        assert_eq!(pool.stats().live_count, 0, "a leaked lease keeps no memory");
        assert_eq!(pool.stats().dropped_unreleased, 1);
        let reports = ledger.check(Instant::now(), &pool);
        assert_eq!(reports.len(), 1);
        assert_eq!(reports[0].kind, LeakKind::DroppedUnreleased);
        assert_eq!((reports[0].equal, reports[0].new, reports[0].bytes, reports[0].class_size), (1, 1, 100, 128));
        assert_eq!((reports[0].id, reports[0].owner), (Some(id), owner()));
        let site = (level != Level::Disabled).then_some("app.py:2");
        assert_eq!(reports[0].site.as_deref(), site);
        assert_eq!(!reports[0].frames.is_empty(), level >= Level::Advanced);
        assert_eq!((&reports[0].task, reports[0].touches.len()), (&None, 0));
    }
}

#[test]
fn equal_leaks_are_one_report_that_stays_until_it_is_forgotten() {
    let pool = pool(Level::Simple, 1000);
    let mut ledger = Ledger::default();
    (0..3).for_each(|_| drop(pool.allocate_with(1000, owner(), explicit("a:1")).unwrap()));
    drop(pool.allocate_with(1000, owner(), explicit("b:2")).unwrap());
    let reports = ledger.check(Instant::now(), &pool);
    let counts = |reports: &[LeakReport]| reports.iter().map(|report| (report.equal, report.new)).collect::<Vec<_>>();
    assert_eq!(counts(&reports), [(3, 3), (1, 1)]);
    assert_eq!(reports[0].bytes, 3000);
    assert!(reports[0].to_string().starts_with("leak-test: 3 buffers (3000 bytes, class 1024) from a:1 dropped"));
    assert_eq!(reports[0].to_string().lines().count(), 1);
    drop(pool.allocate_with(1000, owner(), explicit("b:2")).unwrap());
    assert_eq!(counts(&ledger.check(Instant::now(), &pool)), [(3, 0), (2, 1)]);
    assert_eq!((ledger.dropped_unreleased(), ledger.forget_dropped()), (5, 5));
    assert_eq!(ledger.check(Instant::now(), &pool), []);
    assert_eq!(pool.stats().dropped_unreleased, 5);
}

#[test]
fn a_live_lease_is_too_old_by_the_limit_of_its_kind() {
    let pool = pool(Level::Paranoid, 1000);
    let limits = AgeLimits { plain: Some(Duration::from_secs(10)), explicit: None };
    let mut ledger = Ledger::new(limits);
    let plain = pool.allocate_with(5000, owner(), AllocOptions::default().at("a:1")).unwrap();
    let explicit = pool.allocate_with(10, owner(), explicit("b:2")).unwrap();
    assert_eq!(ledger.check(Instant::now(), &pool), []);
    let later = Instant::now() + Duration::from_secs(11);
    let reports = ledger.check(later, &pool);
    assert_eq!(reports.len(), 1);
    assert_eq!((reports[0].kind, reports[0].id, reports[0].new), (LeakKind::TooOld, Some(plain.id()), 1));
    assert!(reports[0].age > Duration::from_secs(10));
    assert!(reports[0].frames.iter().any(|frame| frame.function.contains("a_live_lease_is_too_old")));
    assert_eq!(ledger.check(later, &pool)[0].new, 0);
    drop(plain);
    assert_eq!(ledger.check(later, &pool), []);
    explicit.release();
    ledger.check(later, &pool);
    assert_eq!(ledger.outstanding().len(), 0);
}

#[test]
fn a_full_channel_drops_with_a_count_and_makes_no_false_leak() {
    let pool = pool(Level::Paranoid, 8);
    let mut ledger = Ledger::default();
    let held: Vec<_> = (0..13).map(|_| pool.allocate(64, owner()).unwrap()).collect();
    let stale: Vec<LeaseId> = held.iter().map(|buffer| buffer.id()).collect();
    assert_eq!(ledger.check(Instant::now(), &pool), []);
    assert_eq!(ledger.outstanding().len(), 13);
    // The channel has room for the ends of eight.
    drop(held);
    assert_eq!((pool.recorder().pending_events(), pool.recorder().dropped_events()), (8, 5));
    assert!(stale.iter().all(|&id| !pool.is_live(id)));
    assert_eq!(ledger.check(much_later(), &pool), []);
    assert_eq!((ledger.closed_quietly(), ledger.outstanding().len()), (5, 0));
    assert_eq!(pool.stats().live_count, 0);
}

#[test]
fn a_lease_that_ends_before_the_ledger_looks_costs_no_event() {
    let pool = pool(Level::Paranoid, 1);
    let mut ledger = Ledger::default();
    for _ in 0..1000 {
        drop(pool.allocate(64, owner()).unwrap());
    }
    assert_eq!((pool.recorder().pending_events(), pool.recorder().dropped_events()), (0, 0));
    assert_eq!(pool.recorder().recorded_leases(), 1000);
    let held = pool.allocate(64, owner()).unwrap();
    assert_eq!(ledger.check(much_later(), &pool).len(), 1);
    drop(held);
    assert_eq!(pool.recorder().pending_events(), 1);
}

#[test]
fn leases_dropped_unreleased_are_counted_exactly_even_if_no_event_tells() {
    let pool = pool(Level::Simple, 2);
    let mut ledger = Ledger::default();
    for _ in 0..10 {
        drop(pool.allocate_with(1000, owner(), explicit("a:1")).unwrap());
    }
    // The first lease's two events fill the channel.
    let reports = ledger.check(Instant::now(), &pool);
    assert_eq!(reports.iter().map(|report| report.equal).sum::<u64>(), 10);
    assert_eq!(reports.iter().find(|report| report.id.is_none()).unwrap().bytes, 9 * 1024);
    assert_eq!(ledger.check(Instant::now(), &pool).iter().map(|report| report.equal).sum::<u64>(), 10);
    assert_eq!(ledger.dropped_unreleased(), pool.stats().dropped_unreleased);
}

#[test]
fn levels_choose_who_carries_a_record() {
    let recorded = |level, options: &AllocOptions| {
        let pool = pool(level, 16_384);
        pool.recorder().set_sample_every(NonZeroU32::new(16).unwrap());
        (0..3200).for_each(|_| pool.allocate_with(64, owner(), options.clone()).unwrap().release());
        pool.recorder().recorded_leases()
    };
    let plain = AllocOptions::default();
    assert_eq!(recorded(Level::Disabled, &plain), 0);
    assert!((120..300).contains(&recorded(Level::Simple, &plain)));
    assert_eq!(recorded(Level::Paranoid, &plain), 3200);
    for forced in [AllocOptions { record: true, ..plain }, AllocOptions::explicit()] {
        assert_eq!(recorded(Level::Disabled, &forced), 0);
        assert_eq!(recorded(Level::Simple, &forced), 3200);
    }
}

#[test]
fn a_change_of_level_keeps_the_records_of_living_leases() {
    let pool = pool(Level::Paranoid, 100);
    let mut ledger = Ledger::default();
    let watched = pool.allocate(64, owner()).unwrap();
    pool.recorder().set_level(Level::Disabled);
    let unwatched = pool.allocate(64, owner()).unwrap();
    let reports = ledger.check(much_later(), &pool);
    assert_eq!(reports.iter().map(|report| report.id).collect::<Vec<_>>(), [Some(watched.id())]);
    drop((watched, unwatched));
    ledger.absorb(pool.recorder().drain());
    assert_eq!(ledger.outstanding().len(), 0, "the end of a recorded lease is told at any level");
    assert_eq!(ledger.closed_quietly(), 0);
}

#[test]
fn a_channel_without_room_is_refused() {
    for capacity in [0, usize::MAX] {
        assert!(Recorder::new(&RecorderConfig { capacity, ..RecorderConfig::default() }).is_err());
    }
}

#[test]
fn nothing_false_is_reported_while_threads_lease_through_a_tiny_channel() {
    let pool = pool(Level::Paranoid, 16);
    pool.recorder().set_level(Level::Simple);
    let mut ledger = Ledger::default();
    let mut reported = 0;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|thread| {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..3000 {
                        let options = AllocOptions { record: true, ..AllocOptions::default() };
                        drop(pool.allocate_with(64 + round % 500, owner(), options).unwrap());
                        let leaked = pool.allocate_with(64, owner(), explicit("a:1")).unwrap();
                        assert_eq!(leaked.kind(), LeaseKind::Explicit);
                        if (round + thread) % 10 == 0 { drop(leaked) } else { leaked.release() }
                    }
                })
            })
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            for report in ledger.check(Instant::now(), &pool) {
                assert_eq!(report.kind, LeakKind::DroppedUnreleased);
                reported += report.new;
            }
        }
    });
    reported += ledger.check(much_later(), &pool).iter().map(|report| report.new).sum::<u64>();
    assert_eq!(reported, 900);
    assert_eq!(pool.stats().dropped_unreleased, 900);
    assert_eq!(ledger.outstanding().len(), 0);
}

/// An innermost caller to be found in a stack.
#[inline(never)]
fn lease_here(pool: &Pool) -> crate::pool::Buffer {
    std::hint::black_box(pool.allocate(64, owner()).unwrap())
}

#[test]
fn a_stack_begins_with_who_asked_and_names_the_pool_nowhere() {
    let pool = pool(Level::Paranoid, 100);
    let mut ledger = Ledger::default();
    let held = [lease_here(&pool), lease_here(&pool)];
    let report = ledger.check(much_later(), &pool).remove(0);
    let first = &report.frames[0];
    assert!(first.function.ends_with("lease_here"), "{:#?}", report.frames);
    assert!(first.file.as_ref().unwrap().ends_with("leak/tests.rs") && first.line.is_some());
    assert!(report.frames[1].function.ends_with("a_stack_begins_with_who_asked_and_names_the_pool_nowhere"));
    assert!(report.frames.len() <= FRAMES_MAX);
    drop(held);
}

#[test]
fn equal_stacks_are_kept_once() {
    let pool = pool(Level::Paranoid, 100);
    let held: Vec<_> = (0..10).map(|_| lease_here(&pool)).collect();
    let mut ledger = Ledger::default();
    ledger.absorb(pool.recorder().drain());
    let stacks: Vec<_> = ledger.outstanding().map(|record| record.stack.clone().unwrap()).collect();
    assert_eq!(stacks.len(), 10);
    assert!(stacks.iter().all(|stack| stack.is_same(&stacks[0])));
    drop(held);
}

#[test]
fn touches_are_kept_in_order_from_advanced_on_wherever_the_record_is() {
    for level in Level::ALL {
        let pool = pool(level, 100);
        let mut ledger = Ledger::default();
        let options = AllocOptions { record: true, ..AllocOptions::default() };
        let buffer = pool.allocate_with(64, owner(), options).unwrap();
        assert_eq!(buffer.is_traced(), level >= Level::Advanced);
        for step in ["a", "b", "c", "d", "e", "f"] {
            buffer.touch(step);
        }
        // From here on the ledger has the record.
        ledger.absorb(pool.recorder().drain());
        for step in ["g", "h", "i", "j"] {
            buffer.touch_at(step, || Some("app.py:7".into()));
        }
        let reports = ledger.check(much_later(), &pool);
        if level < Level::Advanced {
            assert!(reports.iter().all(|report| report.touches.is_empty() && report.touches_dropped == 0));
            continue;
        }
        let touches = &reports[0].touches;
        let hints: Vec<_> = touches.iter().map(|touch| touch.hint.as_str()).collect();
        assert_eq!(hints, ["j", "i", "h", "g", "f", "e", "d", "c"]);
        assert_eq!(reports[0].touches_dropped, 2);
        assert_eq!(touches[0].site.as_deref(), Some("app.py:7"));
        assert!(touches[7].site.as_deref().unwrap().contains("leak/tests.rs:"));
        let frozen = buffer.freeze();
        frozen.slice(1..9).unwrap().touch("parsed");
        assert!(frozen.slice(1..99).is_err());
        ledger.absorb(pool.recorder().drain());
        let touches = &ledger.check(much_later(), &pool)[0].touches;
        let hints: Vec<_> = touches.iter().take(4).map(|touch| touch.hint.as_str()).collect();
        assert_eq!(hints, ["parsed", "slice", "freeze", "j"]);
    }
}

#[test]
fn a_caller_of_another_language_is_asked_only_if_the_lease_is_recorded_and_shown_first() {
    let frame = Frame { function: "serve".to_owned(), file: Some("app.py".to_owned()), line: Some(12) };
    for level in Level::ALL {
        let pool = pool(level, 100);
        let mut asked = None;
        let origin = |level| {
            asked = Some(level);
            let (site, task) = (Some("app.py:12".into()), Some("fetch".into()));
            Origin { site, task, frames: vec![frame.clone().into()] }
        };
        let options = AllocOptions { record: level != Level::Simple, ..AllocOptions::default() };
        pool.recorder().set_sample_every(NonZeroU32::MAX);
        let _buffer = pool.allocate_from(64, owner(), options, origin).unwrap();
        let reports = Ledger::default().check(much_later(), &pool);
        if level < Level::Advanced {
            assert_eq!((asked, reports.len()), (None, 0));
            continue;
        }
        assert_eq!(asked, Some(level));
        assert_eq!(reports[0].frames[0], frame);
        assert!(reports[0].frames.len() > 1);
        assert_eq!((reports[0].site.as_deref(), reports[0].task.as_deref()), (Some("app.py:12"), Some("fetch")));
    }
}

#[test]
fn a_change_of_level_holds_for_every_threads_next_lease() {
    use std::sync::Barrier;
    let pool = pool(Level::Disabled, 100);
    let barrier = Barrier::new(3);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20 {
                    barrier.wait();
                    // The other level is in force now.
                    let before = (0..100).filter(|_| pool.allocate(64, owner()).unwrap().is_traced()).count();
                    barrier.wait();
                    barrier.wait();
                    let after = (0..100).filter(|_| pool.allocate(64, owner()).unwrap().is_traced()).count();
                    assert_eq!((before, after), (100, 0));
                    barrier.wait();
                }
            });
        }
        for _ in 0..20 {
            pool.recorder().set_level(Level::Paranoid);
            barrier.wait();
            barrier.wait();
            pool.recorder().set_level(Level::Disabled);
            barrier.wait();
            barrier.wait();
        }
    });
    assert_eq!(pool.recorder().recorded_leases(), 4000);
}

#[test]
fn levels_may_change_while_threads_lease_and_touch_and_nothing_is_lost_or_invented() {
    let pool = pool(Level::Simple, 64);
    let mut ledger = Ledger::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let pool = &pool;
                scope.spawn(move || {
                    let mut held = std::collections::VecDeque::new();
                    for round in 0..2000 {
                        let buffer = pool.allocate(64 + round % 500, owner()).unwrap();
                        buffer.touch("made");
                        held.push_back(buffer);
                        if held.len() > 20 {
                            held.pop_front().unwrap().touch("used");
                        }
                    }
                })
            })
            .collect();
        for level in Level::ALL.into_iter().cycle() {
            pool.recorder().set_level(level);
            assert_eq!(ledger.check(Instant::now(), &pool), []);
            if workers.iter().all(|worker| worker.is_finished()) {
                break;
            }
        }
    });
    assert_eq!(ledger.check(much_later(), &pool), []);
    assert_eq!((ledger.outstanding().len(), pool.stats().live_count), (0, 0));
}

/// A step of a program that is watched.
#[derive(Debug, Clone)]
enum Step {
    Lease { explicit: bool, site: u8 },
    Drop(prop::sample::Index),
    Release(prop::sample::Index),
    SetLevel(Level),
    Check { later: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        5 => (any::<bool>(), 0u8..3).prop_map(|(explicit, site)| Step::Lease { explicit, site }),
        2 => at().prop_map(Step::Drop),
        2 => at().prop_map(Step::Release),
        1 => prop::sample::select(vec![Level::Disabled, Level::Simple]).prop_map(Step::SetLevel),
        1 => any::<bool>().prop_map(|later| Step::Check { later }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the channel loses: each lease dropped unreleased is reported once, and only what lives is too old. If it
    /// loses nothing, all that lives and carries a record is.
    #[test]
    fn reports_are_never_wrong_and_complete_if_nothing_is_lost(
        steps in prop::collection::vec(step(), 1..100),
        capacity in prop_oneof![1usize..6, Just(1000)],
    ) {
        let pool = pool(Level::Simple, capacity);
        let mut ledger = Ledger::default();
        let mut held = Vec::new();
        let (mut dropped, mut reported) = (0, 0);
        for step in steps.into_iter().chain([Step::Check { later: true }]) {
            match step {
                Step::Lease { explicit, site } => {
                    let kind = if explicit { LeaseKind::Explicit } else { LeaseKind::Plain };
                    let options = AllocOptions { kind, record: true, ..AllocOptions::default() };
                    let recorded = pool.recorder().level() != Level::Disabled;
                    held.push((pool.allocate_with(64, owner(), options.at(site.to_string())).unwrap(), recorded));
                }
                Step::Drop(at) if !held.is_empty() => {
                    let (buffer, _) = held.swap_remove(at.index(held.len()));
                    dropped += u64::from(buffer.kind() == LeaseKind::Explicit);
                }
                Step::Release(at) if !held.is_empty() => held.swap_remove(at.index(held.len())).0.release(),
                Step::Drop(_) | Step::Release(_) => {}
                Step::SetLevel(level) => pool.recorder().set_level(level),
                Step::Check { later } => {
                    let reports = ledger.check(if later { much_later() } else { Instant::now() }, &pool);
                    let (too_old, unreleased): (Vec<_>, Vec<_>) =
                        reports.iter().partition(|report| report.kind == LeakKind::TooOld);
                    reported += unreleased.iter().map(|report| report.new).sum::<u64>();
                    prop_assert_eq!(unreleased.iter().map(|report| report.equal).sum::<u64>(), dropped);
                    prop_assert_eq!(reported, dropped);
                    prop_assert!(too_old.iter().all(|report| pool.is_live(report.id.unwrap())));
                    let old = too_old.iter().map(|report| report.equal).sum::<u64>();
                    let recorded = held.iter().filter(|(_, recorded)| *recorded).count() as u64;
                    prop_assert!(old == 0 || later && old <= recorded);
                    prop_assert!(!later || pool.recorder().dropped_events() > 0 || old == recorded);
                }
            }
        }
        prop_assert_eq!(pool.stats().dropped_unreleased, dropped);
    }
}
