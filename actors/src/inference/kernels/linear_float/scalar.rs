//! The oracle: one product and one addition at a time.

use std::ops::Range;

use super::{Element, PANEL, Rows, Weights};

pub(super) fn accumulate<T: Element>(
    rows: Rows<'_>,
    weights: &Weights<T>,
    block: Range<usize>,
    out: &mut [f32],
    out_stride: usize,
) {
    for row in 0..rows.count {
        let values = &rows.values[row * rows.stride..][block.clone()];
        let out = &mut out[row * out_stride..][..weights.columns];
        for (panel, out) in out.chunks_mut(PANEL).enumerate() {
            let mut sums = [0.0; PANEL];
            if !Weights::<T>::is_first(&block) {
                sums[..out.len()].copy_from_slice(out);
            }
            let lines = &weights.lines[panel * weights.inputs..][block.clone()];
            for (line, &value) in lines.iter().zip(values) {
                for (sum, weight) in sums.iter_mut().zip(T::widen(line)) {
                    *sum += value * weight;
                }
            }
            for (lane, out) in out.iter_mut().enumerate() {
                let last = weights.is_last(&block);
                *out = if last { weights.finish(sums[lane], panel * PANEL + lane) } else { sums[lane] };
            }
        }
    }
}
