//! Sobel gradients over rows of gray values.

use crate::image::Scratch;
use crate::image::kernels::Isa;
use crate::image::kernels::convert::convert_row;
use crate::image::kernels::window::{Ring, reflect101};
use crate::image::size::Channels;
use crate::image::view::ImageView;

/// The magnitude above which a gradient is an edge: the 3×3 Sobel operator answers 4·d to a straight step of d gray
/// levels, so this is a step of more than 32 levels, about an eighth of the range.
pub const EDGE_THRESHOLD: i32 = 128;

/// An image's gray values, three rows at a time.
pub(super) struct Gray<'i, 's> {
    src: ImageView<'i>,
    row: &'s mut Vec<u8>,
    /// Rows with one reflected pixel at each end.
    ring: Ring<'s, u8>,
    isa: Isa,
}

impl<'i, 's> Gray<'i, 's> {
    pub(super) fn new(src: &ImageView<'i>, scratch: &'s mut Scratch) -> Self {
        Self {
            src: *src,
            row: &mut scratch.row,
            ring: Ring::new(&mut scratch.rows, 3, src.width() + 2, src.height()),
            isa: Isa::detect(),
        }
    }

    /// Counts the edge pixels of row `y`; rows are asked for from the top.
    pub(super) fn edges(&mut self, y: usize) -> usize {
        let Self { src, row, ring, isa } = self;
        let width = src.width();
        let rows: [&[u8]; 3] = ring.around(y, |at, padded| {
            convert_row(src.channels(), src.row(at, row), Channels::Gray, &mut padded[1..=width]);
            padded[0] = padded[1 + reflect101(-1, width)];
            padded[width + 1] = padded[1 + reflect101(width as isize, width)];
        });
        match isa {
            #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
            Isa::Avx2 => {
                // SAFETY: `Isa::Avx2` is made by `Isa::detect` alone, on a CPU that has AVX2.
                unsafe { count_edges_avx2(rows) }
            }
            _ => count_edges(rows),
        }
    }

    /// The gray values of row `y`, which [`Gray::edges`] was asked about last.
    pub(super) fn row(&self, y: usize) -> &[u8] {
        &self.ring.row(y)[1..=self.src.width()]
    }
}

/// Counts the pixels of the middle row, borders apart, whose gradient is above the threshold.
#[inline(always)]
fn count_edges(rows: [&[u8]; 3]) -> usize {
    let width = rows[0].len() - 2;
    let [[a, b, c], [d, _, f], [g, h, i]] = rows.map(|row| [0, 1, 2].map(|tap| &row[tap..][..width]));
    let mut edges = 0u32;
    for x in 0..width {
        let at = |row: &[u8]| i32::from(row[x]);
        let across = at(c) - at(a) + 2 * (at(f) - at(d)) + at(i) - at(g);
        let down = at(g) - at(a) + 2 * (at(h) - at(b)) + at(i) - at(c);
        edges += u32::from(across * across + down * down > EDGE_THRESHOLD * EDGE_THRESHOLD);
    }
    edges as usize
}

/// The same loop, compiled for AVX2.
#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
#[target_feature(enable = "avx2")]
fn count_edges_avx2(rows: [&[u8]; 3]) -> usize {
    count_edges(rows)
}
