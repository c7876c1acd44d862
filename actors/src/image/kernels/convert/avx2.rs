//! Sixteen gray values or four pixels at a time, by byte shuffles.

use std::arch::x86_64::*;

use super::{LUMA, scalar};
use crate::image::size::Channels::{self, Gray, Rgb, Rgba};

#[target_feature(enable = "avx2")]
pub(super) fn convert_row(from: Channels, row: &[u8], to: Channels, out: &mut [u8]) {
    let done = match (from, to) {
        (Rgb, Gray) => luma::<3>(row, out),
        (Rgba, Gray) => luma::<4>(row, out),
        (Gray, Rgb) => spread::<1, 3>(row, out),
        (Gray, Rgba) => spread::<1, 4>(row, out),
        (Rgb, Rgba) => spread::<3, 4>(row, out),
        (Rgba, Rgb) => spread::<4, 3>(row, out),
        (Gray, Gray) | (Rgb, Rgb) | (Rgba, Rgba) => 0,
    };
    scalar::convert_row(from, &row[done * from.count()..], to, &mut out[done * to.count()..]);
}

/// Luminance of all pixels but the last few; returns how many.
///
/// A product of two 16-bit numbers is signed and G's coefficient is not, so G comes twice with half of it: a pixel is
/// spread to R G G B and one `madd` with its neighbour sum is exact.
#[target_feature(enable = "avx2")]
fn luma<const C: usize>(row: &[u8], out: &mut [u8]) -> usize {
    let half = (LUMA[1] / 2) as i16;
    let (r, b) = (LUMA[0] as i16, LUMA[2] as i16);
    let weights = _mm256_setr_epi16(r, half, half, b, r, half, half, b, r, half, half, b, r, half, half, b);
    // A byte's place in a zeroed 16-bit lane; both halves shuffle the same 16 bytes.
    let half_order = |pixel: usize| {
        let mut order = [0x80u8; 16];
        for (i, at) in order.iter_mut().step_by(2).enumerate() {
            *at = ((pixel + i / 4) * C + [0, 1, 1, 2][i % 4]) as u8;
        }
        load(&order)
    };
    let order = _mm256_set_m128i(half_order(2), half_order(0));
    let rounding = _mm256_set1_epi32(0x8000);
    // Adding and packing work within 128-bit halves and leave the pixels in this order.
    let in_order = load(&[0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15]);
    let mut x = 0;
    // The last load of four pixels reads 16 bytes.
    while C * (x + 12) + 16 <= row.len() && x + 16 <= out.len() {
        let pixels = &row[C * x..C * (x + 12) + 16];
        let sums = |at: usize| {
            let four = _mm256_broadcastsi128_si256(load(&pixels[C * at..]));
            _mm256_madd_epi16(_mm256_shuffle_epi8(four, order), weights)
        };
        let eight = |at: usize| {
            let sum = _mm256_add_epi32(_mm256_hadd_epi32(sums(at), sums(at + 4)), rounding);
            _mm256_srli_epi32::<16>(sum)
        };
        let words = _mm256_packus_epi32(eight(0), eight(8));
        let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        store(_mm_shuffle_epi8(bytes, in_order), &mut out[x..]);
        x += 16;
    }
    x
}

/// Repeats, adds or drops channels of all pixels but the last few, four at a time; returns how many.
#[target_feature(enable = "avx2")]
fn spread<const A: usize, const B: usize>(row: &[u8], out: &mut [u8]) -> usize {
    let mut order = [-1i8; 16];
    let mut opaque = [0i8; 16];
    for i in 0..4 {
        for c in 0..B {
            if c < 3 {
                order[i * B + c] = (i * A + c.min(A - 1)) as i8;
            } else {
                opaque[i * B + c] = -1;
            }
        }
    }
    let (order, opaque) = (load(as_bytes(&order)), load(as_bytes(&opaque)));
    let mut x = 0;
    // Loads and stores are of 16 bytes, of which the pixels that follow overwrite the surplus.
    while A * x + 16 <= row.len() && B * x + 16 <= out.len() {
        let four = _mm_or_si128(_mm_shuffle_epi8(load(&row[A * x..]), order), opaque);
        store(four, &mut out[B * x..]);
        x += 4;
    }
    x
}

#[target_feature(enable = "avx2")]
fn load(bytes: &[u8]) -> __m128i {
    let bytes: &[u8; 16] = bytes.first_chunk().expect("the loop leaves 16 bytes");
    // SAFETY: sixteen readable bytes; an unaligned load.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn store(value: __m128i, out: &mut [u8]) {
    let out: &mut [u8; 16] = out.first_chunk_mut().expect("the loop leaves 16 bytes");
    // SAFETY: sixteen writable bytes; an unaligned store.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), value) }
}

fn as_bytes(values: &[i8; 16]) -> &[u8] {
    bytemuck::cast_slice(values)
}
