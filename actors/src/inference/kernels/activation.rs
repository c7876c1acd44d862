//! Element-wise functions and softmax, in place. Every loop vectorizes and gives the same bits on every instruction set.

use super::epilogue::Clamp;
use super::isa::{Isa, vectorize};

/// A function of one value, PyTorch's of the same name unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Activation {
    Relu,
    Relu6,
    HardSwish,
    /// `clamp(slope · x + offset, 0, 1)`, ONNX's `HardSigmoid`.
    HardSigmoid {
        slope: f32,
        offset: f32,
    },
    Sigmoid,
    /// The exact form, by `erf`.
    Gelu,
}

impl Activation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::HardSwish => "hard_swish",
            Self::HardSigmoid { .. } => "hard_sigmoid",
            Self::Sigmoid => "sigmoid",
            Self::Gelu => "gelu",
        }
    }

    /// The clamp that does the same, if there is one.
    pub(crate) fn as_clamp(self) -> Option<Clamp> {
        match self {
            Self::Relu => Some(Clamp::RELU),
            Self::Relu6 => Some(Clamp::RELU6),
            _ => None,
        }
    }
}

pub(crate) fn apply(isa: Isa, activation: Activation, values: &mut [f32]) {
    vectorize!(isa, every(activation: Activation, values: &mut [f32]));
}

/// One loop a function, so that each vectorizes.
#[inline(always)]
fn every(activation: Activation, values: &mut [f32]) {
    macro_rules! each {
        ($x:ident => $value:expr) => {
            for value in values {
                let $x = *value;
                *value = $value;
            }
        };
    }
    match activation {
        Activation::Relu => each!(x => Clamp::RELU.apply(x)),
        Activation::Relu6 => each!(x => Clamp::RELU6.apply(x)),
        Activation::HardSwish => each!(x => x * Clamp::RELU6.apply(x + 3.0) / 6.0),
        Activation::HardSigmoid { slope, offset } => each!(x => UNIT.apply(slope * x + offset)),
        Activation::Sigmoid => each!(x => 1.0 / (1.0 + exp(-x))),
        Activation::Gelu => each!(x => gelu(x)),
    }
}

const UNIT: Clamp = Clamp { low: 0.0, high: 1.0 };

/// Softmax of every row of `width` values.
pub(crate) fn softmax(isa: Isa, values: &mut [f32], width: usize) {
    for row in values.chunks_exact_mut(width) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        vectorize!(isa, exp_below(row: &mut [f32], largest: f32));
        let total: f32 = row.iter().sum();
        vectorize!(isa, divide(row: &mut [f32], total: f32));
    }
}

#[inline(always)]
fn exp_below(row: &mut [f32], largest: f32) {
    for value in row {
        *value = exp(*value - largest);
    }
}

#[inline(always)]
fn divide(row: &mut [f32], total: f32) {
    for value in row {
        *value /= total;
    }
}

/// e to the `x`, to about 1e-7 of its value; 0 below -87.3, at most e^88.
///
/// Splits `x` into `n · ln 2 + r` and takes a Taylor polynomial of `r`, |r| ≤ 0.35, whose first neglected term is
/// r⁸/8! < 6e-9.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.3;
    const HIGHEST: f32 = 88.0;
    /// Adding it rounds to an integer, whose bits end up lowest.
    const ROUNDER: f32 = 12_582_912.0;
    /// ln 2 in two parts: the first has few bits, so `n` times it is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let bounded = Clamp { low: LOWEST, high: HIGHEST }.apply(x);
    let rounded = bounded * std::f32::consts::LOG2_E + ROUNDER;
    let n = rounded - ROUNDER;
    let r = (bounded - n * LN2_HIGH) - n * LN2_LOW;
    let tail = 1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)));
    let power = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * tail)));
    let scale = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if x < LOWEST { 0.0 } else { power * scale }
}

/// `x · Φ(x)`, with erf by Abramowitz and Stegun's 7.1.26, whose error is below 1.5e-7.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let poly = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    let erf = (1.0 - poly * exp(-z * z)).copysign(x);
    0.5 * x * (1.0 + erf)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Definition = fn(f64) -> f64;

    fn erf_by_series(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn exp_is_right_to_a_few_units_in_the_last_place() {
        for i in -8700..8800 {
            let x = i as f32 * 0.01;
            let want = f64::from(x).exp();
            assert!(((f64::from(exp(x)) - want) / want).abs() < 3e-7, "exp({x})");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn functions_match_their_definitions_on_every_instruction_set() {
        let inputs: Vec<f32> = (-500..=500).map(|i| i as f32 * 0.01).collect();
        let definitions: [(Activation, Definition); 6] = [
            (Activation::Relu, |x| x.max(0.0)),
            (Activation::Relu6, |x| x.clamp(0.0, 6.0)),
            (Activation::HardSwish, |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
            (Activation::HardSigmoid { slope: 0.2, offset: 0.5 }, |x| (0.2 * x + 0.5).clamp(0.0, 1.0)),
            (Activation::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            (Activation::Gelu, |x| 0.5 * x * (1.0 + erf_by_series(x / std::f64::consts::SQRT_2))),
        ];
        for (activation, definition) in definitions {
            let mut oracle = inputs.clone();
            apply(Isa::Scalar, activation, &mut oracle);
            for (&x, &y) in inputs.iter().zip(&oracle) {
                assert!((f64::from(y) - definition(f64::from(x))).abs() < 1e-6, "{activation:?}({x}) = {y}");
            }
            for isa in Isa::available() {
                let mut values = inputs.clone();
                apply(isa, activation, &mut values);
                assert!(values.iter().zip(&oracle).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa} {activation:?}");
            }
        }
    }

    #[test]
    fn softmax_sums_to_one_however_large_its_inputs_are() {
        let mut values = [1e30, 1e30, -1e30, 3.0, 3.0, 3.0];
        softmax(Isa::choose(true), &mut values, 3);
        assert_eq!(values[..3], [0.5, 0.5, 0.0]);
        assert!(values[3..].iter().all(|value| (value - 1.0 / 3.0).abs() < 1e-7));
    }
}
