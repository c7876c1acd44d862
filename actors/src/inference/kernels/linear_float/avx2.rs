//! AVX2 with FMA; F16C widens half-precision weights.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Element, PANEL, Rows, Weights};
use crate::inference::kernels::isa::Avx2;

/// Rows of a tile: 6 × 2 sums, two weight vectors and an activation are 15 of 16 registers.
const TILE_ROWS: usize = 6;

pub(super) fn accumulate<T: Element>(
    _: Avx2,
    rows: Rows<'_>,
    weights: &Weights<T>,
    block: Range<usize>,
    out: &mut [f32],
    out_stride: usize,
) {
    // SAFETY: the token proves AVX2, FMA and F16C.
    unsafe { cover(rows, weights, &block, out, out_stride) }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn cover<T: Element>(rows: Rows<'_>, weights: &Weights<T>, block: &Range<usize>, out: &mut [f32], out_stride: usize) {
    for panel in 0..weights.panels() {
        let mut row = 0;
        while row + TILE_ROWS <= rows.count {
            tile::<T, TILE_ROWS>(rows, weights, block, row, panel, out, out_stride);
            row += TILE_ROWS;
        }
        for row in row..rows.count {
            tile::<T, 1>(rows, weights, block, row, panel, out, out_stride);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn tile<T: Element, const MR: usize>(
    rows: Rows<'_>,
    weights: &Weights<T>,
    block: &Range<usize>,
    row: usize,
    panel: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    let first = panel * PANEL;
    let live = PANEL.min(weights.columns - first);
    let mut edges = [[0.0f32; PANEL]; MR];
    if !Weights::<T>::is_first(block) {
        for (r, edge) in edges.iter_mut().enumerate() {
            edge[..live].copy_from_slice(&out[(row + r) * out_stride + first..][..live]);
        }
    }
    let mut sums: [[__m256; 2]; MR] = std::array::from_fn(|r| {
        // SAFETY: eight lanes at the start and the middle of sixteen.
        unsafe { [_mm256_loadu_ps(edges[r].as_ptr()), _mm256_loadu_ps(edges[r].as_ptr().add(8))] }
    });
    let values: [&[f32]; MR] = std::array::from_fn(|r| &rows.values[(row + r) * rows.stride..][block.clone()]);
    for (index, line) in weights.lines[panel * weights.inputs..][block.clone()].iter().enumerate() {
        // SAFETY: this function enables AVX2 and F16C.
        let line = unsafe { [T::load_avx2(line, 0), T::load_avx2(line, 1)] };
        for (sums, values) in sums.iter_mut().zip(values) {
            // SAFETY: `values` has as many inputs as the block has lines.
            let value = _mm256_set1_ps(unsafe { *values.get_unchecked(index) });
            sums[0] = _mm256_fmadd_ps(value, line[0], sums[0]);
            sums[1] = _mm256_fmadd_ps(value, line[1], sums[1]);
        }
    }
    let last = weights.is_last(block);
    for (r, (sums, edge)) in sums.into_iter().zip(&mut edges).enumerate() {
        // SAFETY: eight lanes at the start and the middle of sixteen.
        unsafe {
            _mm256_storeu_ps(edge.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(edge.as_mut_ptr().add(8), sums[1]);
        }
        let out = &mut out[(row + r) * out_stride + first..][..live];
        for (lane, out) in out.iter_mut().enumerate() {
            *out = if last { weights.finish(edge[lane], first + lane) } else { edge[lane] };
        }
    }
}
