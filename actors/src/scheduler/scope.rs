//! Work on borrowed data: the caller's thread waits, so what it borrows outlives the work.
//!
//! A scope queues like a job, with its priority, deadline and token. But what is queued is not the work, which is borrowed; it
//! is the wish for a slot. The server that picks it lends its slot to the caller and goes; the caller then runs the work
//! through rayon and gives the slot back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::Pool;
use super::counts::{Counts, End};
use super::crew::home;
use super::job::panicked;
use super::server::{Slot, pass_idle_slot_on};
use super::work::{Entry, Turn, Work};
use crate::{Error, Result};

/// Where tasks on borrowed data are spawned, as `std::thread::scope` has it.
#[derive(Clone, Copy)]
pub struct Scope<'a, 'scope> {
    inner: &'a rayon::Scope<'scope>,
}

impl<'scope> Scope<'_, 'scope> {
    /// Spawns a task on the pool's threads. The scope ends after all of its tasks. A panic in one is the scope's.
    pub fn spawn(&self, task: impl FnOnce(Scope<'_, 'scope>) + Send + 'scope) {
        let from = rayon::current_thread_index();
        self.inner.spawn(move |inner| {
            if from != rayon::current_thread_index() {
                count_theft(|counts| &counts.stolen_tasks);
            }
            task(Scope { inner });
        });
    }
}

impl std::fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scope")
    }
}

impl Pool {
    /// Runs `work` on the pool's threads and waits for it and for every task it spawned, blocking the calling thread: not for
    /// async code. Both may borrow. On a thread of this pool it is a part of the job that calls it, and runs at once.
    ///
    /// A scope that is cancelled, or whose deadline passes, while it waits for a thread is not run, and says so when its turn
    /// would have come.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::Cancelled`], and of [`ironcliw::Error`]: `DeadlineExceeded`, `ActorPanicked` if it or a
    /// task of it panicked, `ActorStopped` after the pool was closed.
    ///
    /// ```
    /// # use ironcliw_actors::{Config, Subsystems};
    /// # let runtime = ironcliw::Runtime::new()?;
    /// # let subsystems = runtime.block_on(Subsystems::start(runtime.handle(), Config::default())).unwrap();
    /// let pool = subsystems.scheduler.default_pool();
    /// let (mut left, mut right) = (vec![3, 1, 2], vec![9, 8]);
    /// pool.scope(|scope| {
    ///     scope.spawn(|_| left.sort());
    ///     scope.spawn(|_| right.sort());
    /// })?;
    /// assert_eq!((left, right), (vec![1, 2, 3], vec![8, 9]));
    /// # Ok::<_, ironcliw_actors::Error>(())
    /// ```
    pub fn scope<'scope, R: Send>(&self, work: impl FnOnce(Scope<'_, 'scope>) -> R + Send) -> Result<R> {
        if self.is_current_thread() {
            let run = || rayon::scope(|inner| work(Scope { inner }));
            return ironcliw::catch_panic(run).map_err(|reason| panicked(Some(&self.core), reason));
        }
        let turn = self.wait_for_turn()?;
        let Some(crew) = turn.slot().map(|slot| slot.crew().clone()) else { return Err(self.core.stopped()) };
        let run = |inner: &rayon::Scope<'scope>| {
            pass_idle_slot_on();
            work(Scope { inner })
        };
        let outcome = ironcliw::catch_panic(|| crew.threads.scope(run));
        let slot = turn.end(if outcome.is_ok() { End::Completed } else { End::Panicked });
        drop(slot);
        outcome.map_err(|reason| panicked(Some(&self.core), reason))
    }

    fn wait_for_turn(&self) -> Result<Turn> {
        let (sender, lent) = sync_channel(1);
        let entry = Entry::new(self.priority, self.new_token(), Wish(sender));
        self.core.admit(std::iter::once(entry)).map_err(|(error, _)| error)?;
        lent.recv().unwrap_or_else(|_| Err(self.core.stopped()))
    }
}

/// The wish for a slot, of a thread that waits for it.
struct Wish(SyncSender<Result<Turn>>);

impl Work for Wish {
    fn run(self: Box<Self>, turn: Turn) -> Option<Slot> {
        // Nobody stops waiting; and if somebody did, the turn would give its slot back when dropped.
        let _ = self.0.send(Ok(turn));
        None
    }

    fn refuse(self: Box<Self>, why: Error) {
        let _ = self.0.send(Err(why));
    }
}

/// Runs both, the second on another thread of the same pool if one is idle, and returns both results: for work that splits
/// itself. Inside a job or a [`Scope`]; elsewhere it runs one after the other, for no thread of the pool is there to help.
///
/// A panic in either is the caller's.
pub fn join<A: Send, B: Send>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B + Send) -> (A, B) {
    if home(|_| ()).is_none() {
        return (first(), second());
    }
    rayon::join_context(
        |_| first(),
        |context| {
            if context.migrated() {
                count_theft(|counts| &counts.stolen_joins);
            }
            second()
        },
    )
}

fn count_theft(which: impl FnOnce(&Arc<Counts>) -> &std::sync::atomic::AtomicU64) {
    home(|counts| which(counts).fetch_add(1, Ordering::Relaxed));
}
