//! AVX-512 VNNI: a panel's nibbles are unpacked once for all rows of a tile.

use std::arch::x86_64::*;

use super::{Block, GROUP, PANEL, Rows, Weights};
use crate::inference::kernels::isa::Avx512;

/// Rows of a tile: eight totals, eight vectors of codes and the temporaries fit 32 registers.
const TILE_ROWS: usize = 8;

/// How far ahead blocks are prefetched when they are read once.
const PREFETCH_BLOCKS: usize = 8;

pub(super) fn matmul(_: Avx512, rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize) {
    // SAFETY: the token proves the features; `super::matmul` has checked that every row and output fits.
    unsafe { cover(rows, weights, out, out_stride) }
}

/// # Safety
/// As asserted by `super::matmul`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn cover(rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize) {
    let count = rows.scales.len();
    for panel in 0..weights.panels() {
        let mut row = 0;
        while row < count {
            // SAFETY: the rows of each tile are left, and the panel exists.
            row += unsafe {
                match count - row {
                    TILE_ROWS.. => tile::<TILE_ROWS>(rows, weights, row, panel, out, out_stride),
                    4.. => tile::<4>(rows, weights, row, panel, out, out_stride),
                    2.. => tile::<2>(rows, weights, row, panel, out, out_stride),
                    _ => tile::<1>(rows, weights, row, panel, out, out_stride),
                }
            };
        }
    }
}

/// Returns the rows it has computed.
///
/// # Safety
/// As asserted by `super::matmul`, and rows `row..row + MR` and panel `panel` exist.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<const MR: usize>(
    rows: Rows<'_>,
    weights: &Weights,
    row: usize,
    panel: usize,
    out: &mut [f32],
    out_stride: usize,
) -> usize {
    let groups = weights.groups();
    let blocks = &weights.blocks[panel * groups..][..groups];
    let codes = rows.codes[row * rows.stride..].as_ptr();
    let sums = rows.sums[row * groups..][..MR * groups].as_ptr();
    let mut totals = [_mm512_setzero_ps(); MR];
    for (group, block) in blocks.iter().enumerate() {
        let operands = unpack(block);
        // SAFETY: sixteen bf16 each; a prefetch reads nothing, wherever it points.
        let (scale, minimum) = unsafe {
            if MR == 1 {
                let ahead = std::ptr::from_ref(block).wrapping_add(PREFETCH_BLOCKS).cast::<i8>();
                for line in 0..size_of::<Block>() / 64 {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64 * line));
                }
            }
            (
                widen(_mm256_load_si256(block.scales.as_ptr().cast())),
                widen(_mm256_load_si256(block.minima.as_ptr().cast())),
            )
        };
        for (r, total) in totals.iter_mut().enumerate() {
            let mut dots = [_mm512_setzero_si512(); 2];
            for (step, operand) in operands.iter().enumerate() {
                // SAFETY: four codes of group `group` in row `row + r`, and that group's sum.
                let four =
                    unsafe { codes.add(r * rows.stride + group * GROUP + 4 * step).cast::<i32>().read_unaligned() };
                dots[step % 2] = _mm512_dpbusd_epi32(dots[step % 2], *operand, _mm512_set1_epi32(four));
            }
            let dot = _mm512_cvtepi32_ps(_mm512_add_epi32(dots[0], dots[1]));
            // SAFETY: one of the `MR * groups` sums taken above.
            let sum = _mm512_set1_ps(unsafe { *sums.add(r * groups + group) });
            let part = _mm512_add_ps(_mm512_mul_ps(scale, dot), _mm512_mul_ps(minimum, sum));
            *total = _mm512_add_ps(*total, part);
        }
    }
    let first = panel * PANEL;
    let live = PANEL.min(weights.columns - first);
    let mask = (0xffff_u32 >> (PANEL - live)) as u16;
    let clamp = weights.epilogue.clamp;
    // SAFETY: sixteen biases.
    let bias = unsafe { _mm512_loadu_ps(weights.epilogue.bias[first..][..PANEL].as_ptr()) };
    for (r, total) in totals.into_iter().enumerate() {
        let value = _mm512_add_ps(_mm512_mul_ps(total, _mm512_set1_ps(rows.scales[row + r])), bias);
        let value = _mm512_min_ps(_mm512_set1_ps(clamp.high), _mm512_max_ps(_mm512_set1_ps(clamp.low), value));
        let out = &mut out[(row + r) * out_stride + first..][..live];
        // SAFETY: the mask writes `live` lanes, the length of `out`.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask, value) };
    }
    MR
}

/// The codes of a block: operand `s` has inputs `4s..4s + 4` of every column.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn unpack(block: &Block) -> [__m512i; GROUP / 4] {
    let nibble = _mm512_set1_epi8(15);
    let mut operands = [_mm512_setzero_si512(); GROUP / 4];
    for (chunk, operands) in block.nibbles.iter().zip(operands.chunks_exact_mut(2)) {
        // SAFETY: a chunk is 64 bytes.
        let both = unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) };
        operands[0] = _mm512_and_si512(both, nibble);
        operands[1] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), nibble);
    }
    operands
}

/// A bf16 is the upper half of a float.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen(halves: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
}
