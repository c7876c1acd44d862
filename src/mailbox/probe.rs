//! One message a while whose sender says when it was queued, so that its wait is known.
//!
//! The consumer chooses a position that nobody has reserved yet, and whoever reserves it stamps the time before it publishes
//! the message. All others compare their position with a word on the cache line that they have just written, and that is all
//! it costs. A position that was reserved before its choice was seen goes by without a stamp: a time older than the choice
//! is an earlier message's.

use crate::sync::{AtomicU64, Ordering};

/// No message has this position.
const NONE: u64 = u64::MAX;

pub(super) struct Probe {
    position: AtomicU64,
    /// When the message at that position was queued, in ticks; zero before it was. Written by the one who reserved it.
    queued_at: AtomicU64,
}

impl Probe {
    pub(super) fn new() -> Self {
        Self { position: AtomicU64::new(NONE), queued_at: AtomicU64::new(0) }
    }

    /// Called by whoever has reserved `count` positions from `first` on, before it publishes them.
    #[inline]
    pub(super) fn pass(&self, first: u64, count: u64) {
        if self.position.load(Ordering::Relaxed).wrapping_sub(first) < count {
            self.stamp();
        }
    }

    #[cold]
    fn stamp(&self) {
        self.queued_at.store(crate::ticks::now(), Ordering::Relaxed);
    }

    /// The consumer's choice, once the message of the last one was published or that position was passed over.
    pub(super) fn choose(&self, position: u64) {
        self.queued_at.store(0, Ordering::Relaxed);
        self.position.store(position, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.position() != NONE
    }

    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// When the message at `position`, which the consumer has found published, was queued, if that is known.
    pub(super) fn queued_at(&self, position: u64) -> Option<u64> {
        let is_it = self.position() == position;
        let queued_at = self.queued_at.load(Ordering::Relaxed);
        (is_it && queued_at != 0).then_some(queued_at)
    }
}
