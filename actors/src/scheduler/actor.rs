//! `SchedulerActor`: takes jobs in and hands them to the threads.

use std::sync::Arc;

use ironcliw::{Actor, Context, Handler, Message};

use super::{SchedulerStats, WorkPool};

/// The actor. Jobs that were handed to the threads outlive its crash.
pub struct SchedulerActor {
    pool: Arc<WorkPool>,
}

impl SchedulerActor {
    pub(crate) fn new(pool: Arc<WorkPool>) -> Self {
        Self { pool }
    }
}

impl Actor for SchedulerActor {}

/// A job for the threads. The answer says that it was taken in; what the job has to say it says itself.
pub struct Submit(pub Box<dyn FnOnce() + Send>);

impl Message for Submit {
    type Reply = ();
}

impl Handler<Submit> for SchedulerActor {
    async fn handle(&mut self, Submit(job): Submit, _: &mut Context<Self>) {
        self.pool.spawn(job, drop);
    }
}

/// A job for the threads whose result is wanted. The answer says that it was taken in.
pub struct Run(Box<dyn FnOnce(&WorkPool) + Send>);

impl Run {
    /// `tell` is called on the job's thread with its result, or with the message of its panic, after the job has been
    /// counted. It is dropped uncalled if the job is never run.
    pub fn new<T>(
        job: impl FnOnce() -> T + Send + 'static,
        tell: impl FnOnce(Result<T, String>) + Send + 'static,
    ) -> Self {
        Self(Box::new(move |pool| pool.spawn(job, tell)))
    }
}

impl Message for Run {
    type Reply = ();
}

impl Handler<Run> for SchedulerActor {
    async fn handle(&mut self, Run(start): Run, _: &mut Context<Self>) {
        start(&self.pool);
    }
}

/// Asks for the counts.
#[derive(Debug, Clone, Copy)]
pub struct SchedulerStatistics;

impl Message for SchedulerStatistics {
    type Reply = SchedulerStats;
}

impl Handler<SchedulerStatistics> for SchedulerActor {
    async fn handle(&mut self, _: SchedulerStatistics, _: &mut Context<Self>) -> SchedulerStats {
        self.pool.stats()
    }
}
