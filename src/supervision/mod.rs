//! Supervision: who is started again, when, and what happens when that does not help.
//!
//! Start with `step.rs`: every decision is made there, by a pure function over plain data. `supervisor.rs` feeds it what
//! happened and carries out what it says; `spec.rs` is what a user writes, `reference.rs` what a user gets.

mod exit;
#[cfg(test)]
mod otp_tests;
mod reference;
mod roll;
mod spec;
mod step;
mod supervisor;

pub use exit::ExitReason;
pub use reference::SupervisorRef;
pub use spec::{AutoShutdown, Strategy, Supervisor};
pub(crate) use supervisor::{Command, GRACE, Report, launch};
