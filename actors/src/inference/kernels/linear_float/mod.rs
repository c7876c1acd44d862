//! Float32 product over float32 or half-precision weights: `y[m, n] = Σ_k x[m, k] · w[n, k] + bias[n]`, clamped.
//!
//! A [`Line`](Element::Line) is one input of a panel's sixteen columns. A sum runs through the inputs in order, in one
//! accumulator, so its rounding does not depend on the tile it is computed in; whether a step fuses depends on the
//! instruction set. Inputs are taken [`BLOCK`] at a time, with the partial sums resting in the output, so that the
//! weights of a tile stay in the first-level cache while the rows pass.

#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
mod avx2;
#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
mod avx512;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(feature = "simd-accel")]
mod wide;

use std::ops::Range;

use half::f16;

use super::PANEL;
use super::epilogue::{Clamp, Epilogue};
use super::isa::Isa;

/// Inputs of a block: three panels of float32 lines are 48 KiB, a first-level cache.
const BLOCK: usize = 256;

/// How a weight is stored.
pub(crate) trait Element: Copy + Send + Sync + 'static {
    /// One input of sixteen columns, aligned to its size.
    type Line: Copy + Send + Sync + 'static;

    const ZERO: Self::Line;

    fn set(line: &mut Self::Line, lane: usize, weight: f32);

    /// Sixteen weights, exactly.
    fn widen(line: &Self::Line) -> [f32; PANEL];

    /// # Safety
    /// AVX-512 F is enabled where this is inlined.
    #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
    unsafe fn load_avx512(line: &Self::Line) -> std::arch::x86_64::__m512;

    /// Lanes `8·half..8·half + 8`.
    ///
    /// # Safety
    /// AVX2 and F16C are enabled where this is inlined.
    #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
    unsafe fn load_avx2(line: &Self::Line, half: usize) -> std::arch::x86_64::__m256;
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct SingleLine([f32; PANEL]);

#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct HalfLine([f16; PANEL]);

impl Element for f32 {
    type Line = SingleLine;

    const ZERO: SingleLine = SingleLine([0.0; PANEL]);

    fn set(line: &mut SingleLine, lane: usize, weight: f32) {
        line.0[lane] = weight;
    }

    #[inline(always)]
    fn widen(line: &SingleLine) -> [f32; PANEL] {
        line.0
    }

    #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
    #[inline(always)]
    unsafe fn load_avx512(line: &SingleLine) -> std::arch::x86_64::__m512 {
        // SAFETY: a line is 64 aligned bytes; the caller has enabled AVX-512 F.
        unsafe { std::arch::x86_64::_mm512_load_ps(line.0.as_ptr()) }
    }

    #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
    #[inline(always)]
    unsafe fn load_avx2(line: &SingleLine, half: usize) -> std::arch::x86_64::__m256 {
        // SAFETY: eight of sixteen lanes, aligned; the caller has enabled AVX2.
        unsafe { std::arch::x86_64::_mm256_load_ps(line.0[8 * half..][..8].as_ptr()) }
    }
}

impl Element for f16 {
    type Line = HalfLine;

    const ZERO: HalfLine = HalfLine([f16::ZERO; PANEL]);

    fn set(line: &mut HalfLine, lane: usize, weight: f32) {
        line.0[lane] = f16::from_f32(weight);
    }

    #[inline(always)]
    fn widen(line: &HalfLine) -> [f32; PANEL] {
        line.0.map(f16::to_f32)
    }

    #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
    #[inline(always)]
    unsafe fn load_avx512(line: &HalfLine) -> std::arch::x86_64::__m512 {
        use std::arch::x86_64::{_mm256_load_si256, _mm512_cvtph_ps};
        // SAFETY: a line is 32 aligned bytes; the caller has enabled AVX-512 F.
        unsafe { _mm512_cvtph_ps(_mm256_load_si256(line.0.as_ptr().cast())) }
    }

    #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
    #[inline(always)]
    unsafe fn load_avx2(line: &HalfLine, half: usize) -> std::arch::x86_64::__m256 {
        use std::arch::x86_64::{_mm_load_si128, _mm256_cvtph_ps};
        // SAFETY: eight of sixteen lanes, 16 aligned bytes; the caller has enabled F16C.
        unsafe { _mm256_cvtph_ps(_mm_load_si128(line.0[8 * half..][..8].as_ptr().cast())) }
    }
}

/// Weights in panels, with bias and clamp.
pub(crate) struct Weights<T: Element> {
    columns: usize,
    inputs: usize,
    /// `panels × inputs`.
    lines: Vec<T::Line>,
    epilogue: Epilogue,
}

impl<T: Element> Weights<T> {
    /// Packs `weights`, `columns × inputs` row-major.
    pub(crate) fn pack(weights: &[f32], columns: usize, inputs: usize, bias: Option<&[f32]>, clamp: Clamp) -> Self {
        assert_eq!(weights.len(), columns * inputs);
        let mut lines = vec![T::ZERO; columns.div_ceil(PANEL) * inputs];
        for (column, row) in weights.chunks_exact(inputs).enumerate() {
            for (input, &weight) in row.iter().enumerate() {
                T::set(&mut lines[column / PANEL * inputs + input], column % PANEL, weight);
            }
        }
        Self { columns, inputs, lines, epilogue: Epilogue::new(bias, columns, clamp) }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.lines[..])
    }

    #[cfg(feature = "simd-accel")]
    fn panels(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    /// Whether sums of this block begin at zero.
    fn is_first(block: &Range<usize>) -> bool {
        block.start == 0
    }

    /// Whether sums of this block are complete.
    fn is_last(&self, block: &Range<usize>) -> bool {
        block.end == self.inputs
    }

    #[inline(always)]
    fn finish(&self, sum: f32, column: usize) -> f32 {
        self.epilogue.clamp.apply(sum + self.epilogue.bias[column])
    }
}

/// Activations: row `m` is `values[m · stride..][..inputs]`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub values: &'a [f32],
    pub count: usize,
    pub stride: usize,
}

/// The product; row `m` of the output starts at `m · out_stride`.
///
/// # Panics
/// If a row or an output does not fit its slice.
pub(crate) fn matmul<T: Element>(isa: Isa, rows: Rows<'_>, weights: &Weights<T>, out: &mut [f32], out_stride: usize) {
    if rows.count == 0 {
        return;
    }
    assert!(rows.stride >= weights.inputs && out_stride >= weights.columns);
    assert!(rows.values.len() >= (rows.count - 1) * rows.stride + weights.inputs);
    assert!(out.len() >= (rows.count - 1) * out_stride + weights.columns);
    for start in (0..weights.inputs).step_by(BLOCK) {
        let block = start..weights.inputs.min(start + BLOCK);
        match isa {
            Isa::Scalar => scalar::accumulate(rows, weights, block, out, out_stride),
            #[cfg(feature = "simd-accel")]
            Isa::Wide => wide::accumulate(rows, weights, block, out, out_stride),
            #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
            Isa::Avx2(token) => avx2::accumulate(token, rows, weights, block, out, out_stride),
            #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
            Isa::Avx512(token) => avx512::accumulate(token, rows, weights, block, out, out_stride),
        }
    }
}
