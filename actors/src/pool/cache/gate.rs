//! The gate of one thread's cache: its owner passes without an atomic read-modify-write, and anybody else may close it.
//!
//! Dekker's handshake, with its two fences made as unequal as the two parties are ([`ironcliw::fence`]):
//!
//! ```text
//! owner:    busy = 1; light fence; attention == 0 ? use the cache : step aside;   busy = 0
//! visitor:  attention |= 1; heavy fence; wait until busy == 0; use the cache;      attention &= !1
//! ```
//!
//! One of the two sees the other. If the owner sees the visitor, it steps aside and touches nothing. If it does not, the
//! visitor sees that the owner is busy, and waits for what is a few nanoseconds' work. What the owner did happens before
//! `busy = 0` (release), which the visitor reads (acquire); what the visitor did happens before it takes its mark away
//! (release), which the owner reads (acquire): so the fences decide who goes first and publish nothing, and the cache's
//! content is handed over by plain release and acquire. Visitors exclude each other by a lock of their own.

use super::super::sync::{AtomicU8, Ordering, heavy, light, pause};

/// Somebody else is at the cache now.
pub(super) const VISITED: u8 = 1;
/// The pool is strict: every lease and every release asks first (`pool/admission.rs`).
pub(super) const STRICT: u8 = 2;
/// The pool has ended: nothing will ever be kept again.
pub(super) const CLOSED: u8 = 4;

/// How often a visitor looks before it lets the owner, whose thread must have been taken off its core, go first; and how
/// often it does that before it gives up.
const LOOKS: u32 = 100;
const PAUSES_MAX: u32 = 100_000;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Gate {
    busy: AtomicU8,
    attention: AtomicU8,
}

impl Gate {
    pub(super) fn new(attention: u8) -> Self {
        Self { busy: AtomicU8::new(0), attention: AtomicU8::new(attention) }
    }

    /// For the owner: whether the cache is its alone until [`Gate::leave`].
    #[inline(always)]
    pub(super) fn enter(&self) -> bool {
        self.busy.store(1, Ordering::Relaxed);
        light();
        if self.attention.load(Ordering::Acquire) == 0 {
            return true;
        }
        self.leave();
        false
    }

    #[inline(always)]
    pub(super) fn leave(&self) {
        self.busy.store(0, Ordering::Release);
    }

    /// Raises marks. They hold for the owner after the next [`heavy`] and [`Gate::wait`].
    pub(super) fn raise(&self, marks: u8) {
        self.attention.fetch_or(marks, Ordering::Relaxed);
    }

    pub(super) fn lower(&self, marks: u8) {
        self.attention.fetch_and(!marks, Ordering::Release);
    }

    pub(super) fn is_raised(&self, marks: u8) -> bool {
        self.attention.load(Ordering::Relaxed) & marks != 0
    }

    /// Waits until the owner has left. False if it does not: its thread was stopped in the middle, for good as far as one
    /// can see, and its cache must be left alone.
    pub(super) fn wait(&self) -> bool {
        for turn in 0..LOOKS + PAUSES_MAX {
            if self.busy.load(Ordering::Acquire) == 0 {
                return true;
            }
            pause(turn < LOOKS);
        }
        false
    }

    /// For one whose owner is no more: whether it was inside.
    pub(super) fn reopen(&self) -> bool {
        self.busy.swap(0, Ordering::Relaxed) != 0
    }

    /// Shuts the owner out. False as of [`Gate::wait`], and then the mark is taken back.
    #[cfg(all(test, ironcliw_loom))]
    pub(super) fn visit(&self) -> bool {
        self.raise(VISITED);
        heavy();
        let alone = self.wait();
        if !alone {
            self.lower(VISITED);
        }
        alone
    }
}

/// The fence between [`Gate::raise`] and [`Gate::wait`], for any number of gates.
pub(super) fn fence_for_visitors() {
    heavy();
}

#[cfg(all(test, ironcliw_loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use std::sync::Arc;

    struct Guarded {
        gate: Gate,
        /// How many blocks the cache has: whoever is in does what takes one and puts it back does.
        blocks: UnsafeCell<u32>,
    }

    // SAFETY: that the gate guards the cell is what is being checked.
    unsafe impl Sync for Guarded {}
    // SAFETY: as above.
    unsafe impl Send for Guarded {}

    fn take(guarded: &Guarded) -> bool {
        // SAFETY: loom finds out whether this access overlaps another.
        guarded.blocks.with_mut(|blocks| unsafe {
            let some = *blocks > 0;
            *blocks -= u32::from(some);
            some
        })
    }

    #[test]
    fn loom_owner_and_visitor_never_meet_and_no_block_is_taken_twice() {
        loom::model(|| {
            let guarded = Arc::new(Guarded { gate: Gate::new(0), blocks: UnsafeCell::new(1) });
            let owners = guarded.clone();
            let owner = loom::thread::spawn(move || {
                let mut taken = 0;
                for _ in 0..2 {
                    if owners.gate.enter() {
                        taken += u32::from(take(&owners));
                        owners.gate.leave();
                    }
                }
                taken
            });
            let mut taken = 0;
            if guarded.gate.visit() {
                taken += u32::from(take(&guarded));
                guarded.gate.lower(VISITED);
            }
            taken += owner.join().unwrap();
            assert_eq!(taken, 1);
        });
    }

    #[test]
    fn loom_after_the_gate_is_closed_nothing_gets_in() {
        loom::model(|| {
            let guarded = Arc::new(Guarded { gate: Gate::new(0), blocks: UnsafeCell::new(0) });
            let owners = guarded.clone();
            let owner = loom::thread::spawn(move || {
                if owners.gate.enter() {
                    // SAFETY: as in `take`.
                    owners.blocks.with_mut(|blocks| unsafe { *blocks += 1 });
                    owners.gate.leave();
                    return 1;
                }
                0
            });
            guarded.gate.raise(CLOSED);
            fence_for_visitors();
            let alone = guarded.gate.wait();
            let left = if alone { u32::from(take(&guarded)) } else { 0 };
            assert!(!alone || owner.join().unwrap() == left, "a block was put behind the closed gate");
        });
    }
}
