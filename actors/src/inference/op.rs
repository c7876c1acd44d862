//! One packed operation: the shape it makes, the scratch it needs, and its run.
//!
//! Shapes are logical, `(N, C, H, W)` for images, whichever layout the values are in; `pack.rs` places the changes of
//! layout, so an operation over images finds them channels-last.

use super::convolution::Convolution;
use super::kernels::activation::{self, Activation};
use super::kernels::depthwise;
use super::kernels::isa::Isa;
use super::kernels::layout::transpose;
use super::kernels::patches::{Image, Window};
use super::kernels::pool2d::{self, Pool};
use super::network::model_error;
use super::product::Product;
use super::run::Run;
use super::sequence::Sequence;
use crate::Result;

pub(crate) enum Op {
    Linear {
        product: Product,
        inputs: usize,
        outputs: usize,
    },
    Conv2d(Convolution),
    Depthwise {
        weights: depthwise::Weights,
        window: Window,
        channels: usize,
    },
    ChannelAffine {
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    Activation(Activation),
    Softmax,
    Pool(Pool, Window),
    GlobalAveragePool,
    Flatten,
    ToChannelsLast,
    ToChannelsFirst,
    /// `x + body(x)`.
    Residual(Sequence),
    /// `x · body(x)`.
    Gate(Sequence),
}

/// `(N, C, [H, W])` of an image shape.
pub(crate) fn image(shape: &[usize]) -> Result<(usize, usize, [usize; 2])> {
    match *shape {
        [samples, channels, height, width] => Ok((samples, channels, [height, width])),
        _ => Err(model_error(format!("expected an image batch (N, C, H, W), got the shape {shape:?}"))),
    }
}

fn image_of(shape: &[usize], channels: usize) -> Result<(usize, usize, [usize; 2])> {
    let found = image(shape)?;
    if found.1 != channels {
        return Err(model_error(format!("expected {channels} channels in (N, C, H, W), got the shape {shape:?}")));
    }
    Ok(found)
}

pub(crate) fn positions(window: &Window, size: [usize; 2]) -> Result<[usize; 2]> {
    window.positions(size).ok_or_else(|| {
        model_error(format!(
            "a kernel of {:?} does not fit on {size:?} pixels with a padding of {:?}",
            window.kernel, window.padding
        ))
    })
}

/// Elements of a shape; every shape between layers has passed through here.
pub(crate) fn elements(shape: &[usize]) -> Result<usize> {
    if shape.is_empty() || shape.contains(&0) {
        return Err(model_error(format!("the shape {shape:?} has no elements: every size must be at least 1")));
    }
    shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .filter(|&count| count <= isize::MAX as usize / size_of::<f32>())
        .ok_or_else(|| model_error(format!("the shape {shape:?} is larger than memory can be")))
}

impl Op {
    /// The shape it makes of `shape`.
    pub(crate) fn output_shape(&self, shape: &[usize]) -> Result<Vec<usize>> {
        match self {
            Self::Linear { inputs, outputs, .. } => match shape {
                [leading @ .., width] if width == inputs => Ok([leading, &[*outputs]].concat()),
                _ => {
                    Err(model_error(format!("linear takes {inputs} values on the last axis, got the shape {shape:?}")))
                }
            },
            Self::Conv2d(conv) => {
                let (samples, _, size) = image_of(shape, conv.inputs)?;
                let [down, across] = positions(&conv.window, size)?;
                Ok(vec![samples, conv.outputs, down, across])
            }
            Self::Depthwise { window, channels, .. } => {
                let (samples, _, size) = image_of(shape, *channels)?;
                let [down, across] = positions(window, size)?;
                Ok(vec![samples, *channels, down, across])
            }
            Self::ChannelAffine { scale, .. } => image_of(shape, scale.len()).map(|_| shape.to_vec()),
            Self::Activation(_) | Self::Softmax => Ok(shape.to_vec()),
            Self::Pool(_, window) => {
                let (samples, channels, size) = image(shape)?;
                let [down, across] = positions(window, size)?;
                Ok(vec![samples, channels, down, across])
            }
            Self::GlobalAveragePool => image(shape).map(|(samples, channels, _)| vec![samples, channels, 1, 1]),
            Self::Flatten => match shape {
                [samples, rest @ ..] => Ok(vec![*samples, elements(&[&[1], rest].concat())?]),
                [] => Err(model_error("flatten needs at least one axis".to_owned())),
            },
            Self::ToChannelsLast | Self::ToChannelsFirst => image(shape).map(|_| shape.to_vec()),
            Self::Residual(body) => match body.output_shape(shape)? {
                made if made == shape => Ok(made),
                made => Err(model_error(format!("residual: the body turns the shape {shape:?} into {made:?}"))),
            },
            Self::Gate(body) => {
                let made = body.output_shape(shape)?;
                let pooled =
                    body.ends_channels_last() && made.len() == 4 && made[..2] == shape[..2] && made[2..] == [1, 1];
                if made == shape || pooled {
                    return Ok(shape.to_vec());
                }
                Err(model_error(format!(
                    "gate: the body turns the shape {shape:?} into {made:?}, which it cannot scale"
                )))
            }
        }
    }

