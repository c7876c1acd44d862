//! Colour conversion between gray, RGB and RGBA.
//!
//! Gray is ITU-R 601 luminance, 0.299 R + 0.587 G + 0.114 B rounded to the nearest level, with the 16-bit coefficients
//! of Pillow's mode `L`, whose results it repeats bit for bit. Alpha that appears is 255; alpha that goes is dropped, not
//! blended. There is no `wide` path: these are shuffles of bytes, which `wide` cannot say, and which compilers find in
//! the scalar loops for ARM64 (`ld3`, `st4`).

#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
mod avx2;
mod scalar;

use super::Isa;
use crate::image::Scratch;
use crate::image::size::{Channels, check_output};
use crate::image::view::ImageView;
use crate::{Interrupt, Result};

/// Coefficients of R, G and B in 1/65536, which sum to 1.
const LUMA: [i32; 3] = [19_595, 38_470, 7_471];

/// Converts an image to `to`; `dst` gets `src.size().bytes(to)` bytes, without gaps. Converting to the channels the image
/// already has copies it.
///
/// # Errors
/// [`Error::InvalidInput`](crate::Error::InvalidInput) when `dst` has another length.
pub fn convert(
    src: &ImageView<'_>,
    to: Channels,
    dst: &mut [u8],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<()> {
    check_output(dst.len(), src.size().bytes(to))?;
    if src.channels() == to {
        src.copy_to(dst);
        return Ok(());
    }
    let isa = Isa::detect();
    let row_bytes = src.width() * to.count();
    for step in interrupt.steps(dst.chunks_exact_mut(row_bytes).enumerate(), row_bytes) {
        let (y, out) = step?;
        convert_row_with(isa, src.channels(), src.row(y, &mut scratch.row), to, out);
    }
    Ok(())
}

/// Converts one row of dense pixels; both slices hold the same number of them.
pub(crate) fn convert_row(from: Channels, row: &[u8], to: Channels, out: &mut [u8]) {
    convert_row_with(Isa::detect(), from, row, to, out);
}

fn convert_row_with(isa: Isa, from: Channels, row: &[u8], to: Channels, out: &mut [u8]) {
    debug_assert_eq!(row.len() / from.count(), out.len() / to.count());
    match isa {
        #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
        Isa::Avx2 => {
            // SAFETY: `Isa::Avx2` is made by `Isa::detect` alone, on a CPU that has AVX2.
            unsafe { avx2::convert_row(from, row, to, out) }
        }
        _ => scalar::convert_row(from, row, to, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::view::tests::{bytes_of, noise, sliced};

    const ALL: [Channels; 3] = [Channels::Gray, Channels::Rgb, Channels::Rgba];

    /// The nine conversions from their definition.
    fn oracle(from: Channels, pixels: &[u8], to: Channels) -> Vec<u8> {
        let luma = |p: &[u8]| {
            let exact = 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]);
            exact.round() as u8
        };
        let mut out = Vec::new();
        for p in pixels.chunks_exact(from.count()) {
            let (rgb, alpha) = match from {
                Channels::Gray => ([p[0]; 3], 255),
                Channels::Rgb => ([p[0], p[1], p[2]], 255),
                Channels::Rgba => ([p[0], p[1], p[2]], p[3]),
            };
            match to {
                Channels::Gray if from == Channels::Gray => out.push(p[0]),
                Channels::Gray => out.push(luma(&rgb)),
                Channels::Rgb => out.extend(rgb),
                Channels::Rgba => out.extend([rgb[0], rgb[1], rgb[2], alpha]),
            }
        }
        out
    }

    #[test]
    fn all_nine_conversions_follow_their_definition() {
        let mut scratch = Scratch::new();
        for from in ALL {
            let pixels = noise(61 * 17 * from.count(), 11);
            let view = ImageView::dense(&pixels, 61, 17, from).unwrap();
            for to in ALL {
                let mut dst = vec![7; view.size().bytes(to)];
                convert(&view, to, &mut dst, &mut scratch, &Interrupt::never()).unwrap();
                for (got, want) in dst.iter().zip(oracle(from, &pixels, to)) {
                    assert!(got.abs_diff(want) <= u8::from(to == Channels::Gray), "{from:?} to {to:?}");
                }
            }
        }
    }

    #[test]
    fn every_path_gives_the_bytes_of_the_scalar_one_at_any_width() {
        for isa in Isa::available() {
            for from in ALL {
                for to in ALL {
                    for width in (1..=70).chain([255, 1021]) {
                        let row = noise(width * from.count(), width as u32);
                        let (mut a, mut b) = (vec![1; width * to.count()], vec![2; width * to.count()]);
                        convert_row_with(isa, from, &row, to, &mut a);
                        scalar::convert_row(from, &row, to, &mut b);
                        assert_eq!(a, b, "{isa:?} {from:?} to {to:?} at width {width}");
                    }
                }
            }
        }
    }

    #[test]
    fn gray_of_a_gray_colour_is_that_gray() {
        for isa in Isa::available() {
            for value in 0..=255u8 {
                let mut out = [0; 9];
                convert_row_with(isa, Channels::Rgb, &[value; 27], Channels::Gray, &mut out);
                assert_eq!(out, [value; 9]);
            }
        }
    }

    #[test]
    fn a_strided_source_gives_what_its_dense_copy_gives() {
        let mut scratch = Scratch::new();
        for from in ALL {
            let pixels = noise(21 * 6 * from.count(), 2);
            for (name, view) in sliced(&pixels, 21, 6, from) {
                for to in ALL {
                    let mut dst = vec![0; view.size().bytes(to)];
                    convert(&view, to, &mut dst, &mut scratch, &Interrupt::never()).unwrap();
                    let mut want = vec![0; dst.len()];
                    scalar::convert_row(from, &bytes_of(&view), to, &mut want);
                    assert_eq!(dst, want, "{name} {from:?} to {to:?}");
                }
            }
        }
    }
}
