//! Convolution as a matrix product over patches, a product for each group of channels.
//!
//! A sample is quantized once, with one scale, if the weights are; then blocks of window positions are gathered and
//! multiplied. A pointwise convolution gathers nothing: the pixels are the rows.

use super::kernels::linear_float;
use super::kernels::patches::{Image, Patches, Window};
#[cfg(feature = "quantized-ops")]
use super::kernels::{linear_int8, quantize};
use super::op::{each_sample, image, positions};
use super::product::{BLOCK_ROWS, Product};
#[cfg(feature = "quantized-ops")]
use super::product::{code_stride, not_finite};
use super::run::Run;
use crate::Result;

pub(crate) struct Convolution {
    /// One a group, all of one precision: int8, fp16 or fp32.
    pub products: Vec<Product>,
    pub window: Window,
    pub inputs: usize,
    pub outputs: usize,
}

impl Convolution {
    /// Scratch of [`run`](Self::run), in f32 elements: a sample's codes, then a block of patches.
    pub(crate) fn scratch_len(&self, shape: &[usize]) -> Result<usize> {
        let (_, _, size) = image(shape)?;
        let [down, across] = positions(&self.window, size)?;
        let rows = (down * across).min(BLOCK_ROWS);
        Ok(match &self.products[0] {
            #[cfg(feature = "quantized-ops")]
            Product::Int8(weights) => {
                codes_len(self.inputs * size[0] * size[1]) + rows * code_stride(weights.row_bytes()) / 4
            }
            #[cfg(feature = "quantized-ops")]
            Product::Int4(_) => no_int4(),
            Product::Fp16(weights) => rows * weights.inputs(),
            Product::Fp32(weights) => rows * weights.inputs(),
        })
    }

    pub(crate) fn run(
        &self,
        run: Run<'_>,
        shape: &[usize],
        input: &[f32],
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> Result<()> {
        each_sample(run, shape, input, out, |image, out| {
            #[cfg(feature = "quantized-ops")]
            if self.products[0].precision().is_quantized() {
                let (codes, rows) = scratch.split_at_mut(codes_len(image.pixels.len()));
                let codes = &mut bytemuck::cast_slice_mut(codes)[..image.pixels.len()];
                let magnitude = quantize::magnitude(run.isa, image.pixels).ok_or_else(not_finite)?;
                let scale = quantize::to_u8(run.isa, image.pixels, magnitude, codes);
                let Image { size, channels, .. } = image;
                return self.sample(Image { pixels: codes, size, channels }, out, |product, patches, out| {
                    let Product::Int8(weights) = product else { no_int4() };
                    int8_product(run, weights, &patches, scale, rows, out, self.outputs)
                });
            }
            self.sample(image, out, |product, patches, out| match product {
                Product::Fp16(weights) => float_product(run, weights, &patches, scratch, out, self.outputs),
                Product::Fp32(weights) => float_product(run, weights, &patches, scratch, out, self.outputs),
                #[cfg(feature = "quantized-ops")]
                Product::Int8(_) | Product::Int4(_) => no_int4(),
            })
        })
    }

    /// Calls `multiply` with every group's product, patches and outputs.
    fn sample<'a, T: Copy>(
        &self,
        image: Image<'a, T>,
        out: &mut [f32],
        mut multiply: impl FnMut(&Product, Patches<'a, T>, &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        let groups = self.products.len();
        let (wide, deep) = (self.inputs / groups, self.outputs / groups);
        let positions = positions(&self.window, image.size)?;
        for (group, product) in self.products.iter().enumerate() {
            let channels = group * wide..(group + 1) * wide;
            let patches = Patches { image, group: channels, window: self.window, positions };
            multiply(product, patches, &mut out[group * deep..])?;
        }
        Ok(())
    }
}

/// `pack.rs` packs the convolutions of an int4 model as int8.
#[cfg(feature = "quantized-ops")]
fn no_int4() -> ! {
    unreachable!("a convolution is packed as int8, fp16 or fp32")
}

/// f32 elements that hold this many bytes.
#[cfg(feature = "quantized-ops")]
fn codes_len(bytes: usize) -> usize {
    bytes.div_ceil(4)
}

/// Multiplies every patch; the output of position `p` starts at `p · out_stride`.
#[cfg(feature = "quantized-ops")]
fn int8_product(
    run: Run<'_>,
    weights: &linear_int8::Weights,
    patches: &Patches<'_, u8>,
    scale: f32,
    scratch: &mut [f32],
    out: &mut [f32],
    out_stride: usize,
) -> Result<()> {
    let scales = [scale; BLOCK_ROWS];
    // A product reads whole lines: pixels serve as rows only if their channels fill them.
    let direct = patches.are_pixels() && patches.image.channels == weights.row_bytes();
    let gathered: &mut [u8] = bytemuck::cast_slice_mut(scratch);
    for (first, out) in (0..patches.count()).step_by(BLOCK_ROWS).zip(out.chunks_mut(BLOCK_ROWS * out_stride)) {
        run.check()?;
        let block = first..patches.count().min(first + BLOCK_ROWS);
        let scales = &scales[..block.len()];
        let rows = if direct {
            let stride = patches.image.channels;
            linear_int8::Rows { codes: &patches.image.pixels[first * stride..], stride, scales }
        } else {
            let stride = code_stride(weights.row_bytes());
            patches.gather(block, quantize::OFFSET, stride, gathered);
            linear_int8::Rows { codes: gathered, stride, scales }
        };
        linear_int8::matmul(run.isa, rows, weights, out, out_stride);
    }
    Ok(())
}

/// As [`int8_product`], in float32.
fn float_product<T: linear_float::Element>(
    run: Run<'_>,
    weights: &linear_float::Weights<T>,
    patches: &Patches<'_, f32>,
    scratch: &mut [f32],
    out: &mut [f32],
    out_stride: usize,
) -> Result<()> {
    let stride = weights.inputs();
    for (first, out) in (0..patches.count()).step_by(BLOCK_ROWS).zip(out.chunks_mut(BLOCK_ROWS * out_stride)) {
        run.check()?;
        let block = first..patches.count().min(first + BLOCK_ROWS);
        let count = block.len();
        let values = if patches.are_pixels() {
            &patches.image.pixels[first * stride..]
        } else {
            patches.gather(block, 0.0, stride, scratch);
            &*scratch
        };
        linear_float::matmul(run.isa, linear_float::Rows { values, count, stride }, weights, out, out_stride);
    }
    Ok(())
}
