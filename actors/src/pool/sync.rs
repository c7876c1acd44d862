//! What the pool's concurrent parts are made of: the real thing, loom's, which tries every interleaving of a few steps
//! (`make loom`), or shuttle's, which tries thousands of random schedules of whole programs (`make shuttle`).
//!
//! The locks are the standard library's: on Linux one word each, with no queue of their own, so that the child of a fork
//! may unlock what other threads waited for (`fork`).

#[cfg(not(any(ironcliw_loom, ironcliw_shuttle)))]
mod imp {
    pub(crate) use ironcliw::fence::{heavy, light};
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
    pub(crate) use std::sync::{Mutex, MutexGuard};
    pub(crate) use std::thread_local;

    /// Lets another thread go on, at once or after it was given a core.
    pub(crate) fn pause(short: bool) {
        if short { std::hint::spin_loop() } else { std::thread::yield_now() }
    }

    /// Lets a thread that was taken off its core come back.
    pub(crate) fn nap() {
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}

#[cfg(ironcliw_loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
    /// Of the bins, which loom is not shown.
    pub(crate) use std::sync::atomic::AtomicU32;
    pub(crate) use std::sync::{Mutex, MutexGuard};
    pub(crate) use std::thread_local;

    /// loom knows no `membarrier`: there both sides are what `ironcliw::fence` falls back to where the system has none.
    pub(crate) fn light() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy() {
        light();
    }

    pub(crate) fn pause(_short: bool) {
        loom::thread::yield_now();
    }

    pub(crate) fn nap() {
        pause(false);
    }
}

/// Its threads share one of the system's, and change places at these types' operations only. Every access is sequentially
/// consistent, so that the fences have nothing to do.
#[cfg(ironcliw_shuttle)]
mod imp {
    pub(crate) use shuttle::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
    pub(crate) use shuttle::thread_local;

    pub(crate) fn light() {}

    pub(crate) fn heavy() {}

    pub(crate) fn pause(_short: bool) {
        shuttle::thread::yield_now();
    }

    pub(crate) fn nap() {
        pause(false);
    }
}

use std::sync::{PoisonError, TryLockError};

pub(crate) use imp::{
    AtomicU8, AtomicU32, AtomicUsize, Mutex, MutexGuard, Ordering, heavy, light, nap, pause, thread_local,
};

/// Takes a lock whose content is whole at every step, so that a panic elsewhere does not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same, unless somebody has it.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}
