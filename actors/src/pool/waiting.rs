//! The line of those who wait for memory, served by the pool's actor.
//!
//! First come, first served, with two exceptions that harm nobody: who wants no more than is reserved for it need not wait
//! for those who want more, and one whose group has as much as it may lets the others pass. While anybody waits the pool is
//! strict (`strict.rs`): every release then goes by the admission, which rings for the actor when the first in line fits,
//! so nothing is looked for in vain. A look at regular times is left for what does not ring: deadlines, and callers that
//! have gone away.
//!
//! Those who do not wait may lease meanwhile what is not saved for the first in line (`admission.rs`, invariant 2).

use super::admission::Turn;
use super::sync::{Mutex, lock};
use super::{AllocOptions, Buffer, Owner, Pool, SizeClass};
use crate::{Error, Result};
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Where the tree puts the actor, for the error of those who waited in vain.
const OWN_PATH: &str = "memory/pool";

/// How often those who wait are asked whether they still want to.
const LOOK_PERIOD: Duration = Duration::from_millis(10);

/// Requests that waited, ever.
#[derive(Debug, Default)]
pub(crate) struct WaitCounts {
    served: AtomicU64,
    timed_out: AtomicU64,
    abandoned: AtomicU64,
    longest_ns: AtomicU64,
}

/// Requests that wait for memory, or did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct WaitStats {
    /// Now.
    pub waiting: usize,
    /// Served after a wait.
    pub served: u64,
    /// Ended by their time.
    pub timed_out: u64,
    /// Whose caller went away.
    pub abandoned: u64,
    /// The longest that one waited, whatever became of it, in nanoseconds.
    pub longest_ns: u64,
}

impl WaitCounts {
    pub(crate) fn read(&self, waiting: usize) -> WaitStats {
        WaitStats {
            waiting,
            served: self.served.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            longest_ns: self.longest_ns.load(Relaxed),
        }
    }

