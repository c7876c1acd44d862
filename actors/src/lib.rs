//! Ironcliw's five subsystems, each a supervised actor in a folder of its own.
//!
//! A subsystem's fast path is shared data that is called directly and outlives its actor; the actor is the control plane.
//! Inside a folder the arrows run one way: `actor.rs` and `handle.rs` know the domain types, these know the kernels, and
//! kernels know nobody. Start at [`Subsystems::start`], which builds the tree.

mod cpu;
mod crash;
mod error;
pub mod image;
pub mod inference;
mod interrupt;
pub mod leak;
pub mod lent;
mod output;
pub mod ping;
pub mod pool;
pub mod scheduler;
mod sections;
pub mod snapshot;
mod tree;

pub use cpu::cpu_features;
pub use crash::Crash;
pub use error::{Error, Result};
pub use interrupt::{Interrupt, InterruptOnDrop, Signal};
pub use tree::{Config, Subsystems};
