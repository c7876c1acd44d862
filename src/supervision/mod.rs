//! Supervision: who is started again, when, and what happens when that does not help.
//!
//! Start with `step.rs`: every decision is made there, by a pure function over plain data. `supervisor.rs` feeds it what
//! happened and carries out what it says; `spec.rs` is what a user writes.

mod exit;
mod spec;
mod step;
mod supervisor;

pub use exit::ExitReason;
pub use spec::{Strategy, Supervisor};
pub use supervisor::SupervisorRef;
pub(crate) use supervisor::{Command, GRACE, Report, launch};
