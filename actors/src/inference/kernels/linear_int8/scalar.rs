//! The oracle: the definition of the product, read from the packed lines.

use super::{DEPTH, PANEL, Rows, Weights};

pub(super) fn matmul(rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize) {
    let depth = weights.lines_per_panel();
    for (row, &scale) in rows.scales.iter().enumerate() {
        let codes = &rows.codes[row * rows.stride..][..weights.row_bytes()];
        let out = &mut out[row * out_stride..][..weights.columns];
        for (panel, out) in out.chunks_mut(PANEL).enumerate() {
            let mut sums = [0i32; PANEL];
            let lines = &weights.lines[panel * depth..][..depth];
            for (line, codes) in lines.iter().zip(codes.chunks_exact(DEPTH)) {
                for (sum, weights) in sums.iter_mut().zip(line.0.chunks_exact(DEPTH)) {
                    for (&weight, &code) in weights.iter().zip(codes) {
                        *sum = sum.wrapping_add(i32::from(weight) * i32::from(code));
                    }
                }
            }
            for (lane, out) in out.iter_mut().enumerate() {
                let column = panel * PANEL + lane;
                *out = weights.finish(sums[lane].wrapping_add(weights.starts[column]), scale, column);
            }
        }
    }
}
