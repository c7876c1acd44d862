//! Wrong uses of handles: what they are, and how many there were.
//!
//! Rust's ownership rules most of them out at compile time. They come from where handles are shared and checked while the
//! program runs: Python's buffers, ids that outlive their lease, bounds, and programs with several pools. Each ends in a
//! typed error and is counted in its pool; none is ever undefined.

use crate::{Error, Result};
use std::ops::{Bound, Range, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A wrong use of a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misuse {
    /// A lease was used after it had ended.
    UseAfterRelease,
    /// A lease was ended twice.
    DoubleRelease,
    /// A lease was to be ended by another pool than its own.
    ForeignRelease,
    /// A part was asked for that a lease does not have.
    OutOfBounds,
}

/// How many wrong uses there were, ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct MisuseCounts {
    /// Leases used after they had ended.
    pub use_after_release: u64,
    /// Leases ended twice.
    pub double_release: u64,
    /// Leases brought to another pool than their own.
    pub foreign_release: u64,
    /// Parts asked for that a lease does not have.
    pub out_of_bounds: u64,
}

/// Counts one pool's; it outlives the leases, so that a handle whose lease has ended still knows where to count, and which
/// pool it was of.
#[derive(Debug, Default)]
pub struct MisuseCounter([AtomicU64; 4]);

impl MisuseCounter {
    /// Counts one.
    pub fn count(&self, misuse: Misuse) {
        self.0[misuse as usize].fetch_add(1, Relaxed);
    }

    /// Counts it and tells it as an error.
    pub fn used_after_release(&self, id: u64) -> Error {
        self.count(Misuse::UseAfterRelease);
        Error::BufferReleased { id }
    }

    /// Counts it and tells it as an error.
    pub fn released_twice(&self, id: u64) -> Error {
        self.count(Misuse::DoubleRelease);
        Error::BufferReleased { id }
    }

    /// How many there were.
    pub fn counts(&self) -> MisuseCounts {
        let [use_after_release, double_release, foreign_release, out_of_bounds] =
            std::array::from_fn(|at| self.0[at].load(Relaxed));
        MisuseCounts { use_after_release, double_release, foreign_release, out_of_bounds }
    }

    /// The range within `len` bytes.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`], counted, when it begins after its end or ends after `len`.
    pub fn range(&self, range: impl RangeBounds<usize>, len: usize) -> Result<Range<usize>> {
        let (start, stop) = (range.start_bound().cloned(), range.end_bound().cloned());
        // Of what is beyond any number the largest will do: no buffer is as long.
        let start = match start {
            Bound::Included(at) => at,
            Bound::Excluded(at) => at.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let stop = match stop {
            Bound::Included(at) => at.saturating_add(1),
            Bound::Excluded(at) => at,
            Bound::Unbounded => len,
        };
        if start <= stop && stop <= len {
            return Ok(start..stop);
        }
        self.count(Misuse::OutOfBounds);
        Err(Error::OutOfBounds { start, stop, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_within_or_a_counted_error() {
        let counter = MisuseCounter::default();
        assert_eq!(counter.range(.., 10), Ok(0..10));
        assert_eq!(counter.range(3..=9, 10), Ok(3..10));
        assert_eq!(counter.range(10.., 10), Ok(10..10));
        assert_eq!(counter.range(0..0, 0), Ok(0..0));
        assert_eq!(counter.range(0..11, 10), Err(Error::OutOfBounds { start: 0, stop: 11, len: 10 }));
        assert_eq!(counter.range(..=usize::MAX, 10).unwrap_err().to_string(), "bytes 0 to 18446744073709551615 of 10");
        let (start, stop) = (7, 3);
        assert!(counter.range(start..stop, 10).is_err());
        assert!(counter.range((Bound::Excluded(usize::MAX), Bound::Unbounded), 10).is_err());
        assert_eq!(counter.counts(), MisuseCounts { out_of_bounds: 4, ..MisuseCounts::default() });
    }
}
