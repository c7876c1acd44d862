//! Portable vectors: bytes are widened to 16 bits and multiplied in pairs (`pmaddwd`, `smull` + `addp`).

use wide::{i16x16, i32x8};

use super::{DEPTH, PANEL, Rows, Weights};

/// Columns of one 16-lane vector of widened weights.
const QUARTER: usize = 4;

pub(super) fn matmul(rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize) {
    let depth = weights.lines_per_panel();
    for panel in 0..weights.panels() {
        let lines = &weights.lines[panel * depth..][..depth];
        for (row, &scale) in rows.scales.iter().enumerate() {
            let codes = &rows.codes[row * rows.stride..][..weights.row_bytes()];
            let mut pairs = [i32x8::default(); PANEL / QUARTER];
            for (line, codes) in lines.iter().zip(codes.chunks_exact(DEPTH)) {
                let codes = spread([codes[0], codes[1], codes[2], codes[3]]);
                for (sum, weights) in pairs.iter_mut().zip(bytemuck::cast_slice::<i8, wide::i8x16>(&line.0)) {
                    *sum += i16x16::from(*weights).dot(codes);
                }
            }
            let pairs: [i32; 2 * PANEL] = bytemuck::cast(pairs);
            let first = panel * PANEL;
            let out = &mut out[row * out_stride + first..];
            for (lane, out) in out.iter_mut().enumerate().take(PANEL.min(weights.columns - first)) {
                let sum = pairs[2 * lane].wrapping_add(pairs[2 * lane + 1]);
                let column = first + lane;
                *out = weights.finish(sum.wrapping_add(weights.starts[column]), scale, column);
            }
        }
    }
}

/// Four codes, widened, four times over.
#[inline(always)]
fn spread(codes: [u8; DEPTH]) -> i16x16 {
    let [a, b, c, d] = codes.map(u64::from);
    bytemuck::cast([a | b << 16 | c << 32 | d << 48; 4])
}
