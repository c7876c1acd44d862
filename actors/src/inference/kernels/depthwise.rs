//! Depthwise convolution, each channel with a kernel of its own, directly on a channels-last image.
//!
//! Bound by memory, not by arithmetic, so it stays in float32. A sum runs through the kernel in row-major order without
//! fused steps: every instruction set gives the same bits.

use super::epilogue::Clamp;
use super::isa::{Isa, vectorize};
use super::patches::{Image, Window};

/// Channels summed at once: what the compiler reliably keeps in one vector register.
const LANES: usize = 16;

/// Kernels as `(kernel row, kernel column, channel)`.
pub(crate) struct Weights {
    pub taps: Vec<f32>,
    /// One a channel.
    pub bias: Vec<f32>,
    pub clamp: Clamp,
}

/// Convolves one sample into `out`, which holds every position of the window, channels last.
pub(crate) fn convolve(isa: Isa, image: Image<'_, f32>, window: &Window, weights: &Weights, out: &mut [f32]) {
    let Some([_, across]) = window.positions(image.size) else {
        return;
    };
    vectorize!(isa, every_position(image: Image<'_, f32>, window: &Window, weights: &Weights, across: usize, out: &mut [f32]));
}

#[inline(always)]
fn every_position(image: Image<'_, f32>, window: &Window, weights: &Weights, across: usize, out: &mut [f32]) {
    let channels = image.channels;
    for (position, out) in out.chunks_exact_mut(channels).enumerate() {
        let (tall, top) = window.overlap(0, position / across, image.size[0]);
        let (broad, left) = window.overlap(1, position % across, image.size[1]);
        let part = Part {
            pixels: &image.pixels[(top * image.size[1] + left) * channels..],
            taps: &weights.taps[(tall.start * window.kernel[1] + broad.start) * channels..],
            size: [tall.len(), broad.len()],
            pixel_line: image.size[1] * channels,
            tap_line: window.kernel[1] * channels,
            channels,
        };
        let mut first = 0;
        while first + LANES <= channels {
            part.convolve::<LANES>(first, weights, out);
            first += LANES;
        }
        for channel in first..channels {
            part.convolve::<1>(channel, weights, out);
        }
    }
}

/// The part of the kernel that lies on the image at one position, and the pixels under it.
struct Part<'a> {
    pixels: &'a [f32],
    taps: &'a [f32],
    size: [usize; 2],
    /// From one line of the image, and of the kernel, to the next.
    pixel_line: usize,
    tap_line: usize,
    channels: usize,
}

impl Part<'_> {
    /// Channels `first..first + N` of the output.
    #[inline(always)]
    fn convolve<const N: usize>(&self, first: usize, weights: &Weights, out: &mut [f32]) {
        let mut sums = [0.0f32; N];
        for row in 0..self.size[0] {
            let mut pixel = row * self.pixel_line + first;
            let mut tap = row * self.tap_line + first;
            for _ in 0..self.size[1] {
                // Arrays of a constant length: the sums stay in registers.
                let pixels = self.pixels[pixel..].first_chunk::<N>();
                let taps = self.taps[tap..].first_chunk::<N>();
                let (Some(pixels), Some(taps)) = (pixels, taps) else {
                    unreachable!("a position's part of the kernel lies on the image");
                };
                for lane in 0..N {
                    sums[lane] += pixels[lane] * taps[lane];
                }
                pixel += self.channels;
                tap += self.channels;
            }
        }
        let clamp = weights.clamp;
        for (sum, bias) in sums.iter_mut().zip(&weights.bias[first..][..N]) {
            *sum = clamp.apply(*sum + bias);
        }
        out[first..][..N].copy_from_slice(&sums);
    }
}
