//! Readings of the clock, shared by those who need one on the same thread at about the same time.
//!
//! A reading costs about as much as a message. So the executor reads the clock once a round, as it must, an actor once at
//! the end of a poll, which is the begin of the next actor's, and whoever can do with "some microseconds ago" takes
//! [`last`]. Times are nanoseconds since the process first asked: they fit into an atomic.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

thread_local! {
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Reads the clock.
pub(crate) fn read() -> Instant {
    let now = Instant::now();
    LAST.set(Some(now));
    now
}

/// This thread's last reading. On a thread that runs actors it is no older than the last poll's end.
pub(crate) fn last() -> Instant {
    LAST.get().unwrap_or_else(read)
}

/// Nanoseconds, of a time that is not before the first one asked for.
pub(crate) fn to_ns(time: Instant) -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    // A reading that is older than the epoch makes itself the epoch's equal.
    let epoch = *EPOCH.get_or_init(|| time);
    time.saturating_duration_since(epoch).as_nanos() as u64
}

pub(crate) fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}
