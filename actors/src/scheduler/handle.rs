//! The handle that callers and the other subsystems hold.

use std::sync::Arc;

use ironcliw::Address;

use super::pools::Pools;
use super::{CreatePool, Pool, PoolSpec, Remaining, RemovePool, ResizePool, SchedulerActor, SchedulerStats};
use crate::Result;

/// A cheap handle to the scheduler. It submits to pools directly, and makes, changes and removes them through the actor.
#[derive(Clone)]
pub struct Scheduler {
    address: Address<SchedulerActor>,
    pools: Arc<Pools>,
    default: Pool,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scheduler({} threads)", self.threads())
    }
}

impl Scheduler {
    pub(crate) fn new(address: Address<SchedulerActor>, pools: Arc<Pools>) -> Self {
        let default = Pool::new(pools.default_core().clone());
        Self { address, pools, default }
    }

    /// [`Pool::run`] on the default pool.
    ///
    /// # Errors
    /// Those of [`Pool::run`].
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        self.default.run(job).await
    }

    /// [`Pool::submit`] on the default pool.
    pub fn submit<T: 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
        tell: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        self.default.submit(job, tell);
    }

    /// The pool that is always there: the subsystems' own, and everybody's.
    pub fn default_pool(&self) -> &Pool {
        &self.default
    }

    /// The pool of this name; the default one's is [`DEFAULT_POOL`](super::DEFAULT_POOL).
    ///
    /// # Errors
    /// [`Error::NoSuchPool`](crate::Error::NoSuchPool).
    pub fn pool(&self, name: &str) -> Result<Pool> {
        self.pools.get(name).map(Pool::new)
    }

    /// Every pool: the default one first, then by name.
    pub fn pools(&self) -> Vec<Pool> {
        self.pools.all().into_iter().map(Pool::new).collect()
    }

    /// Makes a pool with threads of its own.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a name or number that cannot be,
    /// [`Error::PoolExists`](crate::Error::PoolExists), [`ironcliw::Error::Setup`] if the system refuses the threads, and those
    /// of an ask.
    pub async fn create_pool(&self, spec: PoolSpec) -> Result<Pool> {
        self.address.ask(CreatePool(spec)).await.map_err(ironcliw::Error::from)?
    }

    /// Gives a pool another number of threads while it works. Jobs that run end on the old threads, which then end too: for
    /// that time there are more of them than either number. Jobs that wait go to the new threads, in their order.
    ///
    /// # Errors
    /// [`Error::NoSuchPool`](crate::Error::NoSuchPool), [`Error::InvalidInput`](crate::Error::InvalidInput),
    /// [`ironcliw::Error::Setup`], and those of an ask.
    pub async fn resize_pool(&self, name: &str, threads: usize) -> Result<()> {
        let resize = ResizePool { name: name.to_owned(), threads };
        self.address.ask(resize).await.map_err(ironcliw::Error::from)?
    }

    /// Closes a pool: it takes no more jobs, and its threads end when it has none. Does not wait for that. Async jobs that have
    /// not ended are dropped and answered with [`ironcliw::Error::ActorStopped`]. The default pool stays.
    ///
    /// # Errors
    /// [`Error::NoSuchPool`](crate::Error::NoSuchPool), [`Error::InvalidInput`](crate::Error::InvalidInput) for the default
    /// pool, and those of an ask.
    pub async fn remove_pool(&self, name: &str, remaining: Remaining) -> Result<()> {
        let remove = RemovePool { name: name.to_owned(), remaining };
        self.address.ask(remove).await.map_err(ironcliw::Error::from)?
    }

    /// The actor, for those who send messages.
    pub fn address(&self) -> &Address<SchedulerActor> {
        &self.address
    }

    /// The counts of every pool, at once.
    pub fn stats(&self) -> SchedulerStats {
        SchedulerStats::new(self.pools.stats())
    }

    /// Whether the caller is one of the default pool's threads: waiting there for another job may wait for itself.
    pub fn is_current_thread(&self) -> bool {
        self.default.is_current_thread()
    }

    /// Threads of the default pool; none after the shutdown.
    pub fn threads(&self) -> usize {
        self.default.threads()
    }
}
