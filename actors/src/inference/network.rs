//! A network as its author has it: float32 weights, layer after layer.

use super::kernels::activation::Activation;
use super::kernels::patches::Window;
use super::kernels::pool2d::Pool;
use crate::{Error, Result};

/// One layer, its arrays checked.
#[derive(Debug, Clone)]
pub(crate) enum Layer {
    Linear {
        weights: Vec<f32>,
        outputs: usize,
        inputs: usize,
        bias: Option<Vec<f32>>,
    },
    Conv2d(Conv2d),
    /// Batch normalisation as what it amounts to: `x · scale + shift` a channel.
    ChannelAffine {
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    Activation(Activation),
    Softmax,
    Pool(Pool, Window),
    GlobalAveragePool,
    Flatten,
    Residual(Network),
    Gate(Network),
}

/// A convolution; weights are `(outputs, inputs / groups, kernel height, kernel width)`.
#[derive(Debug, Clone)]
pub(crate) struct Conv2d {
    pub weights: Vec<f32>,
    pub outputs: usize,
    pub inputs: usize,
    pub groups: usize,
    pub window: Window,
    pub bias: Option<Vec<f32>>,
}

/// What is known, while building, of the tensor between two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Unknown,
    /// The last axis has this size.
    Features(usize),
    /// `(N, C, H, W)` with this C.
    Channels(usize),
    /// `(N, C, 1, 1)` with this C.
    Pixel(usize),
}

