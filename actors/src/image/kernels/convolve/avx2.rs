//! Sixteen values at a time; the Gaussians are the scalar loops, compiled for AVX2.

use std::arch::x86_64::*;

use super::{Rows, scalar};
use crate::image::kernels::window::SIDE_MAX;

#[target_feature(enable = "avx2")]
pub(super) fn gaussian_down<const N: usize>(rows: [&[u8]; N], sums: &mut [u16]) {
    scalar::gaussian_down(rows, sums);
}

#[target_feature(enable = "avx2")]
pub(super) fn gaussian_across<const N: usize>(sums: &[u16], channels: usize, out: &mut [u8]) {
    scalar::gaussian_across::<N>(sums, channels, out);
}

/// Products and sums are not fused, so that results are the scalar ones bit for bit.
#[target_feature(enable = "avx2")]
pub(super) fn weighted(rows: &Rows<'_, '_>, weights: &[f32], channels: usize, out: &mut [u8]) {
    let lines: [&[f32]; SIDE_MAX] = std::array::from_fn(|i| rows.get(i.min(rows.side - 1)));
    let (zero, white, half) = (_mm256_setzero_ps(), _mm256_set1_ps(255.0), _mm256_set1_ps(0.5));
    let (sixteens, _) = out.as_chunks_mut::<16>();
    let done = 16 * sixteens.len();
    for (at, out) in sixteens.iter_mut().enumerate() {
        let (mut low, mut high) = (zero, zero);
        for (weights, line) in weights.chunks_exact(rows.side).zip(lines) {
            for (kx, weight) in weights.iter().enumerate() {
                let values: &[f32; 16] = line[16 * at + kx * channels..].first_chunk().expect("rows are padded");
                let weight = _mm256_set1_ps(*weight);
                // SAFETY: sixteen readable values; unaligned loads.
                let (a, b) = unsafe { (_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values[8..].as_ptr())) };
                low = _mm256_add_ps(low, _mm256_mul_ps(weight, a));
                high = _mm256_add_ps(high, _mm256_mul_ps(weight, b));
            }
        }
        let round = |total| {
            let clamped = _mm256_min_ps(_mm256_max_ps(total, zero), white);
            _mm256_cvttps_epi32(_mm256_add_ps(clamped, half))
        };
        // Packing works within 128-bit halves: 32 to 16 bits, the quarters put in order, 16 to 8 bits.
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(round(low), round(high)));
        let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        // SAFETY: sixteen writable bytes; an unaligned store.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) }
    }
    scalar::weighted(rows, weights, channels, out, done);
}
