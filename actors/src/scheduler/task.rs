//! An async job: a future that is polled on a pool's threads, a poll a turn.
//!
//! Its state says who may touch the future: only the turn that set `RUNNING`. A wake queues it once, however many come:
//!
//! ```text
//!           wake              turn begins            Pending
//! ASLEEP ─────────▶ QUEUED ───────────────▶ RUNNING ─────────▶ ASLEEP
//!                     ▲                        │ wake
//!                     └────── Pending ──────  WOKEN            Ready, refused: ENDED
//! ```
//!
//! No wake is lost: one that finds `RUNNING` leaves `WOKEN` behind, which the turn sees when it tries to fall asleep; one
//! that finds `QUEUED` comes before a poll that has not begun. The future listens to its token and to its pool's end beside
//! its own wakes, so it never sleeps beyond either.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::core::Core;
use super::counts::End;
use super::job::panicked;
use super::server::Slot;
use super::work::{Entry, Turn, Work, contained};
use super::{CancelToken, Priority};
use crate::{Error, Result};

const ASLEEP: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const WOKEN: u8 = 3;
const ENDED: u8 = 4;

pub(crate) struct Task<T> {
    core: Arc<Core>,
    priority: Priority,
    token: CancelToken,
    state: AtomicU8,
    /// Never contended: the state says whose it is.
    live: Mutex<Option<Live<T>>>,
    /// The runtime that the job was spawned from: its timers and sockets work in the future.
    tokio: Option<tokio::runtime::Handle>,
}

struct Live<T> {
    future: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
    tell: oneshot::Sender<Result<T>>,
    alive: Alive,
}

/// One of the async jobs that a pool may have alive.
struct Alive(Arc<Core>);

impl Alive {
    fn claim(core: &Arc<Core>) -> Result<Self> {
        let alive = Self(core.clone());
        if core.counts.async_alive.fetch_add(1, Ordering::Relaxed) < core.capacity() {
            return Ok(alive);
        }
        core.counts.rejected.fetch_add(1, Ordering::Relaxed);
        Err(Error::QueueFull { pool: core.name.clone(), capacity: core.capacity() })
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.counts.async_alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes an async job in. `tell` gets what comes of it.
pub(crate) fn spawn<T: Send + 'static>(
    core: &Arc<Core>,
    priority: Priority,
    token: CancelToken,
    future: impl Future<Output = T> + Send + 'static,
    tell: oneshot::Sender<Result<T>>,
) -> Result<()> {
    let alive = Alive::claim(core)?;
    let (of_job, of_pool, stopped) = (token.clone(), core.closing.clone(), core.stopped());
    let future = Box::pin(async move {
        tokio::select! {
            biased;
            error = of_job.ended() => Err(error),
            _ = of_pool.ended() => Err(stopped),
            value = future => Ok(value),
        }
    });
    let task = Arc::new(Task {
        core: core.clone(),
        priority,
        token: token.clone(),
        state: AtomicU8::new(QUEUED),
        live: Mutex::new(Some(Live { future, tell, alive })),
        tokio: tokio::runtime::Handle::try_current().ok(),
    });
    let entry = Entry::new(priority, token, task);
    core.admit(std::iter::once(entry)).map_err(|(error, _)| error)
}

impl<T: Send + 'static> Work for Arc<Task<T>> {
    fn run(self: Box<Self>, turn: Turn) -> Option<Slot> {
        let task = *self;
        task.state.store(RUNNING, Ordering::SeqCst);
        let Some(mut live) = task.live.lock().take() else { return turn.end(End::Cancelled) };
        let waker = Waker::from(task.clone());
        let polled = {
            let _inside = task.tokio.as_ref().map(tokio::runtime::Handle::enter);
            ironcliw::catch_panic(|| live.future.as_mut().poll(&mut Context::from_waker(&waker)))
        };
        let (outcome, end) = match polled {
            Ok(Poll::Pending) => {
                task.fall_asleep(live);
                return turn.sleep();
            }
            Ok(Poll::Ready(outcome)) => {
                let end = outcome.as_ref().err().map_or(End::Completed, End::of);
                (outcome, end)
            }
            Err(reason) => (Err(panicked(Some(&task.core), reason)), End::Panicked),
        };
        let tell = task.finish(live);
        let slot = turn.end(end);
        contained("an async job's answer", move || drop(tell.send(outcome)));
        slot
    }

    fn refuse(self: Box<Self>, why: Error) {
        if let Some(live) = self.live.lock().take() {
            let tell = self.finish(live);
            contained("an async job's answer", move || drop(tell.send(Err(why))));
        }
    }
}

impl<T: Send + 'static> Task<T> {
    fn fall_asleep(self: &Arc<Self>, live: Live<T>) {
        *self.live.lock() = Some(live);
        if self.state.compare_exchange(RUNNING, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.state.store(QUEUED, Ordering::SeqCst);
            self.queue();
        }
    }

    fn finish(&self, live: Live<T>) -> oneshot::Sender<Result<T>> {
        self.state.store(ENDED, Ordering::SeqCst);
        let Live { future, tell, alive } = live;
        let _inside = self.tokio.as_ref().map(tokio::runtime::Handle::enter);
        contained("the end of an async job", move || drop(future));
        drop(alive);
        tell
    }

    fn queue(self: &Arc<Self>) {
        let work = Box::new(self.clone());
        let (priority, token, queued) = (self.priority, self.token.clone(), Instant::now());
        self.core.requeue(Entry { work, priority, token, queued, is_new: false });
    }
}

impl<T: Send + 'static> Wake for Task<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wake = |state| match state {
            ASLEEP => Some(QUEUED),
            RUNNING => Some(WOKEN),
            _ => None,
        };
        if self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, wake) == Ok(ASLEEP) {
            self.queue();
        }
    }
}
