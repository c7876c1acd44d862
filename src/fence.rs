//! A pair of fences of which one side is nearly free: for handshakes in which one party acts all the time and the other
//! almost never.
//!
//! If one thread does *store A, [`light`], load B* and another *store B, [`heavy`], load A*, at least one of them sees the
//! other's store. Where the kernel offers `membarrier(2)`, `heavy` makes every running thread of the process pass a barrier
//! and `light` merely keeps the compiler from reordering; elsewhere both are full fences. The idea is that of folly's
//! `AsymmetricThreadFence` and of C++'s P1202.

use crate::sync::{Ordering, fence};

/// The side that is taken all the time.
#[inline(always)]
pub fn light() {
    if imp::is_asymmetric() {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// The side that is taken almost never: some microseconds.
pub fn heavy() {
    if imp::is_asymmetric() {
        imp::barrier_everywhere();
    } else {
        fence(Ordering::SeqCst);
    }
}

#[cfg(all(target_os = "linux", not(ironcliw_loom)))]
mod imp {
    use std::sync::atomic::{AtomicU8, Ordering};

    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;

    static OFFERED: AtomicU8 = AtomicU8::new(UNKNOWN);

    #[inline(always)]
    pub(super) fn is_asymmetric() -> bool {
        match OFFERED.load(Ordering::Relaxed) {
            UNKNOWN => register(),
            known => known == YES,
        }
    }

    /// Everybody who asks must get the same answer for ever: the first one to write it decides.
    #[cold]
    fn register() -> bool {
        let offered = membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
        let answer = if offered { YES } else { NO };
        match OFFERED.compare_exchange(UNKNOWN, answer, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => offered,
            Err(earlier) => earlier == YES,
        }
    }

    pub(super) fn barrier_everywhere() {
        // Cannot fail once the process is registered: see membarrier(2).
        let done = membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
        assert!(done, "the kernel takes back membarrier, which it had granted");
    }

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes three integers and touches no memory of ours.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }
}

#[cfg(not(all(target_os = "linux", not(ironcliw_loom))))]
mod imp {
    #[inline(always)]
    pub(super) fn is_asymmetric() -> bool {
        false
    }

    pub(super) fn barrier_everywhere() {}
}
