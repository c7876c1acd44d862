//! Thirty-two values at a time.

use std::arch::x86_64::*;

use super::{Nine, median_of_nine, scalar};

#[target_feature(enable = "avx2")]
pub(super) fn medians(nine: Nine<&[u8]>, out: &mut [u8]) {
    let (chunks, _) = out.as_chunks_mut::<32>();
    let done = 32 * chunks.len();
    for (at, out) in chunks.iter_mut().enumerate() {
        let load = |tap: &[u8]| {
            let bytes: &[u8; 32] = tap[32 * at..].first_chunk().expect("taps are as long as the output");
            // SAFETY: 32 readable bytes; an unaligned load.
            unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
        };
        let [[a, b, c], [d, e, f], [g, h, i]] = nine;
        let values = [[load(a), load(b), load(c)], [load(d), load(e), load(f)], [load(g), load(h), load(i)]];
        let median = median_of_nine!(values, _mm256_min_epu8, _mm256_max_epu8);
        // SAFETY: 32 writable bytes; an unaligned store.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), median) }
    }
    scalar::medians(nine, out, done);
}
