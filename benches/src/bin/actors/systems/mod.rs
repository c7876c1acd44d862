//! Ours and the peers, a file each: the same counter, called as each system is called best.

mod actix;
mod crossbeam;
mod kameo;
mod kanal;
mod ours;
mod ractor;
mod tokio_mpsc;
mod xtra;

pub use actix::Actix;
pub use crossbeam::Crossbeam;
pub use kameo::Kameo;
pub use kanal::Kanal;
pub use ours::{Ours, Unsupervised};
pub use ractor::Ractor;
pub use tokio_mpsc::TokioMpsc;
pub use xtra::Xtra;
