//! The return addresses of the calling thread's stack.
//!
//! On Linux and x86-64 by framehop with a cache of unwind rules for each thread (`cached`). Elsewhere, and
//! on a stack that is not the thread's own, by the system's unwinder, which looks everything up anew.
//! Frame pointers would be quicker yet, but nobody compiles all that is on a stack with them.

#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
mod cached;

use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

/// Whoever is about to ask the dynamic linker something holds it for reading, and a fork for writing: the linker has a lock, which
/// in the child would be held for ever by a thread that is not there.
static LINKER: RwLock<()> = RwLock::new(());

/// Does `work`, which asks the linker or the unwinder, and is not interrupted by a fork. Not within itself.
pub(super) fn with_linker<R>(work: impl FnOnce() -> R) -> R {
    let _reading = LINKER.read().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// For a fork.
pub(crate) fn hold() -> RwLockWriteGuard<'static, ()> {
    LINKER.write().unwrap_or_else(PoisonError::into_inner)
}

/// Writes the return addresses of the caller's calls, the innermost first, and says how many there are.
pub(super) fn addresses(into: &mut [usize]) -> usize {
    #[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
    if let Some(count) = cached::addresses(into) {
        return count;
    }
    with_linker(|| by_system(into))
}

/// The same, by the system's unwinder.
#[inline(never)]
fn by_system(into: &mut [usize]) -> usize {
    let mut count = 0;
    let look = |frame: &backtrace::Frame| {
        let (Some(place), address) = (into.get_mut(count), frame.ip().addr()) else { return false };
        if address == 0 {
            return false;
        }
        *place = address;
        count += 1;
        true
    };
    // What `backtrace::trace` adds is a lock that all threads share, for the sake of Windows.
    #[cfg(unix)]
    // SAFETY: only Windows's way of doing this must not be done by two threads at a time.
    unsafe {
        backtrace::trace_unsynchronized(look);
    }
    #[cfg(not(unix))]
    backtrace::trace(look);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn deep(calls: usize, into: &mut [usize]) -> usize {
        if calls == 0 { addresses(into) } else { std::hint::black_box(deep(calls - 1, into)) }
    }

    #[test]
    fn a_stack_is_as_deep_as_the_calls_are_and_no_longer_than_asked_for() {
        let mut shallow = [0; 64];
        let mut deeper = [0; 64];
        let count = deep(1, &mut shallow);
        assert_eq!(deep(11, &mut deeper), count + 10);
        assert_eq!(deep(11, &mut deeper[..5]), 5);
        assert!(deeper.iter().take(5).all(|&address| address != 0));
    }

    #[test]
    fn both_unwinders_see_the_same_callers() {
        let (mut ours, mut systems) = ([0; 64], [0; 64]);
        let (ours, systems) = (&mut ours[..], &mut systems[..]);
        let (count, by_system) = (addresses(ours), by_system(systems));
        // Above this function, which called them at two places, all is the same.
        let (ours, systems) = (&ours[..count], &systems[..by_system]);
        let callers = ours.iter().rev().zip(systems.iter().rev()).take_while(|(one, other)| one == other).count();
        assert!(count > 5 && callers + 3 >= count, "{ours:x?} {systems:x?}");
    }

    #[test]
    fn a_thread_that_ends_can_still_be_looked_at() {
        struct Last;
        impl Drop for Last {
            fn drop(&mut self) {
                assert!(addresses(&mut [0; 32]) > 0);
            }
        }
        thread_local! { static LAST: Last = const { Last } }
        std::thread::spawn(|| LAST.with(|_| assert!(addresses(&mut [0; 32]) > 0))).join().unwrap();
    }
}
