//! Gauges: a reading becomes a level, without flicker at the borders. The time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::level::{Pressure, Scale, Slack};
use super::source::{MemoryReading, Stall};

/// Looks that a source may fail before its level is forgotten: about a second.
const MISSES_MAX: u32 = 10;

/// Follows one pair of used and limit. Rises at once; falls when use is 5 points below where the level began.
#[derive(Debug, Clone, Copy, Default)]
pub struct PressureGauge {
    level: Pressure,
    scale: Scale,
    misses: u32,
}

impl PressureGauge {
    /// For the memory of a machine or of a control group: with gibibytes left it is not short, whatever the percentage.
    pub fn of_system() -> Self {
        Self { scale: Scale::System, ..Self::default() }
    }

    /// The level after the last update; `Low` before the first.
    pub fn level(&self) -> Pressure {
        self.level
    }

    /// Takes in a reading, both in bytes. Returns the new level if it is another.
    pub fn update(&mut self, used: usize, limit: usize) -> Option<Pressure> {
        let rising = self.scale.level(used, limit, Slack::None);
        let falling = self.scale.level(used, limit, Slack::Some);
        let level = if rising > self.level { rising } else { self.level.min(falling) };
        (level != std::mem::replace(&mut self.level, level)).then_some(level)
    }

    /// The same of a source that cannot always be read. One that is gone for good is not believed for ever.
    pub(super) fn see(&mut self, reading: Option<MemoryReading>) {
        match reading {
            Some(MemoryReading { used, limit }) => {
                self.misses = 0;
                self.update(used, limit);
            }
            None if self.misses >= MISSES_MAX => self.level = Pressure::Low,
            None => self.misses += 1,
        }
    }
}

/// Follows the shares of time in which tasks were stalled: of the last two seconds, as added up here, and of the last ten, as
/// the kernel averages them. Rises at once; falls when the larger is half of where the level began. The average decays over
/// ten seconds, so that is all the hysteresis in time that is needed.
#[derive(Debug, Clone, Default)]
pub(super) struct StallGauge {
    level: Pressure,
    /// What was seen in the window, and the last before it.
    seen: VecDeque<(Instant, Stall)>,
}

/// The period in which the kernel's own averages are made, and the window of its triggers (`system/psi.rs`).
const WINDOW: Duration = Duration::from_secs(2);

/// Percent from which a level holds: 150 and 100 ms of the window, and of ten seconds far less than the 60 % over half a
/// minute at which systemd-oomd begins to kill.
const SOME_MEDIUM: f32 = 7.5;
const FULL_HIGH: f32 = 5.0;
const FULL_CRITICAL: f32 = 40.0;

impl StallGauge {
    pub(super) fn level(&self) -> Pressure {
        self.level
    }

