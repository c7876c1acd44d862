//! Pooling over channels-last images, one sample at a time.

use super::isa::{Isa, vectorize};
use super::patches::{Image, Window};

/// What becomes of the values under a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pool {
    /// The largest; NaN wins, as in PyTorch.
    Max,
    /// The mean, padding counted as zeros, which is PyTorch's default.
    Average,
}

pub(crate) fn pool(isa: Isa, kind: Pool, image: Image<'_, f32>, window: &Window, out: &mut [f32]) {
    let Some([_, across]) = window.positions(image.size) else {
        return;
    };
    vectorize!(isa, every_position(kind: Pool, image: Image<'_, f32>, window: &Window, across: usize, out: &mut [f32]));
}

#[inline(always)]
fn every_position(kind: Pool, image: Image<'_, f32>, window: &Window, across: usize, out: &mut [f32]) {
    let channels = image.channels;
    let area = (window.kernel[0] * window.kernel[1]) as f32;
    for (position, out) in out.chunks_exact_mut(channels).enumerate() {
        out.fill(if kind == Pool::Max { f32::NEG_INFINITY } else { 0.0 });
        let (tall, top) = window.overlap(0, position / across, image.size[0]);
        let (broad, left) = window.overlap(1, position % across, image.size[1]);
        for y in top..top + tall.len() {
            for x in left..left + broad.len() {
                let pixel = &image.pixels[(y * image.size[1] + x) * channels..][..channels];
                for (out, &value) in out.iter_mut().zip(pixel) {
                    *out = match kind {
                        // Not `f32::max`, which would lose a NaN.
                        Pool::Max if *out >= value || out.is_nan() => *out,
                        Pool::Max => value,
                        Pool::Average => *out + value,
                    };
                }
            }
        }
        if kind == Pool::Average {
            for out in out {
                *out /= area;
            }
        }
    }
}

/// The mean of every channel of one sample.
pub(crate) fn global_average(isa: Isa, pixels: &[f32], out: &mut [f32]) {
    vectorize!(isa, mean(pixels: &[f32], out: &mut [f32]));
}

#[inline(always)]
fn mean(pixels: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for pixel in pixels.chunks_exact(out.len()) {
        for (out, value) in out.iter_mut().zip(pixel) {
            *out += value;
        }
    }
    let count = (pixels.len() / out.len()) as f32;
    for out in out {
        *out /= count;
    }
}
