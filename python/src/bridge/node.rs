//! The state that a call in Python and its completer on a worker share.
//!
//! ```text
//!            add_done_callback            complete
//!  PENDING ───────────────────▶ WAITING ───────────▶ DONE   (pushed on the loop's queue)
//!     │  complete                  │ cancel
//!     ├──────────▶ DONE            └──────────▶ CANCELLED   (nothing pushed; callbacks scheduled)
//!     └──────────▶ CANCELLED  (cancel, or the call was dropped)
//! ```
//!
//! Beside the life state sits one bit, `SLEEPER`: a thread sleeps in `result()`. All changes are CAS on one
//! byte; whoever makes the change from a life state owns what follows from it, exactly once.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use pyo3::Py;

use super::call::Call;
use super::outcome::Outcome;
use super::queue::Queue;
use super::{release, sleep};

const PENDING: u8 = 0;
const WAITING: u8 = 1;
const DONE: u8 = 2;
const CANCELLED: u8 = 3;
const LIFE: u8 = 0b11;
const SLEEPER: u8 = 0b100;

/// Where a call is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Not answered, and no callback waits.
    Pending,
    /// Not answered; the answer is to be pushed on the loop's queue.
    Waiting,
    /// Answered.
    Done,
    /// Cancelled, or nobody holds the call any more.
    Cancelled,
}

fn life_of(state: u8) -> Life {
    match state & LIFE {
        PENDING => Life::Pending,
        WAITING => Life::Waiting,
        DONE => Life::Done,
        _ => Life::Cancelled,
    }
}

/// One call in flight. Python holds it through its [`Call`], the worker through its [`Completer`].
pub(super) struct Node {
    state: AtomicU8,
    /// The link of the completion stack: the pusher's until the push, then the drain's.
    pub(super) next: AtomicPtr<Node>,
    /// The completer's until `DONE`, then Python's. The lock is never contended and never held over a call.
    pub(super) outcome: Mutex<Option<Outcome>>,
    /// Set by Python before `WAITING`, read by the worker after it has seen `WAITING`.
    queue: OnceLock<Arc<Queue>>,
    /// Keeps the call alive from `WAITING` until it is resumed; touched by Python threads only.
    owner: Mutex<Option<Py<Call>>>,
    /// What `repr` and the errors show.
    pub(super) name: &'static str,
    /// Nobody asked for a cancellation: the call was merely dropped.
    dropped: AtomicBool,
    /// Work that is under way and wants to hear when the call has ended without it.
    watcher: AtomicWaker,
}

/// A call's shared state and the one handle that may complete it.
pub(super) fn pair(name: &'static str) -> (Arc<Node>, Completer) {
    let node = Arc::new(Node {
        state: AtomicU8::new(PENDING),
        next: AtomicPtr::default(),
        outcome: Mutex::new(None),
        queue: OnceLock::new(),
        owner: Mutex::new(None),
        name,
        dropped: AtomicBool::new(false),
        watcher: AtomicWaker::new(),
    });
    (Arc::clone(&node), Completer(Some(node)))
}

impl Node {
    pub(super) fn life(&self) -> Life {
        life_of(self.state.load(Acquire))
    }

    /// Python: from now on a completion goes to `queue`, and `owner` lives until then. False if the answer is
    /// there already, or the call was cancelled.
    pub(super) fn wait_on(&self, queue: Arc<Queue>, owner: Py<Call>) -> bool {
        // A call has one loop for life, so a queue that is there already is this one.
        let _ = self.queue.set(queue);
        *self.owner.lock() = Some(owner);
        if self.change(|life| life == Life::Pending, WAITING).is_some() {
            return true;
        }
        self.take_owner();
        false
    }

    /// Python: the call that waits, to be resumed by whoever takes it.
    pub(super) fn take_owner(&self) -> Option<Py<Call>> {
        self.owner.lock().take()
    }

