//! Gauges: a reading becomes a level, without flicker at the borders. Each follows one number and knows no time.

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

/// Follows the shares of time that tasks were stalled. Rises at once; falls when the share is half of where the level
/// began. The kernel's averages decay over ten seconds, so that is all the hysteresis in time that is needed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StallGauge(Pressure);

/// Percent of ten seconds from which a level holds: as the triggers of `system/psi.rs` have it, and far below the 60 %
/// over half a minute at which systemd-oomd begins to kill.
const SOME_MEDIUM: f32 = 7.5;
const FULL_HIGH: f32 = 5.0;
const FULL_CRITICAL: f32 = 40.0;

impl StallGauge {
    pub(super) fn level(self) -> Pressure {
        self.0
    }

    pub(super) fn see(&mut self, stall: Option<Stall>) {
        let Stall { some, full } = stall.unwrap_or_default();
        let of = |factor: f32| match () {
            () if full >= FULL_CRITICAL * factor => Pressure::Critical,
            () if full >= FULL_HIGH * factor => Pressure::High,
            () if some >= SOME_MEDIUM * factor => Pressure::Medium,
            () => Pressure::Low,
        };
        let (rising, falling) = (of(1.0), of(0.5));
        self.0 = if rising > self.0 { rising } else { self.0.min(falling) };
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
    fn stalls_rise_at_once_and_fall_at_half() {
        let mut gauge = StallGauge::default();
        let mut see = |some, full| {
            gauge.see(Some(Stall { some, full }));
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
        gauge.see(None);
        assert_eq!(gauge.level(), Pressure::Low);
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
