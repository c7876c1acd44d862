//! AVX-512: sixteen columns a vector, tiles as `tiles.rs` cuts them.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Element, PANEL, Rows, Weights};
use crate::inference::kernels::isa::Avx512;
use crate::inference::kernels::tiles::{Tile, cover};

pub(super) fn accumulate<T: Element>(
    token: Avx512,
    rows: Rows<'_>,
    weights: &Weights<T>,
    block: Range<usize>,
    out: &mut [f32],
    out_stride: usize,
) {
    let mut kernel = Kernel { _token: token, rows, weights, block, out, out_stride };
    cover(&mut kernel, rows.count, weights.panels());
}

struct Kernel<'a, T: Element> {
    _token: Avx512,
    rows: Rows<'a>,
    weights: &'a Weights<T>,
    block: Range<usize>,
    out: &'a mut [f32],
    out_stride: usize,
}

impl<T: Element> Tile for Kernel<'_, T> {
    unsafe fn tile<const MR: usize, const NP: usize>(&mut self, row: usize, panel: usize) {
        // SAFETY: the token proves the features.
        unsafe { tile::<T, MR, NP>(self, row, panel) }
    }
}

#[allow(clippy::needless_range_loop, reason = "constant bounds unroll, and the sums stay in registers")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tile<T: Element, const MR: usize, const NP: usize>(kernel: &mut Kernel<'_, T>, row: usize, panel: usize) {
    let Kernel { rows, weights, block, out, out_stride, .. } = kernel;
    let lines: [&[T::Line]; NP] =
        std::array::from_fn(|p| &weights.lines[(panel + p) * weights.inputs..][block.clone()]);
    let values: [&[f32]; MR] = std::array::from_fn(|r| &rows.values[(row + r) * rows.stride..][block.clone()]);
    let place = |r: usize, p: usize| {
        let first = (panel + p) * PANEL;
        let live = PANEL.min(weights.columns - first);
        ((row + r) * *out_stride + first, live, (0xffff_u32 >> (PANEL - live)) as u16)
    };
    let first = Weights::<T>::is_first(block);
    let mut sums: [[__m512; NP]; MR] = std::array::from_fn(|r| {
        std::array::from_fn(|p| {
            if first {
                return _mm512_setzero_ps();
            }
            let (at, live, mask) = place(r, p);
            // SAFETY: the mask reads `live` lanes, the length of the slice.
            unsafe { _mm512_maskz_loadu_ps(mask, out[at..][..live].as_ptr()) }
        })
    });
    for index in 0..block.len() {
        let line: [__m512; NP] = std::array::from_fn(|p| {
            // SAFETY: every panel has a line for each input of the block; this function enables AVX-512 F.
            unsafe { T::load_avx512(lines[p].get_unchecked(index)) }
        });
        for r in 0..MR {
            // SAFETY: every row has a value for each input of the block.
            let value = _mm512_set1_ps(unsafe { *values[r].get_unchecked(index) });
            for p in 0..NP {
                sums[r][p] = _mm512_fmadd_ps(value, line[p], sums[r][p]);
            }
        }
    }
    // A copy for the loops below, whose indices would otherwise keep the sums in memory through the loop above.
    let sums = std::hint::black_box(sums);
    let last = weights.is_last(block);
    let low = _mm512_set1_ps(weights.epilogue.clamp.low);
    let high = _mm512_set1_ps(weights.epilogue.clamp.high);
    for p in 0..NP {
        let bias = &weights.epilogue.bias[(panel + p) * PANEL..][..PANEL];
        // SAFETY: sixteen biases.
        let bias = unsafe { _mm512_loadu_ps(bias.as_ptr()) };
        for r in 0..MR {
            let mut value = sums[r][p];
            if last {
                value = _mm512_min_ps(high, _mm512_max_ps(low, _mm512_add_ps(value, bias)));
            }
            let (at, live, mask) = place(r, p);
            // SAFETY: the mask writes `live` lanes, the length of the slice.
            unsafe { _mm512_mask_storeu_ps(out[at..][..live].as_mut_ptr(), mask, value) };
        }
    }
}
