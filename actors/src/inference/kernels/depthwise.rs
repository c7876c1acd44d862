//! Depthwise convolution, each channel with a kernel of its own, directly on a channels-last image.
//!
//! Bound by memory, not by arithmetic, so it stays in float32. A sum runs through the kernel in row-major order without
//! fused steps: every instruction set gives the same bits.

use super::epilogue::Clamp;
use super::isa::{Isa, vectorize};
use super::patches::{Image, Window};

/// Channels summed in registers at once.
const LANES: usize = 16;

/// Kernels as `(kernel row, kernel column, channel)`.
pub(crate) struct Weights {
    pub taps: Vec<f32>,
    /// One a channel.
    pub bias: Vec<f32>,
    pub clamp: Clamp,
}

/// Convolves one sample into `out`, which holds every position of the window, channels last.
pub(crate) fn convolve(
    isa: Isa,
    image: Image<'_, f32>,
    window: &Window,
    weights: &Weights,
    out: &mut [f32],
) {
    let Some([_, across]) = window.positions(image.size) else {
        return;
    };
    vectorize!(isa, every_position(image: Image<'_, f32>, window: &Window, weights: &Weights, across: usize, out: &mut [f32]));
}

#[inline(always)]
fn every_position(
    image: Image<'_, f32>,
    window: &Window,
    weights: &Weights,
    across: usize,
    out: &mut [f32],
) {
    let channels = image.channels;
    let clamp = weights.clamp;
    for (position, out) in out.chunks_exact_mut(channels).enumerate() {
        let (tall, top) = window.overlap(0, position / across, image.size[0]);
        let (broad, left) = window.overlap(1, position % across, image.size[1]);
        let origin = (top * image.size[1] + left) * channels;
        let mut first = 0;
        while first + LANES <= channels {
            let mut sums = [0.0f32; LANES];
            for (row, ky) in tall.clone().enumerate() {
                let pixels = &image.pixels[origin + row * image.size[1] * channels + first..];
                let taps =
                    &weights.taps[(ky * window.kernel[1] + broad.start) * channels + first..];
                for column in 0..broad.len() {
                    let pixels = &pixels[column * channels..][..LANES];
                    let taps = &taps[column * channels..][..LANES];
                    for lane in 0..LANES {
                        sums[lane] += pixels[lane] * taps[lane];
                    }
                }
            }
            let bias = &weights.bias[first..][..LANES];
            for (sum, bias) in sums.iter_mut().zip(bias) {
                *sum = clamp.apply(*sum + bias);
            }
            out[first..][..LANES].copy_from_slice(&sums);
            first += LANES;
        }
        for (channel, out) in out.iter_mut().enumerate().skip(first) {
            let mut sum = 0.0f32;
            for (row, ky) in tall.clone().enumerate() {
                for (column, kx) in broad.clone().enumerate() {
                    sum += image.pixels
                        [origin + (row * image.size[1] + column) * channels + channel]
                        * weights.taps[(ky * window.kernel[1] + kx) * channels + channel];
                }
            }
            *out = clamp.apply(sum + weights.bias[channel]);
        }
    }
}
