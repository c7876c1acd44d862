//! Eight pixels at a time. A multiplication and an addition, not fused, so that results are the scalar ones bit for
//! bit; the loop waits for memory either way.

use std::arch::x86_64::*;

use super::{Normalization, scalar};
use crate::image::size::Channels;

#[target_feature(enable = "avx2")]
pub(super) fn row(how: &Normalization, row: &[u8], out: [&mut [f32]; 4]) {
    match how.channels {
        Channels::Gray => gray(how, row, out),
        Channels::Rgb => planes::<3>(how, row, out),
        Channels::Rgba => planes::<4>(how, row, out),
    }
}

#[target_feature(enable = "avx2")]
fn gray(how: &Normalization, row: &[u8], out: [&mut [f32]; 4]) {
    let (scale, bias) = (_mm256_set1_ps(how.scale[0]), _mm256_set1_ps(how.bias[0]));
    let (eights, _) = row.as_chunks::<8>();
    for (eight, out) in eights.iter().zip(out[0].as_chunks_mut::<8>().0) {
        let values = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*eight)));
        store(_mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(values), scale), bias), out);
    }
    scalar::row(how, row, out, 8 * eights.len());
}

/// Eight pixels are 8·C bytes: the first four pixels lie in the first 16 of them, the other four in the last 16. A
/// shuffle takes one channel's bytes and widens them to 32 bits at once.
#[target_feature(enable = "avx2")]
fn planes<const C: usize>(how: &Normalization, row: &[u8], out: [&mut [f32]; 4]) {
    let mut low = [_mm_setzero_si128(); C];
    let mut high = [_mm_setzero_si128(); C];
    for c in 0..C {
        let (mut first, mut second) = ([0x80u8; 16], [0x80u8; 16]);
        for i in 0..4 {
            first[4 * i] = (C * i + c) as u8;
            // Pixel 4 + i counted from byte 8·C − 16.
            second[4 * i] = (C * (4 + i) + c + 16 - 8 * C) as u8;
        }
        low[c] = load(&first);
        high[c] = load(&second);
    }
    let eights = row.len() / (8 * C);
    for (x, pixels) in row.chunks_exact(8 * C).enumerate() {
        let (first, second) = (load(&pixels[..16]), load(&pixels[8 * C - 16..]));
        for c in 0..C {
            let values = _mm256_set_m128i(_mm_shuffle_epi8(second, high[c]), _mm_shuffle_epi8(first, low[c]));
            let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(values), _mm256_set1_ps(how.scale[c]));
            store(_mm256_add_ps(scaled, _mm256_set1_ps(how.bias[c])), &mut out[c][8 * x..]);
        }
    }
    scalar::row(how, row, out, 8 * eights);
}

#[target_feature(enable = "avx2")]
fn load(bytes: &[u8]) -> __m128i {
    let bytes: &[u8; 16] = bytes.first_chunk().expect("eight pixels of three bytes are more than 16");
    // SAFETY: sixteen readable bytes; an unaligned load.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn store(values: __m256, out: &mut [f32]) {
    let out: &mut [f32; 8] = out.first_chunk_mut().expect("a plane's row is as long as the image's");
    // SAFETY: eight writable values; an unaligned store.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) }
}
