//! What is in an image, in numbers: dominant colours, edges, texture, layout.
//!
//! Everything but the colours is computed on gray values (as [`convert`](super::convert) makes them, 0 to 255), read
//! once, row by row. Borders are reflected as in [`convolve`](super::convolve).

mod colors;
mod edges;

pub use colors::{COLORS_MAX, dominant_colors};
pub use edges::EDGE_THRESHOLD;

use crate::image::Scratch;
use crate::image::view::ImageView;
use crate::{Interrupt, Result};
use edges::Gray;

/// How the gray values of an image are distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Texture {
    /// Mean gray value, 0 to 255.
    pub mean: f64,
    /// Standard deviation of the gray values (of the population), 0 to 127.5.
    pub std_dev: f64,
    /// Entropy of the histogram with 256 bins, in bits: 0 for a flat image, at most 8.
    pub entropy: f64,
    /// As [`edge_density`] gives it.
    pub edge_density: f32,
}

/// How an image is laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layout {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Channels of the image that was given: 1, 3 or 4.
    pub channels: usize,
    /// Width divided by height.
    pub aspect_ratio: f64,
    /// Mean gray value, 0 to 255, of the central half of the columns and rows.
    pub center_brightness: f64,
    /// As [`edge_density`] gives it.
    pub edge_density: f32,
}

/// The share of pixels, 0 to 1, on an edge: where the magnitude of the Sobel gradient of the gray values is above
/// [`EDGE_THRESHOLD`]. A flat image has none.
///
/// # Errors
/// [`Error::Cancelled`](crate::Error::Cancelled) when interrupted.
pub fn edge_density(src: &ImageView<'_>, scratch: &mut Scratch, interrupt: &Interrupt) -> Result<f32> {
    let mut gray = Gray::new(src, scratch);
    let mut edges = 0;
    for step in interrupt.steps(0..src.height(), 3 * src.row_bytes()) {
        edges += gray.edges(step?);
    }
    Ok(share(edges, src))
}

/// Mean, deviation and entropy of the gray values, and the density of edges.
///
/// # Errors
/// [`Error::Cancelled`](crate::Error::Cancelled) when interrupted.
pub fn texture(src: &ImageView<'_>, scratch: &mut Scratch, interrupt: &Interrupt) -> Result<Texture> {
    let mut gray = Gray::new(src, scratch);
    let mut histogram = [0u64; 256];
    let mut edges = 0;
    for step in interrupt.steps(0..src.height(), 3 * src.row_bytes()) {
        let y = step?;
        edges += gray.edges(y);
        for value in gray.row(y) {
            histogram[usize::from(*value)] += 1;
        }
    }
    let count = src.size().pixels() as f64;
    let share_of = |bin: &u64| *bin as f64 / count;
    let moment = |power: i32, center: f64| -> f64 {
        histogram.iter().enumerate().map(|(v, bin)| share_of(bin) * (v as f64 - center).powi(power)).sum()
    };
    let mean = moment(1, 0.0);
    let bits = histogram.iter().filter(|bin| **bin > 0).map(|bin| -share_of(bin) * share_of(bin).log2());
    Ok(Texture {
        mean,
        std_dev: moment(2, mean).sqrt(),
        // The sum over one full bin is −0.
        entropy: bits.sum::<f64>().max(0.0),
        edge_density: share(edges, src),
    })
}

/// Shape, brightness of the middle, and the density of edges.
///
/// # Errors
/// [`Error::Cancelled`](crate::Error::Cancelled) when interrupted.
pub fn spatial_layout(src: &ImageView<'_>, scratch: &mut Scratch, interrupt: &Interrupt) -> Result<Layout> {
    let (width, height) = (src.width(), src.height());
    let (columns, rows) = (width / 4..width - width / 4, height / 4..height - height / 4);
    let mut gray = Gray::new(src, scratch);
    let (mut edges, mut sum) = (0, 0u64);
    for step in interrupt.steps(0..height, 3 * src.row_bytes()) {
        let y = step?;
        edges += gray.edges(y);
        if rows.contains(&y) {
            sum += gray.row(y)[columns.clone()].iter().map(|value| u64::from(*value)).sum::<u64>();
        }
    }
    Ok(Layout {
        width,
        height,
        channels: src.channels().count(),
        aspect_ratio: width as f64 / height as f64,
        center_brightness: sum as f64 / (columns.len() * rows.len()) as f64,
        edge_density: share(edges, src),
    })
}

fn share(edges: usize, src: &ImageView<'_>) -> f32 {
    (edges as f64 / src.size().pixels() as f64) as f32
}

#[cfg(test)]
mod tests;
