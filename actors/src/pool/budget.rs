//! The pool's bytes: held from the system, leased, and how many may be.
//!
//! Invariants, at every moment: `live <= held`, and `held` is raised only while it stays within the limit. Bytes are
//! reserved before a block is asked for and given back after it was freed; a lease is counted after its block is held
//! and uncounted before it is freed. What is held and not live is free: cached, or on its way between two hands, so
//! `held - live` may overstate the cache for an instant and never understates it for the last one to look.
//!
//! Ordering: these are counts and publish nothing; the queues of free blocks publish what is in the blocks.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[derive(Debug)]
pub(crate) struct Budget {
    /// Written when memory comes from or goes to the system: read on every lease, hence not beside `live`.
    held: CachePadded<AtomicUsize>,
    /// Written on every lease and release.
    live: CachePadded<AtomicUsize>,
    settings: CachePadded<Settings>,
}

#[derive(Debug)]
struct Settings {
    limit: AtomicUsize,
    retain: AtomicUsize,
    /// The most that `live` ever was.
    high_water: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize, retain: usize) -> Self {
        let settings = Settings { limit: limit.into(), retain: retain.into(), high_water: 0.into() };
        Self { held: CachePadded::default(), live: CachePadded::default(), settings: settings.into() }
    }

    /// Takes `bytes` out of the limit, all of them or none.
    pub(crate) fn try_reserve(&self, bytes: usize) -> bool {
        let limit = self.limit();
        self.held.fetch_update(Relaxed, Relaxed, |held| held.checked_add(bytes).filter(|&sum| sum <= limit)).is_ok()
    }

    pub(crate) fn unreserve(&self, bytes: usize) {
        let before = self.held.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes);
    }

    pub(crate) fn lease(&self, bytes: usize) {
        let live = self.live.fetch_add(bytes, Relaxed) + bytes;
        if live > self.settings.high_water.load(Relaxed) {
            self.settings.high_water.fetch_max(live, Relaxed);
        }
    }

    /// Uncounts a lease. Returns the bytes of all free blocks, this one's included.
    pub(crate) fn unlease(&self, bytes: usize) -> usize {
        let before = self.live.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes);
        self.held().saturating_sub(before - bytes)
    }

    /// Only after the limit was lowered below what was held.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.held() > self.limit()
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Relaxed)
    }

    pub(crate) fn high_water(&self) -> usize {
        self.settings.high_water.load(Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.settings.limit.load(Relaxed)
    }

    pub(crate) fn retain(&self) -> usize {
        self.settings.retain.load(Relaxed)
    }

    pub(crate) fn set_limit(&self, bytes: usize) {
        self.settings.limit.store(bytes, Relaxed);
    }

    pub(crate) fn set_retain(&self, bytes: usize) {
        self.settings.retain.store(bytes, Relaxed);
    }
}
