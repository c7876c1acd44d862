//! The arithmetic of a model: pure functions over slices, with no allocation, no actor and no thread.
//!
//! Matrices multiply as PyTorch's `nn.Linear` does: `y[m, n] = Σ_k x[m, k] · w[n, k]`. Weights are packed once into
//! *panels* of [`PANEL`] output columns, so every instruction set reads the same bytes. A convolution is the same product
//! over gathered patches ([`patches`]); images are channels-last in here, which makes a patch a few contiguous copies
//! and a 1×1 convolution no copy at all.
//!
//! Invariants:
//! 1. A row's result depends on that row alone: no kernel's order of additions depends on how many rows come with it.
//! 2. Integer kernels give the same bits on every instruction set; their float32 epilogue multiplies and adds without
//!    fusing. Float kernels may fuse, so they agree with the oracle within rounding only.
//! 3. The callers in `inference/` have checked every shape; kernels assert what their `unsafe` relies on.
//!
//! Start at [`isa`], then `linear_int8/mod.rs`; the other products have its shape.

pub(crate) mod activation;
pub(crate) mod depthwise;
pub(crate) mod epilogue;
pub(crate) mod isa;
pub(crate) mod layout;
pub(crate) mod linear_float;
#[cfg(feature = "quantized-ops")]
pub(crate) mod linear_int4;
#[cfg(feature = "quantized-ops")]
pub(crate) mod linear_int8;
pub(crate) mod patches;
pub(crate) mod pool2d;
#[cfg(feature = "quantized-ops")]
pub(crate) mod quantize;
#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
pub(crate) mod tiles;

/// Output columns of a panel: the 32-bit lanes of the widest vector.
pub(crate) const PANEL: usize = 16;
