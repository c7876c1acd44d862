//! A counter that runs at one rate and costs next to nothing to read: what the time of each poll is measured with.
//!
//! On x86-64 it is the processor's time stamp counter, if the processor says that it runs at one rate whatever the core does
//! (Intel's manual, volume 3, "Invariant TSC"). Elsewhere it is the clock, in nanoseconds, and so it is with the test kit,
//! whose clock stands still. What ticks are worth is found out by those who ask, from how many went by since the first
//! reading.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::clock;

/// How long after the first reading the rate is known well enough to be kept: two readings 50 ns apart err by 5 in a million.
const KNOWN_AFTER: Duration = Duration::from_millis(10);

thread_local! {
    static LAST: Cell<u64> = const { Cell::new(0) };
}

/// Reads the counter for [`last`] as well.
#[inline]
pub(crate) fn read() -> u64 {
    let now = now();
    LAST.set(now);
    now
}

/// This thread's last reading. On a thread that runs actors it is no older than the last poll's end.
#[inline]
pub(crate) fn last() -> u64 {
    LAST.get()
}

#[inline]
pub(crate) fn now() -> u64 {
    #[cfg(all(target_arch = "x86_64", not(feature = "testkit")))]
    if Origin::get().is_counter {
        // SAFETY: every x86-64 processor has it.
        return unsafe { std::arch::x86_64::_rdtsc() };
    }
    clock::to_ns(clock::now())
}

/// When the counter was first read.
struct Origin {
    is_counter: bool,
    clock: Instant,
    ticks: u64,
}

impl Origin {
    #[inline]
    fn get() -> &'static Self {
        static ORIGIN: OnceLock<Origin> = OnceLock::new();
        ORIGIN.get_or_init(Self::find)
    }

    #[cold]
    fn find() -> Self {
        let clock = Instant::now();
        #[cfg(all(target_arch = "x86_64", not(feature = "testkit")))]
        if has_invariant_counter() {
            // SAFETY: every x86-64 processor has it.
            return Self { is_counter: true, clock, ticks: unsafe { std::arch::x86_64::_rdtsc() } };
        }
        Self { is_counter: false, clock, ticks: clock::to_ns(clock) }
    }
}

#[cfg(all(target_arch = "x86_64", not(feature = "testkit")))]
fn has_invariant_counter() -> bool {
    use std::arch::x86_64::__cpuid;

    const POWER: u32 = 0x8000_0007;
    __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & (1 << 8) != 0
}

/// Nanoseconds a tick. Kept once it is known well, so that a sum of ticks never seems to shrink; taken for one before there is
/// anything to tell it by.
fn rate() -> f64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    if let Some(&known) = RATE.get() {
        return known;
    }
    let origin = Origin::get();
    if !origin.is_counter {
        return 1.0;
    }
    let (passed, ticks) = (origin.clock.elapsed(), now().saturating_sub(origin.ticks));
    if passed < KNOWN_AFTER {
        let is_guess = passed < KNOWN_AFTER / 100 || ticks == 0;
        return if is_guess { 1.0 } else { passed.as_nanos() as f64 / ticks as f64 };
    }
    *RATE.get_or_init(|| passed.as_nanos() as f64 / ticks.max(1) as f64)
}

/// What so many ticks are in nanoseconds.
pub(crate) fn to_ns(ticks: u64) -> u64 {
    (ticks as f64 * rate()) as u64
}

/// How many ticks this takes. A counter ticks more than once a nanosecond: as long as its rate is not known, too few.
pub(crate) fn of(time: Duration) -> u64 {
    (time.as_nanos() as f64 / rate()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_worth_what_the_clock_says() {
        now();
        std::thread::sleep(KNOWN_AFTER);
        rate();
        let (ticks, clock) = (now(), Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let (ticks, clock) = (to_ns(now() - ticks) as f64, clock.elapsed().as_nanos() as f64);
        assert!((ticks / clock - 1.0).abs() < 0.05, "{ticks} against {clock}");
        let there_and_back = to_ns(of(Duration::from_secs(1))) as f64;
        assert!((there_and_back / 1e9 - 1.0).abs() < 1e-6, "{there_and_back}");
    }
}
