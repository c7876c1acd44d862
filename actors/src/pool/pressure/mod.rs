//! Memory pressure: how short memory is, who says so, and what the pool does about it.
//!
//! ```text
//! the pool's occupancy ─┐
//! MemorySource::look ───┼─> Barometer ─> Verdict ─> Board: actions, refusal, callbacks ─> actors (`Subscribe`)
//! MemorySource::alarms ─┘   hysteresis   (worst)
//! ```
//!
//! The pool's actor looks ten times a second, and whenever the kernel says that something has happened. Everything up to
//! the verdict is plain data and has no effect (`barometer`, `gauge`, `level`); everything after it is in `board`.
//!
//! Invariants:
//! 1. The level is the worst of all causes, and the cause that is told has that level.
//! 2. A level rises at once. What a reading raised falls when the reading is clearly below where the level begins; what an
//!    event raised holds for a time (`barometer`).
//! 3. Only the system's shortage refuses leases, never the pool's own occupancy: that is what the limit is for. Memory that
//!    is idle in the pool is leased at every level (`refusal`).
//! 4. A pool whose actor has ended refuses nothing for pressure, and no callback waits for it any more (`board`).
//!
//! Start reading with `barometer`. What Linux offers is in `system`; elsewhere the pool's occupancy is all there is, unless
//! [`Config::memory_source`](crate::Config::memory_source) knows more.

mod barometer;
mod board;
mod gauge;
mod level;
mod published;
mod refusal;
mod source;
mod system;

pub(crate) use barometer::Barometer;
pub(super) use board::Board;
pub use board::{PressureChange, PressureStats, PressureSubscription};
pub use gauge::PressureGauge;
pub use level::{Cause, Pressure};
pub use published::PublishedPressure;
pub use source::{Alarm, AlarmStream, MemoryReading, MemorySource, Sight, Stall};
pub use system::SystemMemory;
#[cfg(target_os = "linux")]
pub use system::close_inherited_descriptors;
