//! What every bench shares: interleaved rounds of rows of systems, the table they print and the JSON they leave.
//!
//! Start with [`Row`], then read `bin/actors/main.rs`, which fills rows.

mod memory;
mod report;
mod rounds;

pub use memory::Counting;
pub use report::{machine, print, write};
pub use rounds::{Better, Cell, Goal, Options, Outcome, Row, Spread, measure};
