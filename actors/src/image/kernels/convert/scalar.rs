//! The oracle: one pixel at a time.

use super::LUMA;
use crate::image::size::Channels::{self, Gray, Rgb, Rgba};

pub(super) fn convert_row(from: Channels, row: &[u8], to: Channels, out: &mut [u8]) {
    match (from, to) {
        (Gray, Gray) | (Rgb, Rgb) | (Rgba, Rgba) => out.copy_from_slice(row),
        (Gray, Rgb) => map::<1, 3>(row, out, |[v]| [v; 3]),
        (Gray, Rgba) => map::<1, 4>(row, out, |[v]| [v, v, v, 255]),
        (Rgb, Gray) => map::<3, 1>(row, out, |[r, g, b]| [luma(r, g, b)]),
        (Rgb, Rgba) => map::<3, 4>(row, out, |[r, g, b]| [r, g, b, 255]),
        (Rgba, Gray) => map::<4, 1>(row, out, |[r, g, b, _]| [luma(r, g, b)]),
        (Rgba, Rgb) => map::<4, 3>(row, out, |[r, g, b, _]| [r, g, b]),
    }
}

#[inline(always)]
fn map<const A: usize, const B: usize>(row: &[u8], out: &mut [u8], pixel: impl Fn([u8; A]) -> [u8; B]) {
    let pixels = row.as_chunks::<A>().0.iter();
    for (from, to) in pixels.zip(out.as_chunks_mut::<B>().0) {
        *to = pixel(*from);
    }
}

#[inline(always)]
fn luma(r: u8, g: u8, b: u8) -> u8 {
    let sum = LUMA[0] * i32::from(r) + LUMA[1] * i32::from(g) + LUMA[2] * i32::from(b);
    ((sum + 0x8000) >> 16) as u8
}
