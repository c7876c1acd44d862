//! How urgent a job is, and how long a level may be passed over.

use serde::Serialize;

/// How urgent a job is. More urgent ones are begun first; the others are passed over only so often.
///
/// The bound counts picks (jobs that are begun), not time: the first [`Priority::Normal`] job that waits is begun after at
/// most 5 others, the first [`Priority::Low`] one after at most 16, whatever comes in. A job that runs is never interrupted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Somebody waits for it now.
    High,
    /// The rule.
    #[default]
    Normal,
    /// Whenever there is time, though never never.
    Low,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// `high`, `normal` or `low`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The most jobs of other levels that are begun while the first of this level waits.
    ///
    /// Its own patience, and for `Normal` one more: `Low` may be due at the same moment, and goes first then.
    pub fn passed_over_max(self) -> u32 {
        match self {
            Self::High => 2,
            Self::Normal => self.patience() + 1,
            Self::Low => self.patience(),
        }
    }

    /// Picks that pass over the first of this level before it is due. Under permanent load from above, `Normal` so gets
    /// one pick in five and `Low` one in seventeen: enough to move, too little to be felt by those above.
    pub(crate) fn patience(self) -> u32 {
        match self {
            Self::High => 0,
            Self::Normal => 4,
            Self::Low => 16,
        }
    }
}
