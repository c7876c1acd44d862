//! What is copied of the ledger, under its lock.

use std::sync::Arc;
use std::time::Instant;

use crate::leak::{LeakReport, Lease, Stack, Tracker};

/// The records of living leases, and the leaks that are known besides.
pub(super) struct Records {
    /// The leases, in no order.
    pub(super) held: Vec<Held>,
    /// Reports without their frames, and the stacks to read them from.
    pub(super) leaks: Vec<(LeakReport, Option<Stack>)>,
}

/// A record of a lease that lives; what can be shared is.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) at: Instant,
    pub(super) too_old: bool,
    pub(super) site: Option<Arc<str>>,
    pub(super) task: Option<Arc<str>>,
    pub(super) stack: Option<Stack>,
}

impl Records {
    /// Nothing slow happens under the lock, and nothing is marked as told: to look changes no report.
    pub(super) fn copy(tracker: &Tracker) -> Self {
        let (limits, now) = (tracker.age_limits(), Instant::now());
        let held = tracker.copy_records(|record| Held {
            lease: record.lease,
            at: record.at,
            too_old: limits.is_exceeded(record, now),
            site: record.site.clone(),
            task: record.task.clone(),
            stack: record.stack.clone(),
        });
        Self { held, leaks: tracker.leaks_unread() }
    }
}
