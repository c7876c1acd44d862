//! The soft limit: two shares of the hard one.

use crate::{Error, Result};

/// Shares of the limit between which a pool settles: when more than `high` of it is held, free blocks go back to the system
/// until no more than `low` is, and leases go on. It happens once for each time that `high` is passed coming from `low`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watermarks {
    /// 0 to 1, and no less than `low`.
    pub high: f64,
    /// 0 to 1.
    pub low: f64,
}

impl Default for Watermarks {
    fn default() -> Self {
        Self { high: 0.8, low: 0.7 }
    }
}

impl Watermarks {
    /// These two, if they can be.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] unless `0 ≤ low ≤ high ≤ 1`.
    pub fn new(high: f64, low: f64) -> Result<Self> {
        Self { high, low }.checked()
    }

    pub(crate) fn checked(self) -> Result<Self> {
        let Self { high, low } = self;
        if 0.0 <= low && low <= high && high <= 1.0 {
            Ok(self)
        } else {
            Err(Error::invalid(format!(
                "watermarks are shares of the limit, 0 <= low <= high <= 1, not ({high}, {low})"
            )))
        }
    }

    /// Both in bytes.
    pub(crate) fn of(self, limit: usize) -> (usize, usize) {
        let share = |share: f64| if share >= 1.0 { limit } else { (limit as f64 * share) as usize };
        (share(self.high), share(self.low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermarks_that_cannot_be_are_refused() {
        for (high, low) in [(0.7, 0.8), (1.1, 0.5), (0.5, -0.1), (f64::NAN, 0.5), (0.5, f64::NAN), (f64::INFINITY, 0.5)]
        {
            assert!(matches!(Watermarks::new(high, low), Err(Error::InvalidInput(_))), "({high}, {low})");
        }
        assert_eq!(Watermarks::new(1.0, 0.0).unwrap().of(usize::MAX), (usize::MAX, 0));
        assert_eq!(Watermarks::default().of(1000), (800, 700));
    }
}
