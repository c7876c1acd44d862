//! A network's layers to packed operations: batch normalisation folded, clamps fused, layouts chosen.
//!
//! Values begin channels-first, as the caller has them. The first operation over images turns them channels-last, and
//! they stay so until an operation reads the last axis or the order of elements (linear, softmax, flatten) or the network ends.

use serde::Serialize;

use super::Precision;
use super::convolution::Convolution;
use super::kernels::activation::Activation;
use super::kernels::depthwise;
use super::kernels::epilogue::Clamp;
use super::network::{Conv2d, Layer, Network, model_error};
use super::op::Op;
use super::product::Product;
use super::sequence::{Sequence, Step};
use crate::Result;

/// One layer of a packed model, as [`Model::describe`](super::Model::describe) tells it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerInfo {
    /// The layer's place and kind, `"2 conv2d"`; within a residual or a gate `"3 residual / 0 linear"`.
    pub name: String,
    /// The shape of its weights, empty if it has none: `[out, in]` or `[out, in / groups, kernel height, kernel width]`.
    pub weights: Vec<usize>,
    /// How the weights are held; `None` if there are none.
    pub precision: Option<Precision>,
    /// Weights and biases, before packing.
    pub parameters: usize,
    /// Bytes of the packed weights, scales included.
    pub weight_bytes: usize,
    /// What was fused into this layer: `"batch_norm2d"`, `"relu"`, `"relu6"`.
    pub fused: Vec<&'static str>,
}

/// Packs a whole network, which begins and ends channels-first.
pub(crate) fn pack(network: &Network, precision: Precision, layers: &mut Vec<LayerInfo>) -> Result<Sequence> {
    Packer { precision, prefix: String::new(), layers }.sequence(network, false, false)
}

struct Packer<'a> {
    precision: Precision,
    prefix: String,
    layers: &'a mut Vec<LayerInfo>,
}

/// The layout that a layer reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Either,
    ChannelsFirst,
    ChannelsLast,
}

fn needs(layer: &Layer) -> Needs {
    match layer {
        Layer::Linear { .. } | Layer::Softmax | Layer::Flatten => Needs::ChannelsFirst,
        Layer::Conv2d(_) | Layer::ChannelAffine { .. } | Layer::Pool(..) | Layer::GlobalAveragePool => {
            Needs::ChannelsLast
        }
        Layer::Activation(_) => Needs::Either,
        Layer::Residual(body) | Layer::Gate(body) => {
            body.layers().iter().map(needs).find(|needs| *needs != Needs::Either).unwrap_or(Needs::Either)
        }
    }
}

impl Packer<'_> {
    /// Packs `network` between two given layouts.
    fn sequence(&mut self, network: &Network, mut channels_last: bool, end_channels_last: bool) -> Result<Sequence> {
        let mut steps = Vec::new();
        let layers = network.layers();
        let mut index = 0;
        while index < layers.len() {
            let layer = &layers[index];
            match needs(layer) {
                Needs::ChannelsLast => turn(&mut steps, &mut channels_last, true),
                Needs::ChannelsFirst => turn(&mut steps, &mut channels_last, false),
                Needs::Either => {}
            }
            let (op, kind, used) = self.layer(&layers[index..], index, channels_last)?;
            steps.push(Step { name: format!("layer {}{index} {kind}", self.prefix), op });
            index += used;
        }
        turn(&mut steps, &mut channels_last, end_channels_last);
        Ok(Sequence { steps, channels_last })
    }

    /// Packs the first of `layers` and says how many it took.
    fn layer(&mut self, layers: &[Layer], index: usize, channels_last: bool) -> Result<(Op, &'static str, usize)> {
        let kind = kind(&layers[0]);
        let place = self.layers.len();
        self.layers.push(LayerInfo {
            name: format!("{}{index} {kind}", self.prefix),
            weights: Vec::new(),
            precision: None,
            parameters: 0,
            weight_bytes: 0,
            fused: Vec::new(),
        });
        let mut used = 1;
        let op = match &layers[0] {
            Layer::Linear { weights, outputs, inputs, bias } => {
                let info = &mut self.layers[place];
                let clamp = fuse_clamp(layers, &mut used, info);
                let product = Product::pack(self.precision, weights, *outputs, *inputs, bias.as_deref(), clamp)?;
                info.weights = vec![*outputs, *inputs];
                info.parameters = weights.len() + bias.as_ref().map_or(0, Vec::len);
                info.precision = Some(product.precision());
                info.weight_bytes = product.bytes() + bias.as_ref().map_or(0, |bias| size_of_val(&bias[..]));
                Op::Linear { product, inputs: *inputs, outputs: *outputs }
            }
            Layer::Conv2d(conv) => {
                let info = &mut self.layers[place];
                let [height, width] = conv.window.kernel;
                info.weights = vec![conv.outputs, conv.inputs / conv.groups, height, width];
                info.parameters = conv.weights.len() + conv.bias.as_ref().map_or(0, Vec::len);
                let folded = fold(conv, layers.get(1))?;
                if let Some(Layer::ChannelAffine { scale, .. }) = layers.get(1) {
                    info.parameters += 2 * scale.len();
                    info.fused.push("batch_norm2d");
                    used += 1;
                }
                let clamp = fuse_clamp(layers, &mut used, info);
                convolution(self.precision, &folded, clamp, info)?
            }
            Layer::ChannelAffine { scale, shift } => {
                let info = &mut self.layers[place];
                info.parameters = 2 * scale.len();
                info.weight_bytes = size_of_val(&scale[..]) * 2;
                info.precision = Some(Precision::Fp32);
                Op::ChannelAffine { scale: scale.clone(), shift: shift.clone() }
            }
            Layer::Activation(activation) => Op::Activation(*activation),
            Layer::Softmax => Op::Softmax,
            Layer::Pool(kind, window) => Op::Pool(*kind, *window),
            Layer::GlobalAveragePool => Op::GlobalAveragePool,
            Layer::Flatten => Op::Flatten,
            Layer::Residual(body) => Op::Residual(self.body(body, index, kind, channels_last)?),
            Layer::Gate(body) => Op::Gate(self.body(body, index, kind, channels_last)?),
        };
        Ok((op, kind, used))
    }

    /// The body of a residual or a gate, which ends in the layout it begins with.
    fn body(&mut self, body: &Network, index: usize, kind: &str, channels_last: bool) -> Result<Sequence> {
        let prefix = format!("{}{index} {kind} / ", self.prefix);
        Packer { precision: self.precision, prefix, layers: self.layers }.sequence(body, channels_last, channels_last)
    }
}