    /// Python: puts back a call whose resumption was interrupted.
    pub(super) fn put_owner(&self, owner: Py<Call>) {
        *self.owner.lock() = Some(owner);
    }

    /// Python: true if a drain is still going to resume this call, so that a new callback may join the others.
    pub(super) fn will_be_resumed(&self) -> bool {
        self.owner.lock().is_some() && self.queue.get().is_some_and(|queue| !queue.is_closed())
    }

    /// Python: cancels if there is no answer yet.
    pub(super) fn cancel(&self) -> bool {
        self.change(|life| matches!(life, Life::Pending | Life::Waiting), CANCELLED).is_some()
    }

    /// Python: the call is gone, so nobody can ask for the result any more.
    pub(super) fn drop_interest(&self) {
        // One that was cancelled before stays so: this is what its last owner does in either case.
        if matches!(self.life(), Life::Pending | Life::Waiting) {
            self.dropped.store(true, Relaxed);
            self.cancel();
        }
    }

    /// Python: asks to be woken in `sleep` when the life state becomes final. False if it is final already.
    pub(super) fn announce_sleeper(&self) -> bool {
        let state = self.state.fetch_or(SLEEPER, AcqRel);
        matches!(life_of(state), Life::Pending | Life::Waiting)
    }

    /// Moves to the life state `to` if `may` allows it from the present one, which is returned.
    fn change(&self, may: impl Fn(Life) -> bool, to: u8) -> Option<Life> {
        let mut state = self.state.load(Acquire);
        loop {
            let life = life_of(state);
            if !may(life) {
                return None;
            }
            let new = (state & !LIFE) | to;
            match self.state.compare_exchange_weak(state, new, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if to != WAITING {
            self.watcher.wake();
            if state & SLEEPER != 0 {
                sleep::wake(self);
            }
        }
        Some(life_of(state))
    }

    fn complete(self: Arc<Self>, outcome: Outcome) {
        if life_of(self.state.load(Relaxed)) == Life::Cancelled {
            return;
        }
        *self.outcome.lock() = Some(outcome);
        match self.change(|life| life != Life::Cancelled, DONE) {
            Some(Life::Waiting) => {
                let queue = self.queue.get().cloned();
                if let Some(queue) = queue
                    && let Err(node) = queue.push(self)
                {
                    // The loop is closed: nobody is left to resume. What the node holds for Python is
                    // released on a Python thread; the result stays readable.
                    release::bury_owner(node);
                }
            }
            Some(_) => {}
            // Cancelled in between: nobody will read it.
            None => drop(self.outcome.lock().take()),
        }
    }
}

/// The worker's end of a call: cheap to move, completes from any thread without the GIL.
///
/// Dropped without an outcome it answers with `ActorStopped`, so no call hangs because a message was lost.
pub(crate) struct Completer(Option<Arc<Node>>);

impl Completer {
    /// Answers the call. An answer that comes after a cancellation is dropped here.
    pub(crate) fn complete(mut self, outcome: Outcome) {
        if let Some(node) = self.0.take() {
            node.complete(outcome);
        }
    }

    /// True once Python has cancelled the call or dropped it: the work may be skipped.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_none_or(|node| node.life() == Life::Cancelled)
    }
}

impl Completer {
    /// Has `waker` woken when the call is cancelled, or dropped.
    pub(crate) fn watch(&self, waker: &Waker) {
        if let Some(node) = &self.0 {
            node.watcher.register(waker);
        }
    }

    /// True once Python has cancelled the call in so many words. For work that is wanted for what it does, whether or not
    /// anybody waits for its result.
    pub(crate) fn is_called_off(&self) -> bool {
        self.is_cancelled() && self.0.as_ref().is_none_or(|node| !node.dropped.load(Relaxed))
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        if let Some(node) = self.0.take() {
            let path = node.name.to_owned();
            node.complete(Outcome::Error(ironcliw::Error::ActorStopped { path }.into()));
        }
    }
}
