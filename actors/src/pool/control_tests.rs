//! What limits, reservations, purging and measuring promise, tried through the pool's handles.

use super::patience::Patience;
use super::*;
use crate::Error;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;

/// A pool that keeps all it can.
pub(super) fn pool(limit_bytes: usize) -> Pool {
    Pool::new(PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(limit_bytes) }).unwrap()
}

pub(super) fn us() -> Owner {
    Owner::named("control-test/us")
}

pub(super) fn them() -> Owner {
    Owner::named("control-them")
}

pub(super) fn lease(pool: &Pool, len: usize, owner: Owner) -> Buffer {
    pool.allocate_for_overwrite(len, owner).unwrap()
}

pub(super) fn is_exhausted(result: Result<Buffer>) -> bool {
    matches!(result, Err(Error::PoolExhausted { .. }))
}

#[test]
fn above_the_high_watermark_idle_memory_goes_back_until_the_low_one_and_leases_succeed() {
    let pool = pool(10 * MIB);
    let mut held: Vec<Buffer> = (0..8).map(|_| lease(&pool, MIB, us())).collect();
    held.truncate(5);
    assert_eq!((pool.stats().cached_bytes, pool.stats().soft_limit.crossings), (3 * MIB, 0));
    // Of another class, so that it takes new memory.
    held.push(lease(&pool, 768 * KIB, us()));
    let stats = pool.stats();
    assert_eq!((stats.soft_limit.crossings, stats.soft_limit.is_above), (1, false));
    assert!(stats.live_bytes + stats.cached_bytes <= stats.soft_limit.low_bytes);
    held.push(lease(&pool, 4 * MIB, us()));
    let stats = pool.stats();
    assert_eq!((stats.soft_limit.crossings, stats.soft_limit.is_above, stats.cached_bytes), (2, true, 0));
}

#[test]
fn a_program_that_lives_above_the_soft_limit_crosses_it_once_and_recycles() {
    let pool = pool(10 * MIB);
    let held: Vec<Buffer> = (0..8).map(|_| lease(&pool, MIB, us())).collect();
    for _ in 0..100 {
        drop(lease(&pool, MIB / 2, us()));
    }
    let stats = pool.stats();
    assert_eq!((stats.soft_limit.crossings, stats.soft_limit.is_above, stats.fresh), (1, true, 9));
    drop(held);
    pool.trim(0);
    assert!(!pool.stats().soft_limit.is_above);
    drop((0..9).map(|_| lease(&pool, MIB, us())).collect::<Vec<_>>());
    assert_eq!(pool.stats().soft_limit.crossings, 2);
}

#[test]
fn what_is_reserved_can_be_leased_although_others_take_all_they_can_get() {
    let pool = pool(4 * MIB);
    pool.reserve(Reservation::new("control-test", MIB)).unwrap();
    // Idle blocks of the very class that others want.
    drop((0..16).map(|_| lease(&pool, 64 * KIB, us())).collect::<Vec<_>>());
    let mut taken = Vec::new();
    while let Ok(buffer) = pool.allocate_for_overwrite(64 * KIB, them()) {
        taken.push(buffer);
    }
    assert_eq!(taken.len(), 48, "others got more or less than the common room");
    let refused = pool.allocate(64 * KIB, them()).unwrap_err();
    assert!(refused.to_string().contains("1048576 are kept for others"), "{refused}");
    let ours: Vec<Buffer> = (0..16).map(|_| lease(&pool, 64 * KIB, us())).collect();
    assert!(is_exhausted(pool.allocate(64, us())));
    let stats = pool.stats();
    assert_eq!((stats.reservations[0].live_bytes, stats.reservations[0].reserved_bytes), (MIB as u64, MIB));
    drop((ours, taken));
    pool.trim(0);
    drop(lease(&pool, 64, them()));
    assert!(!pool.core.caches.is_strict(), "the pool stayed strict without need");
}

