//! One in n, at random distances.
//!
//! Every n-th lease would always meet the same one of a program that leases in a fixed pattern, and never the others. The
//! distance to the next sample is therefore drawn uniformly from 1 to 2n - 1, which is n on average; the draw happens once a
//! sample, and between two samples a lease costs one decrement of a number that lies beside what the lease writes anyway:
//! each thread's cache of the pool has a countdown of its own (`pool/cache`).
//!
//! A change of n reaches a countdown by [`Countdown::restart`]; whoever changes n visits every cache to call it, so that the
//! lease need not compare.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Leases until the next sample. Changed only by whoever is alone with it (the holder of its cache), so that nothing here is
/// a read-modify-write.
#[derive(Debug)]
pub(crate) struct Countdown {
    /// 1: the next lease is a sample. 0: the distance must be drawn first.
    left: AtomicU32,
    /// The state of a xorshift generator; 0 is one that never drew.
    random: AtomicU32,
}

/// Seeds: any odd step visits every number.
static SEEDS: AtomicU32 = AtomicU32::new(0x9E37_79B9);

impl Countdown {
    pub(crate) const fn new() -> Self {
        Self { left: AtomicU32::new(0), random: AtomicU32::new(0) }
    }

    /// Has the next lease draw anew.
    pub(crate) fn restart(&self) {
        self.left.store(0, Relaxed);
    }

    /// Whether the lease at hand is a sample, one in `every()` on average; with an `every` of 0 none is, and of 1 each.
    #[inline(always)]
    pub(crate) fn is_sample(&self, every: impl FnOnce() -> u32) -> bool {
        let left = self.left.load(Relaxed);
        if left > 1 {
            self.left.store(left - 1, Relaxed);
            return false;
        }
        self.draw(left, every())
    }

    /// The same, where a distance ends, or must be drawn.
    #[cold]
    #[inline(never)]
    fn draw(&self, left: u32, every: u32) -> bool {
        if every <= 1 {
            self.left.store(if every == 0 { u32::MAX } else { 1 }, Relaxed);
            return every == 1;
        }
        let is_sample = left == 1 || self.distance(every) == 1;
        // After a sample a new distance begins; before one, the rest of what was drawn, which is as random.
        self.left.store(self.distance(every), Relaxed);
        is_sample
    }

    /// 1 to `2 * every - 1`, by Marsaglia's xorshift32, whose state is never 0.
    fn distance(&self, every: u32) -> u32 {
        let mut random = self.random.load(Relaxed);
        if random == 0 {
            random = SEEDS.fetch_add(0x9E37_79B9, Relaxed) | 1;
        }
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        self.random.store(random, Relaxed);
        1 + random % every.saturating_mul(2).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_in_n_is_sampled_and_no_fixed_pattern_escapes() {
        let countdown = Countdown::new();
        let mut hits_by_phase = [0u32; 8];
        for lease in 0..128 * 4096 {
            hits_by_phase[lease % 8] += u32::from(countdown.is_sample(|| 128));
        }
        let hits: u32 = hits_by_phase.iter().sum();
        assert!((3700..4500).contains(&hits), "{hits} of 4096 expected");
        assert!(hits_by_phase.iter().all(|&hits| hits > 300), "{hits_by_phase:?}");
    }

    #[test]
    fn one_in_one_is_every_one_and_one_in_none_is_none() {
        let countdown = Countdown::new();
        assert!((0..100).all(|_| countdown.is_sample(|| 1)));
        countdown.restart();
        assert!((0..100).all(|_| !countdown.is_sample(|| 0)));
        for every in [2, u32::MAX / 2, u32::MAX] {
            countdown.restart();
            (0..1000).for_each(|_| _ = countdown.is_sample(|| every));
        }
    }

    #[test]
    fn a_restart_draws_at_once() {
        let countdown = Countdown::new();
        assert!((0..10).all(|_| !countdown.is_sample(|| 0)));
        countdown.restart();
        assert!(countdown.is_sample(|| 1));
        countdown.restart();
        assert!(!countdown.is_sample(|| 0));
    }
}
