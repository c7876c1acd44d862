//! Images: borrowed views, codecs, kernels, and the workers that run them.
//!
//! Start at [`ImageView`], what every kernel reads; then [`kernels`], the operations; then [`codec`], bytes of a file
//! to pixels and back. None of these knows an actor, a pool or Python: results are written into slices that the caller
//! provides, which need not be cleared, and working memory is the caller's [`Scratch`]. `job.rs` says what a worker can be
//! asked, `actor.rs` is the worker, [`Images`] the handle that spreads jobs over the workers.

mod actor;
pub mod codec;
mod handle;
mod input;
mod job;
pub mod kernels;
mod pipeline;
mod scratch;
mod size;
mod source;
mod view;

pub use actor::{ImageWorker, WorkerCounts, WorkerStats};
pub use handle::Images;
pub use input::Input;
pub use job::{Answer, Job, Request};
pub use pipeline::{Pipeline, Shape};
pub use source::{Image, Planes, Source};

pub use scratch::Scratch;
pub use size::{Channels, MAX_PIXELS, MAX_SIDE, Size};
pub use view::{ImageView, Strides};
