use super::*;
use crate::image::kernels::convert::convert;
use crate::image::kernels::window::reflect101;
use crate::image::size::Channels;
use crate::image::view::tests::{bytes_of, noise, sliced};

const ALL: [Channels; 3] = [Channels::Gray, Channels::Rgb, Channels::Rgba];

fn gray_of(view: &ImageView<'_>) -> Vec<u8> {
    let mut gray = vec![0; view.size().pixels()];
    convert(view, Channels::Gray, &mut gray, &mut Scratch::new(), &Interrupt::never()).unwrap();
    gray
}

fn edges_of(view: &ImageView<'_>) -> f32 {
    let gray = gray_of(view);
    let (w, h) = (view.width(), view.height());
    let at = |x: isize, y: isize| i32::from(gray[reflect101(y, h) * w + reflect101(x, w)]);
    let mut edges = 0;
    for y in 0..h as isize {
        for x in 0..w as isize {
            let (mut across, mut down) = (0, 0);
            for (d, weight) in [(-1, 1), (0, 2), (1, 1)] {
                across += weight * (at(x + 1, y + d) - at(x - 1, y + d));
                down += weight * (at(x + d, y + 1) - at(x + d, y - 1));
            }
            edges += usize::from(f64::from(across).hypot(f64::from(down)) > f64::from(EDGE_THRESHOLD));
        }
    }
    (edges as f64 / (w * h) as f64) as f32
}

#[test]
fn a_flat_image_has_its_colour_and_nothing_else() {
    let mut scratch = Scratch::new();
    for (w, h) in [(1, 1), (40, 30)] {
        let pixels = [200u8, 10, 60].repeat(w * h);
        let view = ImageView::dense(&pixels, w, h, Channels::Rgb).unwrap();
        assert_eq!(dominant_colors(&view, 5, &mut scratch, &Interrupt::never()).unwrap(), [[200, 10, 60]]);
        assert_eq!(edge_density(&view, &mut scratch, &Interrupt::never()).unwrap(), 0.0);
        let texture = texture(&view, &mut scratch, &Interrupt::never()).unwrap();
        assert_eq!((texture.mean, texture.std_dev, texture.entropy), (73.0, 0.0, 0.0));
        let layout = spatial_layout(&view, &mut scratch, &Interrupt::never()).unwrap();
        assert_eq!((layout.width, layout.height, layout.channels), (w, h, 3));
        assert_eq!(layout.center_brightness, 73.0);
    }
}

#[test]
fn few_colours_are_exact_and_ordered_by_frequency() {
    let colors = [[1u8, 2, 3], [250, 0, 9], [3, 3, 3]];
    let pixels: Vec<u8> = [5, 60, 35].iter().zip(colors).flat_map(|(n, color)| color.repeat(*n)).collect();
    let view = ImageView::dense(&pixels, 10, 10, Channels::Rgb).unwrap();
    let found = dominant_colors(&view, 9, &mut Scratch::new(), &Interrupt::never()).unwrap();
    assert_eq!(found, [colors[1], colors[2], colors[0]]);
    assert_eq!(dominant_colors(&view, 1, &mut Scratch::new(), &Interrupt::never()).unwrap(), [colors[1]]);
}

#[test]
fn many_colours_are_grouped_near_their_centres() {
    let centers = [[200u8, 40, 40], [30, 60, 190], [90, 200, 90]];
    let shares = [2000, 1200, 800];
    let jitter = noise(4000 * 3, 77);
    let mut pixels = Vec::new();
    for (center, share) in centers.iter().zip(shares) {
        for _ in 0..share {
            for value in center {
                pixels.push(value + jitter[pixels.len()] % 17 - 8);
            }
        }
    }
    let view = ImageView::dense(&pixels, 80, 50, Channels::Rgb).unwrap();
    let found = dominant_colors(&view, 3, &mut Scratch::new(), &Interrupt::never()).unwrap();
    for (found, center) in found.iter().zip(centers) {
        assert!(found.iter().zip(center).all(|(a, b)| a.abs_diff(b) <= 2), "{found:?} for {center:?}");
    }
    assert_eq!(found, dominant_colors(&view, 3, &mut Scratch::new(), &Interrupt::never()).unwrap());
    assert!(dominant_colors(&view, 0, &mut Scratch::new(), &Interrupt::never()).is_err());
    assert!(dominant_colors(&view, COLORS_MAX + 1, &mut Scratch::new(), &Interrupt::never()).is_err());
    assert!(dominant_colors(&view, COLORS_MAX, &mut Scratch::new(), &Interrupt::never()).unwrap().len() <= COLORS_MAX);
}

#[test]
fn numbers_follow_their_definitions_for_every_slice_and_size() {
    let mut scratch = Scratch::new();
    for channels in ALL {
        for (w, h) in [(1, 1), (2, 1), (1, 3), (2, 2), (37, 11)] {
            let pixels = noise(w * h * channels.count(), 41);
            for (name, view) in sliced(&pixels, w, h, channels) {
                let gray: Vec<f64> = gray_of(&view).iter().map(|v| f64::from(*v)).collect();
                let count = gray.len() as f64;
                let mean = gray.iter().sum::<f64>() / count;
                let variance = gray.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                let texture = texture(&view, &mut scratch, &Interrupt::never()).unwrap();
                assert!((texture.mean - mean).abs() < 1e-9, "{name}");
                assert!((texture.std_dev - variance.sqrt()).abs() < 1e-6, "{name}");
                assert!((0.0..=8.0).contains(&texture.entropy), "{name}");
                let density = edges_of(&view);
                assert_eq!(texture.edge_density, density, "{name} {w}x{h}");
                assert_eq!(edge_density(&view, &mut scratch, &Interrupt::never()).unwrap(), density, "{name}");
                let layout = spatial_layout(&view, &mut scratch, &Interrupt::never()).unwrap();
                let (w, h) = (view.width(), view.height());
                let center = view.crop(w / 4, h / 4, w - 2 * (w / 4), h - 2 * (h / 4)).unwrap();
                let inside = gray_of(&center);
                let bright = inside.iter().map(|v| f64::from(*v)).sum::<f64>() / inside.len() as f64;
                assert!((layout.center_brightness - bright).abs() < 1e-9, "{name}");
                assert_eq!((layout.aspect_ratio, layout.edge_density), (w as f64 / h as f64, density));
            }
        }
    }
}

#[test]
fn a_step_is_an_edge_on_both_of_its_sides() {
    let pixels: Vec<u8> = (0..100).map(|i| if i % 10 < 5 { 0 } else { 255 }).collect();
    let view = ImageView::dense(&pixels, 10, 10, Channels::Gray).unwrap();
    assert_eq!(edge_density(&view, &mut Scratch::new(), &Interrupt::never()).unwrap(), 0.2);
    let texture = texture(&view, &mut Scratch::new(), &Interrupt::never()).unwrap();
    assert_eq!((texture.mean, texture.std_dev, texture.entropy), (127.5, 127.5, 1.0));
}

#[test]
fn colours_of_a_slice_are_those_of_its_copy() {
    for channels in ALL {
        let pixels = noise(30 * 20 * channels.count(), 3);
        for (name, view) in sliced(&pixels, 30, 20, channels) {
            let copy = bytes_of(&view);
            let dense = ImageView::of(&copy, view.size(), channels).unwrap();
            let mut scratch = Scratch::new();
            assert_eq!(
                dominant_colors(&view, 4, &mut scratch, &Interrupt::never()).unwrap(),
                dominant_colors(&dense, 4, &mut scratch, &Interrupt::never()).unwrap(),
                "{name}"
            );
        }
    }
}
