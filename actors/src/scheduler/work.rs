//! What waits in a queue, and what it becomes when its turn comes.

use std::sync::Arc;
use std::time::Instant;

use super::core::Core;
use super::counts::End;
use super::server::Slot;
use super::{CancelToken, Priority};
use crate::Error;

/// Something to do with a slot. Exactly one of its two methods is called, once, with no lock held. Neither may panic: user
/// code in it is run by [`contained`] or caught by the work itself.
pub(crate) trait Work: Send {
    /// Its turn has come. Gives the slot back, unless somebody else keeps it.
    fn run(self: Box<Self>, turn: Turn) -> Option<Slot>;

    /// Its turn will not come, and why. It has been counted.
    fn refuse(self: Box<Self>, why: Error);
}

/// Work that waits.
pub(crate) struct Entry {
    pub(crate) work: Box<dyn Work>,
    pub(crate) priority: Priority,
    pub(crate) token: CancelToken,
    pub(crate) queued: Instant,
    /// Not yet begun: an async job is queued many times.
    pub(crate) is_new: bool,
}

impl Entry {
    pub(crate) fn new(priority: Priority, token: CancelToken, work: impl Work + 'static) -> Self {
        Self { work: Box::new(work), priority, token, queued: Instant::now(), is_new: true }
    }

    pub(crate) fn is_dead_at(&self, now: Instant) -> bool {
        self.token.is_ended_at(|| now)
    }

    /// Counts and answers one that will not be run.
    pub(crate) fn settle(self, core: &Core, why: Error) {
        core.counts.end(End::of(&why));
        self.work.refuse(why);
    }
}

/// A job that runs. It is counted as running until it has said how it ended.
pub(crate) struct Turn {
    slot: Option<Slot>,
    began: Instant,
    pub(crate) token: CancelToken,
}

impl Turn {
    pub(crate) fn new(slot: Slot, token: CancelToken, began: Instant) -> Self {
        Self { slot: Some(slot), began, token }
    }

    pub(crate) fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    pub(crate) fn core(&self) -> Option<&Arc<Core>> {
        self.slot.as_ref().map(Slot::core)
    }

    /// Counts that the job has ended; what it has to tell, it tells after this.
    pub(crate) fn end(mut self, end: End) -> Option<Slot> {
        self.leave(Some(end))
    }

    /// Counts that an async job has gone to sleep.
    pub(crate) fn sleep(mut self) -> Option<Slot> {
        self.leave(None)
    }

    fn leave(&mut self, end: Option<End>) -> Option<Slot> {
        let slot = self.slot.take()?;
        slot.core().counts.leave(self.began, end);
        Some(slot)
    }
}

impl Drop for Turn {
    /// Whoever was to use it went without a word.
    fn drop(&mut self) {
        drop(self.leave(Some(End::Cancelled)));
    }
}

/// Runs user code that must not take the thread with it: what is dropped, what is told.
pub(crate) fn contained(what: &'static str, run: impl FnOnce()) {
    if let Err(reason) = ironcliw::catch_panic(run) {
        tracing::error!(reason, "{what} panicked");
    }
}
