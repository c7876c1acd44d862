//! Leak tracking: which buffers should have come back and did not.
//!
//! This folder is in two halves. The [`Recorder`] is the data plane: the pool tells it of leases that carry a record
//! ([`Level`], sampling). The record waits at the lease's slot (`waiting`): if the lease ends first, nobody hears of it;
//! otherwise the ledger takes it, and is told what follows through a bounded channel. Nobody waits. The [`Ledger`] is the control plane's state: it absorbs events, asks the pool's lease table before it calls
//! anything a leak, and makes [`LeakReport`]s.
//!
//! A leak is a lease that had to be released explicitly and was only dropped; a recorded lease that lives longer than its
//! kind should; one that began in a [`Scope`] and is live at its end (`scope`); one that outlives the crash of the actor
//! that owns it (`survivors`); or a class of which ever more live (`growth`). A plain buffer that was dropped is none.
//! [`Tracker`] is the handle of all that, and [`Table`] what it knows, for people.
//!
//! Invariants:
//! 1. Recording never blocks a lease and never allocates without bound: at most one record a block waits, equal stacks are
//!    one (`interner`), and a full channel drops the event with a count.
//! 2. Sampling and lost events make reports poorer, never wrong: the lease's generation in the pool is checked first.
//! 3. Scopes and survivors are read from the pool's lease table, not from events: they are exact at every level.
//! 4. A lease dropped unreleased is counted exactly once, by its event or, if that was lost, by the pool's count.
//!
//! Start reading at `ledger`.

// Where forks are not looked after (`pool/fork.rs`), nothing uses what only they need.
#![cfg_attr(not(all(target_os = "linux", not(any(ironcliw_loom, ironcliw_shuttle)))), allow(dead_code))]

mod actor;
mod event;
mod group;
mod growth;
pub(crate) mod interner;
mod ledger;
mod level;
mod origin;
mod recorder;
mod report;
mod sampler;
mod scope;
mod sites;
mod stack;
mod survivors;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_growth;
#[cfg(test)]
mod tests_scope;
mod touch;
mod tracker;
pub(crate) mod unwind;
mod waiting;

pub use actor::{Check, LeakTracker, LogNew, Outstanding, SetLevel};
pub use event::{Event, Lease, Outcome, Record};
pub use growth::{Growth, GrowthConfig, Live};
pub use ledger::{AgeLimits, Ledger};
pub use level::Level;
pub use origin::Origin;
pub use recorder::{Recorder, RecorderConfig};
pub use report::{LeakKind, LeakReport};
pub(crate) use sampler::Countdown;
pub use scope::Scope;
pub use sites::{SITES_MAX, SiteCount};
pub use stack::{FRAMES_MAX, Frame, Stack};
pub use table::{Table, Total, describe};
pub use touch::{Site, TOUCHES_MAX, Touch, TouchReport, Touches};
pub use tracker::{Tracker, TrackerConfig};
