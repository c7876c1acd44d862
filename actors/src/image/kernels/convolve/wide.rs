//! Eight values at a time with portable vectors.

use wide::f32x8;

use super::{Rows, scalar};
use crate::image::kernels::window::SIDE_MAX;

pub(super) fn weighted(rows: &Rows<'_, '_>, weights: &[f32], channels: usize, out: &mut [u8]) {
    let lines: [&[f32]; SIDE_MAX] = std::array::from_fn(|i| rows.get(i.min(rows.side - 1)));
    let (eights, _) = out.as_chunks_mut::<8>();
    let done = 8 * eights.len();
    for (at, out) in eights.iter_mut().enumerate() {
        let mut total = f32x8::splat(0.0);
        for (weights, line) in weights.chunks_exact(rows.side).zip(lines) {
            for (kx, weight) in weights.iter().enumerate() {
                let values: &[f32; 8] = line[8 * at + kx * channels..].first_chunk().expect("rows are padded");
                total += f32x8::splat(*weight) * f32x8::new(*values);
            }
        }
        let rounded = total.max(f32x8::splat(0.0)).min(f32x8::splat(255.0)) + f32x8::splat(0.5);
        *out = rounded.to_array().map(|value| value as u8);
    }
    scalar::weighted(rows, weights, channels, out, done);
}
