//! A pool's counts: atomics that are read without stopping anybody.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::histogram::{Histogram, nanos};
use super::stats::{Queued, Steals};
use crate::Error;

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    Panicked,
    Cancelled,
    Expired,
    Refused,
}

impl End {
    /// What an error of the scheduler's own says of the job it is told to.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Cancelled => Self::Cancelled,
            Error::Runtime(ironcliw::Error::DeadlineExceeded { .. }) => Self::Expired,
            _ => Self::Refused,
        }
    }
}

pub(crate) struct Counts {
    pub(crate) submitted: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) started: AtomicU64,
    /// By [`End`].
    ends: [AtomicU64; 5],
    pub(crate) async_alive: AtomicUsize,
    pub(crate) queued: [AtomicUsize; 3],
    pub(crate) wait: Histogram,
    pub(crate) run: Histogram,
    pub(crate) stolen_jobs: AtomicU64,
    pub(crate) stolen_tasks: AtomicU64,
    pub(crate) stolen_joins: AtomicU64,
    pub(crate) resizes: AtomicU64,
    /// Jobs that run, and when they began, added up: what they have run so far is `running * now - begun`.
    running: AtomicUsize,
    begun_ns: AtomicU64,
    busy_ns: AtomicU64,
    made: Instant,
    capacity: Mutex<Capacity>,
}

/// What the threads could have given: their number, summed over time.
struct Capacity {
    until_then_ns: u64,
    since: Instant,
    threads: usize,
}

impl Capacity {
    fn at(&self, now: Instant) -> u64 {
        let since = nanos(now.saturating_duration_since(self.since));
        self.until_then_ns.saturating_add(since.saturating_mul(self.threads as u64))
    }
}

impl Counts {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            submitted: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            started: AtomicU64::new(0),
            ends: Default::default(),
            async_alive: AtomicUsize::new(0),
            queued: Default::default(),
            wait: Histogram::default(),
            run: Histogram::default(),
            stolen_jobs: AtomicU64::new(0),
            stolen_tasks: AtomicU64::new(0),
            stolen_joins: AtomicU64::new(0),
            resizes: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            begun_ns: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            made: now,
            capacity: Mutex::new(Capacity { until_then_ns: 0, since: now, threads: 0 }),
        }
    }

    pub(crate) fn threads_are(&self, threads: usize) {
        let now = Instant::now();
        let mut capacity = self.capacity.lock();
        *capacity = Capacity { until_then_ns: capacity.at(now), since: now, threads };
    }

    pub(crate) fn begin(&self, queued: Instant, began: Instant) {
        self.wait.record(began.saturating_duration_since(queued));
        self.begun_ns.fetch_add(self.since_made(began), Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// A job no longer runs; `end` is how it ended, unless it has only gone to sleep.
    pub(crate) fn leave(&self, began: Instant, end: Option<End>) {
        let ran = began.elapsed();
        self.run.record(ran);
        self.busy_ns.fetch_add(nanos(ran), Ordering::Relaxed);
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.begun_ns.fetch_sub(self.since_made(began), Ordering::Relaxed);
        if let Some(end) = end {
            self.end(end);
        }
    }

    pub(crate) fn end(&self, end: End) {
        self.ends[end as usize].fetch_add(1, Ordering::Release);
    }

    pub(crate) fn ended(&self, end: End) -> u64 {
        self.ends[end as usize].load(Ordering::Acquire)
    }

    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.made.elapsed()
    }

    /// What jobs have run, and that as a share of what the threads could have given.
    pub(crate) fn busy(&self) -> (Duration, f64) {
        let now = Instant::now();
        let (running, begun) = (self.running() as u64, self.begun_ns.load(Ordering::Relaxed));
        // The two are read one after the other; what comes between them may make this a little wrong, never negative.
        let so_far = running.saturating_mul(self.since_made(now)).saturating_sub(begun);
        let busy = self.busy_ns.load(Ordering::Relaxed).saturating_add(so_far);
        let capacity = self.capacity.lock().at(now);
        let share = if capacity == 0 { 0.0 } else { (busy as f64 / capacity as f64).min(1.0) };
        (Duration::from_nanos(busy), share)
    }

    pub(crate) fn queued(&self) -> Queued {
        let [high, normal, low] = self.queued.each_ref().map(|depth| depth.load(Ordering::Relaxed));
        Queued { high, normal, low }
    }

    pub(crate) fn steals(&self) -> Steals {
        Steals {
            jobs: self.stolen_jobs.load(Ordering::Relaxed),
            tasks: self.stolen_tasks.load(Ordering::Relaxed),
            joins: self.stolen_joins.load(Ordering::Relaxed),
        }
    }

    fn since_made(&self, moment: Instant) -> u64 {
        nanos(moment.saturating_duration_since(self.made))
    }
}
