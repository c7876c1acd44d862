//! AVX2: `vpmaddubsw` on codes of at most 15 cannot saturate, even when a whole group's eight pairs are added in
//! 16 bits: 8 · 2 · 15 · 127 = 30480.

use std::arch::x86_64::*;

use super::{DEPTH, GROUP, PANEL, Rows, Weights};
use crate::inference::kernels::isa::Avx2;

pub(super) fn matmul(_: Avx2, rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize) {
    // SAFETY: the token proves AVX2.
    unsafe { cover(rows, weights, out, out_stride) }
}

#[target_feature(enable = "avx2")]
fn cover(rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize) {
    for panel in 0..weights.panels() {
        for row in 0..rows.scales.len() {
            let totals = totals(rows, weights, row, panel);
            let first = panel * PANEL;
            let live = PANEL.min(weights.columns - first);
            for (lane, out) in out[row * out_stride + first..][..live].iter_mut().enumerate() {
                *out = weights.finish(totals[lane], rows.scales[row], first + lane);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn totals(rows: Rows<'_>, weights: &Weights, row: usize, panel: usize) -> [f32; PANEL] {
    let groups = weights.groups();
    let codes = &rows.codes[row * rows.stride..][..weights.row_bytes()];
    let sums = &rows.sums[row * groups..][..groups];
    let blocks = &weights.blocks[panel * groups..][..groups];
    let nibble = _mm256_set1_epi8(15);
    let ones = _mm256_set1_epi16(1);
    let mut totals = [_mm256_setzero_ps(); 2];
    for ((block, codes), sum) in blocks.iter().zip(codes.chunks_exact(GROUP)).zip(sums) {
        let mut pairs = [_mm256_setzero_si256(); 2];
        for (chunk, codes) in block.nibbles.iter().zip(codes.chunks_exact(DEPTH)) {
            // SAFETY: the first and the last four of eight codes.
            let (early, late) = unsafe {
                let four = codes.as_ptr().cast::<i32>();
                (_mm256_set1_epi32(four.read_unaligned()), _mm256_set1_epi32(four.add(1).read_unaligned()))
            };
            for (half, pairs) in pairs.iter_mut().enumerate() {
                // SAFETY: 32 bytes at a half of a 64-byte chunk.
                let both = unsafe { _mm256_loadu_si256(chunk.as_ptr().add(32 * half).cast()) };
                let low = _mm256_and_si256(both, nibble);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), nibble);
                *pairs = _mm256_add_epi16(*pairs, _mm256_maddubs_epi16(low, early));
                *pairs = _mm256_add_epi16(*pairs, _mm256_maddubs_epi16(high, late));
            }
        }
        let sum = _mm256_set1_ps(*sum);
        for (half, (total, pairs)) in totals.iter_mut().zip(pairs).enumerate() {
            let dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
            // SAFETY: eight bf16 at a half of sixteen; a bf16 is the upper half of a float.
            let (scale, minimum) = unsafe {
                let scales = _mm_loadu_si128(block.scales.as_ptr().add(8 * half).cast());
                let minima = _mm_loadu_si128(block.minima.as_ptr().add(8 * half).cast());
                (widen(scales), widen(minima))
            };
            let part = _mm256_add_ps(_mm256_mul_ps(scale, dot), _mm256_mul_ps(minimum, sum));
            *total = _mm256_add_ps(*total, part);
        }
    }
    let mut result = [0.0; PANEL];
    // SAFETY: eight floats at each half of sixteen.
    unsafe {
        _mm256_storeu_ps(result.as_mut_ptr(), totals[0]);
        _mm256_storeu_ps(result.as_mut_ptr().add(8), totals[1]);
    }
    result
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen(halves: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
}
