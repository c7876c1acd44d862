//! Leak tracking: which buffers should have come back and did not.
//!
//! This folder is in two halves. The [`Recorder`] is the data plane: the pool tells it of leases that carry a record
//! ([`Level`], sampling). The record waits at the lease's slot (`waiting`): if the lease ends first, nobody hears of it;
//! otherwise the ledger takes it, and is told what follows through a bounded channel. Nobody waits. The [`Ledger`] is the control plane's state: it absorbs events, asks the pool's lease table before it calls
//! anything a leak, and makes [`LeakReport`]s.
//!
//! A leak is one of two things: a lease that had to be released explicitly and was only dropped, or a recorded lease
//! that lives longer than its kind should. A plain buffer that was dropped is none.
//!
//! Invariants:
//! 1. Recording never blocks a lease and never allocates without bound: at most one record a block waits, equal stacks are
//!    one (`interner`), and a full channel drops the event with a count.
//! 2. Sampling and lost events make reports poorer, never wrong: the lease's generation in the pool is checked first.
//! 3. A lease dropped unreleased is counted exactly once, by its event or, if that was lost, by the pool's count.
//!
//! Start reading at `ledger`.

mod actor;
mod event;
mod interner;
mod ledger;
mod level;
mod origin;
mod recorder;
mod report;
mod sampler;
mod stack;
#[cfg(test)]
mod tests;
mod touch;
mod unwind;
mod waiting;

pub use actor::{Check, LeakTracker, Outstanding, SetLevel};
pub use event::{Event, Lease, Outcome, Record};
pub use ledger::{AgeLimits, Ledger};
pub use level::Level;
pub use origin::Origin;
pub use recorder::{Recorder, RecorderConfig};
pub use report::{LeakKind, LeakReport};
pub(crate) use sampler::Countdown;
pub use stack::{FRAMES_MAX, Frame, Stack};
pub use touch::{TOUCHES_MAX, Touch, TouchReport, Touches};
