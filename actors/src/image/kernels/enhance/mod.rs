//! Making a frame look better: a mild denoise, a sharpen, and both in one pass.
//!
//! *Denoise* moves every value towards the median of its 3×3 neighbourhood (Tukey's running median, the classic remedy
//! for impulse noise): edges stay where they are and flat areas stay flat, while an isolated speck loses `strength` of
//! its height. *Sharpen* is an unsharp mask on the 3×3 Gaussian. Both work in integers and on colours only: the alpha of
//! an RGBA image is kept. Borders are reflected as in [`convolve`](super::convolve).

mod median;

use super::Isa;
use super::convolve::{around, gaussian_sums};
use super::window::Ring;
use crate::image::Scratch;
use crate::image::size::{Channels, check_output};
use crate::image::view::ImageView;
use crate::{Error, Interrupt, Result};
use median::median_row;

/// The largest amount of sharpening; more only clips.
pub const SHARPEN_MAX: f32 = 10.0;

/// One in the fixed point of strengths and amounts.
const ONE: f32 = 256.0;

/// Moves every value by `strength` (0 to 1) of the way to the median of its 3×3 neighbourhood. `dst` has the shape of
/// the image, without gaps; at strength 0 it is a copy.
///
/// # Errors
/// [`Error::InvalidInput`] when `strength` is not in 0 to 1 or `dst` has another length.
pub fn denoise(
    src: &ImageView<'_>,
    strength: f32,
    dst: &mut [u8],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<()> {
    let strength = fixed("strength", strength, 1.0)?;
    check_output(dst.len(), src.bytes())?;
    let mut ring = Ring::new(&mut scratch.rows, 3, src.row_bytes(), src.height());
    for step in interrupt.steps(dst.chunks_exact_mut(src.row_bytes()).enumerate(), 3 * src.row_bytes()) {
        let (y, out) = step?;
        denoise_row(Isa::detect(), around(src, y, &mut ring), src.channels(), strength, out);
    }
    Ok(())
}

/// Adds `amount` (0 to [`SHARPEN_MAX`]) times the difference between the image and its 3×3 Gaussian. `dst` has the shape
/// of the image, without gaps; at amount 0 it is a copy.
///
/// # Errors
/// [`Error::InvalidInput`] when `amount` is not in 0 to [`SHARPEN_MAX`] or `dst` has another length.
pub fn sharpen(
    src: &ImageView<'_>,
    amount: f32,
    dst: &mut [u8],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<()> {
    let amount = fixed("amount", amount, SHARPEN_MAX)?;
    check_output(dst.len(), src.bytes())?;
    let Scratch { rows, sums, .. } = scratch;
    let mut ring = Ring::new(rows, 3, src.row_bytes(), src.height());
    for step in interrupt.steps(dst.chunks_exact_mut(src.row_bytes()).enumerate(), 3 * src.row_bytes()) {
        let (y, out) = step?;
        sharpen_row(Isa::detect(), around(src, y, &mut ring), src.channels(), amount, sums, out);
    }
    Ok(())
}

/// [`denoise`], then [`sharpen`], row by row without a frame between them. `dst` has the shape of the image, without gaps.
///
/// # Errors
/// As those two.
pub fn auto_process(
    src: &ImageView<'_>,
    denoise_strength: f32,
    sharpen_amount: f32,
    dst: &mut [u8],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<()> {
    let strength = fixed("denoise_strength", denoise_strength, 1.0)?;
    let amount = fixed("sharpen_amount", sharpen_amount, SHARPEN_MAX)?;
    check_output(dst.len(), src.bytes())?;
    let (isa, channels, row_bytes) = (Isa::detect(), src.channels(), src.row_bytes());
    let Scratch { rows, sums, .. } = scratch;
    rows.resize((6 * row_bytes).max(rows.len()), 0);
    let (gathered, cleaned) = rows.split_at_mut(3 * row_bytes);
    let mut source = Ring::over(gathered, 3, row_bytes, src.height());
    let mut cleaned = Ring::over(cleaned, 3, row_bytes, src.height());
    for step in interrupt.steps(dst.chunks_exact_mut(row_bytes).enumerate(), 6 * row_bytes) {
        let (y, out) = step?;
        let window = cleaned.around(y, |at, row| {
            denoise_row(isa, around(src, at, &mut source), channels, strength, row);
        });
        sharpen_row(isa, window, channels, amount, sums, out);
    }
    Ok(())
}

/// A strength or an amount in fixed point.
fn fixed(name: &str, value: f32, max: f32) -> Result<i32> {
    if (0.0..=max).contains(&value) {
        Ok((value * ONE).round() as i32)
    } else {
        Err(Error::invalid(format!("{name} is 0 to {max}, not {value}")))
    }
}

fn denoise_row(isa: Isa, rows: [&[u8]; 3], channels: Channels, strength: i32, out: &mut [u8]) {
    median_row(isa, rows, channels.count(), out);
    // 255·256 + 128 fits 16 bits, so the loop can keep to them.
    let (strength, rest) = (strength as u16, 256 - strength as u16);
    for (out, value) in out.iter_mut().zip(rows[1]) {
        let blend = u16::from(*value) * rest + u16::from(*out) * strength + 128;
        *out = (blend >> 8) as u8;
    }
    keep_alpha(channels, rows[1], out);
}

fn sharpen_row(isa: Isa, rows: [&[u8]; 3], channels: Channels, amount: i32, sums: &mut Vec<u16>, out: &mut [u8]) {
    gaussian_sums::<3>(isa, rows, channels.count(), sums);
    match isa {
        #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
        Isa::Avx2 => {
            // SAFETY: `Isa::Avx2` is made by `Isa::detect` alone, on a CPU that has AVX2.
            unsafe { avx2::sharpen_across(rows[1], sums, channels.count(), amount, out) }
        }
        _ => sharpen_across(rows[1], sums, channels.count(), amount, out),
    }
    keep_alpha(channels, rows[1], out);
}

#[inline(always)]
fn sharpen_across(row: &[u8], sums: &[u16], channels: usize, amount: i32, out: &mut [u8]) {
    let [left, middle, right] = [0, 1, 2].map(|tap| &sums[tap * channels..][..out.len()]);
    let row = &row[..out.len()];
    for (i, out) in out.iter_mut().enumerate() {
        let value = i32::from(row[i]);
        // Sixteen times the Gaussian, unrounded.
        let blurred = i32::from(left[i]) + 2 * i32::from(middle[i]) + i32::from(right[i]);
        let change = ((16 * value - blurred) * amount + (1 << 11)) >> 12;
        *out = (value + change).clamp(0, 255) as u8;
    }
}

fn keep_alpha(channels: Channels, row: &[u8], out: &mut [u8]) {
    if channels == Channels::Rgba {
        for (out, pixel) in out.as_chunks_mut::<4>().0.iter_mut().zip(row.as_chunks::<4>().0) {
            out[3] = pixel[3];
        }
    }
}

/// The same loop, compiled for AVX2.
#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
mod avx2 {
    #[target_feature(enable = "avx2")]
    pub(super) fn sharpen_across(row: &[u8], sums: &[u16], channels: usize, amount: i32, out: &mut [u8]) {
        super::sharpen_across(row, sums, channels, amount, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::kernels::window::reflect101;
    use crate::image::view::tests::{bytes_of, noise, sliced};

    fn neighbours(view: &ImageView<'_>, pixels: &[u8], x: usize, y: usize, c: usize) -> [u8; 9] {
        std::array::from_fn(|i| {
            let sx = reflect101(x as isize + i as isize % 3 - 1, view.width());
            let sy = reflect101(y as isize + i as isize / 3 - 1, view.height());
            pixels[(sy * view.width() + sx) * view.channels().count() + c]
        })
    }

    fn oracle(view: &ImageView<'_>, value: impl Fn(u8, [u8; 9]) -> f64) -> Vec<u8> {
        let pixels = bytes_of(view);
        let count = view.channels().count();
        (0..pixels.len())
            .map(|i| {
                let (c, x, y) = (i % count, i / count % view.width(), i / count / view.width());
                if c == 3 {
                    return pixels[i];
                }
                (value(pixels[i], neighbours(view, &pixels, x, y, c)) + 0.5).floor().clamp(0.0, 255.0) as u8
            })
            .collect()
    }

    fn median_of(mut nine: [u8; 9]) -> f64 {
        nine.sort_unstable();
        f64::from(nine[4])
    }

    fn gaussian_of(nine: [u8; 9]) -> f64 {
        let weights = [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0];
        nine.iter().zip(weights).map(|(v, w)| f64::from(*v) * w / 16.0).sum()
    }

    #[test]
    fn denoise_and_sharpen_follow_their_definitions_for_every_slice_and_size() {
        let mut scratch = Scratch::new();
        for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
            for (w, h) in [(1, 1), (2, 1), (1, 3), (2, 2), (3, 3), (41, 7)] {
                let pixels = noise(w * h * channels.count(), 17);
                for (name, view) in sliced(&pixels, w, h, channels) {
                    let mut dst = vec![9; view.bytes()];
                    for strength in [0.0, 0.25, 1.0] {
                        denoise(&view, strength, &mut dst, &mut scratch, &Interrupt::never()).unwrap();
                        let s = f64::from(strength);
                        let want = oracle(&view, |v, nine| f64::from(v) * (1.0 - s) + median_of(nine) * s);
                        assert_eq!(dst, want, "denoise {strength} {name} {w}x{h} {channels:?}");
                    }
                    for amount in [0.0, 0.5, 2.0] {
                        sharpen(&view, amount, &mut dst, &mut scratch, &Interrupt::never()).unwrap();
                        let a = f64::from(amount);
                        let want = oracle(&view, |v, nine| f64::from(v) + a * (f64::from(v) - gaussian_of(nine)));
                        assert_eq!(dst, want, "sharpen {amount} {name} {w}x{h} {channels:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn auto_process_is_denoise_then_sharpen() {
        let mut scratch = Scratch::new();
        for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
            for (w, h) in [(1, 1), (1, 4), (5, 2), (41, 9)] {
                let pixels = noise(w * h * channels.count(), 29);
                for (name, view) in sliced(&pixels, w, h, channels) {
                    let (mut clean, mut want) = (vec![0; view.bytes()], vec![0; view.bytes()]);
                    denoise(&view, 0.3, &mut clean, &mut scratch, &Interrupt::never()).unwrap();
                    let cleaned = ImageView::of(&clean, view.size(), channels).unwrap();
                    sharpen(&cleaned, 0.7, &mut want, &mut scratch, &Interrupt::never()).unwrap();
                    let mut dst = vec![1; view.bytes()];
                    auto_process(&view, 0.3, 0.7, &mut dst, &mut scratch, &Interrupt::never()).unwrap();
                    assert_eq!(dst, want, "{name} {w}x{h}");
                }
            }
        }
    }

    #[test]
    fn every_path_gives_the_same_rows() {
        for isa in Isa::available() {
            for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
                for width in [1, 2, 3, 31, 32, 33, 100] {
                    let bytes = noise(3 * width * channels.count(), width as u32);
                    let rows: [&[u8]; 3] = std::array::from_fn(|i| &bytes[i * bytes.len() / 3..][..bytes.len() / 3]);
                    let (mut a, mut b) = (vec![0; rows[0].len()], vec![1; rows[0].len()]);
                    denoise_row(isa, rows, channels, 77, &mut a);
                    denoise_row(Isa::Scalar, rows, channels, 77, &mut b);
                    assert_eq!(a, b, "{isa:?} {width}");
                    sharpen_row(isa, rows, channels, 200, &mut Vec::new(), &mut a);
                    sharpen_row(Isa::Scalar, rows, channels, 200, &mut Vec::new(), &mut b);
                    assert_eq!(a, b, "{isa:?} {width}");
                }
            }
        }
    }

    #[test]
    fn a_speck_goes_and_an_edge_stays() {
        let mut pixels = [10u8; 7 * 7];
        pixels[3 * 7 + 3] = 250;
        let view = ImageView::dense(&pixels, 7, 7, Channels::Gray).unwrap();
        let mut dst = [0; 49];
        denoise(&view, 1.0, &mut dst, &mut Scratch::new(), &Interrupt::never()).unwrap();
        assert_eq!(dst, [10; 49]);
        let edge: Vec<u8> = (0..49).map(|i| if i % 7 < 3 { 20 } else { 200 }).collect();
        let view = ImageView::dense(&edge, 7, 7, Channels::Gray).unwrap();
        denoise(&view, 1.0, &mut dst, &mut Scratch::new(), &Interrupt::never()).unwrap();
        assert_eq!(dst, edge[..]);
    }

    #[test]
    fn a_strength_or_amount_out_of_range_is_refused() {
        let view = ImageView::dense(&[1], 1, 1, Channels::Gray).unwrap();
        let mut scratch = Scratch::new();
        for bad in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
            assert!(denoise(&view, bad, &mut [0], &mut scratch, &Interrupt::never()).is_err());
            assert!(sharpen(&view, bad * 10.0, &mut [0], &mut scratch, &Interrupt::never()).is_err());
            assert!(auto_process(&view, bad, 1.0, &mut [0], &mut scratch, &Interrupt::never()).is_err());
        }
    }
}
