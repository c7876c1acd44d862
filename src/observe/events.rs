//! The last supervision events, kept for whoever asks what happened.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;

use crate::ExitReason;

/// Events kept; older ones are forgotten. Enough to hold a burst of restarts of every actor of a usual tree.
const KEPT: usize = 256;

/// What happened to a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
pub enum What {
    /// It started for the first time.
    Started,
    /// It started again.
    Restarted,
    /// An incarnation ended.
    Exited {
        /// Why, in words.
        reason: String,
        /// Whether that counts against the supervisor's budget.
        failure: bool,
    },
    /// It is gone for good.
    Removed {
        /// Messages that were still queued and were answered with `ActorStopped`.
        dead_letters: u64,
    },
    /// A supervisor used up its restarts and gave up.
    BudgetExhausted,
    /// Actors wait for each other's answers in a circle.
    Deadlock {
        /// Their paths: each has asked the next one, and the last the first.
        cycle: Vec<String>,
    },
}

/// One entry of the event log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SupervisionEvent {
    /// Seconds since the Unix epoch.
    pub at_unix_s: f64,
    /// The path it concerns.
    pub path: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

pub(crate) struct EventLog {
    began: (Instant, SystemTime),
    entries: Mutex<VecDeque<SupervisionEvent>>,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        Self { began: (Instant::now(), SystemTime::now()), entries: Mutex::new(VecDeque::with_capacity(KEPT)) }
    }

    pub(crate) fn push(&self, path: &str, what: What) {
        // The steady clock, anchored once: a step of the wall clock does not reorder the log.
        let at = self.began.1 + self.began.0.elapsed();
        let at_unix_s = at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let mut entries = self.entries.lock();
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(SupervisionEvent { at_unix_s, path: path.to_owned(), what });
    }

    pub(crate) fn exited(&self, path: &str, reason: &ExitReason) {
        self.push(path, What::Exited { reason: reason.to_string(), failure: reason.is_failure() });
    }

    pub(crate) fn recent(&self) -> Vec<SupervisionEvent> {
        self.entries.lock().iter().cloned().collect()
    }
}
