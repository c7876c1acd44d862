//! Ironcliw's five subsystems, each a supervised actor in a folder of its own.

mod error;
pub mod image;
pub mod inference;
pub mod leak;
pub mod pool;
pub mod scheduler;

pub use error::{Error, Result};
