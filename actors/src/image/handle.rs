//! [`Images`]: the router in front of the workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ironcliw::Address;

use super::{Answer, ImageWorker, Request, WorkerCounts, WorkerStats};
use crate::{Interrupt, Result};

/// A cheap handle to the image workers. Each job goes to the worker with the fewest jobs, the one in hand included. Among
/// equals it is the one that had the last job: its thread may still be awake, its caches warm, and the others sleep on.
#[derive(Clone)]
pub struct Images {
    workers: Arc<[(Address<ImageWorker>, Arc<WorkerCounts>)]>,
    last: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Images({} workers)", self.workers.len())
    }
}

impl Images {
    pub(crate) fn new(workers: Vec<(Address<ImageWorker>, Arc<WorkerCounts>)>) -> Self {
        assert!(!workers.is_empty(), "a router needs workers");
        Self { workers: workers.into(), last: Arc::default() }
    }

    /// The worker that is to have the next job.
    pub fn next_worker(&self) -> &Address<ImageWorker> {
        let last = self.last.load(Ordering::Relaxed);
        let living = (last..self.workers.len()).chain(0..last).filter(|&index| self.workers[index].0.is_alive());
        let jobs = |index: &usize| {
            let (worker, counts) = &self.workers[*index];
            worker.depth() + usize::from(counts.is_busy())
        };
        // The first of equals; if none lives any one says so.
        let next = living.min_by_key(jobs).unwrap_or(last);
        if next != last {
            self.last.store(next, Ordering::Relaxed);
        }
        &self.workers[next].0
    }

    /// Runs a job and waits for its answer. Dropping the future calls the job off: it is skipped if it waits, and stops
    /// within some 100 µs of work if it runs (unless the request has an interrupt of its own, which then decides).
    ///
    /// # Errors
    /// Those of the job, or of the mailbox.
    pub async fn run(&self, request: impl Into<Request>) -> Result<Answer> {
        let mut request: Request = request.into();
        let mut _called_off = None;
        if !request.interrupt.is_possible() {
            let (interrupt, guard) = Interrupt::on_drop();
            (request.interrupt, _called_off) = (interrupt, Some(guard));
        }
        self.next_worker().ask(request).await.map_err(ironcliw::Error::from)?
    }

    /// The workers' addresses.
    pub fn workers(&self) -> impl ExactSizeIterator<Item = &Address<ImageWorker>> + Clone {
        self.workers.iter().map(|(worker, _)| worker)
    }

    /// The workers' counts, in the order of their paths.
    pub fn stats(&self) -> Vec<WorkerStats> {
        self.workers.iter().map(|(_, counts)| counts.stats()).collect()
    }

    /// Makes the next job of this worker panic. The caller sends [`Crash`](crate::Crash) after it, for a worker with
    /// nothing to do.
    pub(crate) fn arm(&self, path: &str) -> Option<&Address<ImageWorker>> {
        let (worker, counts) = self.workers.iter().find(|(worker, _)| worker.path() == path)?;
        counts.arm();
        Some(worker)
    }
}
