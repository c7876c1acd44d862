//! What a thread says of itself as it runs actors, for the watchdog (`watchdog.rs`) to see: whom it polls, and in which poll.
//!
//! A poll of an incarnation costs three plain stores to a cache line that no other thread writes, whatever number of messages
//! it handles; no clock is read. The watchdog reads the line now and then, and measures time by its own clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Nobody is polled.
const NOBODY: usize = 0;

/// No actor of the thread has a limit.
const UNLIMITED: u64 = u64::MAX;

/// An actor as its thread knows it: the address of what its incarnations share. It is compared and never followed, and is
/// the actor's alone for as long as one of its incarnations is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tenant(usize);

impl Tenant {
    pub(crate) fn of<T>(core: &Arc<T>) -> Self {
        Self(Arc::as_ptr(core).addr())
    }
}

/// One poll of one actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) tenant: Tenant,
    number: u64,
}

/// Two cache lines, which processors fetch in pairs: neighbours in memory are not to share one.
#[repr(align(128))]
pub(crate) struct Pulse {
    polled: AtomicUsize,
    polls: AtomicU64,
    /// The shortest limit of an actor that has lived here, in milliseconds. Written at starts alone.
    limit_ms: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { polled: AtomicUsize::new(NOBODY), polls: AtomicU64::new(0), limit_ms: AtomicU64::new(UNLIMITED) }
    }
}

impl Pulse {
    /// The thread begins to poll an actor. Called by that thread alone.
    #[inline]
    pub(crate) fn begin(&self, tenant: Tenant) {
        self.polls.store(self.polls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.polled.store(tenant.0, Ordering::Relaxed);
    }

    /// The thread is done with that.
    #[inline]
    pub(crate) fn end(&self) {
        self.polled.store(NOBODY, Ordering::Relaxed);
    }

    /// The poll that goes on. The two numbers are not read in one instant: a pair that never was differs from the next.
    pub(crate) fn look(&self) -> Option<Beat> {
        let polled = self.polled.load(Ordering::Relaxed);
        let number = self.polls.load(Ordering::Relaxed);
        (polled != NOBODY).then_some(Beat { tenant: Tenant(polled), number })
    }

    /// An actor with this limit is to live here; whether none had a shorter one.
    pub(crate) fn limit(&self, limit: Duration) -> bool {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(UNLIMITED - 1).max(1);
        limit_ms < self.limit_ms.load(Ordering::Relaxed)
            && limit_ms < self.limit_ms.fetch_min(limit_ms, Ordering::Relaxed)
    }

    /// The shortest limit of those who have lived here, if one had any.
    pub(crate) fn shortest_limit(&self) -> Option<Duration> {
        let limit_ms = self.limit_ms.load(Ordering::Relaxed);
        (limit_ms != UNLIMITED).then(|| Duration::from_millis(limit_ms))
    }
}
