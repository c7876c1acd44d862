//! Where the system's part of the pressure comes from: the interface, which a test may fill with a machine of its own.

use std::pin::Pin;

use futures_util::Stream;

use super::level::{Cause, Pressure};

/// Bytes used and bytes that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct MemoryReading {
    /// Bytes in use that could not be given back at once.
    pub used: usize,
    /// Bytes that may be used.
    pub limit: usize,
}

impl MemoryReading {
    /// The one of which the larger part is used.
    pub(super) fn tighter(self, other: Self) -> Self {
        let (share, of_other) = (self.used as u128 * other.limit as u128, other.used as u128 * self.limit as u128);
        if share >= of_other { self } else { other }
    }
}

/// How long tasks have waited for memory: `some` of them, or all that had something to do (`full`).
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Stall {
    /// Percent of the last ten seconds in which at least one task waited.
    pub some: f32,
    /// In which all of them did.
    pub full: f32,
    /// The same since the system began, in microseconds.
    pub some_total_us: u64,
    /// In which all of them did.
    pub full_total_us: u64,
}

/// What a source sees now; what it cannot read is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sight {
    /// Of the machine.
    pub machine: Option<MemoryReading>,
    /// Of the tightest of the control groups that this process is in.
    pub cgroup: Option<MemoryReading>,
    /// The machine's stalls, and those of the control group that this process is in.
    pub stalls: [Option<Stall>; 2],
}

/// Something that the system tells by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    /// What tells it.
    pub cause: Cause,
    /// The level that it stands for, for a few seconds. `Low` says no more than that it is time to look.
    pub level: Pressure,
}

/// Alarms as they come. It is polled on the thread of the pool's actor.
pub type AlarmStream = Pin<Box<dyn Stream<Item = Alarm>>>;

/// Where readings come from.
pub trait MemorySource: Send + Sync {
    /// A current reading; `None` when the source cannot be read now.
    fn reading(&self) -> Option<MemoryReading>;

    /// Everything that can be seen now. Unless it is told apart, a reading is the machine's.
    fn look(&self) -> Sight {
        Sight { machine: self.reading(), ..Sight::default() }
    }

    /// What tells of a change before somebody looks. It is asked for once in each life of the pool's actor, on that actor's
    /// thread, and dropped with it: files that a stream holds open are closed then.
    fn alarms(&self) -> Vec<AlarmStream> {
        Vec::new()
    }
}
