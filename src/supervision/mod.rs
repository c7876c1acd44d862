//! Supervision: who is started again, when, and what happens when that does not help.
//!
//! Start with `step.rs`: every decision is made there, by a pure function over plain data. `supervisor.rs` feeds it what
//! happened, by a `command.rs`, and carries out what it says on its `children.rs`; `spec.rs` is what a user writes,
//! `reference.rs` what a user gets, `info.rs` what observers see.

mod batch;
mod bounds;
mod children;
mod command;
mod dice;
mod exit;
mod info;
#[cfg(test)]
mod otp_tests;
mod reference;
mod spec;
mod step;
mod supervisor;

pub(crate) use bounds::LEAVING;
pub(crate) use command::{Command, Report};
pub use exit::ExitReason;
pub use reference::SupervisorRef;
pub use spec::{AutoShutdown, Strategy, Supervisor};
pub(crate) use supervisor::launch;
