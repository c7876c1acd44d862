//! Pooling over channels-last images, one sample at a time.

use super::isa::Isa;
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
    isa.vectorize(|| every_position(kind, image, window, across, out));
}

#[inline(always)]
fn every_position(
    kind: Pool,
    image: Image<'_, f32>,
    window: &Window,
    across: usize,
    out: &mut [f32],
) {
    let channels = image.channels;
    let area = (window.kernel[0] * window.kernel[1]) as f32;
    for (position, out) in out.chunks_exact_mut(channels).enumerate() {
        out.fill(if kind == Pool::Max {
            f32::NEG_INFINITY
        } else {
            0.0
        });
        let (tall, top) = window.overlap(0, position / across, image.size[0]);
        let (broad, left) = window.overlap(1, position % across, image.size[1]);
        for y in top..top + tall.len() {
            for x in left..left + broad.len() {
                let pixel = &image.pixels[(y * image.size[1] + x) * channels..][..channels];
                match kind {
                    Pool::Max => out.iter_mut().zip(pixel).for_each(|(out, &value)| {
                        // Not `f32::max`, which would lose a NaN.
                        *out = if *out >= value || out.is_nan() {
                            *out
                        } else {
                            value
                        };
                    }),
                    Pool::Average => out
                        .iter_mut()
                        .zip(pixel)
                        .for_each(|(out, value)| *out += value),
                }
            }
        }
        if kind == Pool::Average {
            out.iter_mut().for_each(|out| *out /= area);
        }
    }
}

/// The mean of every channel of one sample.
pub(crate) fn global_average(isa: Isa, pixels: &[f32], out: &mut [f32]) {
    isa.vectorize(|| mean(pixels, out));
}

#[inline(always)]
fn mean(pixels: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for pixel in pixels.chunks_exact(out.len()) {
        out.iter_mut()
            .zip(pixel)
            .for_each(|(out, value)| *out += value);
    }
    let count = (pixels.len() / out.len()) as f32;
    out.iter_mut().for_each(|out| *out /= count);
}