#[test]
fn a_cap_holds_and_is_an_error_of_its_own() {
    let pool = pool(4 * MIB);
    pool.reserve(Reservation { cap: Some(MIB), ..Reservation::new("control-test", 0) }).unwrap();
    let ours: Vec<Buffer> = (0..4).map(|_| lease(&pool, 256 * KIB, us())).collect();
    let refused = pool.allocate(1, us()).unwrap_err();
    assert!(
        matches!(&refused, Error::PoolExhausted { capped: Some(name), live: MIB, limit: MIB, .. } if &**name == "control-test")
    );
    assert!(refused.to_string().contains("\"control-test\""), "{refused}");
    let theirs = lease(&pool, 3 * MIB, them());
    drop((ours, theirs));
    pool.reserve(Reservation::new("control-test", 0)).unwrap();
    assert!(pool.allocate(2 * MIB, us()).is_ok());
}

#[test]
fn a_limit_below_what_is_reserved_and_reservations_beyond_the_limit_are_refused() {
    let pool = pool(4 * MIB);
    pool.reserve(Reservation::new("control-test", 3 * MIB)).unwrap();
    assert!(matches!(pool.reserve(Reservation::new("control-them", 2 * MIB)), Err(Error::InvalidInput(_))));
    assert!(matches!(pool.set_limit(2 * MIB), Err(Error::InvalidInput(_))));
    assert_eq!(pool.stats().limit_bytes, 4 * MIB);
    pool.set_limit(3 * MIB).unwrap();
    assert!(is_exhausted(pool.allocate(64, them())));
    assert!(pool.allocate(3 * MIB, us()).is_ok());
    let impossible = PoolConfig { reservations: vec![Reservation::new("x", 2 * MIB)], ..PoolConfig::limited(MIB) };
    assert!(matches!(Pool::new(impossible), Err(Error::InvalidInput(_))));
}

#[test]
fn a_scope_counts_what_happens_in_it_and_nested_scopes_count_for_themselves() {
    let pool = pool(64 * MIB);
    let before = lease(&pool, 1000, us());
    let outer = pool.measure(None);
    let ours = pool.measure(Some("control-test"));
    let held: Vec<Buffer> = (0..3).map(|_| lease(&pool, 1000, us())).collect();
    let inner = pool.measure(None);
    drop(lease(&pool, 100_000, them()));
    drop((held, before));
    drop(lease(&pool, 1000, us()));
    assert!(pool.allocate(65 * MIB, them()).is_err());
    let block = SizeClass::block_bytes(100_000).unwrap() as u64;
    let expected = Measured {
        allocations: 5,
        allocated_bytes: 4 * 1024 + block,
        fresh: 4,
        failures: 1,
        releases: 6,
        released_bytes: 5 * 1024 + block,
        bytes_before: 1024,
        count_before: 1,
        peak_live_bytes: 4 * 1024 + block,
        peak_live_count: 5,
    };
    assert_eq!(outer.figures(), expected);
    let figures = outer.figures();
    assert_eq!((figures.recycled(), figures.live_bytes(), figures.live_count()), (1, 0, 0));
    assert_eq!((figures.peak_bytes(), figures.peak_count()), (3 * 1024 + block, 4));
    let figures = ours.figures();
    assert_eq!((figures.allocations, figures.peak_live_bytes, figures.failures), (4, 4096, 0));
    let figures = inner.figures();
    assert_eq!((figures.allocations, figures.count_before, figures.peak_count(), figures.failures), (2, 4, 1, 1));
    drop((outer, ours, inner));
    drop(lease(&pool, 1000, us()));
    assert!(!pool.core.caches.is_strict(), "the last scope left the pool strict");
}

#[test]
fn a_scope_is_exact_although_threads_lease_while_it_opens_and_closes() {
    let pool = pool(256 * MIB);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    drop([lease(&pool, 1000, them()), lease(&pool, 70_000, them())]);
                }
            });
        }
        for round in 0..200 {
            let measure = pool.measure(Some("control-test"));
            let held: Vec<Buffer> = (0..round % 7).map(|_| lease(&pool, 5000, us())).collect();
            let count = held.len() as u64;
            drop(held);
            let figures = measure.figures();
            assert_eq!((figures.allocations, figures.releases, figures.peak_live_count), (count, count, count));
            let all = pool.measure(None);
            thread::yield_now();
            let figures = all.figures();
            assert!(figures.count_before <= 6 && figures.peak_live_count <= 6, "{figures:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!((pool.stats().live_count, pool.stats().live_bytes), (0, 0));
}

#[test]
fn idle_memory_goes_back_after_its_time_and_not_at_all_without_one() {
    let config = || PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(64 * MIB) };
    let delay = Duration::from_millis(80);
    let pool = Pool::new(PoolConfig { purge_after: Some(delay), ..config() }).unwrap();
    let mut held: Vec<Buffer> = (0..20).map(|_| lease(&pool, MIB, us())).collect();
    held.truncate(4);
    while pool.stats().cached_bytes > 0 {
        pool.purge();
        thread::sleep(delay / 20);
    }
    assert_eq!((pool.stats().purged_bytes, pool.stats().live_bytes), (16 << 20, 4 << 20));

    let pool = Pool::new(PoolConfig { purge_after: None, ..config() }).unwrap();
    drop(lease(&pool, MIB, us()));
    thread::sleep(delay);
    assert_eq!((pool.purge(), pool.stats().cached_bytes), (0, MIB));

    let pool = Pool::new(PoolConfig { purge_after: Some(Duration::ZERO), ..config() }).unwrap();
    drop(lease(&pool, MIB, us()));
    assert_eq!(pool.stats().cached_bytes, 0);
}

