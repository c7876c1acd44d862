//! Models with quantized weights, and the kernels that run them.
//!
//! A [`Network`] is the float32 description, checked as it is built. [`Model::pack`] quantizes and packs it once in a
//! [`Precision`]; the model is immutable, and [`Model::run`] allocates no activation memory: the caller brings the
//! scratch. A caller with several cores splits a batch along its first axis; the results do not depend on the split.
//!
//! `actor.rs` runs a replica on a thread of its own; [`Inference`] and [`LoadedModel`] are the handles.
//!
//! Arrows run `actor -> model -> pack, sequence -> op -> convolution, product -> run -> kernels`. Start at `model.rs`;
//! `kernels/mod.rs` says what the arithmetic promises.

mod actor;
mod convolution;
mod handle;
mod kernels;
mod model;
mod network;
mod op;
mod pack;
mod precision;
mod product;
mod quantize;
mod run;
mod sequence;
mod tensor;
#[cfg(test)]
mod tests;

pub use actor::{Infer, InferenceActor};
pub(crate) use handle::Loaded;
pub use handle::{Inference, LoadOptions, LoadedModel, ModelStats};
pub use model::{Model, PackOptions};
pub use network::Network;
pub use pack::LayerInfo;
pub use precision::Precision;
pub use quantize::quantize_symmetric;
pub use tensor::Tensor;
