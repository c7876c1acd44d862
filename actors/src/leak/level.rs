//! How closely leases are watched.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Which leases leave a record. The pool's counts are exact at every level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// None. Explicit leases that are dropped unreleased are still reported, without where they came from.
    Disabled,
    /// A sample, the explicit leases, and those that ask for it.
    #[default]
    Simple,
    /// As `Simple`, and each record carries a backtrace, the caller's frames and the buffer's last touches.
    Advanced,
    /// All, with the same.
    Paranoid,
}

impl Level {
    /// All levels, the least watchful first.
    pub const ALL: [Self; 4] = [Self::Disabled, Self::Simple, Self::Advanced, Self::Paranoid];

    /// `disabled`, `simple`, `advanced` or `paranoid`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Simple => "simple",
            Self::Advanced => "advanced",
            Self::Paranoid => "paranoid",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Level {
    type Err = crate::Error;

    fn from_str(name: &str) -> crate::Result<Self> {
        Self::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(name)).ok_or_else(|| {
            crate::Error::invalid(format!("no leak level {name:?}: disabled, simple, advanced or paranoid"))
        })
    }
}

/// A level that may change while others read it.
#[derive(Debug)]
pub(crate) struct LevelCell(AtomicU8);

impl LevelCell {
    pub(crate) fn new(level: Level) -> Self {
        Self(AtomicU8::new(level as u8))
    }

    pub(crate) fn get(&self) -> Level {
        Level::ALL[usize::from(self.0.load(Relaxed)) % Level::ALL.len()]
    }

    pub(crate) fn set(&self, level: Level) {
        self.0.store(level as u8, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_by_the_names_they_print() {
        let cell = LevelCell::new(Level::default());
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
            cell.set(level);
            assert_eq!(cell.get(), level);
        }
        assert!("loud".parse::<Level>().is_err());
    }
}
