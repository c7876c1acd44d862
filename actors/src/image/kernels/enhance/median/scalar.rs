//! The oracle: one value at a time.

use super::{Nine, median_of_nine};

/// Medians of the values from `first` on.
pub(super) fn medians(nine: Nine<&[u8]>, out: &mut [u8], first: usize) {
    for (i, out) in out.iter_mut().enumerate().skip(first) {
        *out = median(nine.map(|row| row.map(|tap| tap[i])));
    }
}

#[inline(always)]
pub(super) fn median(nine: Nine<u8>) -> u8 {
    median_of_nine!(nine, Ord::min, Ord::max)
}
