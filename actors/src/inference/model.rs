//! A packed model: immutable, shared by every replica and thread, run with memory that the caller brings.

use std::fmt;

use super::Precision;
use super::kernels::isa::Isa;
use super::network::{Network, model_error};
use super::op::elements;
use super::pack::{LayerInfo, pack};
use super::run::Run;
use super::sequence::Sequence;
use crate::{Interrupt, Result};

/// How a network is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackOptions {
    /// Whether the CPU's vector instructions are used; without them, plain loops that give the same integers.
    pub simd: bool,
}

impl PackOptions {
    /// These options with `simd` as given.
    #[must_use]
    pub fn simd(mut self, simd: bool) -> Self {
        self.simd = simd;
        self
    }
}

impl Default for PackOptions {
    /// The fastest instructions of this CPU.
    fn default() -> Self {
        Self { simd: true }
    }
}

/// A network whose weights are packed for this CPU.
///
/// Every sample along the first axis is computed by itself, activations quantized a row (linear) or a sample
/// (convolution): however a batch is split, the results are the same bits. Int8 and int4 models give the same bits on every
/// CPU; fp16 and fp32 models agree within rounding.
///
/// A NaN or infinity in the input is an error where a layer quantizes its activations, and passes through otherwise.
pub struct Model {
    sequence: Sequence,
    layers: Vec<LayerInfo>,
    precision: Precision,
    isa: Isa,
}

impl Model {
    /// Quantizes and packs the weights of `network`.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) if the network has no layers, a weight is out of the precision's range, a layer
    /// sums too many products for exact integers, or this build lacks the precision (`quantized-ops`).
    pub fn pack(network: &Network, precision: Precision, options: PackOptions) -> Result<Self> {
        Self::pack_for(network, precision, Isa::choose(options.simd))
    }

    pub(crate) fn pack_for(network: &Network, precision: Precision, isa: Isa) -> Result<Self> {
        if network.is_empty() {
            return Err(model_error("a model needs at least one layer".to_owned()));
        }
        if precision.is_quantized() && cfg!(not(feature = "quantized-ops")) {
            return Err(model_error(format!(
                "this build has no {precision}: it was made without the feature quantized-ops"
            )));
        }
        let mut layers = Vec::new();
        let sequence = pack(network, precision, &mut layers)?;
        Ok(Self { sequence, layers, precision, isa })
    }

    /// The shape that an input of `shape` turns into.
    ///
    /// Linear takes any rank whose last axis is its input width; convolution and pooling take `(N, C, H, W)`.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) naming the layer that cannot take what reaches it.
    pub fn output_shape(&self, shape: &[usize]) -> Result<Vec<usize>> {
        self.sequence.output_shape(shape)
    }

    /// Scratch that [`run`](Self::run) needs for an input of `shape`, in f32 elements.
    ///
    /// # Errors
    /// As [`output_shape`](Self::output_shape).
    pub fn scratch_len(&self, shape: &[usize]) -> Result<usize> {
        self.sequence.scratch_len(shape)
    }

    /// Runs the model on `input`, row-major of `shape`, into `out`, row-major of
    /// [`output_shape`](Self::output_shape).
    ///
    /// `scratch` has at least [`scratch_len`](Self::scratch_len) elements; what it holds does not matter. After an error
    /// `out` may be partly written.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) if a shape or a length does not fit, or a value that is not finite reaches a layer that
    /// quantizes its activations.
    pub fn run(&self, input: &[f32], shape: &[usize], scratch: &mut [f32], out: &mut [f32]) -> Result<()> {
        self.run_unless(&Interrupt::never(), input, shape, scratch, out)
    }

    /// [`run`](Self::run) until interrupted: it then ends between two layers, samples or blocks of rows.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`Error::Cancelled`](crate::Error::Cancelled) when interrupted.
    pub fn run_unless(
        &self,
        interrupt: &Interrupt,
        input: &[f32],
        shape: &[usize],
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> Result<()> {
        let made = self.output_shape(shape)?;
        expect("the input", input.len(), elements(shape)?, shape)?;
        expect("the output", out.len(), elements(&made)?, &made)?;
        let needed = self.scratch_len(shape)?;
        if scratch.len() < needed {
            let got = scratch.len();
            return Err(model_error(format!("the shape {shape:?} needs {needed} elements of scratch, got {got}")));
        }
        self.sequence.run(Run { isa: self.isa, interrupt }, input, shape, scratch, out)
    }

    /// The precision it was packed with.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The instruction set its kernels use: `"scalar"`, `"wide"`, `"avx2"` or `"avx512vnni"`.
    #[must_use]
    pub fn instruction_set(&self) -> &'static str {
        self.isa.name()
    }

    /// Bytes of all packed weights, scales and biases.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.weight_bytes).sum()
    }

    /// Every layer, those within residuals and gates after the layer they are in.
    #[must_use]
    pub fn describe(&self) -> Vec<LayerInfo> {
        self.layers.clone()
    }
}

fn expect(what: &str, got: usize, expected: usize, shape: &[usize]) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(model_error(format!("{what} has {got} values, but the shape {shape:?} has {expected}")))
}

/// One line: `int8 model of 3 layers, 401920 parameters in 405504 bytes (avx512vnni)`.
impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: usize = self.layers.iter().map(|layer| layer.parameters).sum();
        write!(
            f,
            "{} model of {} layers, {parameters} parameters in {} bytes ({})",
            self.precision,
            self.layers.len(),
            self.weight_bytes(),
            self.isa
        )
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({self})")
    }
}
