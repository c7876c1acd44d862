//! Sixteen values at a time with portable vectors.

use wide::u8x16;

use super::{Nine, median_of_nine, scalar};

pub(super) fn medians(nine: Nine<&[u8]>, out: &mut [u8]) {
    let (sixteens, _) = out.as_chunks_mut::<16>();
    let done = 16 * sixteens.len();
    for (at, out) in sixteens.iter_mut().enumerate() {
        let load = |tap: &[u8]| u8x16::new(*tap[16 * at..].first_chunk().expect("taps are as long as the output"));
        let values = nine.map(|row| row.map(load));
        *out = median_of_nine!(values, u8x16::min, u8x16::max).to_array();
    }
    scalar::medians(nine, out, done);
}