    /// Whether it overwrites its input ([`run_in_place`](Self::run_in_place)).
    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self, Self::ChannelAffine { .. } | Self::Activation(_) | Self::Softmax | Self::Flatten)
    }

    /// Scratch of [`run`](Self::run) for an input of this shape, in f32 elements.
    pub(crate) fn scratch_len(&self, shape: &[usize]) -> Result<usize> {
        match self {
            Self::Linear { product, inputs, .. } => Ok(product.rows_scratch(elements(shape)? / inputs)),
            Self::Conv2d(conv) => conv.scratch_len(shape),
            Self::Residual(body) => body.scratch_len(shape),
            Self::Gate(body) => Ok(elements(&body.output_shape(shape)?)? + body.scratch_len(shape)?),
            _ => Ok(0),
        }
    }

    /// Runs an operation that [`is_in_place`](Self::is_in_place).
    pub(crate) fn run_in_place(&self, isa: Isa, shape: &[usize], values: &mut [f32]) {
        match self {
            Self::ChannelAffine { scale, shift } => {
                for pixel in values.chunks_exact_mut(scale.len()) {
                    for ((value, scale), shift) in pixel.iter_mut().zip(scale).zip(shift) {
                        *value = *value * scale + shift;
                    }
                }
            }
            Self::Activation(activation) => activation::apply(isa, *activation, values),
            Self::Softmax => activation::softmax(isa, values, shape[shape.len() - 1]),
            _ => {}
        }
    }

    /// Runs any other operation. `shape` has passed [`output_shape`](Self::output_shape), and the slices have the
    /// lengths that follow from it.
    pub(crate) fn run(
        &self,
        run: Run<'_>,
        shape: &[usize],
        input: &[f32],
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> Result<()> {
        let isa = run.isa;
        match self {
            Self::Linear { product, inputs, .. } => return product.rows(run, input, *inputs, scratch, out),
            Self::Conv2d(conv) => return conv.run(run, shape, input, scratch, out),
            Self::Depthwise { weights, window, .. } => {
                each_sample(run, shape, input, out, |image, out| {
                    depthwise::convolve(isa, image, window, weights, out);
                    Ok(())
                })?;
            }
            Self::Pool(kind, window) => {
                each_sample(run, shape, input, out, |image, out| {
                    pool2d::pool(isa, *kind, image, window, out);
                    Ok(())
                })?;
            }
            Self::GlobalAveragePool => {
                each_sample(run, shape, input, out, |image, out| {
                    pool2d::global_average(isa, image.pixels, out);
                    Ok(())
                })?;
            }
            Self::ToChannelsLast => {
                let (_, channels, [height, width]) = image(shape)?;
                transpose(isa, input, channels, height * width, out);
            }
            Self::ToChannelsFirst => {
                let (_, channels, [height, width]) = image(shape)?;
                transpose(isa, input, height * width, channels, out);
            }
            Self::Residual(body) => {
                body.run(run, input, shape, scratch, out)?;
                out.iter_mut().zip(input).for_each(|(out, value)| *out += value);
            }
            Self::Gate(body) => {
                let made = elements(&body.output_shape(shape)?)?;
                let (factors, scratch) = scratch.split_at_mut(made);
                body.run(run, input, shape, scratch, factors)?;
                // A factor for each value, or one for each channel of a channels-last sample.
                let width = if made == input.len() { made } else { shape[1] };
                let sample = input.len() / (made / width);
                let samples = input.chunks_exact(sample).zip(out.chunks_exact_mut(sample));
                for ((input, out), factors) in samples.zip(factors.chunks_exact(width)) {
                    for (input, out) in input.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                        for ((out, value), factor) in out.iter_mut().zip(input).zip(factors) {
                            *out = value * factor;
                        }
                    }
                }
            }
            Self::ChannelAffine { .. } | Self::Activation(_) | Self::Softmax | Self::Flatten => {
                out.copy_from_slice(input);
                self.run_in_place(isa, shape, out);
            }
        }
        Ok(())
    }
}

/// Calls `each` with every sample of a channels-last batch and its part of the output.
pub(crate) fn each_sample(
    run: Run<'_>,
    shape: &[usize],
    input: &[f32],
    out: &mut [f32],
    mut each: impl FnMut(Image<'_, f32>, &mut [f32]) -> Result<()>,
) -> Result<()> {
    let (samples, channels, size) = image(shape)?;
    let inputs = input.chunks_exact(input.len() / samples);
    let outputs = out.len() / samples;
    for (pixels, out) in inputs.zip(out.chunks_exact_mut(outputs)) {
        run.check()?;
        each(Image { pixels, size, channels }, out)?;
    }
    Ok(())
}
