//! What leak tracking adds to a lease, as a figure of its own.
//!
//! The same code leases from the same pool with tracking and without, a few milliseconds each in turn, so that whatever else
//! the machine does meets both: the difference of the medians is far steadier than that of two rows, which a loop's place in
//! memory can make differ by more. A ledger absorbs what is told, 50 times a
//! second as the leak tracker does, while this is measured.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ironcliw_actors::leak::{Ledger, Level};
use ironcliw_actors::pool::{Owner, Pool, PoolConfig};

const LEN: usize = 1 << 10;
/// Calls between the thread's first and the lease: enough for a stack of 16 frames.
const DEPTH: usize = 20;
/// Leases between two looks at the clock: some are recorded in each.
const BATCH: u32 = 1024;
const SLICE: Duration = Duration::from_millis(2);
/// Pairs of slices at least, however short the time.
const PAIRS_MIN: usize = 5;

/// Nanoseconds that a lease at this level costs more than one at `disabled`, measured for about `time`.
pub fn cost(level: Level, time: Duration) -> f64 {
    let pool = Pool::new(PoolConfig::limited(1 << 30)).expect("the limit is not too small");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut ledger = Ledger::default();
            while !done.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
                ledger.absorb(pool.recorder().drain());
            }
        });
        let cost = deep(DEPTH, &|| difference(&pool, level, time));
        done.store(true, Ordering::Relaxed);
        cost
    })
}

#[inline(never)]
fn deep(calls: usize, work: &dyn Fn() -> f64) -> f64 {
    if calls == 0 { work() } else { black_box(deep(calls - 1, work)) }
}

fn difference(pool: &Pool, level: Level, time: Duration) -> f64 {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while with.len() < PAIRS_MIN || began.elapsed() < time {
        with.push(slice(pool, level));
        without.push(slice(pool, Level::Disabled));
    }
    // Not below zero, which no limit can be compared with.
    (median(with) - median(without)).max(0.01)
}

/// Nanoseconds a lease.
fn slice(pool: &Pool, level: Level) -> f64 {
    let owner = Owner::named("bench");
    pool.recorder().set_level(level);
    let (began, mut leases) = (Instant::now(), 0u32);
    loop {
        for _ in 0..BATCH {
            let lease = pool.allocate_for_overwrite(LEN, owner);
            drop(black_box(lease.expect("the limit is far away")));
        }
        leases += BATCH;
        let elapsed = began.elapsed();
        if elapsed >= SLICE {
            return elapsed.as_nanos() as f64 / f64::from(leases);
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
