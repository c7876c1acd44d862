//! What a pool says of itself, at one moment.

use serde::Serialize;

use super::Times;

/// One pool.
///
/// Every job that was taken in is in exactly one place: `submitted = completed + panicked + cancelled + expired + refused`,
/// plus those that wait, run, or are async and asleep. (The counts are read one after the other while the threads go on, so a
/// reader may see a job between two of them, never one that ended before it was submitted.)
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolStats {
    /// The pool's name.
    pub name: String,
    /// Jobs that were taken in.
    pub submitted: u64,
    /// Jobs that were refused at once, because the queue was full. They are in no other count.
    pub rejected: u64,
    /// Jobs that were begun.
    pub started: u64,
    /// Jobs that ended with a result.
    pub completed: u64,
    /// Jobs that ended with a panic.
    pub panicked: u64,
    /// Jobs that were cancelled before they began; async jobs that were cancelled before they ended.
    pub cancelled: u64,
    /// The same of those whose deadline passed.
    pub expired: u64,
    /// Jobs that the end of the pool left undone.
    pub refused: u64,
    /// Jobs that run now.
    pub running: usize,
    /// Async jobs that have not ended: asleep, waiting or running.
    pub async_alive: usize,
    /// Jobs that wait, by priority. One that was cancelled waits until it is reached.
    pub queued: Queued,
    /// Jobs that may wait.
    pub queue_capacity: usize,
    /// Threads of the pool; none once it was closed.
    pub threads: usize,
    /// How often the number of threads was changed.
    pub resizes: u64,
    /// Seconds since the pool was made.
    pub uptime_s: f64,
    /// Seconds that jobs ran, those that run now included, added up.
    pub busy_s: f64,
    /// `busy_s` as a share of what the threads could have given: their number times the time they were there. It counts
    /// threads that hold a job, whether that computes or waits. It does not see the threads that help with the parts of
    /// another thread's job: a job that is split over all of them counts as one.
    pub utilisation: f64,
    /// How long jobs waited before they began; each turn of an async job counts.
    pub wait: Times,
    /// How long jobs ran; each turn of an async job counts.
    pub run: Times,
    /// Thefts that are known: see [`Steals`].
    pub steals: Steals,
    /// The threads.
    pub workers: Vec<WorkerStats>,
}

impl PoolStats {
    /// Jobs that ended, one way or another.
    pub fn ended(&self) -> u64 {
        self.completed + self.panicked + self.cancelled + self.expired + self.refused
    }
}

/// Jobs that wait, by priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Queued {
    /// Of [`Priority::High`](super::Priority::High).
    pub high: usize,
    /// Of [`Priority::Normal`](super::Priority::Normal).
    pub normal: usize,
    /// Of [`Priority::Low`](super::Priority::Low).
    pub low: usize,
}

impl Queued {
    /// All of them.
    pub fn total(self) -> usize {
        self.high + self.normal + self.low
    }
}

/// Thefts between a pool's threads, as far as rayon lets them be known.
///
/// rayon counts none itself. What passes through our hands can be told: whatever a pool's thread put on its own deque and
/// another thread took was stolen, there is no other way from one to the other. The splits of rayon's parallel iterators,
/// and of `rayon::join` and `rayon::scope` called directly, cannot be seen and are in none of these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Steals {
    /// Turns to take a job that a thread offered (it had submitted a job to its own pool, say) and another took.
    pub jobs: u64,
    /// Tasks of a [`Scope`](super::Scope) that ran on another thread than the one that spawned them.
    pub tasks: u64,
    /// Second halves of a [`join`](super::join) that ran on another thread than the first.
    pub joins: u64,
}

/// One thread of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerStats {
    /// The thread's name.
    pub name: String,
    /// The core it was to be pinned to.
    pub wanted_core: Option<usize>,
    /// The core it was found to be pinned to.
    pub pinned_core: Option<usize>,
}

/// The scheduler: its default pool in short, and every pool in full.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SchedulerStats {
    /// Jobs that run now.
    pub active_tasks: usize,
    /// Jobs that were taken in.
    pub total_spawned: u64,
    /// Jobs that ended: with a result, with a panic, or before they began.
    pub total_completed: u64,
    /// Of these, those that panicked.
    pub total_panicked: u64,
    /// Threads.
    pub active_workers: usize,
    /// Jobs that wait for a thread.
    pub queue_depth: usize,
    /// Seconds that jobs ran, added up over all threads.
    pub busy_s: f64,
    /// Seconds that jobs waited before they ran, added up.
    pub waited_s: f64,
    /// The threads.
    pub workers: Vec<WorkerStats>,
    /// Every pool: `default` first, then by name.
    pub pools: Vec<PoolStats>,
}

impl SchedulerStats {
    pub(crate) fn new(pools: Vec<PoolStats>) -> Self {
        let default = &pools[0];
        Self {
            active_tasks: default.running,
            total_spawned: default.submitted,
            total_completed: default.ended(),
            total_panicked: default.panicked,
            active_workers: default.threads,
            queue_depth: default.queued.total(),
            busy_s: default.busy_s,
            waited_s: default.wait.sum_s,
            workers: default.workers.clone(),
            pools,
        }
    }
}
