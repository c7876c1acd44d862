//! An incarnation's right to consume its mailbox, which can be taken back from a thread that does not answer.
//!
//! The incarnation touches what it shares with its successors (the queue's head, the reply of the message in hand) only
//! inside a [`Window`]: it says that the window is open, then looks whether the lease has been revoked. Whoever revokes
//! says so first, then waits until no window is open. One of the two sees the other (`fence.rs`), so after `revoke` has
//! returned the shared state belongs to whoever revoked, and a thread that comes back late finds its windows shut. No
//! foreign code runs inside a window: it is open for some nanoseconds, or for as long as the system does not run its thread.
//!
//! A lease is made anew for each incarnation, so a late thread cannot take its successor's window for its own.

use crate::fence;
use crate::sync::{AtomicBool, AtomicU8, Ordering, wait_a_little};

use super::Signal;

/// Names an incarnation of one actor: the number of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim(pub(super) u32);

pub(crate) struct Lease {
    claim: Claim,
    open: AtomicBool,
    /// The strongest signal that was sent and not heard, or `REVOKED`, which stays.
    state: AtomicU8,
    /// Its own incarnation has given it back.
    is_over: AtomicBool,
}

/// Above every signal.
const REVOKED: u8 = 4;

/// While it lives, the lease holds. Made by its own incarnation's thread, one at a time.
pub(crate) struct Window<'a> {
    lease: &'a Lease,
}

impl Drop for Window<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lease.open.store(false, Ordering::Release);
    }
}

impl Lease {
    pub(crate) fn new(claim: Claim) -> Self {
        Self { claim, open: AtomicBool::new(false), state: AtomicU8::new(0), is_over: AtomicBool::new(false) }
    }

    pub(crate) fn claim(&self) -> Claim {
        self.claim
    }

    /// `None` once it is revoked.
    #[inline]
    pub(crate) fn open(&self) -> Option<Window<'_>> {
        self.open_unless(|state| state == REVOKED)
    }

    /// `None` once it is revoked, and while there is something to [hear](Self::hear).
    #[inline]
    pub(crate) fn open_undisturbed(&self) -> Option<Window<'_>> {
        self.open_unless(|state| state != 0)
    }

    #[inline]
    fn open_unless(&self, is_shut: impl FnOnce(u8) -> bool) -> Option<Window<'_>> {
        debug_assert!(!self.is_over.load(Ordering::Relaxed), "a lease that was given back is not used again");
        debug_assert!(!self.open.load(Ordering::Relaxed), "one window at a time");
        self.open.store(true, Ordering::Relaxed);
        fence::light();
        let window = Window { lease: self };
        (!is_shut(self.state.load(Ordering::Acquire))).then_some(window)
    }

    /// The incarnation is over and opens no more windows: revoking is free from here on.
    pub(crate) fn give_back(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Takes the right back. When this returns no window is open, and none will be.
    pub(crate) fn revoke(&self) {
        self.state.fetch_max(REVOKED, Ordering::AcqRel);
        if self.is_over.load(Ordering::Acquire) {
            return;
        }
        fence::heavy();
        let mut turn = 0;
        while self.open.load(Ordering::Acquire) {
            wait_a_little(turn);
            turn += 1;
        }
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.state.load(Ordering::Acquire) == REVOKED
    }

    /// Leaves word for the incarnation. A signal that leaves less time replaces one that leaves more, never the other way
    /// round.
    pub(crate) fn signal(&self, signal: Signal) {
        self.state.fetch_max(signal as u8, Ordering::SeqCst);
    }

    /// What has been sent since the last time. A lease that is revoked says `Halt` for ever.
    #[inline]
    pub(crate) fn hear(&self) -> Option<Signal> {
        let taken = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| match state {
            0 | REVOKED => None,
            _ => Some(0),
        });
        Signal::from_bits(taken.unwrap_or_else(|state| state))
    }
}
