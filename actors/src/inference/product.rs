//! A matrix product in the precision it was packed in, over float32 rows.

use half::f16;

use super::Precision;
use super::kernels::epilogue::Clamp;
use super::kernels::linear_float;
#[cfg(feature = "quantized-ops")]
use super::kernels::{linear_int4, linear_int8, quantize};
use super::network::model_error;
use super::run::Run;
use crate::Result;

/// Rows that are quantized or gathered before they are multiplied: their codes stay in the second-level cache.
pub(crate) const BLOCK_ROWS: usize = 128;

/// Rows that are multiplied in float32 between two looks at the interrupt: enough that reading the weights anew for each
/// block is nothing beside the products.
const FLOAT_BLOCK_ROWS: usize = 4 * BLOCK_ROWS;

/// Packed weights.
pub(crate) enum Product {
    #[cfg(feature = "quantized-ops")]
    Int8(linear_int8::Weights),
    #[cfg(feature = "quantized-ops")]
    Int4(linear_int4::Weights),
    Fp16(linear_float::Weights<f16>),
    Fp32(linear_float::Weights<f32>),
}

/// A value that is not finite stands where integers are wanted.
#[cfg(feature = "quantized-ops")]
pub(crate) fn not_finite() -> crate::Error {
    model_error("the input has a value that is not finite: int8 and int4 layers take finite values only".to_owned())
}

impl Product {
    /// Packs `weights`, `columns × inputs`.
    pub(crate) fn pack(
        precision: Precision,
        weights: &[f32],
        columns: usize,
        inputs: usize,
        bias: Option<&[f32]>,
        clamp: Clamp,
    ) -> Result<Self> {
        #[cfg(feature = "quantized-ops")]
        if precision.is_quantized() && inputs > linear_int8::MAX_INPUTS {
            let most = linear_int8::MAX_INPUTS;
            return Err(model_error(format!(
                "{precision} sums at most {most} products exactly, this layer has {inputs}: use fp16 or fp32"
            )));
        }
        match precision {
            #[cfg(feature = "quantized-ops")]
            Precision::Int8 => Ok(Self::Int8(linear_int8::Weights::pack(weights, columns, inputs, bias, clamp))),
            #[cfg(feature = "quantized-ops")]
            Precision::Int4 => Ok(Self::Int4(linear_int4::Weights::pack(weights, columns, inputs, bias, clamp))),
            #[cfg(not(feature = "quantized-ops"))]
            Precision::Int8 | Precision::Int4 => Err(model_error(format!(
                "this build has no {precision}: it was made without the feature quantized-ops"
            ))),
            Precision::Fp16 => {
                if let Some(value) = weights.iter().find(|value| !f16::from_f32(**value).is_finite()) {
                    return Err(model_error(format!("the weight {value} is beyond the range of fp16")));
                }
                Ok(Self::Fp16(linear_float::Weights::pack(weights, columns, inputs, bias, clamp)))
            }
            Precision::Fp32 => Ok(Self::Fp32(linear_float::Weights::pack(weights, columns, inputs, bias, clamp))),
        }
    }

    pub(crate) fn precision(&self) -> Precision {
        match self {
            #[cfg(feature = "quantized-ops")]
            Self::Int8(_) => Precision::Int8,
            #[cfg(feature = "quantized-ops")]
            Self::Int4(_) => Precision::Int4,
            Self::Fp16(_) => Precision::Fp16,
            Self::Fp32(_) => Precision::Fp32,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            #[cfg(feature = "quantized-ops")]
            Self::Int8(weights) => weights.bytes(),
            #[cfg(feature = "quantized-ops")]
            Self::Int4(weights) => weights.bytes(),
            Self::Fp16(weights) => weights.bytes(),
            Self::Fp32(weights) => weights.bytes(),
        }
    }

    /// Scratch of [`rows`](Self::rows), in f32 elements.
    pub(crate) fn rows_scratch(&self, count: usize) -> usize {
        let count = count.min(BLOCK_ROWS);
        match self {
            #[cfg(feature = "quantized-ops")]
            Self::Int8(weights) => count * (1 + code_stride(weights.row_bytes()) / 4),
            #[cfg(feature = "quantized-ops")]
            Self::Int4(weights) => count * (1 + weights.groups() + code_stride(weights.row_bytes()) / 4),
            Self::Fp16(_) | Self::Fp32(_) => {
                let _ = count;
                0
            }
        }
    }

