//! Atomics, cells and threads: the standard library's, or loom's in a build that checks every interleaving.
//!
//! `RUSTFLAGS="--cfg ironcliw_loom" cargo test -p ironcliw --lib --release loom` (`make loom`) runs the checks. Only what
//! they reach, the mailbox, the reply slot and the executor's places and bell, takes its primitives from here.

#[cfg(not(ironcliw_loom))]
mod imp {
    use std::hint::spin_loop;

    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

    /// `std`'s cell with loom's interface, which is told how long each access takes.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }

    /// Sequentially consistent accesses need no help outside of loom.
    #[inline(always)]
    pub(crate) fn loom_fence() {}

    /// Stores, then passes a barrier for all that comes before and after.
    #[inline(always)]
    pub(crate) fn store_and_fence(flag: &AtomicBool, value: bool) {
        if cfg!(target_arch = "x86_64") {
            // A locked instruction is such a barrier, and half as dear as the fence (Intel's manual, volume 3, "Memory Ordering").
            flag.swap(value, Ordering::SeqCst);
            std::sync::atomic::compiler_fence(Ordering::SeqCst);
        } else {
            flag.store(value, Ordering::Relaxed);
            fence(Ordering::SeqCst);
        }
    }

    /// Lets another thread go first where this one can only wait for it.
    #[inline]
    pub(crate) fn wait_a_little(turn: u32) {
        if turn < 64 { spin_loop() } else { std::thread::yield_now() }
    }
}

#[cfg(ironcliw_loom)]
mod imp {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

    /// loom takes sequentially consistent accesses for acquire and release; its fences are what they should be. So a fence
    /// stands between the two accesses of a store-load pattern. It orders other accesses as well, which the real thing does
    /// not: whoever needs that has a fence of its own.
    pub(crate) fn loom_fence() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn store_and_fence(flag: &AtomicBool, value: bool) {
        flag.store(value, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn wait_a_little(_turn: u32) {
        loom::thread::yield_now();
    }

    /// loom's, which cannot be poisoned here: a panic ends the check.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("nobody panics under this lock")
        }
    }
}

pub(crate) use imp::*;