#[test]
fn memory_that_idle_threads_keep_is_purged_too() {
    let config = PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(64 * MIB) };
    let pool = Pool::new(PoolConfig { purge_after: Some(Duration::from_millis(40)), ..config }).unwrap();
    let (ready, stop) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            drop((0..3).map(|_| lease(&pool, MIB, us())).collect::<Vec<_>>());
            drop((0..10).map(|_| lease(&pool, 1000, us())).collect::<Vec<_>>());
            ready.wait();
            stop.wait();
        });
        ready.wait();
        while pool.stats().cached_bytes > 0 {
            pool.purge();
            thread::sleep(Duration::from_millis(2));
        }
        stop.wait();
    });
}

/// Blocks are in the hands of those who move them, again and again, and count as idle there.
#[test]
fn a_lease_that_fits_beside_what_others_lease_is_not_refused_for_what_is_on_its_way() {
    const THREADS: usize = 4;
    const SHARE: usize = 8 * MIB;
    const TURNS: u32 = 60_000;
    let pool = pool(THREADS * SHARE);
    thread::scope(|scope| {
        for seed in 0..THREADS as u32 {
            let pool = &pool;
            scope.spawn(move || {
                let (mut held, mut random) = (Vec::new(), seed);
                for turn in 0..TURNS {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let len = [64, 5000, 70_000, 300_000, 3 * MIB, 5 * MIB][(random >> 8) as usize % 6];
                    let block = SizeClass::block_bytes(len).unwrap();
                    while held.iter().map(Buffer::block_bytes).sum::<usize>() + block > SHARE {
                        held.swap_remove((random >> 16) as usize % held.len());
                    }
                    let asked = Instant::now();
                    match pool.allocate_for_overwrite(len, us()) {
                        Ok(buffer) => held.push(buffer),
                        // Nobody waits for ever for a thread that has not had its core for so long.
                        Err(error) => {
                            let waited = asked.elapsed();
                            assert!(waited >= Patience::LONGEST, "turn {turn} of {seed}, after {waited:?}: {error}");
                        }
                    }
                }
            });
        }
    });
}

/// Blocks go to and fro between the caches, the shelves and the system while somebody sums up.
#[test]
fn what_is_leased_is_never_taken_for_more_than_it_was_however_blocks_move() {
    const THREADS: usize = 3;
    const SHARE: usize = 6 * MIB;
    const TURNS: usize = 4000;
    let pool = pool(2 * THREADS * SHARE);
    thread::scope(|scope| {
        let lease_and_release = |seed| {
            let block = |len| SizeClass::block_bytes(len).unwrap();
            let _held = pool.allocate_for_overwrite(SHARE - 2 * MIB, us()).unwrap();
            for turn in seed..seed + TURNS {
                let len = [70_000, 300_000, MIB, 2 * MIB][turn % 4];
                let all: Vec<_> = (0..2 * MIB / block(len)).map(|_| pool.allocate_for_overwrite(len, us())).collect();
                assert!(all.iter().all(Result::is_ok));
                drop(all);
                if turn % 7 == 0 {
                    pool.trim(0);
                }
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|seed| scope.spawn(move || lease_and_release(seed))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            assert!(pool.core.leases_at_most(THREADS * SHARE));
        }
    });
    assert_eq!(pool.core.live_at_least(), 0);
}
