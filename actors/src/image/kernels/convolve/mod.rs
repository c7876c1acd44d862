//! Convolution with small kernels, every channel on its own, borders reflected (`dcb|abcd|cba`).
//!
//! Start at [`Kernel`] for the choice and [`convolve`] for the work. The two Gaussians run in 16-bit integers, one axis
//! after the other, and are exact with halves rounded up; all other kernels run in `f32` over rows that are converted
//! and padded once each. Only the rows under the kernel are held: no temporary is as large as the image.

#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
mod avx2;
mod kernel;
mod scalar;
#[cfg(feature = "simd-accel")]
mod wide;

pub use kernel::Kernel;

use kernel::Shape;

use super::Isa;
use super::window::{Ring, reflect101};
use crate::image::Scratch;
use crate::image::size::check_output;
use crate::image::view::ImageView;
use crate::{Interrupt, Result};

/// Convolves an image; `dst` gets `src.bytes()` bytes of the same shape, without gaps.
///
/// # Errors
/// [`Error::InvalidInput`](crate::Error::InvalidInput) when `dst` has another length.
pub fn convolve(
    src: &ImageView<'_>,
    kernel: &Kernel,
    dst: &mut [u8],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<()> {
    convolve_with(Isa::detect(), src, kernel, dst, scratch, interrupt)
}

fn convolve_with(
    isa: Isa,
    src: &ImageView<'_>,
    kernel: &Kernel,
    dst: &mut [u8],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<()> {
    check_output(dst.len(), src.bytes())?;
    match &kernel.shape {
        Shape::Gaussian3 => gaussian::<3>(isa, src, dst, scratch, interrupt),
        Shape::Gaussian5 => gaussian::<5>(isa, src, dst, scratch, interrupt),
        Shape::Weights { side, weights } => weighted(isa, src, (*side, weights), dst, scratch, interrupt),
    }
}

fn gaussian<const N: usize>(
    isa: Isa,
    src: &ImageView<'_>,
    dst: &mut [u8],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<()> {
    let Scratch { rows, sums, .. } = scratch;
    let channels = src.channels().count();
    let mut ring = Ring::new(rows, N, src.row_bytes(), src.height());
    for step in interrupt.steps(dst.chunks_exact_mut(src.row_bytes()).enumerate(), N * src.row_bytes()) {
        let (y, out) = step?;
        let window = around::<N>(src, y, &mut ring);
        gaussian_sums::<N>(isa, window, channels, sums);
        gaussian_row::<N>(isa, sums, channels, out);
    }
    Ok(())
}

/// The `N` rows of an image around row `y`, borrowed where they are dense, else gathered into the ring.
pub(super) fn around<'r, const N: usize>(src: &ImageView<'r>, y: usize, ring: &'r mut Ring<'_, u8>) -> [&'r [u8]; N] {
    if src.has_dense_rows() {
        let rows: [Option<&[u8]>; N] = std::array::from_fn(|i| src.dense_row(ring.neighbour(y, i)));
        rows.map(Option::unwrap_or_default)
    } else {
        ring.around(y, |row, out| src.copy_row(row, out))
    }
}

/// Column sums of a Gaussian's rows, in a row that is padded left and right by `N / 2` reflected pixels.
pub(super) fn gaussian_sums<const N: usize>(isa: Isa, rows: [&[u8]; N], channels: usize, sums: &mut Vec<u16>) {
    let pad = N / 2 * channels;
    let length = rows[0].len();
    sums.resize(length + 2 * pad, 0);
    let inside = &mut sums[pad..pad + length];
    match isa {
        #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
        Isa::Avx2 => {
            // SAFETY: `Isa::Avx2` is made by `Isa::detect` alone, on a CPU that has AVX2.
            unsafe { avx2::gaussian_down(rows, inside) }
        }
        _ => scalar::gaussian_down(rows, inside),
    }
    pad_row(sums, channels, N / 2);
}

fn gaussian_row<const N: usize>(isa: Isa, sums: &[u16], channels: usize, out: &mut [u8]) {
    match isa {
        #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
        Isa::Avx2 => {
            // SAFETY: as above.
            unsafe { avx2::gaussian_across::<N>(sums, channels, out) }
        }
        _ => scalar::gaussian_across::<N>(sums, channels, out),
    }
}

fn weighted(
    isa: Isa,
    src: &ImageView<'_>,
    (side, weights): (usize, &[f32]),
    dst: &mut [u8],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<()> {
    let Scratch { row, values, .. } = scratch;
    let channels = src.channels().count();
    let pad = side / 2 * channels;
    let mut ring = Ring::new(values, side, src.row_bytes() + 2 * pad, src.height());
    for step in interrupt.steps(dst.chunks_exact_mut(src.row_bytes()).enumerate(), side * side * src.row_bytes()) {
        let (y, out) = step?;
        ring.fill(y, &mut |at, padded: &mut [f32]| {
            for (value, byte) in padded[pad..].iter_mut().zip(src.row(at, row)) {
                *value = f32::from(*byte);
            }
            pad_row(padded, channels, side / 2);
        });
        let rows = Rows { ring: &ring, y, side };
        match isa {
            #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
            Isa::Avx2 => {
                // SAFETY: as above.
                unsafe { avx2::weighted(&rows, weights, channels, out) }
            }
            #[cfg(feature = "simd-accel")]
            Isa::Wide => wide::weighted(&rows, weights, channels, out),
            _ => scalar::weighted(&rows, weights, channels, out, 0),
        }
    }
    Ok(())
}

/// The padded rows under a kernel of `side` rows.
struct Rows<'r, 's> {
    ring: &'r Ring<'s, f32>,
    y: usize,
    side: usize,
}

impl Rows<'_, '_> {
    /// Row `i` of the kernel's, counted from its top.
    fn get(&self, i: usize) -> &[f32] {
        self.ring.row(self.ring.neighbour(self.y, i))
    }
}

/// Fills the `radius` pixels at both ends of a row with reflections of its inside.
fn pad_row<T: Copy>(row: &mut [T], channels: usize, radius: usize) {
    let width = row.len() / channels - 2 * radius;
    for i in 0..radius {
        let left = (radius + reflect101(i as isize - radius as isize, width)) * channels;
        let right = (radius + reflect101((width + i) as isize, width)) * channels;
        row.copy_within(left..left + channels, i * channels);
        row.copy_within(right..right + channels, (radius + width + i) * channels);
    }
}

#[cfg(test)]
mod tests;