    fn count(&self, outcome: &Result<Buffer>, waited: Duration) {
        match outcome {
            Ok(_) => self.served.fetch_add(1, Relaxed),
            Err(Error::Runtime(ironcliw::Error::DeadlineExceeded { .. })) => self.timed_out.fetch_add(1, Relaxed),
            Err(Error::Cancelled) => self.abandoned.fetch_add(1, Relaxed),
            Err(_) => 0,
        };
        self.longest_ns.fetch_max(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// Leases memory as soon as there is room, in the order of asking. `done` is called once, whatever happens: with the
/// buffer, with [`ironcliw::Error::DeadlineExceeded`] when `wait` is over, at once with [`Error::PoolExhausted`] if it can
/// never fit, with [`Error::Cancelled`] if it was abandoned, or with [`ironcliw::Error::ActorStopped`] if the pool's actor
/// ended before it could answer. A crash of the actor costs nobody the place in the queue.
pub struct AllocateWhenFree {
    /// Bytes.
    pub len: usize,
    /// Whom the lease is counted for.
    pub owner: Owner,
    /// As for [`Pool::allocate_with`].
    pub options: AllocOptions,
    /// How long to wait at the most.
    pub wait: Duration,
    /// Whether nobody wants the buffer any more.
    pub is_abandoned: Box<dyn Fn() -> bool + Send>,
    /// Takes the outcome, on the actor's thread or on the one that drops the request.
    pub done: Box<dyn FnOnce(Result<Buffer>) + Send>,
}

impl AllocateWhenFree {
    fn finish(mut self, outcome: Result<Buffer>) {
        // Taken out first: what the drop below has to say then reaches nobody.
        self.take_done()(outcome);
    }

    fn take_done(&mut self) -> Box<dyn FnOnce(Result<Buffer>) + Send> {
        std::mem::replace(&mut self.done, Box::new(drop))
    }
}

impl Drop for AllocateWhenFree {
    fn drop(&mut self) {
        self.take_done()(Err(ironcliw::Error::ActorStopped { path: OWN_PATH.to_owned() }.into()));
    }
}

/// Who waits for memory, since when and until when; `None` is for ever.
struct Waiter {
    request: AllocateWhenFree,
    since: Instant,
    until: Option<Instant>,
}

/// What becomes of a waiter now.
enum Verdict {
    Done(Result<Buffer>),
    /// Those behind it wait too.
    Waits,
    /// It waits for its own group: those behind it may pass.
    StepsAside,
}

/// See the module's documentation. It outlives the actor's crashes; whoever is still here when the actor has ended for good
/// is answered as this is dropped.
#[derive(Default)]
pub(super) struct Waiting {
    queue: Mutex<VecDeque<Waiter>>,
    pool: OnceLock<Pool>,
}

impl Waiting {
    /// For the first incarnation of the actor, whose pool it is, and for those that come after it, whose pool is the same.
    pub(super) fn belong_to(&self, pool: &Pool) {
        let _ = self.pool.set(pool.clone());
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.queue).is_empty()
    }

    /// Takes a request in, and serves it at once if nobody is before it and there is room.
    pub(super) fn take_in(&self, pool: &Pool, request: AllocateWhenFree) {
        let since = Instant::now();
        let waiter = Waiter { until: since.checked_add(request.wait), since, request };
        let mut queue = lock(&self.queue);
        if queue.is_empty()
            && let Verdict::Done(outcome) = verdict(pool, &waiter, since, Turn::None)
        {
            drop(queue);
            return waiter.request.finish(outcome);
        }
        queue.push_back(waiter);
        drop(queue);
        self.serve(pool);
    }

    /// Serves whom it can. Whose time is over gets a last try, wherever it stands.
    pub(super) fn serve(&self, pool: &Pool) {
        // When this is over, whatever way: a `done` that panics must not leave room saved for one who has gone.
        let _line_up = LineUp(self, pool);
        // First the pool is told to ring, then it is looked at: what is returned in between is seen by one of the two.
        pool.core.caches.admission(|admission| admission.looking());
        self.line_up(pool);
        let now = Instant::now();
        let (mut at, mut turn) = (0, Turn::First);
        loop {
            // One leaves the queue at a time, so that the others outlive a panic in its `done`.
            let mut queue = lock(&self.queue);
            let Some(waiter) = queue.get(at) else { break };
            let outcome = match verdict(pool, waiter, now, turn) {
                Verdict::Done(outcome) => outcome,
                Verdict::Waits => {
                    turn = Turn::Reserved;
                    at += 1;
                    continue;
                }
                Verdict::StepsAside => {
                    at += 1;
                    continue;
                }
            };
            let served = queue.remove(at);
            drop(queue);
            if let Some(Waiter { request, since, .. }) = served {
                pool.core.waits.count(&outcome, since.elapsed());
                request.finish(outcome);
            }
        }
    }

    /// Tells the pool who is first, so that room is saved for that one, and how many wait.
    fn line_up(&self, pool: &Pool) {
        let queue = lock(&self.queue);
        let first = queue.iter().find_map(|Waiter { request, .. }| {
            let bytes = SizeClass::block_bytes(request.len)?;
            (!pool.core.is_capped(request.owner, bytes)).then_some((request.owner, bytes))
        });
        pool.core.line_up(first, queue.len());
    }

    /// When to look again at the latest, if anybody waits.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let queue = lock(&self.queue);
        let now = Instant::now();
        let earliest = queue.iter().filter_map(|waiter| waiter.until).min();
        let left = earliest.map_or(LOOK_PERIOD, |until| until.saturating_duration_since(now));
        (!queue.is_empty()).then(|| left.clamp(Duration::from_micros(100), LOOK_PERIOD))
    }
}

/// Names the first in line as it goes.
struct LineUp<'a>(&'a Waiting, &'a Pool);

impl Drop for LineUp<'_> {
    fn drop(&mut self) {
        self.0.line_up(self.1);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let queue = std::mem::take(&mut *lock(&self.queue));
        if let Some(pool) = self.pool.get() {
            pool.core.line_up(None, 0);
            pool.core.set_bell(None);
        }
        drop(queue);
    }
}

/// What a waiter is to be told now, if anything.
fn verdict(pool: &Pool, waiter: &Waiter, now: Instant, turn: Turn) -> Verdict {
    let Waiter { request, until, .. } = waiter;
    if (request.is_abandoned)() {
        return Verdict::Done(Err(Error::Cancelled));
    }
    let core = &pool.core;
    let lease = |turn| Buffer::lease_in_turn(core, request.len, request.owner, request.options.clone(), turn);
    let Some(bytes) = SizeClass::block_bytes(request.len).filter(|&bytes| core.can_ever(request.owner, bytes)) else {
        // It can never fit; the pool has the words for it.
        return Verdict::Done(lease(Turn::None));
    };
    let late = until.is_some_and(|until| until <= now);
    for turn in [turn, Turn::None].into_iter().take(if late { 2 } else { 1 }) {
        // Asked only where there is room, so that waiting does not count as one refusal after another.
        if core.has_room(request.owner, bytes, turn) && core.would_admit(bytes) {
            match lease(turn) {
                Err(Error::PoolExhausted { .. } | Error::MemoryPressure { .. }) => {}
                outcome => return Verdict::Done(outcome),
            }
        }
    }
    if late {
        let after = request.wait;
        return Verdict::Done(Err(ironcliw::Error::DeadlineExceeded { path: OWN_PATH.to_owned(), after }.into()));
    }
    if core.is_capped(request.owner, bytes) { Verdict::StepsAside } else { Verdict::Waits }
}
