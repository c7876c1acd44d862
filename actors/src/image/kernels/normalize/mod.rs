//! Normalising: 8-bit pixels to the `float32` planes that networks take.

#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
mod avx2;
mod scalar;

use super::Isa;
use crate::image::Scratch;
use crate::image::size::{Channels, check_output};
use crate::image::view::ImageView;
use crate::{Error, Interrupt, Result};

/// What [`normalize`] computes for each channel: (x/255 − mean)/std as one multiplication and one addition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    channels: Channels,
    /// 1/(255·std), a channel each; the surplus is unused.
    scale: [f32; 4],
    /// −mean/std.
    bias: [f32; 4],
}

impl Normalization {
    /// `mean` and `std` in units of the scaled pixel (0 to 1), a value a channel or one for all of them.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when a length is neither 1 nor the number of channels, a mean is not finite, or a
    /// deviation is 0, not finite or so small that the result would not be.
    pub fn new(mean: &[f32], std: &[f32], channels: Channels) -> Result<Self> {
        let count = channels.count();
        for (name, values) in [("mean", mean), ("std", std)] {
            if values.len() != 1 && values.len() != count {
                return Err(Error::invalid(format!(
                    "{name} has {} values for an image of {count} channels: give 1 or {count}",
                    values.len()
                )));
            }
        }
        let mut result = Self { channels, scale: [0.0; 4], bias: [0.0; 4] };
        for c in 0..count {
            let (mean, std) = (f64::from(mean[c % mean.len()]), f64::from(std[c % std.len()]));
            let (scale, bias) = (1.0 / (255.0 * std), -mean / std);
            if !mean.is_finite() || !std.is_finite() || !(scale as f32).is_finite() || !(bias as f32).is_finite() {
                return Err(Error::invalid(format!("channel {c} cannot be normalised with mean {mean} and std {std}")));
            }
            result.scale[c] = scale as f32;
            result.bias[c] = bias as f32;
        }
        Ok(result)
    }

    /// The channels of the images it takes.
    pub fn channels(&self) -> Channels {
        self.channels
    }
}

/// Writes (x/255 − mean)/std of an image's pixels into `dst` as planes: channels × height × width values, in that order.
///
/// # Errors
/// [`Error::InvalidInput`] when the image has other channels than `how`, or `dst` another length than
/// `src.size().bytes(src.channels())` values.
pub fn normalize(
    src: &ImageView<'_>,
    how: &Normalization,
    dst: &mut [f32],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<()> {
    normalize_with(Isa::detect(), src, how, dst, scratch, interrupt)
}

fn normalize_with(
    isa: Isa,
    src: &ImageView<'_>,
    how: &Normalization,
    dst: &mut [f32],
    scratch: &mut Scratch,
    interrupt: &Interrupt,
) -> Result<()> {
    if src.channels() != how.channels {
        return Err(Error::invalid(format!(
            "a normalisation of {} channels was given an image of {}",
            how.channels.count(),
            src.channels().count()
        )));
    }
    check_output(dst.len(), src.bytes())?;
    let width = src.width();
    let mut planes = dst.chunks_exact_mut(src.size().pixels());
    let mut planes: [&mut [f32]; 4] = std::array::from_fn(|_| planes.next().unwrap_or_default());
    for step in interrupt.steps(0..src.height(), src.row_bytes() * size_of::<f32>()) {
        let y = step?;
        let row = src.row(y, &mut scratch.row);
        let out = planes.each_mut().map(|plane| plane.get_mut(y * width..(y + 1) * width).unwrap_or_default());
        match isa {
            #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
            Isa::Avx2 => {
                // SAFETY: `Isa::Avx2` is made by `Isa::detect` alone, on a CPU that has AVX2.
                unsafe { avx2::row(how, row, out) }
            }
            _ => scalar::row(how, row, out, 0),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::view::tests::{bytes_of, noise, sliced};

    const ALL: [Channels; 3] = [Channels::Gray, Channels::Rgb, Channels::Rgba];
    const MEAN: [f32; 4] = [0.485, 0.456, 0.406, 0.5];
    const STD: [f32; 4] = [0.229, 0.224, 0.225, 0.25];

    #[test]
    fn every_path_is_the_definition_in_planes_for_any_slice_of_an_image() {
        let mut scratch = Scratch::new();
        for channels in ALL {
            let n = channels.count();
            let how = Normalization::new(&MEAN[..n], &STD[..n], channels).unwrap();
            for (w, h) in [(37, 5), (8, 3), (1, 1), (64, 2)] {
                let pixels = noise(w * h * n, 9);
                for (name, view) in sliced(&pixels, w, h, channels) {
                    let bytes = bytes_of(&view);
                    let mut reference: Option<Vec<f32>> = None;
                    for isa in Isa::available() {
                        let mut dst = vec![f32::NAN; view.bytes()];
                        normalize_with(isa, &view, &how, &mut dst, &mut scratch, &Interrupt::never()).unwrap();
                        for (i, got) in dst.iter().enumerate() {
                            let (c, at) = (i / view.size().pixels(), i % view.size().pixels());
                            let x = f64::from(bytes[at * n + c]) / 255.0;
                            let want = (x - f64::from(MEAN[c])) / f64::from(STD[c]);
                            assert!((f64::from(*got) - want).abs() < 2e-6, "{name} {isa:?}: {got} against {want}");
                        }
                        assert_eq!(reference.get_or_insert_with(|| dst.clone()), &dst, "{isa:?} differs from scalar");
                    }
                }
            }
        }
    }

    #[test]
    fn one_value_serves_all_channels() {
        let how = Normalization::new(&[0.5], &[0.5], Channels::Rgb).unwrap();
        assert_eq!(how, Normalization::new(&[0.5; 3], &[0.5; 3], Channels::Rgb).unwrap());
        let view = ImageView::dense(&[0, 255, 0], 1, 1, Channels::Rgb).unwrap();
        let mut dst = [0.0; 3];
        normalize(&view, &how, &mut dst, &mut Scratch::new(), &Interrupt::never()).unwrap();
        assert_eq!(dst, [-1.0, 1.0, -1.0]);
    }

    #[test]
    fn a_deviation_that_cannot_divide_and_a_wrong_count_are_refused() {
        for std in [0.0, -0.0, f32::NAN, f32::INFINITY, 1e-42] {
            assert!(Normalization::new(&[0.5], &[0.5, std, 0.5], Channels::Rgb).is_err(), "{std}");
        }
        assert!(Normalization::new(&[f32::NAN], &[1.0], Channels::Gray).is_err());
        assert!(Normalization::new(&[], &[1.0], Channels::Gray).is_err());
        assert!(Normalization::new(&[0.5; 2], &[1.0], Channels::Rgb).is_err());
        let how = Normalization::new(&[0.5], &[0.5], Channels::Rgb).unwrap();
        let gray = ImageView::dense(&[1], 1, 1, Channels::Gray).unwrap();
        assert!(normalize(&gray, &how, &mut [0.0], &mut Scratch::new(), &Interrupt::never()).is_err());
    }
}
