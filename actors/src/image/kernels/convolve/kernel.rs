//! What an image is convolved with: named kernels and custom ones.

use crate::image::kernels::window::SIDE_MAX;
use crate::{Error, Result};

/// The largest magnitude of a weight: sums of 49 products with 255 stay finite and far inside `f32`.
const WEIGHT_MAX: f32 = 1e6;

/// A convolution kernel with an odd side, up to 7×7. Applied as a correlation (not flipped), as OpenCV's `filter2D`.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    pub(super) shape: Shape,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// \[1 2 1\]⊗\[1 2 1\]/16 in integers.
    Gaussian3,
    /// \[1 4 6 4 1\]⊗\[1 4 6 4 1\]/256 in integers.
    Gaussian5,
    /// Any weights, row by row, in `f32`.
    Weights { side: usize, weights: Vec<f32> },
}

/// Names and weights of the 3×3 kernels that are not separable into small integers.
const NAMED: [(&str, [f32; 9]); 5] = [
    ("box_3x3", [1.0 / 9.0; 9]),
    ("sharpen", [0.0, -1.0, 0.0, -1.0, 5.0, -1.0, 0.0, -1.0, 0.0]),
    ("edge", [-1.0, -1.0, -1.0, -1.0, 8.0, -1.0, -1.0, -1.0, -1.0]),
    ("laplacian", [0.0, 1.0, 0.0, 1.0, -4.0, 1.0, 0.0, 1.0, 0.0]),
    ("emboss", [-2.0, -1.0, 0.0, -1.0, 1.0, 1.0, 0.0, 1.0, 2.0]),
];

impl Kernel {
    /// The kernel of this name: `gaussian_3x3` (\[1 2 1\]⊗\[1 2 1\]/16), `gaussian_5x5` (\[1 4 6 4 1\]⊗\[1 4 6 4 1\]/256),
    /// `box_3x3` (the mean), `sharpen` (5 in the middle, −1 beside it), `edge` (8 in the middle, −1 around it),
    /// `laplacian` (−4 in the middle, 1 beside it), `emboss`.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for any other name; the message lists these.
    pub fn named(name: &str) -> Result<Self> {
        let shape = match name {
            "gaussian_3x3" => Shape::Gaussian3,
            "gaussian_5x5" => Shape::Gaussian5,
            _ => match NAMED.iter().find(|(known, _)| *known == name) {
                Some((_, weights)) => Shape::Weights { side: 3, weights: weights.to_vec() },
                None => {
                    return Err(Error::invalid(format!(
                        "unknown kernel {name:?}: one of {}",
                        Self::names().collect::<Vec<_>>().join(", ")
                    )));
                }
            },
        };
        Ok(Self { shape })
    }

    /// The names that [`Kernel::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ["gaussian_3x3", "gaussian_5x5"].into_iter().chain(NAMED.iter().map(|(name, _)| *name))
    }

    /// A kernel of `side × side` weights, row by row. Results are rounded half up and clamped to 0..=255.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when the side is not 1, 3, 5 or 7, the weights have another count, or one is not finite
    /// or above a million.
    pub fn custom(side: usize, weights: &[f32]) -> Result<Self> {
        if side.is_multiple_of(2) || side > SIDE_MAX {
            return Err(Error::invalid(format!("a kernel of side {side} is not supported: the side is 1, 3, 5 or 7")));
        }
        if weights.len() != side * side {
            return Err(Error::invalid(format!(
                "a kernel of side {side} has {} weights, not {}",
                side * side,
                weights.len()
            )));
        }
        if let Some(bad) = weights.iter().find(|weight| weight.is_nan() || weight.abs() > WEIGHT_MAX) {
            return Err(Error::invalid(format!(
                "a kernel's weight may be at most {WEIGHT_MAX} in magnitude, not {bad}"
            )));
        }
        Ok(Self { shape: Shape::Weights { side, weights: weights.to_vec() } })
    }
}
