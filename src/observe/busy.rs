//! How long something has been at work, in one word that one thread writes and anybody reads.
//!
//! At rest the word is the sum; at work it is the sum less the time that the work began, with a bit that says so. A reader
//! adds its own time then, so work that does not end is seen as it goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::clock::to_ns;

const AT_WORK: u64 = 1 << 63;

#[derive(Default)]
pub(crate) struct Busy(AtomicU64);

impl Busy {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Work begins. If an earlier one has not ended, its thread was lost: until now it was at work.
    pub(crate) fn begin(&self, now: Instant) {
        let now = to_ns(now);
        let sum = until(self.0.load(Ordering::Relaxed), now);
        self.0.store(sum.wrapping_sub(now) | AT_WORK, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, now: Instant) {
        self.0.store(until(self.0.load(Ordering::Relaxed), to_ns(now)), Ordering::Relaxed);
    }

    /// Nanoseconds, up to now.
    pub(crate) fn sum_ns(&self) -> u64 {
        let sum = until(self.0.load(Ordering::Acquire), to_ns(Instant::now()));
        // Two threads' clocks may differ by a little, so work that has just begun may seem to begin later than now.
        if sum > AT_WORK >> 1 { 0 } else { sum }
    }

    /// Something that is the same in two looks if and only if one piece of work has gone on between them, or none;
    /// `None` at rest.
    #[cfg_attr(not(test), expect(dead_code, reason = "for whoever looks for handlers that do not come back"))]
    pub(crate) fn present(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|word| word & AT_WORK != 0)
    }
}

fn until(word: u64, now: u64) -> u64 {
    if word & AT_WORK == 0 { word } else { word.wrapping_add(now) & !AT_WORK }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_sum_is_that_of_the_work_and_goes_on_with_it() {
        let (busy, began) = (Busy::new(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);
        to_ns(began);
        busy.begin(at(10));
        let word = busy.present();
        assert!(word.is_some());
        busy.end(at(30));
        assert_eq!(busy.present(), None);
        busy.begin(at(40));
        assert_ne!(busy.present(), word, "another piece of work");
        busy.end(at(45));
        assert_eq!(busy.sum_ns(), 25_000_000);
        // A thread is lost at work, and the next one begins.
        busy.begin(at(50));
        busy.begin(at(60));
        busy.end(at(61));
        assert_eq!(busy.sum_ns(), 36_000_000);
        // And the lost one returns.
        busy.end(at(70));
        assert_eq!(busy.sum_ns(), 36_000_000);
    }
}
