//! Models with quantized weights, and the kernels that run them.
//!
//! A [`Network`] is the float32 description, checked as it is built. [`Model::pack`] quantizes and packs it once in a
//! [`Precision`]; the model is immutable, and [`Model::run`] allocates no activation memory: the caller brings the
//! scratch. A caller with several cores splits a batch along its first axis; the results do not depend on the split.
//!
//! Arrows run `model -> pack, sequence -> op -> convolution, product -> kernels`. Start at `model.rs`; `kernels/mod.rs` says what the
//! arithmetic promises.

mod convolution;
mod kernels;
mod model;
mod network;
mod op;
mod pack;
mod precision;
mod product;
mod quantize;
mod sequence;
#[cfg(test)]
mod tests;

pub use model::{Model, PackOptions};
pub use network::Network;
pub use pack::LayerInfo;
pub use precision::Precision;
pub use quantize::quantize_symmetric;
