//! What the threads do: each has a set of live buffers, and replaces them by others of other sizes.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use ironcliw_actors::pool::{Buffer, Owner, Pool};

/// Sizes are drawn so that each doubling between these comes as often as any other.
const SMALLEST: f64 = 64.0;
const LARGEST: f64 = (16 << 20) as f64;
/// One byte of each is written: otherwise what is live need not be resident.
const PAGE_BYTES: usize = 4096;
/// Buffers between two looks at what is wanted.
const BATCH: usize = 32;
/// Between two looks at whether all have paused.
const LOOK: Duration = Duration::from_millis(1);

/// What the threads and the one that watches them share.
pub(crate) struct Load {
    threads: usize,
    /// Live bytes that each thread goes for.
    aim: AtomicUsize,
    pauses: AtomicBool,
    paused: AtomicUsize,
    /// Of the threads that have paused, together.
    live: AtomicUsize,
    ends: AtomicBool,
}

impl Load {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            aim: AtomicUsize::new(0),
            pauses: AtomicBool::new(false),
            paused: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            ends: AtomicBool::new(false),
        }
    }

    pub(crate) fn aim(&self, bytes: usize) {
        self.aim.store(bytes, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.ends.store(true, Release);
    }

    /// Calls `look` with the bytes that are live, as they were asked for, while nobody leases or releases.
    pub(crate) fn while_paused<T>(&self, look: impl FnOnce(usize) -> T) -> T {
        self.pauses.store(true, Release);
        while self.paused.load(Acquire) < self.threads {
            std::thread::sleep(LOOK);
        }
        let seen = look(self.live.load(Relaxed));
        self.pauses.store(false, Release);
        while self.paused.load(Acquire) > 0 {
            std::thread::sleep(LOOK);
        }
        seen
    }

    /// Until the end; how many buffers were leased.
    pub(crate) fn run(&self, pool: &Pool, seed: u64) -> u64 {
        let owner = Owner::named("soak");
        let (mut held, mut live, mut leased) = (Vec::<Buffer>::new(), 0, 0);
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        while !self.ends.load(Acquire) {
            if self.pauses.load(Acquire) {
                self.pause(live);
            }
            let aim = self.aim.load(Relaxed);
            for _ in 0..BATCH {
                let buffer = lease(pool, owner, random.size());
                live += buffer.len();
                leased += 1;
                held.push(buffer);
                while live > aim && !held.is_empty() {
                    live -= held.swap_remove(random.below(held.len())).len();
                }
            }
        }
        leased
    }

    fn pause(&self, live: usize) {
        self.live.fetch_add(live, Relaxed);
        self.paused.fetch_add(1, Release);
        while self.pauses.load(Acquire) {
            std::thread::sleep(LOOK);
        }
        self.live.fetch_sub(live, Relaxed);
        self.paused.fetch_sub(1, Release);
    }
}

fn lease(pool: &Pool, owner: Owner, len: usize) -> Buffer {
    let mut buffer = pool.allocate_for_overwrite(len, owner).expect("the limit is far away");
    buffer.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    buffer
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Less than `count`, which is not 0.
    fn below(&mut self, count: usize) -> usize {
        (self.next() >> 11) as usize % count
    }

    fn size(&mut self) -> usize {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        (SMALLEST * (LARGEST / SMALLEST).powf(unit)) as usize
    }
}
