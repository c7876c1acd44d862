//! What time it is, for whatever decides by the time: deadlines, supervision windows. Polls, turns and handlers are
//! measured in ticks (`ticks.rs`); other measuring may use `std`.
//!
//! It is the standard library's monotonic clock. On the thread of a test kit it is that kit's clock, which stands still
//! until the test moves it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[inline]
pub(crate) fn now() -> Instant {
    #[cfg(feature = "testkit")]
    if let Some(now) = kit::now() {
        return now;
    }
    Instant::now()
}

/// The time since `began`.
pub(crate) fn since(began: Instant) -> Duration {
    now().saturating_duration_since(began)
}

/// Nanoseconds, of a time that is not before the first one asked for: they fit into an atomic.
pub(crate) fn to_ns(time: Instant) -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    // A reading that is older than the epoch makes itself the epoch's equal.
    let epoch = *EPOCH.get_or_init(|| time);
    time.saturating_duration_since(epoch).as_nanos() as u64
}

pub(crate) fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

/// The clocks of the test kits on this thread. The last is current: the one that was driven or made last.
#[cfg(feature = "testkit")]
pub(crate) mod kit {
    use std::cell::RefCell;
    use std::time::Instant;

    use tokio::runtime::Handle;

    thread_local! {
        static KITS: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
    }

    #[inline]
    pub(super) fn now() -> Option<Instant> {
        // A thread that is being torn down is no kit's.
        let now = KITS.try_with(|kits| {
            let kits = kits.borrow();
            let _context = kits.last()?.enter();
            Some(tokio::time::Instant::now().into_std())
        });
        now.ok().flatten()
    }

    pub(crate) fn make_current(kit: &Handle) {
        forget(kit);
        KITS.with(|kits| kits.borrow_mut().push(kit.clone()));
    }

    pub(crate) fn forget(kit: &Handle) {
        let _ = KITS.try_with(|kits| kits.borrow_mut().retain(|other| other.id() != kit.id()));
    }
}
