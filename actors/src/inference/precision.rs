//! How a model's weights are held.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::{Error, Result};

/// The form that weights take in a packed [`Model`](super::Model).
///
/// | precision | weights | activations | arithmetic |
/// | --- | --- | --- | --- |
/// | `Int8` | one symmetric scale an output channel | int8, one scale a row (linear) or a sample (convolution) | exact int32 |
/// | `Int4` | scale and minimum a group of 32 inputs, linear layers only; convolutions are `Int8` | int8, one scale a row | int32 a group, float32 across groups |
/// | `Fp16` | IEEE half | float32 | float32 |
/// | `Fp32` | float32 | float32 | float32 |
///
/// Depthwise convolutions keep float32 weights at `Int8` and `Int4`: they are a small part of the weights and bound by
/// memory traffic, so quantizing them costs accuracy and gains nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Eight-bit integers, symmetric for each output channel.
    Int8,
    /// Four-bit integers in groups of 32 along the input.
    Int4,
    /// IEEE half-precision weights, float32 arithmetic.
    Fp16,
    /// Single precision throughout.
    Fp32,
}

impl Precision {
    /// Every precision, in the order in which errors name them.
    pub const ALL: [Self; 4] = [Self::Int8, Self::Int4, Self::Fp16, Self::Fp32];

    /// The name that [`FromStr`] takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Fp16 => "fp16",
            Self::Fp32 => "fp32",
        }
    }

    /// Whether this precision needs the `quantized-ops` feature.
    pub(crate) fn is_quantized(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::invalid(format!("unknown precision {name:?}: expected one of {known}"))
        })
    }
}
