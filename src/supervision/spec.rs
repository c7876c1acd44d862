//! What a user says of a supervisor.

use std::time::Duration;

use crate::{Backoff, Restart};

/// Which children are started again when one of them fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// That one.
    #[default]
    OneForOne,
    /// All of them: the others are stopped in reverse start order, then all are started in start order.
    OneForAll,
    /// That one and those that were started after it, likewise.
    RestForOne,
}

/// The description of a supervisor: a name, a strategy, and how much failure it bears.
///
/// ```
/// use std::time::Duration;
/// use ironcliw::{Strategy, Supervisor};
///
/// let storage = Supervisor::new("storage").strategy(Strategy::RestForOne).restarts(5, Duration::from_secs(10));
/// ```
#[derive(Debug, Clone)]
pub struct Supervisor {
    pub(crate) name: String,
    pub(crate) strategy: Strategy,
    pub(crate) budget: Budget,
    pub(crate) restart: Restart,
    pub(crate) backoff: Backoff,
}

/// At most `max` restarts in any window of `within`; one more is too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) max: u32,
    pub(crate) within: Duration,
}

impl Supervisor {
    /// A permanent one-for-one supervisor that bears 5 restarts in 10 seconds.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            strategy: Strategy::default(),
            budget: Budget { max: 5, within: Duration::from_secs(10) },
            restart: Restart::default(),
            backoff: Backoff::default(),
        }
    }

    /// Which children a failure concerns. Default: [`Strategy::OneForOne`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// How many restarts it bears in any window of `within`. One more, and it stops its children in reverse start order
    /// and fails itself, for its own supervisor to deal with. Default: 5 in 10 seconds.
    pub fn restarts(mut self, max: u32, within: Duration) -> Self {
        self.budget = Budget { max, within };
        self
    }

    /// When the supervisor itself is started again. Default: [`Restart::Permanent`].
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How long to wait before the supervisor itself is started again. Default: that of a child.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }
}
