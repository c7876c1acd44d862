//! What is copied of the ledger, under its lock.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::leak::{LeakReport, Lease, Ledger, Stack};
use crate::pool::Pool;

/// The records of living leases, and the leaks that are known besides.
pub(super) struct Records {
    /// The leases, in no order.
    pub(super) held: Vec<Held>,
    /// Reports without their frames, and the stacks to read them from.
    pub(super) leaks: Vec<(LeakReport, Option<Arc<Stack>>)>,
}

/// A record of a lease that lives; what can be shared is.
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) at: Instant,
    pub(super) too_old: bool,
    pub(super) site: Option<Arc<str>>,
    pub(super) task: Option<Arc<str>>,
    pub(super) stack: Option<Arc<Stack>>,
}

impl Records {
    /// Nothing slow happens under the lock, and nothing is marked as told: to look changes no report.
    pub(super) fn copy(ledger: &Mutex<Ledger>, pool: &Pool) -> Self {
        let (mut held, leaks) = {
            let mut ledger = ledger.lock();
            ledger.absorb(pool.recorder().drain());
            let (limits, now) = (ledger.limits(), Instant::now());
            let held = ledger.outstanding().map(|record| Held {
                lease: record.lease,
                at: record.at,
                too_old: limits
                    .of(record.lease.kind)
                    .is_some_and(|limit| now.saturating_duration_since(record.at) > limit),
                site: record.site.clone(),
                task: None,
                stack: record.stack.clone(),
            });
            (held.collect::<Vec<_>>(), ledger.dropped_unread())
        };
        // The event of a lease's end may be lost or on its way: the pool's table decides.
        held.retain(|record| pool.is_live(record.lease.id));
        Self { held, leaks }
    }
}
