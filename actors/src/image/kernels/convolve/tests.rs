use super::*;
use crate::image::size::Channels;
use crate::image::view::tests::{bytes_of, noise, sliced};

/// Convolution from its definition, in f64; halves up.
fn oracle(view: &ImageView<'_>, side: usize, weights: &[f64]) -> Vec<u8> {
    let (w, h, c) = (view.width(), view.height(), view.channels().count());
    let pixels = bytes_of(view);
    let radius = (side / 2) as isize;
    let mut out = Vec::new();
    for y in 0..h as isize {
        for x in 0..w as isize {
            for channel in 0..c {
                let mut total = 0.0;
                for (i, weight) in weights.iter().enumerate() {
                    let sy = reflect101(y + (i / side) as isize - radius, h);
                    let sx = reflect101(x + (i % side) as isize - radius, w);
                    total += weight * f64::from(pixels[(sy * w + sx) * c + channel]);
                }
                out.push((total + 0.5).floor().clamp(0.0, 255.0) as u8);
            }
        }
    }
    out
}

fn outer(taps: &[f64], divisor: f64) -> Vec<f64> {
    taps.iter().flat_map(|a| taps.iter().map(move |b| a * b / divisor)).collect()
}

#[test]
fn gaussians_are_exact_on_every_path_for_every_slice_and_size() {
    let cases = [
        ("gaussian_3x3", 3, outer(&[1.0, 2.0, 1.0], 16.0)),
        ("gaussian_5x5", 5, outer(&[1.0, 4.0, 6.0, 4.0, 1.0], 256.0)),
    ];
    let mut scratch = Scratch::new();
    for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
        for (w, h) in [(1, 1), (2, 1), (1, 3), (2, 2), (3, 4), (37, 6)] {
            let pixels = noise(w * h * channels.count(), 21);
            for (slice, view) in sliced(&pixels, w, h, channels) {
                for (name, side, weights) in &cases {
                    let want = oracle(&view, *side, weights);
                    for isa in Isa::available() {
                        let mut dst = vec![9; view.bytes()];
                        convolve_with(
                            isa,
                            &view,
                            &Kernel::named(name).unwrap(),
                            &mut dst,
                            &mut scratch,
                            &Interrupt::never(),
                        )
                        .unwrap();
                        assert_eq!(dst, want, "{name} {slice} {w}x{h} {isa:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn white_stays_white_under_a_gaussian() {
    let pixels = [255; 20 * 9];
    let view = ImageView::dense(&pixels, 20, 9, Channels::Gray).unwrap();
    let mut dst = [0; 20 * 9];
    for name in ["gaussian_3x3", "gaussian_5x5", "box_3x3"] {
        convolve(&view, &Kernel::named(name).unwrap(), &mut dst, &mut Scratch::new(), &Interrupt::never()).unwrap();
        assert_eq!(dst, pixels, "{name}");
    }
}

#[test]
fn weighted_kernels_follow_the_definition_and_paths_agree_bit_for_bit() {
    let mut scratch = Scratch::new();
    for side in [1, 3, 5, 7] {
        let weights: Vec<f32> =
            noise(side * side, side as u32).iter().map(|v| (f32::from(*v) - 100.0) / 500.0).collect();
        let exact: Vec<f64> = weights.iter().map(|w| f64::from(*w)).collect();
        let kernel = Kernel::custom(side, &weights).unwrap();
        for channels in [Channels::Gray, Channels::Rgb] {
            for (w, h) in [(1, 1), (3, 2), (45, 7)] {
                let pixels = noise(w * h * channels.count(), 33);
                for (slice, view) in sliced(&pixels, w, h, channels) {
                    let want = oracle(&view, side, &exact);
                    let mut first: Option<Vec<u8>> = None;
                    for isa in Isa::available() {
                        let mut dst = vec![9; view.bytes()];
                        convolve_with(isa, &view, &kernel, &mut dst, &mut scratch, &Interrupt::never()).unwrap();
                        let apart = dst.iter().zip(&want).map(|(a, b)| a.abs_diff(*b)).max();
                        assert!(apart <= Some(1), "{slice} {w}x{h} side {side} {isa:?}");
                        assert_eq!(first.get_or_insert_with(|| dst.clone()), &dst, "{isa:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_name_is_a_kernel_and_other_names_list_them() {
    let view = ImageView::dense(&[1, 2, 3], 1, 1, Channels::Rgb).unwrap();
    for name in Kernel::names() {
        convolve(&view, &Kernel::named(name).unwrap(), &mut [0; 3], &mut Scratch::new(), &Interrupt::never()).unwrap();
    }
    let message = Kernel::named("gausian").unwrap_err().to_string();
    for name in Kernel::names() {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn a_kernel_that_cannot_be_is_refused() {
    assert!(Kernel::custom(2, &[0.0; 4]).is_err());
    assert!(Kernel::custom(9, &[0.0; 81]).is_err());
    assert!(Kernel::custom(0, &[]).is_err());
    assert!(Kernel::custom(3, &[0.0; 8]).is_err());
    assert!(Kernel::custom(1, &[f32::NAN]).is_err());
    assert!(Kernel::custom(1, &[f32::INFINITY]).is_err());
}
