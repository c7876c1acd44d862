//! When idle memory goes back to the system: after nobody needed it for a while. What the pool had to spare in each of the
//! last periods, and what follows from it. Plain data, without effects.
//!
//! The delay is cut into eight periods. In each, two things are known of idle memory: the least that was to spare in all,
//! which is what was held less the most that was leased at a time, however short; and for each class the fewest free blocks
//! that a look found. What was to spare in all of the last eight periods was of no use to anybody for the whole delay. It is
//! freed, the largest first, some at a time, so that neither the system nor the actor is busy with it for long. A program
//! that goes on as it did therefore keeps what it uses, down to the bursts between two looks, and one that rests shrinks.
//!
//! The delay is the idea of jemalloc's `dirty_decay_ms` (10 s by default, too) and of mimalloc's `purge_delay`. Blocks are
//! unmapped and not merely marked (`MADV_FREE`, `MADV_DONTNEED`): what is held then is what is resident, or may be, and
//! beside the faults of memory that is used again, a new mapping costs nothing: see docs/memory.md.

use super::class::SizeClass;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Periods that a delay is cut into.
const PERIODS: usize = 8;
/// Of a pool above its soft limit: memory is wanted elsewhere.
const DELAY_MAX_ABOVE_SOFT: Duration = Duration::from_secs(1);
/// Bytes that one look frees at most, or one block: some milliseconds of the system's time.
const PURGE_BYTES_MAX: usize = 64 << 20;

/// A count for each class.
pub(crate) type ByClass = [u32; SizeClass::COUNT];

/// What a look finds.
pub(crate) struct Sample {
    pub(crate) held: usize,
    /// The most that was leased at a time since the last look.
    pub(crate) leased_max: usize,
    /// Free blocks.
    pub(crate) free: ByClass,
}

#[derive(Debug)]
struct Period {
    began: Instant,
    leased_max: usize,
    free_min: ByClass,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Decay {
    /// `None`: idle memory stays.
    delay: Option<Duration>,
    /// The oldest first; the last one is not over.
    periods: VecDeque<Period>,
}

impl Decay {
    pub(crate) fn new(delay: Option<Duration>) -> Self {
        Self { delay, periods: VecDeque::new() }
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        self.delay
    }

    pub(crate) fn set_delay(&mut self, delay: Option<Duration>) {
        *self = Self::new(delay);
    }

    /// Takes a look into account; how many free blocks of each class are to be freed now.
    pub(crate) fn take_in(&mut self, now: Instant, sample: &Sample, above_soft: bool) -> ByClass {
        let none = [0; SizeClass::COUNT];
        let Some(delay) = self.delay else { return none };
        let delay = if above_soft { delay.min(DELAY_MAX_ABOVE_SOFT) } else { delay };
        let fresh = || Period { began: now, leased_max: sample.leased_max, free_min: sample.free };
        match self.periods.back_mut() {
            Some(period) if now.duration_since(period.began) < delay / PERIODS as u32 => {
                period.leased_max = period.leased_max.max(sample.leased_max);
                for (least, &free) in period.free_min.iter_mut().zip(&sample.free) {
                    *least = free.min(*least);
                }
            }
            _ => self.periods.push_back(fresh()),
        }
        // One that ended before the delay began says nothing any more.
        while let Some(next) = self.periods.get(1)
            && now.duration_since(next.began) >= delay
        {
            self.periods.pop_front();
        }
        let is_whole = self.periods.front().is_some_and(|first| now.duration_since(first.began) >= delay);
        if is_whole { self.surplus(sample.held) } else { none }
    }

    /// What was to spare all the time, the largest first, as much as is freed at a time.
    fn surplus(&self, held: usize) -> ByClass {
        let leased_max = self.periods.iter().map(|period| period.leased_max).max().unwrap_or(0);
        let spare = held.saturating_sub(leased_max);
        let mut left = spare.min(PURGE_BYTES_MAX);
        let mut surplus = [0; SizeClass::COUNT];
        for class in SizeClass::all().rev() {
            let Some(bytes) = class.bytes() else { continue };
            let free_min = self.periods.iter().map(|period| period.free_min[class.index()]).min().unwrap_or(0);
            let mut count = free_min.min((left / bytes) as u32);
            if count == 0 && free_min > 0 && left == PURGE_BYTES_MAX && bytes <= spare {
                count = 1;
            }
            surplus[class.index()] = count;
            left = left.saturating_sub(count as usize * bytes);
        }
        surplus
    }

    /// These were freed: they are idle no more.
    pub(crate) fn purged(&mut self, freed: &ByClass) {
        for period in &mut self.periods {
            for (least, freed) in period.free_min.iter_mut().zip(freed) {
                *least = least.saturating_sub(*freed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    /// A pool as the decay sees it: free blocks of 1 KiB, and leased ones.
    struct World {
        decay: Decay,
        now: Instant,
        free: u32,
        leased: u32,
        leased_max: u32,
    }

    impl World {
        fn new(free: u32, leased: u32, delay: Option<Duration>) -> Self {
            Self { decay: Decay::new(delay), now: Instant::now(), free, leased, leased_max: leased }
        }

        /// A burst leases this many more for a moment.
        fn burst(&mut self, count: u32) {
            self.leased_max = self.leased_max.max(self.leased + count);
        }

        fn look(&mut self, after: Duration, above_soft: bool) -> u32 {
            self.now += after;
            let class = SizeClass::of(KIB);
            let mut free = [0; SizeClass::COUNT];
            free[class.index()] = self.free;
            let held = (self.free + self.leased) as usize * KIB;
            let sample = Sample { held, leased_max: self.leased_max as usize * KIB, free };
            self.leased_max = self.leased;
            let surplus = self.decay.take_in(self.now, &sample, above_soft);
            self.decay.purged(&surplus);
            self.free -= surplus[class.index()];
            surplus[class.index()]
        }

        fn look_for(&mut self, time: Duration, above_soft: bool) -> u32 {
            let step = Duration::from_millis(100);
            (0..time.as_millis() / step.as_millis()).map(|_| self.look(step, above_soft)).sum()
        }
    }

    const DELAY: Duration = Duration::from_secs(10);

    #[test]
    fn memory_that_rests_goes_back_after_the_delay_and_not_before() {
        let mut world = World::new(100, 0, Some(DELAY));
        assert_eq!(world.look_for(DELAY - Duration::from_millis(100), false), 0);
        assert_eq!(world.look_for(DELAY / 4, false), 100);
    }

    #[test]
    fn a_steady_program_keeps_what_its_shortest_bursts_need() {
        let mut world = World::new(100, 10, Some(DELAY));
        for _ in 0..100 {
            world.look_for(DELAY / 4, false);
            world.burst(40);
        }
        assert_eq!(world.free, 40);
    }

    #[test]
    fn above_the_soft_limit_memory_goes_back_within_a_second_or_two() {
        let mut world = World::new(100, 0, Some(DELAY));
        assert_eq!(world.look_for(Duration::from_millis(900), true), 0);
        assert_eq!(world.look_for(Duration::from_secs(1), true), 100);
    }

    #[test]
    fn without_a_delay_it_stays_and_a_program_that_slept_loses_nothing_it_used() {
        assert_eq!(World::new(100, 0, None).look_for(10 * DELAY, false), 0);
        let mut world = World::new(100, 0, Some(DELAY));
        world.look(Duration::ZERO, false);
        world.burst(100);
        // The machine was asleep, or the actor busy: one look in all that time.
        assert_eq!(world.look(10 * DELAY, false), 0);
    }
}