/// A float32 network under construction.
///
/// Every call checks its arrays and, where the previous layer's size is known, that the layers fit; an error leaves the
/// network as it was. Shapes, names and defaults are PyTorch's. [`Model::pack`](super::Model::pack) makes it runnable.
///
/// ```
/// use ironcliw_actors::inference::{Model, Network, PackOptions, Precision};
///
/// let mut network = Network::new();
/// network.linear(vec![1.0, -1.0, 0.5, 0.5], 2, 2, Some(vec![0.0, 1.0]))?.relu();
/// let model = Model::pack(&network, Precision::Fp32, PackOptions::default())?;
///
/// let shape = [1, 2];
/// let mut scratch = vec![0.0; model.scratch_len(&shape)?];
/// let mut out = vec![0.0; model.output_shape(&shape)?.iter().product()];
/// model.run(&[1.0, 3.0], &shape, &mut scratch, &mut out)?;
/// assert_eq!(out, [0.0, 3.0]);
/// # Ok::<_, ironcliw_actors::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Network {
    layers: Vec<Layer>,
    flow: Flow,
    /// What the first layer that says so expects: checked where a network is used inside another.
    entry: Flow,
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Network {
    /// A network without layers: the identity.
    #[must_use]
    pub fn new() -> Self {
        Self { layers: Vec::new(), flow: Flow::Unknown, entry: Flow::Unknown }
    }

    /// The number of layers, those within a residual or a gate not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    pub(crate) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// `y = x · weightsᵀ + bias` over the last axis, as `nn.Linear`: `weights` is `(outputs, inputs)`, row-major.
    ///
    /// # Errors
    /// [`Error::Model`] if a size is zero, an array has the wrong length or a value that is not finite, or the layer
    /// before has another width than `inputs`.
    pub fn linear(
        &mut self,
        weights: Vec<f32>,
        outputs: usize,
        inputs: usize,
        bias: Option<Vec<f32>>,
    ) -> Result<&mut Self> {
        check_sizes("linear", &[("out", outputs), ("in", inputs)])?;
        check_values("linear weights", &weights, &[outputs, inputs])?;
        check_bias("linear", bias.as_deref(), outputs)?;
        if let Flow::Features(width) = self.flow
            && width != inputs
        {
            return Err(model_error(format!("linear takes {inputs} inputs, but the layer before gives {width}")));
        }
        if matches!(self.flow, Flow::Pixel(_)) && inputs != 1 {
            return Err(model_error(format!(
                "linear takes {inputs} inputs, but a pooled (N, C, 1, 1) comes in: flatten it first"
            )));
        }
        self.enter(Flow::Features(inputs));
        self.flow = Flow::Features(outputs);
        Ok(self.push(Layer::Linear { weights, outputs, inputs, bias }))
    }

    /// Two-dimensional convolution over `(N, C, H, W)`, as `nn.Conv2d` with zero padding and no dilation.
    ///
    /// `weights` has the shape `(outputs, inputs / groups, kernel height, kernel width)`; `stride` and `padding` are
    /// `[height, width]`.
    ///
    /// # Errors
    /// [`Error::Model`] as [`linear`](Self::linear), and if `outputs` is no multiple of `groups`, or the padding is not
    /// smaller than the kernel.
    pub fn conv2d(
        &mut self,
        weights: Vec<f32>,
        shape: [usize; 4],
        bias: Option<Vec<f32>>,
        stride: [usize; 2],
        padding: [usize; 2],
        groups: usize,
    ) -> Result<&mut Self> {
        let [outputs, depth, height, width] = shape;
        let sizes = [("out", outputs), ("in / groups", depth), ("kernel height", height), ("kernel width", width)];
        check_sizes("conv2d", &sizes)?;
        check_sizes("conv2d", &[("groups", groups)])?;
        let window = window("conv2d", [height, width], stride, padding)?;
        check_values("conv2d weights", &weights, &shape)?;
        check_bias("conv2d", bias.as_deref(), outputs)?;
        if !outputs.is_multiple_of(groups) {
            return Err(model_error(format!("conv2d has {outputs} outputs, which {groups} groups do not divide")));
        }
        let inputs = depth.checked_mul(groups).ok_or_else(|| model_error("conv2d: in overflows".to_owned()))?;
        if let Flow::Channels(channels) | Flow::Pixel(channels) = self.flow
            && channels != inputs
        {
            return Err(model_error(format!(
                "conv2d takes {inputs} channels ({depth} in each of {groups} groups), but the layer before gives {channels}"
            )));
        }
        let pixel = matches!(self.flow, Flow::Pixel(_)) && window.positions([1, 1]) == Some([1, 1]);
        self.enter(Flow::Channels(inputs));
        self.flow = if pixel { Flow::Pixel(outputs) } else { Flow::Channels(outputs) };
        Ok(self.push(Layer::Conv2d(Conv2d { weights, outputs, inputs, groups, window, bias })))
    }

    /// Batch normalisation of `(N, C, H, W)` with trained statistics, as `nn.BatchNorm2d` in evaluation mode.
    ///
    /// Folded into a convolution right before it when the model is packed.
    ///
    /// # Errors
    /// [`Error::Model`] if the arrays have not one value a channel, a value is not finite, a variance is negative, or
    /// `variance + epsilon` is not positive.
    pub fn batch_norm2d(
        &mut self,
        gamma: &[f32],
        beta: &[f32],
        mean: &[f32],
        variance: &[f32],
        epsilon: f32,
    ) -> Result<&mut Self> {
        let channels = gamma.len();
        check_sizes("batch_norm2d", &[("channels", channels)])?;
        for (name, values) in [("gamma", gamma), ("beta", beta), ("mean", mean), ("variance", variance)] {
            check_values(&format!("batch_norm2d {name}"), values, &[channels])?;
        }
        if let Flow::Channels(before) | Flow::Pixel(before) = self.flow
            && before != channels
        {
            return Err(model_error(format!(
                "batch_norm2d has {channels} channels, but the layer before gives {before}"
            )));
        }
        if let Some(bad) = variance.iter().find(|&&value| !(value >= 0.0 && value + epsilon > 0.0)) {
            return Err(model_error(format!("batch_norm2d: no deviation for variance {bad} and epsilon {epsilon}")));
        }
        let scale: Vec<f32> = gamma.iter().zip(variance).map(|(gamma, var)| gamma / (var + epsilon).sqrt()).collect();
        let shift: Vec<f32> = beta.iter().zip(mean).zip(&scale).map(|((beta, mean), s)| beta - mean * s).collect();
        check_values("batch_norm2d scale", &scale, &[channels])?;
        check_values("batch_norm2d shift", &shift, &[channels])?;
        self.enter(Flow::Channels(channels));
        if !matches!(self.flow, Flow::Pixel(_)) {
            self.flow = Flow::Channels(channels);
        }
        Ok(self.push(Layer::ChannelAffine { scale, shift }))
    }

    /// `max(x, 0)`.
    pub fn relu(&mut self) -> &mut Self {
        self.push(Layer::Activation(Activation::Relu))
    }

    /// `clamp(x, 0, 6)`.
    pub fn relu6(&mut self) -> &mut Self {
        self.push(Layer::Activation(Activation::Relu6))
    }

    /// `x · clamp(x + 3, 0, 6) / 6`.
    pub fn hard_swish(&mut self) -> &mut Self {
        self.push(Layer::Activation(Activation::HardSwish))
    }

    /// `clamp(slope · x + offset, 0, 1)`: ONNX's `HardSigmoid` (0.2 and 0.5 by default); PyTorch's is 1/6 and 0.5.
    ///
    /// # Errors
    /// [`Error::Model`] if a parameter is not finite.
    pub fn hard_sigmoid(&mut self, slope: f32, offset: f32) -> Result<&mut Self> {
        check_values("hard_sigmoid parameters", &[slope, offset], &[2])?;
        Ok(self.push(Layer::Activation(Activation::HardSigmoid { slope, offset })))
    }

    /// `1 / (1 + e⁻ˣ)`.
    pub fn sigmoid(&mut self) -> &mut Self {
        self.push(Layer::Activation(Activation::Sigmoid))
    }

    /// `x · Φ(x)`, the exact form.
    pub fn gelu(&mut self) -> &mut Self {
        self.push(Layer::Activation(Activation::Gelu))
    }

    /// Softmax over the last axis.
    pub fn softmax(&mut self) -> &mut Self {
        self.push(Layer::Softmax)
    }

    /// The largest value under a sliding window of `(N, C, H, W)`; all arguments are `[height, width]`.
    ///
    /// # Errors
    /// [`Error::Model`] if a kernel or stride is zero, or the padding more than half the kernel.
    pub fn max_pool2d(&mut self, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<&mut Self> {
        self.pool("max_pool2d", Pool::Max, kernel, stride, padding)
    }

    /// The mean under a sliding window of `(N, C, H, W)`, padding counted as zeros; all arguments are `[height, width]`.
    ///
    /// # Errors
    /// As [`max_pool2d`](Self::max_pool2d).
    pub fn avg_pool2d(&mut self, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<&mut Self> {
        self.pool("avg_pool2d", Pool::Average, kernel, stride, padding)
    }

    /// The mean of every channel: `(N, C, H, W)` to `(N, C, 1, 1)`.
    pub fn global_avg_pool(&mut self) -> &mut Self {
        if let Flow::Channels(channels) = self.flow {
            self.flow = Flow::Pixel(channels);
        }
        self.push(Layer::GlobalAveragePool)
    }

    /// All axes after the first into one, in PyTorch's order.
    pub fn flatten(&mut self) -> &mut Self {
        self.flow = match self.flow {
            Flow::Pixel(channels) => Flow::Features(channels),
            _ => Flow::Unknown,
        };
        self.push(Layer::Flatten)
    }

    /// `x + body(x)`; `body` keeps the shape.
    ///
    /// # Errors
    /// [`Error::Model`] if `body` is known to take or give another width.
    pub fn residual(&mut self, body: Network) -> Result<&mut Self> {
        self.check_body("residual", &body)?;
        if let (Flow::Features(from), Flow::Features(to)) | (Flow::Channels(from), Flow::Channels(to)) =
            (self.flow_into(&body), body.flow)
            && from != to
        {
            return Err(model_error(format!("residual: the body turns a width of {from} into {to}")));
        }
        Ok(self.push(Layer::Residual(body)))
    }

    /// `x · body(x)`, where `body` keeps the shape or turns `(N, C, H, W)` into `(N, C, 1, 1)`, as squeeze-and-excite does.
    ///
    /// # Errors
    /// [`Error::Model`] if `body` is known to take another width.
    pub fn gate(&mut self, body: Network) -> Result<&mut Self> {
        self.check_body("gate", &body)?;
        Ok(self.push(Layer::Gate(body)))
    }

    fn pool(
        &mut self,
        name: &str,
        kind: Pool,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Result<&mut Self> {
        let window = window(name, kernel, stride, padding)?;
        if padding[0] > kernel[0] / 2 || padding[1] > kernel[1] / 2 {
            return Err(model_error(format!("{name}: padding {padding:?} is more than half of the kernel {kernel:?}")));
        }
        if let Flow::Pixel(channels) = self.flow {
            self.flow = Flow::Channels(channels);
        }
        Ok(self.push(Layer::Pool(kind, window)))
    }

    fn push(&mut self, layer: Layer) -> &mut Self {
        self.layers.push(layer);
        self
    }

    /// Notes what the first layer with a width expects, as long as none came before that could change it.
    fn enter(&mut self, expected: Flow) {
        let shape_kept = self.layers.iter().all(|layer| matches!(layer, Layer::Activation(_) | Layer::Softmax));
        if self.entry == Flow::Unknown && shape_kept {
            self.entry = expected;
        }
    }

    /// The width of what flows into `body`, from whichever side knows it.
    fn flow_into(&self, body: &Network) -> Flow {
        if self.flow == Flow::Unknown { body.entry } else { self.flow }
    }

    fn check_body(&self, name: &str, body: &Network) -> Result<()> {
        let (given, taken) = match (self.flow, body.entry) {
            (Flow::Features(given), Flow::Features(taken)) => (given, taken),
            (Flow::Channels(given) | Flow::Pixel(given), Flow::Channels(taken)) => (given, taken),
            _ => return Ok(()),
        };
        if given == taken {
            return Ok(());
        }
        Err(model_error(format!("{name}: the body takes a width of {taken}, but the layer before gives {given}")))
    }
}

pub(crate) fn model_error(message: String) -> Error {
    Error::Model(message)
}

fn window(name: &str, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<Window> {
    for (what, [height, width]) in [("kernel", kernel), ("stride", stride)] {
        check_sizes(name, &[(&format!("{what} height"), height), (&format!("{what} width"), width)])?;
    }
    if padding[0] >= kernel[0] || padding[1] >= kernel[1] {
        return Err(model_error(format!("{name}: padding {padding:?} is not smaller than the kernel {kernel:?}")));
    }
    Ok(Window { kernel, stride, padding })
}

fn check_sizes(layer: &str, sizes: &[(&str, usize)]) -> Result<()> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        Some((name, _)) => Err(model_error(format!("{layer}: {name} is 0; every size must be at least 1"))),
        None => Ok(()),
    }
}

fn check_bias(layer: &str, bias: Option<&[f32]>, outputs: usize) -> Result<()> {
    bias.map_or(Ok(()), |bias| check_values(&format!("{layer} bias"), bias, &[outputs]))
}

fn check_values(name: &str, values: &[f32], shape: &[usize]) -> Result<()> {
    let expected = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if expected != Some(values.len()) {
        return Err(model_error(format!("{name}: expected the shape {shape:?}, got {} values", values.len())));
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(model_error(format!("{name}: value {index} is {}, not a finite number", values[index]))),
        None => Ok(()),
    }
}
