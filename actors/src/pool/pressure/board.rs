//! What a pool does about pressure: the actions at each level, the callbacks, and the counts of both.
//!
//! | on reaching | the pool |
//! | --- | --- |
//! | `Medium` | moves what the threads' caches keep to the shelves, and keeps at most half of the idle bytes it may |
//! | `High` | gives all idle memory back, and keeps at most a quarter of the idle bytes it may |
//! | `Critical` | the same, and while it is the system that is short refuses leases that need a new block (`refusal`) |
//!
//! Only the pool's actor calls [`Core::press`], so that the changes come in order. When it has ended for good
//! [`Core::release_pressure`] undoes what would outlast it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use tracing::{debug, error, info};

use super::super::class::SizeClass;
use super::super::core::Core;
use super::super::owner::Owner;
use super::super::sync::{Mutex, MutexGuard, lock};
use super::barometer::Verdict;
use super::level::{Cause, Pressure};
use super::published::PublishedPressure;
use super::refusal::Refusal;
use crate::Error;

/// A change of pressure, for callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PressureChange {
    /// The level until now.
    pub before: Pressure,
    /// The level from now on.
    pub level: Pressure,
    /// Whose level that is; `None` at `Low`.
    pub cause: Option<Cause>,
}

/// What pressure there was and what was done about it, since the pool was made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PressureStats {
    /// The level that was published last.
    pub level: Pressure,
    /// Whose level that is; `None` at `Low`.
    pub cause: Option<Cause>,
    /// Each cause's own level.
    pub by_cause: BTreeMap<Cause, Pressure>,
    /// How often each level was reached from below.
    pub rises: BTreeMap<Pressure, u64>,
    /// Bytes of idle memory that were given back to the system for it.
    pub returned_bytes: u64,
    /// Whether leases that need new memory are refused now.
    pub refusing: bool,
    /// Leases that were refused for it.
    pub refused: u64,
}

type Callback = Arc<dyn Fn(PressureChange) + Send + Sync>;

#[derive(Default)]
pub(in super::super) struct Listeners {
    next: u64,
    /// There will be no more changes.
    is_over: bool,
    all: Vec<(u64, Callback)>,
}

/// A pool's part in pressure.
#[derive(Default)]
pub(crate) struct Board {
    published: PublishedPressure,
    by_cause: [AtomicU8; 4],
    pub(super) refusal: Refusal,
    /// The pool's occupancy alone counts.
    is_alone: AtomicBool,
    rises: [AtomicU64; 4],
    returned_bytes: AtomicU64,
    listeners: Mutex<Listeners>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Board {
    pub(crate) fn published(&self) -> &PublishedPressure {
        &self.published
    }

    pub(crate) fn enable_refusal(&self, enabled: bool) {
        self.refusal.enable(enabled);
    }

    pub(crate) fn watch_system(&self, watches: bool) {
        self.is_alone.store(!watches, Relaxed);
    }

    pub(crate) fn watches_system(&self) -> bool {
        !self.is_alone.load(Relaxed)
    }

    pub(crate) fn is_refusing(&self) -> bool {
        self.refusal.is_on()
    }

    pub(crate) fn may_refuse(&self) -> bool {
        self.refusal.is_enabled()
    }

    pub(crate) fn stats(&self) -> PressureStats {
        let (level, cause) = self.published.read();
        let level_of = |cause: Cause| Pressure::ALL[usize::from(self.by_cause[cause as usize].load(Relaxed))];
        let rises = |level: Pressure| self.rises[level as usize].load(Relaxed);
        PressureStats {
            level,
            cause,
            by_cause: Cause::ALL.map(|cause| (cause, level_of(cause))).into(),
            rises: Pressure::ALL[1..].iter().map(|&level| (level, rises(level))).collect(),
            returned_bytes: self.returned_bytes.load(Relaxed),
            refusing: self.refusal.is_on(),
            refused: self.refusal.refused(),
        }
    }

    /// Keeps the callbacks as they are: for a fork.
    pub(in super::super) fn hold(&self) -> MutexGuard<'_, Listeners> {
        lock(&self.listeners)
    }

    /// There will be no more changes; the callbacks, which are to be dropped outside of the lock.
    fn end_changes(&self) -> Vec<(u64, Callback)> {
        let mut listeners = lock(&self.listeners);
        listeners.is_over = true;
        std::mem::take(&mut listeners.all)
    }

    /// Outside of the lock, so that a callback may end its own subscription or begin another.
    fn tell(&self, change: PressureChange) {
        let all: Vec<Callback> = lock(&self.listeners).all.iter().map(|(_, callback)| callback.clone()).collect();
        for callback in all {
            if let Err(reason) = ironcliw::catch_panic(move || callback(change)) {
                error!(reason, "a callback for memory pressure panicked");
            }
        }
    }
}

