//! Int8 product with float32 output: `y[m, n] = (Σ_k x[m, k] · w[n, k]) · sx[m] · sw[n] + bias[n]`, clamped.
//!
//! Weights are signed, one [`Line`] for each panel and four inputs: byte `4·column + i` is input `4·line + i` of that
//! column, which is what `vpdpbusd` reads. That instruction wants its other operand unsigned, so activations are
//! stored as `code + 128` and every sum starts at `-128 · Σ_k w[n, k]`. Nothing saturates on any path: sums wrap, and
//! [`MAX_INPUTS`] keeps the true sum within an `i32`, so the wrapped sum is the exact one.

#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
mod avx2;
#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
mod avx512vnni;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(feature = "simd-accel")]
mod wide;

use super::PANEL;
use super::epilogue::{Clamp, Epilogue};
use super::isa::Isa;

/// Inputs beyond this could overflow the true sum: 127 · 127 · 2¹⁷ < 2³¹.
pub(crate) const MAX_INPUTS: usize = 1 << 17;

/// Inputs of a line.
const DEPTH: usize = 4;

/// Four inputs of sixteen columns.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([i8; PANEL * DEPTH]);

/// Weights in panels, with everything that turns a sum into an output.
pub(crate) struct Weights {
    columns: usize,
    inputs: usize,
    /// `panels × lines_per_panel`.
    lines: Vec<Line>,
    /// Of whole panels, as are `starts` and the bias.
    scales: Vec<f32>,
    starts: Vec<i32>,
    epilogue: Epilogue,
}

impl Weights {
    /// Quantizes `weights`, `columns × inputs` row-major and finite, each column with a scale of its own.
    pub(crate) fn pack(weights: &[f32], columns: usize, inputs: usize, bias: Option<&[f32]>, clamp: Clamp) -> Self {
        assert_eq!(weights.len(), columns * inputs);
        assert!((1..=MAX_INPUTS).contains(&inputs));
        let per_panel = inputs.div_ceil(DEPTH);
        let padded = columns.next_multiple_of(PANEL);
        let mut lines = vec![Line([0; PANEL * DEPTH]); padded / PANEL * per_panel];
        let mut scales = vec![0.0; padded];
        let mut starts = vec![0; padded];
        for (column, row) in weights.chunks_exact(inputs).enumerate() {
            let magnitude = row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            let factor = 127.0 / f64::from(magnitude);
            scales[column] = magnitude / 127.0;
            for (input, &value) in row.iter().enumerate() {
                let code = if magnitude == 0.0 { 0 } else { (f64::from(value) * factor).round() as i8 };
                let line = column / PANEL * per_panel + input / DEPTH;
                lines[line].0[column % PANEL * DEPTH + input % DEPTH] = code;
                starts[column] -= 128 * i32::from(code);
            }
        }
        Self { columns, inputs, lines, scales, starts, epilogue: Epilogue::new(bias, columns, clamp) }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes that a row of codes occupies: whole lines.
    pub(crate) fn row_bytes(&self) -> usize {
        self.inputs.next_multiple_of(DEPTH)
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.lines[..]) + size_of_val(&self.scales[..]) + size_of_val(&self.starts[..])
    }

    fn lines_per_panel(&self) -> usize {
        self.inputs.div_ceil(DEPTH)
    }

    #[cfg(feature = "simd-accel")]
    fn panels(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    /// The output of column `column` for the sum `sum` in a row of scale `row_scale`.
    #[inline(always)]
    fn finish(&self, sum: i32, row_scale: f32, column: usize) -> f32 {
        let value = sum as f32 * (row_scale * self.scales[column]) + self.epilogue.bias[column];
        self.epilogue.clamp.apply(value)
    }
}

/// Activations as codes, `code + 128`.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// Row `m` starts at `m · stride`; what lies between its inputs and [`Weights::row_bytes`] may be anything.
    pub codes: &'a [u8],
    pub stride: usize,
    /// One a row.
    pub scales: &'a [f32],
}

/// The product; row `m` of the output starts at `m · out_stride`.
///
/// # Panics
/// If a row or an output does not fit its slice.
pub(crate) fn matmul(isa: Isa, rows: Rows<'_>, weights: &Weights, out: &mut [f32], out_stride: usize) {
    let count = rows.scales.len();
    if count == 0 {
        return;
    }
    assert!(rows.stride >= weights.row_bytes() && out_stride >= weights.columns);
    assert!(rows.codes.len() >= (count - 1) * rows.stride + weights.row_bytes());
    assert!(out.len() >= (count - 1) * out_stride + weights.columns);
    match isa {
        Isa::Scalar => scalar::matmul(rows, weights, out, out_stride),
        #[cfg(feature = "simd-accel")]
        Isa::Wide => wide::matmul(rows, weights, out, out_stride),
        #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
        Isa::Avx2(token) => avx2::matmul(token, rows, weights, out, out_stride),
        #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
        Isa::Avx512(token) => avx512vnni::matmul(token, rows, weights, out, out_stride),
    }
}
