//! AVX2: `vpmaddubsw` would saturate, so both sides are widened to 16 bits and multiplied with `vpmaddwd`.
//!
//! A pair of products is at most 2 · 255 · 127 and fits easily. A 256-bit vector holds two partial sums for each of four
//! columns; they are added once, at the end.

use std::arch::x86_64::*;

use super::{DEPTH, PANEL, Rows, Weights};
use crate::inference::kernels::isa::Avx2;

/// Rows of a tile: 3 × 4 sums, three activations and a weight vector fill the 16 registers.
const TILE_ROWS: usize = 3;

/// Vectors of a line's widened weights, four columns each.
const QUARTERS: usize = PANEL / 4;

pub(super) fn matmul(_: Avx2, rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize) {
    // SAFETY: the token proves AVX2; `super::matmul` has checked that every row and output fits.
    unsafe { cover(rows, weights, out, out_stride) }
}

/// # Safety
/// As asserted by `super::matmul`.
#[target_feature(enable = "avx2")]
unsafe fn cover(rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize) {
    let count = rows.scales.len();
    for panel in 0..weights.panels() {
        let mut row = 0;
        while row + TILE_ROWS <= count {
            // SAFETY: the rows from `row` on and this panel exist.
            unsafe { tile::<TILE_ROWS>(rows, weights, row, panel, out, out_stride) };
            row += TILE_ROWS;
        }
        for row in row..count {
            // SAFETY: this row and this panel exist.
            unsafe { tile::<1>(rows, weights, row, panel, out, out_stride) };
        }
    }
}

/// # Safety
/// As asserted by `super::matmul`, and rows `row..row + MR` and panel `panel` exist.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn tile<const MR: usize>(
    rows: Rows<'_>,
    weights: &Weights,
    row: usize,
    panel: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    let depth = weights.lines_per_panel();
    let mut pairs = [[_mm256_setzero_si256(); QUARTERS]; MR];
    for (index, line) in weights.lines[panel * depth..][..depth].iter().enumerate() {
        let codes: [__m256i; MR] = std::array::from_fn(|r| {
            let at = (row + r) * rows.stride + index * DEPTH;
            // SAFETY: `at + 4` is within row `row + r`, which has `depth` whole lines.
            let four = unsafe { rows.codes.as_ptr().add(at).cast::<i32>().read_unaligned() };
            _mm256_cvtepu8_epi16(_mm_set1_epi32(four))
        });
        for quarter in 0..QUARTERS {
            // SAFETY: 16 bytes at a quarter of a 64-byte line.
            let bytes = unsafe { _mm_load_si128(line.0.as_ptr().add(16 * quarter).cast()) };
            let weights = _mm256_cvtepi8_epi16(bytes);
            for (pairs, codes) in pairs.iter_mut().zip(codes) {
                let products = _mm256_madd_epi16(codes, weights);
                pairs[quarter] = _mm256_add_epi32(pairs[quarter], products);
            }
        }
    }
    let first = panel * PANEL;
    let live = PANEL.min(weights.columns - first);
    for (r, pairs) in pairs.iter().enumerate() {
        let mut sums = [0i32; PANEL];
        for half in 0..2 {
            // Pairs meet within 128-bit lanes: columns 0 1 4 5 | 2 3 6 7, put in order by the permutation.
            let met = _mm256_hadd_epi32(pairs[2 * half], pairs[2 * half + 1]);
            let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(met);
            // SAFETY: eight sums at the start or the middle of sixteen.
            unsafe { _mm256_storeu_si256(sums.as_mut_ptr().add(8 * half).cast(), ordered) };
        }
        let scale = rows.scales[row + r];
        let out = &mut out[(row + r) * out_stride + first..][..live];
        for (lane, out) in out.iter_mut().enumerate() {
            let column = first + lane;
            *out = weights.finish(sums[lane].wrapping_add(weights.starts[column]), scale, column);
        }
    }
}
