//! How long something has been at work, in one word that one thread writes and anybody reads. It counts ticks (`ticks.rs`).
//!
//! At rest the word is the sum; at work it is the sum less the time that the work began, with a bit that says so. A reader
//! adds its own time then, so work that does not end is seen as it goes on.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ticks;

const AT_WORK: u64 = 1 << 63;

#[derive(Default)]
pub(crate) struct Busy(AtomicU64);

impl Busy {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Work begins. If an earlier one has not ended, its thread was lost: until now it was at work.
    pub(crate) fn begin(&self, now: u64) {
        let sum = until(self.0.load(Ordering::Relaxed), now);
        self.0.store(sum.wrapping_sub(now) | AT_WORK, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, now: u64) {
        self.0.store(until(self.0.load(Ordering::Relaxed), now), Ordering::Relaxed);
    }

    /// Nanoseconds, up to now.
    pub(crate) fn sum_ns(&self) -> u64 {
        ticks::to_ns(self.sum(ticks::now()))
    }

    fn sum(&self, now: u64) -> u64 {
        let sum = until(self.0.load(Ordering::Acquire), now);
        // Two cores' counters may differ by a little, so work that has just begun may seem to begin later than now.
        if sum > AT_WORK >> 1 { 0 } else { sum }
    }
}

fn until(word: u64, now: u64) -> u64 {
    if word & AT_WORK == 0 { word } else { word.wrapping_add(now) & !AT_WORK }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_work_and_goes_on_with_it() {
        let busy = Busy::new();
        busy.begin(1_010);
        assert_eq!(busy.sum(1_015), 5);
        busy.end(1_030);
        assert_eq!(busy.sum(1_035), 20);
        busy.begin(1_040);
        busy.end(1_045);
        assert_eq!(busy.sum(1_050), 25);
        // A thread is lost at work, and the next one begins.
        busy.begin(1_050);
        busy.begin(1_060);
        busy.end(1_061);
        assert_eq!(busy.sum(1_070), 36);
        // And the lost one returns.
        busy.end(1_070);
        assert_eq!(busy.sum(1_080), 36);
    }
}
