//! Images: borrowed views, codecs and kernels.
//!
//! Start at [`ImageView`], what every kernel reads; then [`kernels`], the operations; then [`codec`], bytes of a file
//! to pixels and back. Nothing here knows an actor, a pool or Python: results are written into slices that the caller
//! provides, which need not be cleared, and working memory is the caller's [`Scratch`].

pub mod codec;
pub mod kernels;
mod scratch;
mod size;
mod view;

pub use scratch::Scratch;
pub use size::{Channels, MAX_PIXELS, MAX_SIDE, Size};
pub use view::{ImageView, Strides};
