//! What the gate is made of: the real thing, or loom's, which tries every interleaving (`make loom`).

#[cfg(not(ironcliw_loom))]
mod imp {
    pub(in super::super) use ironcliw::fence::{heavy, light};
    pub(in super::super) use std::sync::atomic::{AtomicU8, Ordering};

    /// Lets another thread go on, at once or after it was given a core.
    pub(in super::super) fn pause(short: bool) {
        if short { std::hint::spin_loop() } else { std::thread::yield_now() }
    }
}

#[cfg(ironcliw_loom)]
mod imp {
    pub(in super::super) use loom::sync::atomic::{AtomicU8, Ordering};

    /// loom knows no `membarrier`: there both sides are what `ironcliw::fence` falls back to where the system has none.
    pub(in super::super) fn light() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }

    pub(in super::super) fn heavy() {
        light();
    }

    pub(in super::super) fn pause(_short: bool) {
        loom::thread::yield_now();
    }
}

pub(super) use imp::{AtomicU8, Ordering, heavy, light, pause};
