//! The handle to one pool, and how it submits.

use std::future::Future;
use std::iter::Once;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::core::Core;
use super::job::{Asked, Job, JobHandle};
use super::token::Deadline;
use super::work::{Entry, Work};
use super::{CancelToken, PoolStats, Priority, task};
use crate::{Error, Result};

/// A cheap handle to a pool, with the priority, deadline and token that it gives to what it submits: normal, none and none at
/// first. Submitting goes straight to the pool's queue; no actor is asked.
///
/// ```
/// # use std::time::Duration;
/// # use ironcliw_actors::{Config, Subsystems};
/// use ironcliw_actors::scheduler::{PoolSpec, Priority};
/// # let runtime = ironcliw::Runtime::new()?;
/// # runtime.block_on(async {
/// # let subsystems = Subsystems::start(runtime.handle(), Config::default()).await?;
/// let pool = subsystems.scheduler.create_pool(PoolSpec::new("thumbnails").threads(2)).await?;
/// let urgent = pool.priority(Priority::High).deadline(Duration::from_secs(5));
/// assert_eq!(urgent.run(|| 6 * 7).await?, 42);
///
/// // A long job asks its token now and then.
/// let job = pool.spawn(|token| (0..1_000_u64).try_fold(0, |sum, n| token.check().map(|()| sum + n)))?;
/// assert_eq!(job.await??, 499_500);
/// # Ok::<_, ironcliw_actors::Error>(())
/// # }).unwrap();
/// # Ok::<_, ironcliw::Error>(())
/// ```
#[derive(Clone)]
pub struct Pool {
    pub(crate) core: Arc<Core>,
    pub(crate) priority: Priority,
    deadline: Option<Duration>,
    token: Option<CancelToken>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({}, {} threads, {})", self.core.name, self.threads(), self.priority.as_str())
    }
}

impl Pool {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, priority: Priority::default(), deadline: None, token: None }
    }

    /// A handle whose jobs are so urgent.
    pub fn priority(&self, priority: Priority) -> Self {
        Self { priority, ..self.clone() }
    }

    /// A handle whose jobs are wanted within `after` of being submitted. One that has not begun by then is not run; one that
    /// runs learns it from its token; whoever waits is told [`ironcliw::Error::DeadlineExceeded`] at that moment.
    pub fn deadline(&self, after: Duration) -> Self {
        Self { deadline: Some(after), ..self.clone() }
    }

    /// A handle whose jobs end with `token` too: each gets a child of it.
    pub fn token(&self, token: &CancelToken) -> Self {
        Self { token: Some(token.clone()), ..self.clone() }
    }

    /// Runs a job and waits for its result. Dropping the future cancels it. Inside, rayon's parallel iterators use the pool's
    /// threads.
    ///
    /// # Errors
    /// As [`Pool::spawn`] and [`JobHandle`].
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        self.spawn(move |_| job())?.await
    }

    /// Takes a job in. Its token says whether its result is still wanted.
    ///
    /// A job must not block on another job of its pool, nor on a lock that one holds while it waits for its own parts: they
    /// may be waiting for its thread.
    ///
    /// # Errors
    /// [`Error::QueueFull`]; [`ironcliw::Error::ActorStopped`] after the pool was closed. Then the job is dropped unrun.
    pub fn spawn<T: Send + 'static>(
        &self,
        job: impl FnOnce(&CancelToken) -> T + Send + 'static,
    ) -> Result<JobHandle<T>> {
        let (token, (sender, told)) = (self.new_token(), oneshot::channel());
        // The waiter may have gone.
        let tell = move |outcome| drop(sender.send(outcome));
        self.admit(token.clone(), Job { run: job, tell }).map_err(|(error, _)| error)?;
        Ok(JobHandle::new(token, told))
    }

    /// Takes a job in and has `tell` called with what comes of it, whatever that is, exactly once: on the job's thread after the
    /// job was counted, or here and now if it cannot be taken in. For callers with a completion queue of their own.
    pub fn submit<T: 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
        tell: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        if let Err((why, mut refused)) = self.admit(self.new_token(), Job { run: move |_: &CancelToken| job(), tell })
            && let Some(entry) = refused.next()
        {
            entry.work.refuse(why);
        }
    }

    /// [`Pool::submit`] of a job that may have been given up when its turn comes: it is run only if `is_wanted` says so then,
    /// and is counted as cancelled and told [`Error::Cancelled`] if not. For callers whose waiters hold no token.
    pub fn submit_if<T: 'static>(
        &self,
        is_wanted: impl FnOnce() -> bool + Send + 'static,
        job: impl FnOnce() -> T + Send + 'static,
        tell: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let job = Job { run: move |_: &CancelToken| job(), tell };
        if let Err((why, mut refused)) = self.admit(self.new_token(), Asked { is_wanted, job })
            && let Some(entry) = refused.next()
        {
            entry.work.refuse(why);
        }
    }

    /// Takes an async job in: a future that is polled on the pool's threads, with this handle's priority each time. Dropping
    /// the handle, cancelling or a deadline drops the future; so does the end of the pool.
    ///
    /// Whatever wakes it may be used inside: channels, locks, other jobs' handles. Timers and sockets of tokio work if the
    /// caller is inside a tokio runtime that has them, as code under [`ironcliw::Handle::block_on`] is.
    ///
    /// # Errors
    /// As [`Pool::spawn`]. `QueueFull` also if as many async jobs are alive as jobs may wait.
    pub fn spawn_async<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<JobHandle<T>> {
        let (token, (sender, told)) = (self.new_token(), oneshot::channel());
        task::spawn(&self.core, self.priority, token.clone(), future, sender)?;
        Ok(JobHandle::new(token, told))
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Threads; none once the pool was closed.
    pub fn threads(&self) -> usize {
        self.core.threads()
    }

    /// Whether the caller is one of the pool's threads: waiting there for another job may wait for itself.
    pub fn is_current_thread(&self) -> bool {
        self.core.is_current_thread()
    }

    /// The counts, at once. They can be read after the pool's end as well.
    pub fn stats(&self) -> PoolStats {
        self.core.stats()
    }

    fn admit(&self, token: CancelToken, work: impl Work + 'static) -> Result<(), (Error, Once<Entry>)> {
        let entry = Entry::new(self.priority, token, work);
        self.core.admit(std::iter::once(entry))
    }

    /// The token of a job that is submitted now.
    pub(crate) fn new_token(&self) -> CancelToken {
        let deadline = self.deadline.and_then(|after| {
            // One beyond the clock's end is none.
            Some(Deadline { at: Instant::now().checked_add(after)?, after, path: self.core.path.clone() })
        });
        let has_own = deadline.is_some();
        let token = match &self.token {
            Some(parent) => parent.child_with(deadline),
            None => CancelToken::with(deadline),
        };
        if has_own {
            token.keep_time(&self.core.clock);
        }
        token
    }
}
