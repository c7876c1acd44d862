//! Supervised actors on pinned threads.

mod error;

pub use error::Error;
