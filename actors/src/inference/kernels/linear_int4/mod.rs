//! Int4 product: weights in groups of 32 inputs with a scale and a minimum each, activations int8 with one scale a row.
//!
//! A weight is `minimum + scale · code`, code 0..=15, so with the row's codes `x`
//! `y[m, n] = sx[m] · Σ_g (scale[g, n] · Σ_k code · x + minimum[g, n] · Σ_k x) + bias[n]`.
//! The inner sums are exact integers; groups are added in order, in float32, without fusing: every instruction set gives
//! the same bits. Codes are unsigned and at most 15, so neither `vpdpbusd` nor `vpmaddubsw` saturates.

#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
mod avx2;
#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
mod avx512vnni;
mod scalar;
#[cfg(test)]
mod tests;

use half::bf16;

use super::PANEL;
use super::epilogue::{Clamp, Epilogue};
use super::isa::{Isa, vectorize};

/// Inputs that share a scale and a minimum.
pub(crate) const GROUP: usize = 32;

/// Inputs that a chunk of nibbles holds: four in the low halves, four in the high ones.
const DEPTH: usize = 8;

/// One group of inputs of sixteen columns, five cache lines.
///
/// Byte `4·column + i` of chunk `t` holds the codes of inputs `8t + i` (low nibble) and `8t + 4 + i` (high nibble), so a
/// mask and a shift give operands in the order of `vpdpbusd`. Scales are bf16, whose range is that of float32: a small
/// scale cannot underflow to zero, as it would in fp16.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Block {
    scales: [bf16; PANEL],
    minima: [bf16; PANEL],
    nibbles: [[u8; 4 * PANEL]; GROUP / DEPTH],
}

/// Weights in panels of blocks.
pub(crate) struct Weights {
    columns: usize,
    inputs: usize,
    /// `panels × groups`.
    blocks: Vec<Block>,
    epilogue: Epilogue,
}

impl Weights {
    /// Quantizes `weights`, `columns × inputs` row-major and finite.
    pub(crate) fn pack(weights: &[f32], columns: usize, inputs: usize, bias: Option<&[f32]>, clamp: Clamp) -> Self {
        assert_eq!(weights.len(), columns * inputs);
        let empty = Block {
            scales: [bf16::ZERO; PANEL],
            minima: [bf16::ZERO; PANEL],
            nibbles: [[0; 4 * PANEL]; GROUP / DEPTH],
        };
        let groups = inputs.div_ceil(GROUP);
        let mut blocks = vec![empty; columns.div_ceil(PANEL) * groups];
        for (column, row) in weights.chunks_exact(inputs).enumerate() {
            let lane = column % PANEL;
            for (group, values) in row.chunks(GROUP).enumerate() {
                let block = &mut blocks[column / PANEL * groups + group];
                let low = values.iter().copied().fold(f32::INFINITY, f32::min);
                let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let minimum = nearest(f64::from(low));
                let scale = nearest((f64::from(high) - f64::from(low)) / 15.0);
                (block.scales[lane], block.minima[lane]) = (scale, minimum);
                if scale == bf16::ZERO {
                    continue;
                }
                for (input, &value) in values.iter().enumerate() {
                    let steps = (f64::from(value) - f64::from(minimum)) / f64::from(scale);
                    let code = steps.round().clamp(0.0, 15.0) as u8;
                    let (chunk, within) = (input / DEPTH, input % DEPTH);
                    block.nibbles[chunk][lane * 4 + within % 4] |= code << (within / 4 * 4);
                }
            }
        }
        Self { columns, inputs, blocks, epilogue: Epilogue::new(bias, columns, clamp) }
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn groups(&self) -> usize {
        self.inputs.div_ceil(GROUP)
    }

    /// Codes of a row: whole groups, zeros after the inputs.
    pub(crate) fn row_bytes(&self) -> usize {
        self.groups() * GROUP
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.blocks[..])
    }

    #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
    fn panels(&self) -> usize {
        self.columns.div_ceil(PANEL)
    }

    #[inline(always)]
    fn finish(&self, sum: f32, row_scale: f32, column: usize) -> f32 {
        self.epilogue.clamp.apply(sum * row_scale + self.epilogue.bias[column])
    }
}

/// The bf16 nearest to `value`, kept from rounding to infinity.
fn nearest(value: f64) -> bf16 {
    bf16::from_f64(value.clamp(bf16::MIN.to_f64(), bf16::MAX.to_f64()))
}

/// Activations as signed codes.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// Row `m` starts at `m · stride` and has [`Weights::row_bytes`] codes, zeros after the inputs.
    pub codes: &'a [i8],
    pub stride: usize,
    /// One a row.
    pub scales: &'a [f32],
    /// The sum of every group's codes, `rows × groups`.
    pub sums: &'a [f32],
}

/// The sum of every group of one row's codes, the bytes of `i8`.
pub(crate) fn group_sums(isa: Isa, codes: &[u8], sums: &mut [f32]) {
    #[inline(always)]
    fn add(codes: &[u8], sums: &mut [f32]) {
        for (group, sum) in codes.chunks_exact(GROUP).zip(sums) {
            let mut total = 0;
            for &code in group {
                total += i32::from(code as i8);
            }
            *sum = total as f32;
        }
    }
    vectorize!(isa, add(codes: &[u8], sums: &mut [f32]));
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
    assert!(rows.sums.len() >= count * weights.groups());
    assert!(out.len() >= (count - 1) * out_stride + weights.columns);
    match isa {
        Isa::Scalar => scalar::matmul(rows, weights, out, out_stride),
        // The plain loops again, for the compiler to vectorize: `wide` has no product of bytes.
        #[cfg(feature = "simd-accel")]
        Isa::Wide => scalar::matmul(rows, weights, out, out_stride),
        #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
        Isa::Avx2(token) => avx2::matmul(token, rows, weights, out, out_stride),
        #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
        Isa::Avx512(token) => avx512vnni::matmul(token, rows, weights, out, out_stride),
    }
}