impl Core {
    /// Acts upon a verdict and publishes it; the level.
    pub(crate) fn press(self: &Arc<Self>, verdict: Verdict) -> Pressure {
        let Verdict { level, cause, of_system, by_cause } = verdict;
        let board = &self.pressure;
        let (before, cause_before) = board.published.read();
        board.by_cause.iter().zip(by_cause).for_each(|(slot, level)| slot.store(level as u8, Relaxed));
        board.refusal.set_critical(of_system == Pressure::Critical, self.budget.limit());
        if level == before {
            if cause != cause_before {
                debug!(%level, cause = name(cause), "memory pressure has another cause");
                board.published.set_of(level, cause);
            }
            return level;
        }
        self.budget.squeeze(match level {
            Pressure::Low => 0,
            Pressure::Medium => 1,
            Pressure::High | Pressure::Critical => 2,
        });
        let returned_bytes = if level > before { self.give_way(level) } else { 0 };
        board.published.set_of(level, cause);
        // With the level that was left, where that has none of its own.
        let cause_told = name(cause.or(cause_before));
        info!(%before, now = %level, cause = cause_told, returned_bytes, "memory pressure changed");
        board.tell(PressureChange { before, level, cause });
        level
    }

    /// What is done about a level that was reached from below. Returns the bytes given back to the system.
    fn give_way(self: &Arc<Self>, level: Pressure) -> usize {
        let returned_bytes = if level >= Pressure::High { self.trim(0) } else { self.gather() + self.settle() };
        self.pressure.rises[level as usize].fetch_add(1, Relaxed);
        self.pressure.returned_bytes.fetch_add(returned_bytes as u64, Relaxed);
        returned_bytes
    }

    /// Whether a new block may be asked of the system. Under refusal one may that is small, or for which as much goes back.
    #[inline]
    pub(in super::super) fn admit(self: &Arc<Self>, bytes: usize) -> bool {
        self.pressure.refusal.admit(bytes) || self.exchange(bytes)
    }

    #[cold]
    fn exchange(self: &Arc<Self>, bytes: usize) -> bool {
        let Some(rest) = self.idle().checked_sub(bytes) else { return false };
        self.trim(rest) >= bytes
    }

    /// Whether there are idle blocks of this class in other threads' caches, all of which are then on its shelf. Asked where a
    /// new block would be refused, once for each lease.
    #[cold]
    pub(in super::super) fn recall(self: &Arc<Self>, class: SizeClass) -> bool {
        if self.caches.kept(class) == 0 {
            return false;
        }
        self.gather();
        true
    }

    /// Whether a lease of a block of so many bytes would not be refused for pressure, as far as can be told without trying.
    pub(in super::super) fn would_admit(&self, bytes: usize) -> bool {
        self.pressure.refusal.would_admit(bytes) || self.idle() >= bytes
    }

    pub(in super::super) fn under_pressure(&self, requested: usize, owner: Owner) -> Error {
        self.failures.fetch_add(1, Relaxed);
        self.caches.admission(|admission| admission.refuse(owner));
        self.pressure.refusal.count_refused();
        let (_, cause) = self.pressure.published.read();
        Error::MemoryPressure { requested, cause: cause.unwrap_or(Cause::Machine) }
    }

    /// Has changes of pressure told to `callback` until the subscription is dropped or there are no more.
    pub(crate) fn on_pressure(
        self: &Arc<Self>,
        callback: impl Fn(PressureChange) + Send + Sync + 'static,
    ) -> PressureSubscription {
        let callback: Callback = Arc::new(callback);
        let mut listeners = lock(&self.pressure.listeners);
        let id = listeners.next;
        listeners.next += 1;
        if !listeners.is_over {
            listeners.all.push((id, callback.clone()));
        }
        drop(listeners);
        PressureSubscription { core: Arc::downgrade(self), id }
    }

    /// Nobody watches any more: nothing is short as far as anybody knows, and the callbacks are dropped.
    pub(crate) fn release_pressure(&self) {
        drop(self.forget_readings());
    }

    /// In the child of a fork, which has no thread that watches: what the parent had begun is undone, and the callbacks are
    /// kept for ever, as what they hold belongs to its threads.
    pub(in super::super) fn forget_pressure(&self) {
        std::mem::forget(self.forget_readings());
    }

    /// Undoes what was read and done. Returns the callbacks.
    fn forget_readings(&self) -> impl Sized + use<> {
        let board = &self.pressure;
        board.published.set(Pressure::Low);
        board.by_cause.iter().for_each(|level| level.store(Pressure::Low as u8, Relaxed));
        board.refusal.set_critical(false, 0);
        self.budget.squeeze(0);
        board.end_changes()
    }
}

fn name(cause: Option<Cause>) -> &'static str {
    cause.map_or("none", Cause::as_str)
}

/// Ends with its drop: the callback is not begun any more; a call that is under way on another thread is not waited for.
#[must_use = "the callback is called until this is dropped"]
#[derive(Debug)]
pub struct PressureSubscription {
    core: Weak<Core>,
    id: u64,
}

impl Drop for PressureSubscription {
    fn drop(&mut self) {
        let Some(core) = self.core.upgrade() else { return };
        let mut listeners = lock(&core.pressure.listeners);
        let at = listeners.all.iter().position(|(id, _)| *id == self.id);
        let callback = at.map(|at| listeners.all.swap_remove(at));
        // Outside of the lock: what the callback holds may end another subscription.
        drop(listeners);
        drop(callback);
    }
}