    /// `out = values · weightsᵀ` for rows of `width` values, each quantized by itself if the weights are.
    pub(crate) fn rows(
        &self,
        run: Run<'_>,
        values: &[f32],
        width: usize,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> Result<()> {
        let (isa, count) = (run.isa, values.len() / width);
        match self {
            #[cfg(feature = "quantized-ops")]
            Self::Int8(weights) => {
                let stride = code_stride(weights.row_bytes());
                let (scales, codes) = scratch.split_at_mut(count.min(BLOCK_ROWS));
                let codes: &mut [u8] = bytemuck::cast_slice_mut(codes);
                let blocks = values.chunks(BLOCK_ROWS * width).zip(out.chunks_mut(BLOCK_ROWS * weights.columns()));
                for (values, out) in blocks {
                    run.check()?;
                    let rows = values.chunks_exact(width);
                    let scales = &mut scales[..rows.len()];
                    for ((row, scale), codes) in rows.zip(&mut *scales).zip(codes.chunks_mut(stride)) {
                        let magnitude = quantize::magnitude(isa, row).ok_or_else(not_finite)?;
                        *scale = quantize::to_u8(isa, row, magnitude, codes);
                    }
                    let rows = linear_int8::Rows { codes, stride, scales };
                    linear_int8::matmul(isa, rows, weights, out, weights.columns());
                }
            }
            #[cfg(feature = "quantized-ops")]
            Self::Int4(weights) => {
                let stride = code_stride(weights.row_bytes());
                let block = count.min(BLOCK_ROWS);
                let (scales, rest) = scratch.split_at_mut(block);
                let (sums, codes) = rest.split_at_mut(block * weights.groups());
                let codes: &mut [u8] = bytemuck::cast_slice_mut(codes);
                let blocks = values.chunks(BLOCK_ROWS * width).zip(out.chunks_mut(BLOCK_ROWS * weights.columns()));
                for (values, out) in blocks {
                    run.check()?;
                    let rows = values.chunks_exact(width);
                    let scales = &mut scales[..rows.len()];
                    let places = codes.chunks_mut(stride).zip(sums.chunks_mut(weights.groups()));
                    for ((row, scale), (codes, sums)) in rows.zip(&mut *scales).zip(places) {
                        let magnitude = quantize::magnitude(isa, row).ok_or_else(not_finite)?;
                        codes[width..].fill(0);
                        *scale = quantize::to_i8(isa, row, magnitude, codes);
                        linear_int4::group_sums(isa, &codes[..weights.row_bytes()], sums);
                    }
                    let rows = linear_int4::Rows { codes: bytemuck::cast_slice(codes), stride, scales, sums };
                    linear_int4::matmul(isa, rows, weights, out, weights.columns());
                }
            }
            Self::Fp16(weights) => float_rows(run, values, width, weights, out)?,
            Self::Fp32(weights) => float_rows(run, values, width, weights, out)?,
        }
        let _ = (isa, count, scratch);
        Ok(())
    }
}

/// As [`Product::rows`], in float32. The cut into blocks changes no sum.
fn float_rows<T: linear_float::Element>(
    run: Run<'_>,
    values: &[f32],
    width: usize,
    weights: &linear_float::Weights<T>,
    out: &mut [f32],
) -> Result<()> {
    let columns = weights.columns();
    for (values, out) in values.chunks(FLOAT_BLOCK_ROWS * width).zip(out.chunks_mut(FLOAT_BLOCK_ROWS * columns)) {
        run.check()?;
        let rows = linear_float::Rows { values, count: values.len() / width, stride: width };
        linear_float::matmul(run.isa, rows, weights, out, columns);
    }
    Ok(())
}

/// Bytes from one row of codes to the next: whole cache lines, and never a multiple of 4 KiB, which would put a tile's
/// rows in one set of the first-level cache.
#[cfg(feature = "quantized-ops")]
pub(crate) fn code_stride(row_bytes: usize) -> usize {
    let lines = row_bytes.next_multiple_of(64);
    if lines.is_multiple_of(2048) { lines + 64 } else { lines }
}
