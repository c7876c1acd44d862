//! The handle that callers and the other subsystems hold.

use std::sync::Arc;

use ironcliw::Address;
use tokio::sync::oneshot;

use super::{Run, SchedulerActor, SchedulerStats, WorkPool};
use crate::Result;

/// A cheap handle to the scheduler.
#[derive(Clone)]
pub struct Scheduler {
    pub(crate) address: Address<SchedulerActor>,
    pub(crate) pool: Arc<WorkPool>,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scheduler({} threads)", self.pool.len())
    }
}

impl Scheduler {
    /// Runs a job on the pool and waits for its result. Inside, rayon's parallel iterators use the pool's threads.
    ///
    /// # Errors
    /// [`ironcliw::Error::ActorPanicked`] if the job panicked, [`ironcliw::Error::ActorStopped`] after the shutdown.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, result) = oneshot::channel();
        // The waiter may have gone.
        let run = Run::new(job, move |outcome| drop(sender.send(outcome)));
        self.address.ask(run).await.map_err(ironcliw::Error::from)?;
        let path = || self.address.path().to_owned();
        match result.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(reason)) => Err(ironcliw::Error::ActorPanicked { path: path(), reason }.into()),
            // The threads ended with the job still queued.
            Err(_) => Err(ironcliw::Error::ActorStopped { path: path() }.into()),
        }
    }

    /// The actor, to submit jobs by message.
    pub fn address(&self) -> &Address<SchedulerActor> {
        &self.address
    }

    /// The counts, at once.
    pub fn stats(&self) -> SchedulerStats {
        self.pool.stats()
    }

    /// Whether the caller is one of the pool's threads: waiting there for another job may wait for itself.
    pub fn is_current_thread(&self) -> bool {
        self.pool.is_current_thread()
    }

    /// Threads of the pool.
    pub fn threads(&self) -> usize {
        self.pool.len()
    }
}
