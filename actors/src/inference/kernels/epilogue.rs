//! What follows the sum of a product before it is stored: bias, then a clamp that stands for a fused ReLU.

use super::PANEL;

/// Bounds of the output; the identity is `-∞..=∞`. NaN passes through, as it does in PyTorch's ReLU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Clamp {
    pub low: f32,
    pub high: f32,
}

impl Clamp {
    pub(crate) const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY };
    pub(crate) const RELU: Self = Self { low: 0.0, high: f32::INFINITY };
    pub(crate) const RELU6: Self = Self { low: 0.0, high: 6.0 };

    /// The comparisons are those of `maxps(low, v)` and `minps(high, v)`, zeros and NaN included.
    #[inline(always)]
    pub(crate) fn apply(self, value: f32) -> f32 {
        let value = if value < self.low { self.low } else { value };
        if value > self.high { self.high } else { value }
    }
}

/// Bias and clamp of a packed product; the bias is padded to whole panels so that vectors may be loaded from it.
#[derive(Debug, Clone)]
pub(crate) struct Epilogue {
    pub bias: Vec<f32>,
    pub clamp: Clamp,
}

impl Epilogue {
    /// For `columns` outputs; `bias`, if any, has that many values.
    pub(crate) fn new(bias: Option<&[f32]>, columns: usize, clamp: Clamp) -> Self {
        let mut padded = bias.map_or_else(Vec::new, <[f32]>::to_vec);
        padded.resize(columns.next_multiple_of(PANEL), 0.0);
        Self { bias: padded, clamp }
    }
}
