//! The last supervision events, kept for whoever asks what happened.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use tracing::error;

use super::info::Info;
use crate::ExitReason;
use crate::clock;
use crate::panics::{self, Panicked};

/// What happened to a child.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
pub enum What {
    /// It started for the first time.
    Started,
    /// It is to be started again, after a wait. Where there is none, `Restarted` follows at once.
    RestartScheduled {
        /// The wait, in seconds.
        delay_s: f64,
        /// Why its last incarnation ended, in words.
        reason: String,
    },
    /// It started again.
    Restarted {
        /// Why its last incarnation had ended, in words.
        reason: String,
    },
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
    /// It holds its thread for longer than it may.
    Stuck {
        /// How long that is, in seconds.
        limit_s: f64,
    },
    /// It has come back, before it was replaced.
    Unstuck,
    /// A supervisor used up its restarts and gave up.
    BudgetExhausted,
    /// A supervisor ended because significant children had.
    Completed,
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

/// An incarnation that has failed, as it is told to [`Handle::on_failure`](crate::Handle::on_failure).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Failure<'a> {
    /// The actor's path.
    pub path: &'a str,
    /// How many incarnations there were before this one.
    pub incarnation: u64,
    /// Why it ended.
    pub reason: &'a ExitReason,
}

type OnFailure = Arc<dyn Fn(Failure<'_>) + Send + Sync>;

pub(crate) struct EventLog {
    began: (Instant, SystemTime),
    entries: Mutex<Entries>,
    on_failure: RwLock<Vec<OnFailure>>,
}

#[derive(Default)]
struct Entries {
    kept: VecDeque<Entry>,
    /// How many there have ever been.
    count: u64,
}

/// Written for every start and end, so it shares the path and leaves the rest to whoever reads.
struct Entry {
    at: Instant,
    of: Arc<Info>,
    what: What,
}

impl EventLog {
    /// Events kept; older ones are forgotten. Enough to hold a burst of restarts of every actor of a usual tree.
    pub(crate) const KEPT: usize = 256;

    pub(crate) fn new() -> Self {
        let entries = Entries { kept: VecDeque::with_capacity(Self::KEPT), count: 0 };
        Self { began: (clock::now(), SystemTime::now()), entries: Mutex::new(entries), on_failure: RwLock::default() }
    }

    pub(crate) fn push(&self, of: &Arc<Info>, what: What) {
        let entry = Entry { at: clock::now(), of: of.clone(), what };
        let mut entries = self.entries.lock();
        let oldest = if entries.kept.len() == Self::KEPT { entries.kept.pop_front() } else { None };
        entries.kept.push_back(entry);
        entries.count += 1;
        drop(entries);
        drop(oldest);
    }

    pub(crate) fn exited(&self, of: &Arc<Info>, reason: &ExitReason) {
        self.push(of, What::Exited { reason: reason.to_string(), failure: reason.is_failure() });
        if reason.is_failure() {
            self.tell_failure(Failure { path: of.path(), incarnation: of.restarts(), reason });
        }
    }

    pub(crate) fn on_failure(&self, act: OnFailure) {
        self.on_failure.write().push(act);
    }

    fn tell_failure(&self, failure: Failure<'_>) {
        let acts = self.on_failure.read().clone();
        for act in acts {
            if let Err(Panicked(reason)) = panics::catch(|| act(failure)) {
                error!(path = failure.path, reason, "an observer of failures panicked");
            }
        }
    }

    pub(crate) fn recent(&self) -> Vec<SupervisionEvent> {
        self.after(0).1
    }

    /// How many there have ever been, and of those after number `seen` the ones that are still kept.
    pub(crate) fn after(&self, seen: u64) -> (u64, Vec<SupervisionEvent>) {
        let (began, began_at) = self.began;
        let event = |entry: &Entry| {
            // The steady clock, anchored once: a step of the wall clock does not reorder the log.
            let at = began_at + entry.at.saturating_duration_since(began);
            let at_unix_s = at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
            SupervisionEvent { at_unix_s, path: entry.of.path().to_owned(), what: entry.what.clone() }
        };
        let entries = self.entries.lock();
        let new = usize::try_from(entries.count.saturating_sub(seen)).unwrap_or(usize::MAX);
        let known = entries.kept.len().saturating_sub(new);
        (entries.count, entries.kept.iter().skip(known).map(event).collect())
    }
}
