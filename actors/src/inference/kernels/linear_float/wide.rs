//! Portable vectors, four rows at a time.

use std::ops::Range;

use wide::f32x8;

use super::{Element, PANEL, Rows, Weights};

const TILE_ROWS: usize = 4;

pub(super) fn accumulate<T: Element>(
    rows: Rows<'_>,
    weights: &Weights<T>,
    block: Range<usize>,
    out: &mut [f32],
    out_stride: usize,
) {
    for panel in 0..weights.panels() {
        let mut row = 0;
        while row + TILE_ROWS <= rows.count {
            tile::<T, TILE_ROWS>(rows, weights, &block, row, panel, out, out_stride);
            row += TILE_ROWS;
        }
        for row in row..rows.count {
            tile::<T, 1>(rows, weights, &block, row, panel, out, out_stride);
        }
    }
}

#[inline(always)]
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
    let mut start = [[0.0; PANEL]; MR];
    if !Weights::<T>::is_first(block) {
        for (r, start) in start.iter_mut().enumerate() {
            start[..live].copy_from_slice(&out[(row + r) * out_stride + first..][..live]);
        }
    }
    let mut sums: [[f32x8; 2]; MR] = start.map(bytemuck::cast);
    let values: [&[f32]; MR] = std::array::from_fn(|r| &rows.values[(row + r) * rows.stride..][block.clone()]);
    let lines = &weights.lines[panel * weights.inputs..][block.clone()];
    for (index, line) in lines.iter().enumerate() {
        let [low, high]: [f32x8; 2] = bytemuck::cast(T::widen(line));
        for (sums, values) in sums.iter_mut().zip(values) {
            let value = f32x8::splat(values[index]);
            sums[0] = value.mul_add(low, sums[0]);
            sums[1] = value.mul_add(high, sums[1]);
        }
    }
    let last = weights.is_last(block);
    for (r, sums) in sums.into_iter().enumerate() {
        let sums: [f32; PANEL] = bytemuck::cast(sums);
        let out = &mut out[(row + r) * out_stride + first..][..live];
        for (lane, out) in out.iter_mut().enumerate() {
            *out = if last { weights.finish(sums[lane], first + lane) } else { sums[lane] };
        }
    }
}
