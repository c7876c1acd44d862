//! How short memory is, in four words, without flicker at the borders.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How short memory is. Ordered: more pressure is greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Pressure {
    /// Nothing needs to be done.
    #[default]
    Low,
    /// From 60 % used: caches stop growing.
    Medium,
    /// From 80 % used: scratch space and caches are given back.
    High,
    /// From 95 % used: only what must be done is done.
    Critical,
}

/// Percent used from which a level holds.
const RISES_AT: [(Pressure, u128); 3] = [(Pressure::Critical, 95), (Pressure::High, 80), (Pressure::Medium, 60)];
/// A level is left only this many percent below where it began.
const FALLS_BELOW: u128 = 5;

impl Pressure {
    /// The pressure of `used` of `limit` bytes, without a history.
    pub fn of(used: usize, limit: usize) -> Self {
        Self::with_slack(used, limit, 0)
    }

    fn with_slack(used: usize, limit: usize, slack: u128) -> Self {
        if used == 0 {
            return Self::Low;
        }
        RISES_AT
            .into_iter()
            .find(|(_, percent)| 100 * used as u128 >= (percent - slack) * limit as u128)
            .map_or(Self::Low, |(level, _)| level)
    }

    /// `Low`, `Medium`, `High` or `Critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }
}

impl std::fmt::Display for Pressure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Follows one pair of used and limit. Rises at once; falls when use is 5 points below where the level began.
#[derive(Debug, Clone, Copy, Default)]
pub struct PressureGauge {
    level: Pressure,
}

impl PressureGauge {
    /// The level after the last update; `Low` before the first.
    pub fn level(&self) -> Pressure {
        self.level
    }

    /// Takes in a reading, both in bytes. Returns the new level if it is another.
    pub fn update(&mut self, used: usize, limit: usize) -> Option<Pressure> {
        let rising = Pressure::of(used, limit);
        let falling = Pressure::with_slack(used, limit, FALLS_BELOW);
        let level = if rising > self.level { rising } else { self.level.min(falling) };
        (level != std::mem::replace(&mut self.level, level)).then_some(level)
    }
}

/// A level that one publishes and others read without asking. Clones are handles of the same one.
#[derive(Debug, Clone, Default)]
pub struct PublishedPressure(Arc<AtomicU8>);

impl PublishedPressure {
    /// The level that was published last; `Low` before the first.
    pub fn get(&self) -> Pressure {
        match self.0.load(Ordering::Relaxed) {
            0 => Pressure::Low,
            1 => Pressure::Medium,
            2 => Pressure::High,
            _ => Pressure::Critical,
        }
    }

    pub(crate) fn set(&self, level: Pressure) {
        self.0.store(level as u8, Ordering::Relaxed);
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
    fn extremes_are_answered() {
        assert_eq!(Pressure::of(0, 0), Pressure::Low);
        assert_eq!(Pressure::of(1, 0), Pressure::Critical);
        assert_eq!(Pressure::of(usize::MAX, usize::MAX), Pressure::Critical);
        assert_eq!(Pressure::of(1, usize::MAX), Pressure::Low);
        assert_eq!(Pressure::High.to_string(), "High");
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
