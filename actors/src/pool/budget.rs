//! The pool's bytes: held from the system, on shelves, and how many may be.
//!
//! Invariants: `held` is raised only while it stays within the limit, at every moment. Bytes are reserved before a block
//! is asked for and given back after it was freed. What is leased is not counted but is the difference of what is held and
//! what is idle, in the threads' caches and on the shelves: so a lease from a cache changes no number that threads share.
//! A block on its way between two hands counts as leased, or for an instant as idle twice.
//!
//! Ordering: these are counts and publish nothing; gates and queues publish what is in the blocks.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

#[derive(Debug)]
pub(crate) struct Budget {
    /// Written when memory comes from or goes to the system.
    held: CachePadded<AtomicUsize>,
    pub(crate) shelved: Shelved,
    settings: CachePadded<Settings>,
}

/// Bytes on all shelves. What came and what went are counted apart: they are written by different threads where one leases
/// what another returns, and each then keeps its line.
#[derive(Debug, Default)]
pub(crate) struct Shelved {
    came: CachePadded<AtomicUsize>,
    went: CachePadded<AtomicUsize>,
}

impl Shelved {
    pub(crate) fn add(&self, bytes: usize) {
        self.came.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.went.fetch_add(bytes, Release);
    }

    /// Where nobody else counts: in the child of a fork, whose blocks were counted anew.
    pub(super) fn reset(&self, bytes: usize) {
        self.came.store(bytes, Relaxed);
        self.went.store(0, Relaxed);
    }

    /// Rather too many than too few: what went is read first.
    pub(crate) fn get(&self) -> usize {
        let went = self.went.load(Acquire);
        self.came.load(Relaxed).wrapping_sub(went)
    }
}

#[derive(Debug)]
struct Settings {
    limit: AtomicUsize,
    retain: AtomicUsize,
    /// The most that was ever leased, as far as somebody looked.
    high_water: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize, retain: usize) -> Self {
        let settings = Settings { limit: limit.into(), retain: retain.into(), high_water: 0.into() };
        Self { held: CachePadded::default(), shelved: Shelved::default(), settings: settings.into() }
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

    /// Only after the limit was lowered below what was held.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.held() > self.limit()
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    pub(crate) fn high_water(&self) -> usize {
        self.settings.high_water.load(Relaxed)
    }

    pub(crate) fn raise_high_water(&self, leased: usize) {
        if leased > self.high_water() {
            self.settings.high_water.fetch_max(leased, Relaxed);
        }
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
