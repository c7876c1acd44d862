//! AVX-512 VNNI: `vpdpbusd` multiplies 64 pairs and adds them by four to 16 sums, without saturation.

use std::arch::x86_64::*;

use super::{DEPTH, PANEL, Rows, Weights};
use crate::inference::kernels::isa::Avx512;
use crate::inference::kernels::tiles::{Tile, cover};

/// How far ahead weights are prefetched when they are read once, in lines: 4 KiB, enough to hide a memory access.
const PREFETCH_LINES: usize = 64;

pub(super) fn matmul(token: Avx512, rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize) {
    let mut kernel = Kernel { _token: token, rows, weights, out, out_stride };
    cover(&mut kernel, rows.scales.len(), weights.panels());
}

struct Kernel<'a> {
    _token: Avx512,
    rows: Rows<'a>,
    weights: &'a Weights,
    out: &'a mut [f32],
    out_stride: usize,
}

impl Tile for Kernel<'_> {
    unsafe fn tile<const MR: usize, const NP: usize>(&mut self, row: usize, panel: usize) {
        // SAFETY: the token proves the features; the caller keeps the tile within the product.
        unsafe { tile::<MR, NP>(self, row, panel) }
    }
}

/// # Safety
/// The tile lies within the product, whose slices `super::matmul` has checked.
#[allow(clippy::needless_range_loop, reason = "constant bounds unroll, and the sums stay in registers")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<const MR: usize, const NP: usize>(kernel: &mut Kernel<'_>, row: usize, panel: usize) {
    let Kernel { rows, weights, out, out_stride, .. } = kernel;
    let depth = weights.lines_per_panel();
    let lines = weights.lines[panel * depth..][..NP * depth].as_ptr();
    let codes = rows.codes[row * rows.stride..].as_ptr();
    let mut sums: [[__m512i; NP]; MR] = std::array::from_fn(|_| {
        std::array::from_fn(|p| {
            let starts = &weights.starts[(panel + p) * PANEL..][..PANEL];
            // SAFETY: sixteen starts.
            unsafe { _mm512_loadu_si512(starts.as_ptr().cast()) }
        })
    });
    for index in 0..depth {
        let line: [__m512i; NP] = std::array::from_fn(|p| {
            // SAFETY: line `index` of panel `panel + p`, one of the `NP * depth` lines taken above.
            unsafe {
                let line = lines.add(p * depth + index);
                if MR == 1 {
                    _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(PREFETCH_LINES).cast());
                }
                _mm512_load_si512(line.cast())
            }
        });
        for r in 0..MR {
            // SAFETY: four codes of line `index` in row `row + r`.
            let four = unsafe { codes.add(r * rows.stride + index * DEPTH).cast::<i32>().read_unaligned() };
            let four = _mm512_set1_epi32(four);
            for p in 0..NP {
                sums[r][p] = _mm512_dpbusd_epi32(sums[r][p], four, line[p]);
            }
        }
    }
    // A copy for the loops below, whose indices would otherwise keep the sums in memory through the loop above.
    let sums = std::hint::black_box(sums);
    let low = _mm512_set1_ps(weights.epilogue.clamp.low);
    let high = _mm512_set1_ps(weights.epilogue.clamp.high);
    for p in 0..NP {
        let first = (panel + p) * PANEL;
        let live = PANEL.min(weights.columns - first);
        let mask = (0xffff_u32 >> (PANEL - live)) as u16;
        let scales = &weights.scales[first..][..PANEL];
        let bias = &weights.epilogue.bias[first..][..PANEL];
        // SAFETY: sixteen scales and sixteen biases.
        let (scales, bias) = unsafe { (_mm512_loadu_ps(scales.as_ptr()), _mm512_loadu_ps(bias.as_ptr())) };
        for (r, sums) in sums.iter().enumerate() {
            let scale = _mm512_mul_ps(_mm512_set1_ps(rows.scales[row + r]), scales);
            let value = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[p]), scale), bias);
            let value = _mm512_min_ps(high, _mm512_max_ps(low, value));
            let out = &mut out[(row + r) * *out_stride + first..][..live];
            // SAFETY: the mask writes `live` lanes, the length of `out`.
            unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask, value) };
        }
    }
}
