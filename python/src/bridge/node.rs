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
use ironcliw_actors::{Interrupt, Signal};
use parking_lot::Mutex;
use pyo3::Py;

use super::call::Call;
use super::many::Part;
use super::outcome::Outcome;
use super::queue::{self, Queue};
use super::{release, sleep};
use crate::process::Process;

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
    /// Where the worker is that is to answer.
    made_in: Process,
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
        made_in: Process::current(),
        watcher: AtomicWaker::new(),
    });
    (Arc::clone(&node), Completer(Some(End::Whole(node))))
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
        self.put_owner(owner);
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

    /// Python: shows the call that waits to the collector.
    pub(super) fn visit_owner<E>(&self, visit: &mut impl FnMut(&Py<Call>) -> Result<(), E>) -> Result<(), E> {
        self.owner.try_lock().and_then(|owner| owner.as_ref().map(visit)).unwrap_or(Ok(()))
    }

    /// Python: keeps the call alive until it is resumed.
    pub(super) fn put_owner(&self, owner: Py<Call>) {
        *self.owner.lock() = Some(owner);
    }

    /// Python: true if a drain is still going to resume this call, so that a new callback may join the others.
    pub(super) fn will_be_resumed(&self) -> bool {
        self.owner.lock().is_some()
    }

    pub(super) fn queue(&self) -> Option<&Arc<Queue>> {
        self.queue.get()
    }

    /// Whether this process has the thread that is to answer.
    pub(super) fn can_be_answered(&self) -> bool {
        self.made_in.is_current()
    }

    /// Python: cancels if there is no answer yet.
    pub(super) fn cancel(&self) -> bool {
        self.change(|life| matches!(life, Life::Pending | Life::Waiting), CANCELLED).is_some()
    }

    /// Python: the call is gone, so nobody can ask for the result any more.
    pub(super) fn drop_interest(&self) {
        // One that was cancelled before stays so: no other thread has the call, so this is not a race.
        if self.life() != Life::Cancelled {
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
                if let Err(node) = queue::push(self) {
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

/// To the work: its result is not wanted any more, because the call was cancelled or dropped, or because somebody else (a
/// deadline) has answered it.
impl Signal for Node {
    fn is_set(&self) -> bool {
        matches!(self.life(), Life::Done | Life::Cancelled)
    }
}

/// The worker's end of a call: cheap to move, completes from any thread without the GIL.
///
/// Dropped without an outcome it answers with `ActorStopped`, so no call hangs because a message was lost.
pub(crate) struct Completer(Option<End>);

/// What is completed.
enum End {
    Whole(Arc<Node>),
    /// One request of a call for many.
    Part(Part),
}

impl Completer {
    pub(super) fn part(part: Part) -> Self {
        Self(Some(End::Part(part)))
    }

    /// Answers the call. An answer that comes after a cancellation is dropped here.
    pub(crate) fn complete(mut self, outcome: Outcome) {
        self.finish(|_| outcome);
    }

    fn finish(&mut self, outcome: impl FnOnce(&'static str) -> Outcome) {
        match self.0.take() {
            Some(End::Whole(node)) => {
                let name = node.name;
                node.complete(outcome(name));
            }
            Some(End::Part(part)) => {
                // Without a name the call is over, and nobody reads this.
                let name = part.name().unwrap_or_default();
                part.complete(outcome(name));
            }
            None => {}
        }
    }

    pub(super) fn name(&self) -> Option<&'static str> {
        match self.0.as_ref()? {
            End::Whole(node) => Some(node.name),
            End::Part(part) => part.name(),
        }
    }

    /// True once Python has cancelled the call or dropped it: the work may be skipped.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_none_or(|end| match end {
            End::Whole(node) => node.life() == Life::Cancelled,
            End::Part(part) => part.is_cancelled(),
        })
    }

    /// For the work to ask whether it is still wanted: one atomic load.
    pub(crate) fn interrupt(&self) -> Interrupt {
        match &self.0 {
            None => Interrupt::never(),
            Some(End::Whole(node)) => Interrupt::by(node.clone()),
            Some(End::Part(part)) => part.interrupt(),
        }
    }

    /// Has `waker` woken when the call is cancelled, or dropped.
    pub(crate) fn watch(&self, waker: &Waker) {
        match &self.0 {
            Some(End::Whole(node)) => node.watcher.register(waker),
            Some(End::Part(part)) => part.watch(waker),
            None => {}
        }
    }

    /// True once Python has cancelled the call in so many words. For work that is wanted for what it does, whether or not
    /// anybody waits for its result.
    pub(crate) fn is_called_off(&self) -> bool {
        self.0.as_ref().is_none_or(|end| match end {
            End::Whole(node) => node.life() == Life::Cancelled && !node.dropped.load(Relaxed),
            End::Part(part) => part.is_called_off(),
        })
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        self.finish(|name| Outcome::Error(ironcliw::Error::ActorStopped { path: name.to_owned() }.into()));
    }
}
