//! What calls an executor's thread when one of its tasks was woken from another one.
//!
//! ```text
//!            rung                        spun in vain
//!   RUNNING ─────▶ RUNG      RUNNING ──────────────────▶ PARKED ── rung: the runtime's own wake ─▶ RUNG
//!      ▲             │
//!      └─────────────┘ the executor polls its tasks again
//! ```
//!
//! No ring is lost: the executor makes the state `RUNNING` *before* it takes in who was called, and leaves with `PARKED` only
//! by a compare-and-swap from `RUNNING`, so a ring in between keeps it there.

use std::task::Waker;

use futures_util::task::AtomicWaker;

use crate::sync::{AtomicU8, Ordering};

const RUNNING: u8 = 0;
const RUNG: u8 = 1;
const PARKED: u8 = 2;

/// Whether the executor runs, has been rung since it last began to poll its tasks, or waits.
pub(super) struct Bell {
    state: AtomicU8,
    /// The executor's task, as its runtime knows it.
    task: AtomicWaker,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self { state: AtomicU8::new(RUNNING), task: AtomicWaker::new() }
    }

    /// Whom to wake while it waits.
    pub(super) fn attend(&self, task: &Waker) {
        self.task.register(task);
    }

    /// The executor ends, and nobody is to be woken.
    pub(super) fn forget(&self) {
        drop(self.task.take());
    }

    /// Before the executor polls its tasks: whoever rings from here on keeps it up.
    #[inline]
    pub(super) fn begin_round(&self) {
        if self.state.load(Ordering::Relaxed) != RUNNING {
            // Not a mere store: it must come after every ring that it wipes out, for the work that was rung for to be seen.
            self.state.swap(RUNNING, Ordering::AcqRel);
        }
    }

    #[inline]
    pub(super) fn is_rung(&self) -> bool {
        self.state.load(Ordering::Acquire) == RUNG
    }

    /// Whether the executor may wait: nobody has rung since the round began.
    pub(super) fn park(&self) -> bool {
        self.state.compare_exchange(RUNNING, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn ring(&self) {
        if self.state.swap(RUNG, Ordering::AcqRel) == PARKED {
            self.task.wake();
        }
    }
}
