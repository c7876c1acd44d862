//! Refusing to take more memory from a system that has none to spare.
//!
//! While the system is at `Critical`, a lease that needs a new block is refused. What lies idle in the pool is leased as
//! ever, and idle blocks of other sizes are exchanged: they go back to the system before it is asked for as much. Small
//! leases have a reserve, so that work that is nearly done can finish and give back what it holds.

use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

/// The largest block that the reserve is for: strings, headers and thumbnails, no frames.
pub(super) const SMALL_BYTES_MAX: usize = 64 << 10;

/// The share of the pool's limit that the reserve is, and the most that it is: what a system short of memory can still bear.
pub(super) const RESERVE_SHARE: usize = 16;
pub(super) const RESERVE_BYTES_MAX: usize = 64 << 20;

/// Counts and marks only: they publish nothing.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Whether a system at `Critical` is a reason to refuse.
    enabled: AtomicBool,
    is_critical: AtomicBool,
    /// Bytes that small leases may still take in this spell.
    reserve: AtomicUsize,
    /// Leases refused, ever.
    refused: AtomicU64,
}

impl Default for Refusal {
    fn default() -> Self {
        Self { enabled: true.into(), is_critical: false.into(), reserve: 0.into(), refused: 0.into() }
    }
}

impl Refusal {
    /// Takes in whether the system is at `Critical`. Each spell has a reserve of its own.
    pub(super) fn set_critical(&self, is_critical: bool, limit: usize) {
        if is_critical && !self.is_critical.load(Relaxed) {
            self.reserve.store((limit / RESERVE_SHARE).min(RESERVE_BYTES_MAX), Relaxed);
        }
        self.is_critical.store(is_critical, SeqCst);
    }

    pub(super) fn enable(&self, enabled: bool) {
        self.enabled.store(enabled, Relaxed);
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    /// Whether new blocks are refused now, save small ones while the reserve lasts.
    pub(super) fn is_on(&self) -> bool {
        self.is_critical.load(Relaxed) && self.is_enabled()
    }

    /// Whether a new block of so many bytes would be admitted.
    pub(super) fn would_admit(&self, bytes: usize) -> bool {
        !self.is_on() || (bytes <= SMALL_BYTES_MAX && self.reserve.load(Relaxed) >= bytes)
    }

    /// Admits a new block, which a small one pays for out of the reserve.
    pub(super) fn admit(&self, bytes: usize) -> bool {
        let paid = || self.reserve.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok();
        !self.is_on() || (bytes <= SMALL_BYTES_MAX && paid())
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_blocks_have_a_reserve_in_each_spell() {
        let refusal = Refusal::default();
        let limit = RESERVE_SHARE * 2 * SMALL_BYTES_MAX;
        assert!(refusal.admit(usize::MAX));
        for _spell in 0..2 {
            refusal.set_critical(true, limit);
            assert!(!refusal.admit(SMALL_BYTES_MAX + 1));
            assert!(refusal.admit(SMALL_BYTES_MAX) && refusal.would_admit(SMALL_BYTES_MAX));
            // Being told again begins no new spell.
            refusal.set_critical(true, limit);
            assert!(refusal.admit(SMALL_BYTES_MAX));
            assert!(!refusal.would_admit(1) && !refusal.admit(1));
            refusal.set_critical(false, limit);
            assert!(refusal.admit(usize::MAX));
        }
        refusal.set_critical(true, limit);
        refusal.enable(false);
        assert!(refusal.admit(usize::MAX));
        refusal.enable(true);
        assert!(!refusal.admit(usize::MAX));
    }
}
