//! How a product is cut into register tiles on AVX-512, which has 32 vector registers.
//!
//! Many rows: 8 × 3 panels keep 24 accumulators busy and read a weight vector once for eight rows. A few rows: more
//! panels each, so that enough independent sums hide the latency of a multiply-add. The cut decides only which sums
//! stand side by side, never the order of the additions within one.

/// A kernel that computes rows `row..row + MR` of panels `panel..panel + NP`.
pub(crate) trait Tile {
    /// # Safety
    /// The tile lies within the rows and panels of the product.
    unsafe fn tile<const MR: usize, const NP: usize>(&mut self, row: usize, panel: usize);
}

/// Covers `rows` × `panels` with tiles.
pub(crate) fn cover(kernel: &mut impl Tile, rows: usize, panels: usize) {
    let widest = match rows {
        1 => 8,
        2 | 3 => 4,
        _ => 3,
    };
    let mut panel = 0;
    while panel < panels {
        let width = match widest.min(panels - panel) {
            5..=7 => 4,
            width => width,
        };
        let mut row = 0;
        while row < rows {
            let height = match rows - row {
                8.. => 8,
                4.. => 4,
                2.. => 2,
                _ => 1,
            };
            // SAFETY: `height` rows from `row` and `width` panels from `panel` are left, as computed just above.
            unsafe {
                match (height, width) {
                    (8, 3) => kernel.tile::<8, 3>(row, panel),
                    (8, 2) => kernel.tile::<8, 2>(row, panel),
                    (8, 1) => kernel.tile::<8, 1>(row, panel),
                    (4, 3) => kernel.tile::<4, 3>(row, panel),
                    (4, 2) => kernel.tile::<4, 2>(row, panel),
                    (4, 1) => kernel.tile::<4, 1>(row, panel),
                    (2, 4) => kernel.tile::<2, 4>(row, panel),
                    (2, 3) => kernel.tile::<2, 3>(row, panel),
                    (2, 2) => kernel.tile::<2, 2>(row, panel),
                    (2, 1) => kernel.tile::<2, 1>(row, panel),
                    (1, 8) => kernel.tile::<1, 8>(row, panel),
                    (1, 4) => kernel.tile::<1, 4>(row, panel),
                    (1, 3) => kernel.tile::<1, 3>(row, panel),
                    (1, 2) => kernel.tile::<1, 2>(row, panel),
                    (1, 1) => kernel.tile::<1, 1>(row, panel),
                    _ => unreachable!("no tile of {height} x {width}"),
                }
            }
            row += height;
        }
        panel += width;
    }
}
