//! The pool's bytes: held from the system, on shelves, and how many may be.
//!
//! Invariants: `held` is raised only while it stays within the limit, at every moment. Bytes are reserved before a block
//! is asked for and given back after it was freed. What is leased is not counted but is the difference of what is held and
//! what is idle, in the threads' caches and on the shelves: so a lease from a cache changes no number that threads share.
//! A block on its way between two hands counts as leased, or for an instant as idle twice.
//!
//! Ordering: these are counts and publish nothing; gates and queues publish what is in the blocks.

use super::watermarks::Watermarks;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

#[derive(Debug)]
pub(crate) struct Budget {
    /// Written when memory comes from or goes to the system.
    held: CachePadded<AtomicUsize>,
    pub(crate) shelved: Shelved,
    /// Held and out of everybody's reach: what threads that are not in the child of a fork had in their hands.
    lost: AtomicUsize,
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
    /// The most that may be held while the pool is calm.
    ceiling: AtomicUsize,
    soft: Soft,
    /// The most that was ever leased, as far as somebody looked.
    high_water: AtomicUsize,
    /// The most that was leased since [`Budget::take_peak`].
    peak: AtomicUsize,
    /// How often what may be kept is halved, while memory is short.
    squeeze: AtomicU32,
}

/// The soft limit: above `high` bytes held, free ones go back until `low` are held.
#[derive(Debug)]
struct Soft {
    shares: Watermarks,
    high: AtomicUsize,
    low: AtomicUsize,
    /// From the moment that `high` was passed until no more than `low` is held.
    above: AtomicBool,
    crossings: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: usize, retain: usize, shares: Watermarks) -> Self {
        let (high, low) = shares.of(limit);
        let soft = Soft {
            shares,
            high: high.into(),
            low: low.into(),
            above: AtomicBool::new(false),
            crossings: AtomicU64::new(0),
        };
        let settings = Settings {
            limit: limit.into(),
            retain: retain.into(),
            ceiling: limit.into(),
            soft,
            high_water: 0.into(),
            peak: 0.into(),
            squeeze: 0.into(),
        };
        Self {
            held: CachePadded::default(),
            shelved: Shelved::default(),
            lost: AtomicUsize::new(0),
            settings: settings.into(),
        }
    }

    /// Takes `bytes` out of `most`, which is the limit or the ceiling: all of them or none.
    pub(crate) fn try_reserve(&self, bytes: usize, most: usize) -> bool {
        self.held.fetch_update(Relaxed, Relaxed, |held| held.checked_add(bytes).filter(|&sum| sum <= most)).is_ok()
    }

    pub(crate) fn unreserve(&self, bytes: usize) {
        let before = self.held.fetch_sub(bytes, Relaxed);
        debug_assert!(before >= bytes);
        self.note_fall(before - bytes);
    }

    /// Only after the limit was lowered below what was held.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.held() > self.limit()
    }

    pub(crate) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Relaxed)
    }

    pub(crate) fn set_lost(&self, bytes: usize) {
        self.lost.store(bytes, Relaxed);
    }

    pub(crate) fn high_water(&self) -> usize {
        self.settings.high_water.load(Relaxed)
    }

    pub(crate) fn raise_high_water(&self, leased: usize) {
        if leased > self.settings.peak.load(Relaxed) {
            self.settings.peak.fetch_max(leased, Relaxed);
        }
        if leased > self.high_water() {
            self.settings.high_water.fetch_max(leased, Relaxed);
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.settings.limit.load(Relaxed)
    }

    pub(crate) fn retain(&self) -> usize {
        self.settings.retain.load(Relaxed) >> self.settings.squeeze.load(Relaxed)
    }

    pub(crate) fn set_limit(&self, bytes: usize) {
        let Settings { limit, soft, .. } = &*self.settings;
        limit.store(bytes, Relaxed);
        let (high, low) = soft.shares.of(bytes);
        soft.high.store(high, Relaxed);
        soft.low.store(low, Relaxed);
        self.note_fall(self.held());
    }

    /// What may be held while the pool is calm.
    pub(crate) fn ceiling(&self) -> usize {
        self.settings.ceiling.load(Relaxed).min(self.limit())
    }

    pub(crate) fn set_ceiling(&self, bytes: usize) {
        self.settings.ceiling.store(bytes, Relaxed);
    }

    /// Whether more is held than a calm pool may hold.
    pub(crate) fn is_over_ceiling(&self) -> bool {
        self.held() > self.ceiling()
    }

    /// Whether so little is held that a strict pool may be calm again: where that is not the limit, with a distance, so
    /// that a pool at the border does not go to and fro.
    pub(crate) fn is_well_below_ceiling(&self) -> bool {
        let (ceiling, limit) = (self.ceiling(), self.limit());
        let slack = if ceiling == limit { 0 } else { ceiling / 8 };
        self.held() <= ceiling - slack
    }

    /// The bytes from which and down to which free ones are given back.
    pub(crate) fn soft(&self) -> (usize, usize) {
        let Soft { high, low, .. } = &self.settings.soft;
        (high.load(Relaxed), low.load(Relaxed))
    }

    /// Takes note that more is held than `high`. Whether it was not before.
    pub(crate) fn crosses_high(&self) -> bool {
        let Soft { high, above, crossings, .. } = &self.settings.soft;
        let crosses = self.held() > high.load(Relaxed) && !above.swap(true, Relaxed);
        if crosses {
            crossings.fetch_add(1, Relaxed);
        }
        crosses
    }

    fn note_fall(&self, held: usize) {
        let Soft { low, above, .. } = &self.settings.soft;
        if above.load(Relaxed) && held <= low.load(Relaxed) {
            above.store(false, Relaxed);
        }
    }

    pub(crate) fn is_above_soft(&self) -> bool {
        self.settings.soft.above.load(Relaxed)
    }

    pub(crate) fn soft_crossings(&self) -> u64 {
        self.settings.soft.crossings.load(Relaxed)
    }

    /// The most that was leased since this was last asked, as far as somebody looked.
    pub(crate) fn take_peak(&self) -> usize {
        self.settings.peak.swap(0, Relaxed)
    }

    /// Halves what may be kept so many times.
    pub(crate) fn squeeze(&self, times: u32) {
        self.settings.squeeze.store(times, Relaxed);
    }

    pub(crate) fn set_retain(&self, bytes: usize) {
        self.settings.retain.store(bytes, Relaxed);
    }
}
