//! The oracle: the definition of the product, read from the packed blocks.

use super::{DEPTH, GROUP, PANEL, Rows, Weights};

pub(super) fn matmul(rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize) {
    let groups = weights.groups();
    for (row, &scale) in rows.scales.iter().enumerate() {
        let codes = &rows.codes[row * rows.stride..][..weights.row_bytes()];
        let group_sums = &rows.sums[row * groups..][..groups];
        let out = &mut out[row * out_stride..][..weights.columns];
        for (panel, out) in out.chunks_mut(PANEL).enumerate() {
            let mut totals = [0.0f32; PANEL];
            let blocks = &weights.blocks[panel * groups..][..groups];
            for ((block, codes), group_sum) in blocks.iter().zip(codes.chunks_exact(GROUP)).zip(group_sums) {
                let mut sums = [0i32; PANEL];
                for (chunk, codes) in block.nibbles.iter().zip(codes.chunks_exact(DEPTH)) {
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        for i in 0..4 {
                            let pair = chunk[4 * lane + i];
                            *sum += i32::from(pair & 15) * i32::from(codes[i]);
                            *sum += i32::from(pair >> 4) * i32::from(codes[4 + i]);
                        }
                    }
                }
                for (lane, total) in totals.iter_mut().enumerate() {
                    let (scale, minimum) = (block.scales[lane].to_f32(), block.minima[lane].to_f32());
                    *total += scale * sums[lane] as f32 + minimum * group_sum;
                }
            }
            for (lane, out) in out.iter_mut().enumerate() {
                *out = weights.finish(totals[lane], scale, panel * PANEL + lane);
            }
        }
    }
}
