//! Resizing: bilinear, antialiased, as Pillow's `BILINEAR`.
//!
//! When an image shrinks the triangle filter is stretched by the scale, so every source pixel counts and fine patterns
//! do not alias; when it grows this is plain bilinear interpolation. Arithmetic is fast_image_resize's fixed point, within
//! one level of Pillow's. Each channel is filtered on its own: alpha is a channel as the others and the colours are
//! not multiplied by it first (Pillow does that for `RGBA`), so a round trip changes no colour of a transparent pixel.

use fast_image_resize as fir;
use fir::images::TypedImage;
use fir::pixels::{InnerPixel, U8, U8x3, U8x4};

use crate::image::Scratch;
use crate::image::size::{Channels, Size, check_output};
use crate::image::view::ImageView;
use crate::{Error, Interrupt, Result};

/// Bytes read and written in one go, between two looks at the interrupt: a few milliseconds. Each go makes the weights of a
/// row anew, which is little beside so many bytes.
const BAND_BYTES: usize = 16 << 20;

/// Resizes an image to `size`; `dst` gets `size.bytes(src.channels())` bytes of the source's channels, without gaps.
///
/// Rows of the source are borrowed where their pixels are dense, and also where only the order of channels is reversed
/// (a BGR frame seen as RGB). Other sources, such as `img[:, ::-1]`, are gathered into scratch first.
///
/// # Errors
/// [`Error::InvalidInput`] when `dst` has another length.
pub fn resize(
    src: &ImageView<'_>,
    size: Size,
    dst: &mut [u8],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<()> {
    resize_in_bands(src, size, dst, scratch, interrupt, BAND_BYTES)
}

fn resize_in_bands(
    src: &ImageView<'_>,
    size: Size,
    dst: &mut [u8],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
    band_bytes: usize,
) -> Result<()> {
    check_output(dst.len(), size.bytes(src.channels()))?;
    interrupt.check()?;
    if size == src.size() {
        src.copy_to(dst);
        return Ok(());
    }
    let Scratch { frame, resizer, .. } = scratch;
    #[cfg(not(feature = "simd-accel"))]
    // SAFETY: no extension at all is supported by every CPU.
    unsafe {
        resizer.set_cpu_extensions(fir::CpuExtensions::None);
    }
    let rows_each = (band_bytes * size.height() / (src.bytes() + dst.len())).max(1);
    let mut in_bands = |src: &ImageView<'_>, dst: &mut [u8]| -> Result<()> {
        for (index, dst) in dst.chunks_mut(rows_each * size.width() * src.channels().count()).enumerate() {
            interrupt.check()?;
            let band = Band { size, first: index * rows_each, dst };
            resize_rows(src, band, resizer)?;
        }
        Ok(())
    };
    if src.has_dense_rows() {
        return in_bands(src, dst);
    }
    if let Some(reversed) = src.channels_reversed() {
        in_bands(&reversed, dst)?;
        dst.chunks_exact_mut(src.channels().count()).for_each(<[u8]>::reverse);
        return Ok(());
    }
    frame.resize(src.bytes(), 0);
    src.copy_to(frame);
    in_bands(&ImageView::of(frame, src.size(), src.channels())?, dst)
}

/// Some rows of a result of `size`, from row `first` on. The resizer filters down the columns first, so nothing is computed
/// twice; its weights depend on the place alone, but for the precision they are stored in: a band is the rows of the
/// whole within one level.
struct Band<'d> {
    size: Size,
    first: usize,
    dst: &'d mut [u8],
}

fn resize_rows(src: &ImageView<'_>, band: Band<'_>, resizer: &mut fir::Resizer) -> Result<()> {
    match src.channels() {
        Channels::Gray => resize_pixels::<U8>(src, band, resizer),
        Channels::Rgb => resize_pixels::<U8x3>(src, band, resizer),
        Channels::Rgba => resize_pixels::<U8x4>(src, band, resizer),
    }
}

fn resize_pixels<P: fir::PixelTrait>(src: &ImageView<'_>, band: Band<'_>, resizer: &mut fir::Resizer) -> Result<()> {
    let refused = |error: &dyn std::fmt::Display| Error::invalid(format!("the image cannot be resized: {error}"));
    let Band { size, first, dst } = band;
    let rows = dst.len() / (size.width() * size_of::<P>());
    let mut dst =
        TypedImage::<P>::from_buffer(size.width() as u32, rows as u32, dst).map_err(|error| refused(&error))?;
    let options =
        fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear)).use_alpha(false);
    let options = if rows == size.height() {
        options
    } else {
        let (height, scale) = (src.height() as f64, src.height() as f64 / size.height() as f64);
        let top = first as f64 * scale;
        // Rounding must not lead out of the image.
        options.crop(0.0, top, src.width() as f64, (rows as f64 * scale).min(height - top))
    };
    let rows = Rows::<P> { view: *src, pixel: std::marker::PhantomData };
    resizer.resize_typed(&rows, &mut dst, &options).map_err(|error| refused(&error))
}

/// A view with dense rows, as fast_image_resize reads images.
struct Rows<'a, P> {
    view: ImageView<'a>,
    pixel: std::marker::PhantomData<P>,
}