    pub(super) fn see(&mut self, stall: Option<Stall>, now: Instant) {
        let Some(stall) = stall else {
            *self = Self::default();
            return;
        };
        self.seen.push_back((now, stall));
        while self.seen.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.seen.pop_front();
        }
        let (begin, first) = self.seen.front().copied().unwrap_or((now, stall));
        let window = now.saturating_duration_since(begin).max(WINDOW).as_micros() as f32;
        let share = |total: u64, before: u64| 100.0 * total.saturating_sub(before) as f32 / window;
        let some = stall.some.max(share(stall.some_total_us, first.some_total_us));
        let full = stall.full.max(share(stall.full_total_us, first.full_total_us));
        let of = |factor: f32| match () {
            () if stall.full >= FULL_CRITICAL * factor => Pressure::Critical,
            () if full >= FULL_HIGH * factor => Pressure::High,
            () if some >= SOME_MEDIUM * factor => Pressure::Medium,
            () => Pressure::Low,
        };
        let (rising, falling) = (of(1.0), of(0.5));
        self.level = if rising > self.level { rising } else { self.level.min(falling) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_rises_at_once_and_falls_with_a_distance() {
        let mut gauge = PressureGauge::default();
        assert_eq!(gauge.update(59, 100), None);
        assert_eq!(gauge.update(60, 100), Some(Pressure::Medium));
        assert_eq!(gauge.update(55, 100), None);
        assert_eq!(gauge.update(54, 100), Some(Pressure::Low));
        assert_eq!(gauge.update(99, 100), Some(Pressure::Critical));
        assert_eq!(gauge.update(90, 100), None);
        assert_eq!(gauge.update(89, 100), Some(Pressure::High));
        assert_eq!(gauge.update(0, 100), Some(Pressure::Low));
    }

    #[test]
    fn a_source_that_is_gone_is_believed_for_a_second() {
        let mut gauge = PressureGauge::of_system();
        gauge.see(Some(MemoryReading { used: 99, limit: 100 }));
        for _ in 0..MISSES_MAX {
            gauge.see(None);
            assert_eq!(gauge.level(), Pressure::Critical);
        }
        gauge.see(None);
        assert_eq!(gauge.level(), Pressure::Low);
    }

    #[test]
    fn average_stalls_rise_at_once_and_fall_at_half() {
        let (mut gauge, now) = (StallGauge::default(), Instant::now());
        let mut see = |some, full| {
            gauge.see(Some(Stall { some, full, ..Stall::default() }), now);
            gauge.level()
        };
        assert_eq!(see(7.4, 0.0), Pressure::Low);
        assert_eq!(see(7.5, 0.0), Pressure::Medium);
        assert_eq!(see(9.0, 5.0), Pressure::High);
        assert_eq!(see(90.0, 41.0), Pressure::Critical);
        assert_eq!(see(90.0, 20.0), Pressure::Critical);
        assert_eq!(see(90.0, 19.0), Pressure::High);
        assert_eq!(see(4.0, 2.4), Pressure::Medium);
        assert_eq!(see(3.0, 0.0), Pressure::Low);
        gauge.see(None, now);
        assert_eq!(gauge.level(), Pressure::Low);
    }

    #[test]
    fn stalls_of_two_seconds_count_before_the_average_shows_them() {
        const MS: u64 = 1000;
        let (mut gauge, begin) = (StallGauge::default(), Instant::now());
        let mut see = |at_ms, some_total_us, full_total_us| {
            let stall = Stall { some_total_us, full_total_us, ..Stall::default() };
            gauge.see(Some(stall), begin + Duration::from_millis(at_ms));
            gauge.level()
        };
        // What was before we came is not ours to judge.
        assert_eq!(see(0, 900_000 * MS, 900_000 * MS), Pressure::Low);
        let (some, full) = (900_000 * MS, 900_000 * MS);
        assert_eq!(see(100, some + 149 * MS, full), Pressure::Low);
        assert_eq!(see(200, some + 150 * MS, full), Pressure::Medium);
        assert_eq!(see(300, some + 200 * MS, full + 100 * MS), Pressure::High);
        // It is over when the window has passed it.
        assert_eq!(see(2_000, some + 200 * MS, full + 100 * MS), Pressure::High);
        assert_eq!(see(2_500, some + 200 * MS, full + 100 * MS), Pressure::Low);
        // Who looks seldom sees the share and not the sum.
        assert_eq!(see(62_500, some + 1_200 * MS, full), Pressure::Low);
    }

    proptest! {
        #[test]
        fn the_gauge_is_never_below_the_reading_nor_above_it_with_slack(readings in prop::collection::vec(0usize..=120, 1..50)) {
            let mut gauge = PressureGauge::default();
            for used in readings {
                let before = gauge.level();
                let change = gauge.update(used, 100);
                prop_assert_eq!(change.is_some(), before != gauge.level());
                prop_assert!(gauge.level() >= Pressure::of(used, 100));
                prop_assert!(gauge.level() <= Pressure::of(used + 5, 100).max(Pressure::of(used, 100)));
            }
        }
    }
}