fn kind(layer: &Layer) -> &'static str {
    use super::kernels::pool2d::Pool;
    match layer {
        Layer::Linear { .. } => "linear",
        Layer::Conv2d(_) => "conv2d",
        Layer::ChannelAffine { .. } => "batch_norm2d",
        Layer::Activation(activation) => activation.name(),
        Layer::Softmax => "softmax",
        Layer::Pool(Pool::Max, _) => "max_pool2d",
        Layer::Pool(Pool::Average, _) => "avg_pool2d",
        Layer::GlobalAveragePool => "global_avg_pool",
        Layer::Flatten => "flatten",
        Layer::Residual(_) => "residual",
        Layer::Gate(_) => "gate",
    }
}

fn turn(steps: &mut Vec<Step>, channels_last: &mut bool, to: bool) {
    if *channels_last != to {
        let op = if to { Op::ToChannelsLast } else { Op::ToChannelsFirst };
        steps.push(Step { name: "layout".to_owned(), op });
        *channels_last = to;
    }
}

/// Takes a ReLU or ReLU6 that follows the `used` layers.
fn fuse_clamp(layers: &[Layer], used: &mut usize, info: &mut LayerInfo) -> Clamp {
    let Some(Layer::Activation(activation)) = layers.get(*used) else {
        return Clamp::NONE;
    };
    let Some(clamp) = activation.as_clamp() else {
        return Clamp::NONE;
    };
    *used += 1;
    info.fused.push(Activation::name(*activation));
    clamp
}

/// The convolution with a batch normalisation that follows it in its weights and bias.
fn fold(conv: &Conv2d, next: Option<&Layer>) -> Result<Conv2d> {
    let mut folded = conv.clone();
    let Some(Layer::ChannelAffine { scale, shift }) = next else {
        return Ok(folded);
    };
    let depth = conv.weights.len() / conv.outputs;
    for (weights, scale) in folded.weights.chunks_exact_mut(depth).zip(scale) {
        weights.iter_mut().for_each(|weight| *weight *= scale);
    }
    let bias = folded.bias.get_or_insert_with(|| vec![0.0; conv.outputs]);
    for ((bias, scale), shift) in bias.iter_mut().zip(scale).zip(shift) {
        *bias = *bias * scale + shift;
    }
    if folded.weights.iter().chain(folded.bias.iter().flatten()).any(|value| !value.is_finite()) {
        return Err(model_error("conv2d: folding batch_norm2d into it overflows".to_owned()));
    }
    Ok(folded)
}

fn convolution(precision: Precision, conv: &Conv2d, clamp: Clamp, info: &mut LayerInfo) -> Result<Op> {
    let [height, width] = conv.window.kernel;
    let depth = conv.inputs / conv.groups;
    let taps = height * width;
    let bias_bytes = conv.bias.as_ref().map_or(0, |bias| size_of_val(&bias[..]));
    if conv.groups > 1 && depth == 1 && conv.outputs == conv.groups {
        let mut turned = vec![0.0; conv.weights.len()];
        for (channel, kernel) in conv.weights.chunks_exact(taps).enumerate() {
            for (tap, &weight) in kernel.iter().enumerate() {
                turned[tap * conv.outputs + channel] = weight;
            }
        }
        let bias = conv.bias.clone().unwrap_or_else(|| vec![0.0; conv.outputs]);
        info.precision = Some(Precision::Fp32);
        info.weight_bytes = size_of_val(&turned[..]) + bias_bytes;
        let weights = depthwise::Weights { taps: turned, bias, clamp };
        return Ok(Op::Depthwise { weights, window: conv.window, channels: conv.outputs });
    }
    let precision = if precision == Precision::Int4 { Precision::Int8 } else { precision };
    let columns = conv.outputs / conv.groups;
    let inputs = depth * taps;
    let mut products = Vec::with_capacity(conv.groups);
    let mut patches = vec![0.0; columns * inputs];
    for (group, weights) in conv.weights.chunks_exact(columns * inputs).enumerate() {
        // (channel, kernel row, kernel column) to the patches' (kernel row, kernel column, channel).
        for (column, kernel) in weights.chunks_exact(inputs).enumerate() {
            for (at, &weight) in kernel.iter().enumerate() {
                patches[column * inputs + at % taps * depth + at / taps] = weight;
            }
        }
        let bias = conv.bias.as_ref().map(|bias| &bias[group * columns..][..columns]);
        products.push(Product::pack(precision, &patches, columns, inputs, bias, clamp)?);
    }
    info.precision = Some(precision);
    info.weight_bytes = products.iter().map(Product::bytes).sum::<usize>() + bias_bytes;
    Ok(Op::Conv2d(Convolution { products, window: conv.window, inputs: conv.inputs, outputs: conv.outputs }))
}