// SAFETY: every row returned has exactly `width` pixels.
unsafe impl<P: InnerPixel> fir::ImageView for Rows<'_, P> {
    type Pixel = P;

    fn width(&self) -> u32 {
        self.view.width() as u32
    }

    fn height(&self) -> u32 {
        self.view.height() as u32
    }

    fn iter_rows(&self, start_row: u32) -> impl Iterator<Item = &[P]> {
        (start_row as usize..self.view.height()).map_while(|y| {
            let row = self.view.dense_row(y)?;
            // SAFETY: `P` is one of U8, U8x3 and U8x4: `repr(transparent)` over bytes, so of alignment 1 and valid for
            // any bytes; whole pixels only, since a row has `width × size_of::<P>()` bytes.
            let (_, pixels, _) = unsafe { row.align_to::<P>() };
            Some(pixels)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::view::tests::{bytes_of, noise, sliced};

    /// Antialiased bilinear resizing in f64, straight from the definition, one axis after the other.
    fn oracle(pixels: &[u8], (w, h): (usize, usize), c: usize, (ow, oh): (usize, usize)) -> Vec<f64> {
        fn weights(n: usize, out: usize, at: usize) -> Vec<(usize, f64)> {
            let scale = n as f64 / out as f64;
            let support = scale.max(1.0);
            let center = (at as f64 + 0.5) * scale;
            let all: Vec<(usize, f64)> = (0..n)
                .map(|i| (i, (1.0 - ((i as f64 + 0.5 - center) / support).abs()).max(0.0)))
                .filter(|(_, weight)| *weight > 0.0)
                .collect();
            let sum: f64 = all.iter().map(|(_, weight)| weight).sum();
            all.into_iter().map(|(i, weight)| (i, weight / sum)).collect()
        }
        let mut out = Vec::new();
        for y in 0..oh {
            for x in 0..ow {
                for channel in 0..c {
                    let mut value = 0.0;
                    for (sy, wy) in weights(h, oh, y) {
                        for (sx, wx) in weights(w, ow, x) {
                            value += wy * wx * f64::from(pixels[(sy * w + sx) * c + channel]);
                        }
                    }
                    out.push(value);
                }
            }
        }
        out
    }

    #[test]
    fn resizing_is_antialiased_bilinear_within_two_levels() {
        for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
            for (from, to) in
                [((17, 13), (5, 4)), ((5, 3), (11, 9)), ((40, 2), (3, 7)), ((1, 1), (3, 2)), ((33, 9), (1, 1))]
            {
                let c = channels.count();
                let pixels = noise(from.0 * from.1 * c, 3);
                let view = ImageView::dense(&pixels, from.0, from.1, channels).unwrap();
                let size = Size::new(to.0, to.1).unwrap();
                let mut dst = vec![0xee; size.bytes(channels)];
                resize(&view, size, &mut dst, &mut Scratch::new(), &Interrupt::never()).unwrap();
                for (got, want) in dst.iter().zip(oracle(&pixels, from, c, to)) {
                    // Rounded after each of the two axes.
                    assert!((f64::from(*got) - want).abs() <= 1.5, "{from:?} to {to:?}: {got} against {want}");
                }
            }
        }
    }

    #[test]
    fn a_strided_source_gives_what_its_dense_copy_gives() {
        let mut scratch = Scratch::new();
        for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
            let pixels = noise(19 * 14 * channels.count(), 5);
            for (name, view) in sliced(&pixels, 19, 14, channels) {
                let copy = bytes_of(&view);
                let dense = ImageView::of(&copy, view.size(), channels).unwrap();
                for (w, h) in [(7, 5), (30, 20), (view.width(), view.height())] {
                    let size = Size::new(w, h).unwrap();
                    let (mut a, mut b) = (vec![1; size.bytes(channels)], vec![2; size.bytes(channels)]);
                    resize(&view, size, &mut a, &mut scratch, &Interrupt::never()).unwrap();
                    resize(&dense, size, &mut b, &mut scratch, &Interrupt::never()).unwrap();
                    assert_eq!(a, b, "{name} to {w}x{h}");
                }
            }
        }
    }

    #[test]
    fn an_output_of_another_length_is_refused() {
        let view = ImageView::dense(&[1, 2, 3], 1, 1, Channels::Rgb).unwrap();
        let size = Size::new(2, 2).unwrap();
        assert!(resize(&view, size, &mut [0; 13], &mut Scratch::new(), &Interrupt::never()).is_err());
    }

    #[test]
    fn the_bands_of_a_result_are_the_rows_of_the_whole_within_one_level() {
        let mut scratch = Scratch::new();
        let never = Interrupt::never();
        for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
            let pixels = noise(57 * 43 * channels.count(), 19);
            let view = ImageView::dense(&pixels, 57, 43, channels).unwrap();
            for (w, h) in [(7, 5), (57, 11), (20, 43), (30, 31), (111, 97), (57, 86), (13, 200), (56, 42)] {
                let size = Size::new(w, h).unwrap();
                let (mut whole, mut bands) = (vec![1; size.bytes(channels)], vec![2; size.bytes(channels)]);
                resize(&view, size, &mut whole, &mut scratch, &never).unwrap();
                for band_bytes in [1, 3000, 7000] {
                    resize_in_bands(&view, size, &mut bands, &mut scratch, &never, band_bytes).unwrap();
                    let most = whole.iter().zip(&bands).map(|(a, b)| a.abs_diff(*b)).max();
                    assert!(most <= Some(1), "{channels:?} to {w}x{h} in bands of {band_bytes} bytes: {most:?}");
                }
            }
        }
    }
}
