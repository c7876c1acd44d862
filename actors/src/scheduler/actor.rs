//! `SchedulerActor`, the control plane: pools come, change and go by message.

use std::sync::Arc;

use ironcliw::{Actor, Context, Handler, Message};

use super::pools::Pools;
use super::{Pool, PoolSpec, Remaining, SchedulerStats};
use crate::Result;

/// The actor. Pools, and whatever was submitted to them, outlive its crash.
pub struct SchedulerActor {
    pools: Arc<Pools>,
}

impl SchedulerActor {
    pub(crate) fn new(pools: Arc<Pools>) -> Self {
        Self { pools }
    }
}

impl Actor for SchedulerActor {}

/// A job for the default pool, by message. The answer says that it was taken in; what the job has to say it says itself. Who
/// holds a [`Scheduler`](super::Scheduler) submits directly.
pub struct Submit(pub Box<dyn FnOnce() + Send>);

impl Message for Submit {
    type Reply = Result<()>;
}

impl Handler<Submit> for SchedulerActor {
    async fn handle(&mut self, Submit(job): Submit, _: &mut Context<Self>) -> Result<()> {
        Pool::new(self.pools.default_core().clone()).spawn(move |_| job())?.detach();
        Ok(())
    }
}

/// Makes a pool.
#[derive(Debug, Clone)]
pub struct CreatePool(pub PoolSpec);

impl Message for CreatePool {
    type Reply = Result<Pool>;
}

impl Handler<CreatePool> for SchedulerActor {
    async fn handle(&mut self, CreatePool(spec): CreatePool, _: &mut Context<Self>) -> Result<Pool> {
        self.pools.create(spec)
    }
}

/// Gives a pool another number of threads.
#[derive(Debug, Clone)]
pub struct ResizePool {
    /// The pool's name.
    pub name: String,
    /// Threads, 1 to 1024.
    pub threads: usize,
}

impl Message for ResizePool {
    type Reply = Result<()>;
}

impl Handler<ResizePool> for SchedulerActor {
    async fn handle(&mut self, ResizePool { name, threads }: ResizePool, _: &mut Context<Self>) -> Result<()> {
        self.pools.get(&name)?.resize(threads)
    }
}

/// Closes a pool and forgets it. The answer does not wait for the jobs that remain.
#[derive(Debug, Clone)]
pub struct RemovePool {
    /// The pool's name.
    pub name: String,
    /// What becomes of the jobs that wait.
    pub remaining: Remaining,
}

impl Message for RemovePool {
    type Reply = Result<()>;
}

impl Handler<RemovePool> for SchedulerActor {
    async fn handle(&mut self, RemovePool { name, remaining }: RemovePool, _: &mut Context<Self>) -> Result<()> {
        self.pools.remove(&name, remaining)
    }
}

/// Asks for the counts of every pool.
#[derive(Debug, Clone, Copy)]
pub struct SchedulerStatistics;

impl Message for SchedulerStatistics {
    type Reply = SchedulerStats;
}

impl Handler<SchedulerStatistics> for SchedulerActor {
    async fn handle(&mut self, _: SchedulerStatistics, _: &mut Context<Self>) -> SchedulerStats {
        SchedulerStats::new(self.pools.stats())
    }
}
