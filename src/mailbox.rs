//! The bounded queue between senders and one actor.
//!
//! It belongs to the actor's address, not to an incarnation: a crash leaves it as it is, and the next incarnation goes on
//! with the next message. Control signals have a lane of their own, which is never full and is looked at first.
//!
//! An incarnation consumes the mailbox under a [`Claim`]. A later claim, or the final seal, ends it: a thread that
//! returns late hears `Halt`, whatever it asks for.
//!
//! Invariants, all under the one lock:
//! - `parcels.len() <= capacity`, and nothing is pushed at all once `closed`;
//! - where somebody is in `line`, `parcels` is full: a place that becomes free goes to the first in line at once, so
//!   messages keep the order of their senders' calls;
//! - a parcel leaves the mailbox exactly once: to the actor, to an overflow victim's answer, back to its sender, or to
//!   the final seal;
//! - whoever pushes takes the consumer's waker, so a push after the consumer has registered always wakes it.
//!
//! Wakers are called, and parcels dropped, after the lock is released: both may run foreign code.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};

use parking_lot::Mutex;

use crate::Overflow;
use crate::envelope::Parcel;

/// What a supervisor tells an incarnation, past the queue. A greater one leaves less time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    /// End now; the queue is kept for the next incarnation.
    Restart,
    /// Handle what is queued, then end for good.
    Drain,
    /// End at the next await, whatever came before.
    Halt,
}

/// An incarnation's right to consume the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim(u64);

pub(crate) enum Next<A> {
    Signal(Signal),
    Parcel(Parcel<A>),
}

/// Why a parcel was not queued. It is given back.
pub(crate) enum Refused<A> {
    Full(Parcel<A>),
    Closed(Parcel<A>),
}

/// What became of the queue when one parcel was pushed.
pub(crate) enum Pushed<A> {
    Queued,
    /// Queued, and this older one was pushed out.
    Evicted(Parcel<A>),
    /// Not queued, by [`Overflow::DropNewest`].
    Dropped(Parcel<A>),
}

/// Whether a parcel that waits for room has a sender who waits with it.
pub(crate) enum Sender<A> {
    Waits(Arc<Turn<A>>),
    /// Gone: the parcel carries whatever is to be answered.
    Detached,
}

/// Where a waiting sender learns what became of its parcel.
pub(crate) struct Turn<A>(Mutex<TurnState<A>>);

enum TurnState<A> {
    InLine(Option<Waker>),
    Queued,
    Refused(Option<Parcel<A>>),
}

impl<A> Turn<A> {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(TurnState::InLine(None))))
    }

    /// Ends the wait and returns whom to wake.
    fn decide(&self, outcome: TurnState<A>) -> Option<Waker> {
        match std::mem::replace(&mut *self.0.lock(), outcome) {
            TurnState::InLine(waker) => waker,
            TurnState::Queued | TurnState::Refused(_) => None,
        }
    }

    fn poll(&self, cx: &TaskContext<'_>) -> Poll<Result<(), Refused<A>>> {
        match &mut *self.0.lock() {
            TurnState::InLine(waker) => {
                register(waker, cx);
                Poll::Pending
            }
            TurnState::Queued => Poll::Ready(Ok(())),
            TurnState::Refused(parcel) => {
                Poll::Ready(Err(Refused::Closed(parcel.take().expect("a turn is over once it is refused"))))
            }
        }
    }
}

/// A sender's place in line, which it leaves when it stops waiting.
struct InLine<'a, A> {
    mailbox: &'a Mailbox<A>,
    turn: Arc<Turn<A>>,
}

impl<A> Drop for InLine<'_, A> {
    fn drop(&mut self) {
        if !matches!(*self.turn.0.lock(), TurnState::InLine(_)) {
            return;
        }
        let left = {
            let mut state = self.mailbox.state.lock();
            let is_own =
                |waiting: &Waiting<A>| matches!(&waiting.sender, Sender::Waits(turn) if Arc::ptr_eq(turn, &self.turn));
            let place = state.line.iter().position(is_own);
            place.and_then(|place| state.line.remove(place))
        };
        drop(left);
    }
}

struct Waiting<A> {
    parcel: Parcel<A>,
    sender: Sender<A>,
}

struct State<A> {
    parcels: VecDeque<Parcel<A>>,
    /// Those who wait for room, in the order they came ([`Overflow::Block`] alone).
    line: VecDeque<Waiting<A>>,
    signal: Option<Signal>,
    consumer: Option<Waker>,
    /// Whether the consumer waits for parcels too, or has one in hand and waits for signals alone.
    wants_parcels: bool,
    claim: Claim,
    closed: bool,
}

pub(crate) struct Mailbox<A> {
    state: Mutex<State<A>>,
    capacity: usize,
    overflow: Overflow,
    // Copies for observers, who must not take the lock.
    depth: AtomicUsize,
    high_water: AtomicUsize,
}

impl<A> Mailbox<A> {
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        assert!(capacity > 0, "a mailbox holds at least one message");
        Self {
            state: Mutex::new(State {
                parcels: VecDeque::new(),
                line: VecDeque::new(),
                signal: None,
                consumer: None,
                wants_parcels: false,
                claim: Claim(0),
                closed: false,
            }),
            capacity,
            overflow,
            depth: AtomicUsize::new(0),
            high_water: AtomicUsize::new(0),
        }
    }

    pub(crate) fn overflow(&self) -> Overflow {
        self.overflow
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    pub(crate) fn high_water(&self) -> usize {
        self.high_water.load(Ordering::Relaxed)
    }

    /// Queues without waiting, by this mailbox's policy.
    pub(crate) fn push(&self, parcel: Parcel<A>) -> Result<Pushed<A>, Refused<A>> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed(parcel));
        }
        let mut evicted = None;
        if state.parcels.len() == self.capacity {
            match self.overflow {
                Overflow::DropNewest => return Ok(Pushed::Dropped(parcel)),
                Overflow::DropOldest => evicted = state.parcels.pop_front(),
                Overflow::Reject | Overflow::Block => return Err(Refused::Full(parcel)),
            }
        }
        let consumer = self.append(&mut state, parcel);
        drop(state);
        wake(consumer);
        Ok(evicted.map_or(Pushed::Queued, Pushed::Evicted))
    }

    /// Queues, or puts the parcel in line where there is no room.
    pub(crate) fn push_or_line_up(&self, parcel: Parcel<A>, sender: Sender<A>) -> Result<(), Refused<A>> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed(parcel));
        }
        if state.parcels.len() == self.capacity {
            state.line.push_back(Waiting { parcel, sender });
            return Ok(());
        }
        let consumer = self.append(&mut state, parcel);
        drop(state);
        if let Sender::Waits(turn) = sender {
            turn.decide(TurnState::Queued);
        }
        wake(consumer);
        Ok(())
    }

    /// Queues, waiting for room in line where there is none. Dropped while it waits, it leaves the line.
    pub(crate) async fn push_waiting(&self, parcel: Parcel<A>) -> Result<(), Refused<A>> {
        let parcel = match self.push(parcel) {
            Err(Refused::Full(parcel)) => parcel,
            outcome => return outcome.map(|_| ()),
        };
        let place = InLine { mailbox: self, turn: Turn::new() };
        self.push_or_line_up(parcel, Sender::Waits(place.turn.clone()))?;
        poll_fn(|cx| place.turn.poll(cx)).await
    }

    /// Returns whom to wake once the lock is released.
    fn append(&self, state: &mut State<A>, parcel: Parcel<A>) -> Option<Waker> {
        state.parcels.push_back(parcel);
        let depth = state.parcels.len();
        debug_assert!(depth <= self.capacity);
        self.depth.store(depth, Ordering::Relaxed);
        self.high_water.fetch_max(depth, Ordering::Relaxed);
        if state.wants_parcels { state.consumer.take() } else { None }
    }

    /// Sends a signal. One that leaves less time replaces one that leaves more, never the other way round.
    pub(crate) fn signal(&self, signal: Signal) {
        let mut state = self.state.lock();
        state.signal = state.signal.max(Some(signal));
        let consumer = state.consumer.take();
        drop(state);
        wake(consumer);
    }

    /// Begins an incarnation's claim, which ends that of any earlier one, and forgets a signal that was meant for that.
    pub(crate) fn claim(&self) -> Claim {
        let mut state = self.state.lock();
        state.claim.0 += 1;
        state.signal = None;
        let (claim, earlier) = (state.claim, state.consumer.take());
        drop(state);
        wake(earlier);
        claim
    }

    /// The claim that holds now, or that the last incarnation held.
    pub(crate) fn present_claim(&self) -> Claim {
        self.state.lock().claim
    }

    /// Sends a signal to the incarnation of this claim alone.
    pub(crate) fn signal_to(&self, claim: Claim, signal: Signal) {
        let mut state = self.state.lock();
        if state.claim != claim {
            return;
        }
        state.signal = state.signal.max(Some(signal));
        let consumer = state.consumer.take();
        drop(state);
        wake(consumer);
    }

    pub(crate) fn is_held_by(&self, claim: Claim) -> bool {
        self.state.lock().claim == claim
    }

    /// The next signal, or else the next parcel.
    pub(crate) fn poll_next(&self, claim: Claim, cx: &TaskContext<'_>) -> Poll<Next<A>> {
        let mut state = self.state.lock();
        if let Some(signal) = next_signal(&mut state, claim) {
            return Poll::Ready(Next::Signal(signal));
        }
        let Some((parcel, sender)) = self.take(&mut state) else {
            state.wants_parcels = true;
            register(&mut state.consumer, cx);
            return Poll::Pending;
        };
        drop(state);
        wake(sender);
        Poll::Ready(Next::Parcel(parcel))
    }

    /// The next signal alone: for the time while a message is in hand.
    pub(crate) fn poll_signal(&self, claim: Claim, cx: &TaskContext<'_>) -> Poll<Signal> {
        let mut state = self.state.lock();
        match next_signal(&mut state, claim) {
            Some(signal) => Poll::Ready(signal),
            None => {
                state.wants_parcels = false;
                register(&mut state.consumer, cx);
                Poll::Pending
            }
        }
    }

    /// The next signal or parcel, if there is one: for draining.
    pub(crate) fn try_next(&self, claim: Claim) -> Option<Next<A>> {
        let mut state = self.state.lock();
        if let Some(signal) = next_signal(&mut state, claim) {
            return Some(Next::Signal(signal));
        }
        let (parcel, sender) = self.take(&mut state)?;
        drop(state);
        wake(sender);
        Some(Next::Parcel(parcel))
    }

    /// The first parcel, whose place goes to the first in line; and whom to wake for that.
    fn take(&self, state: &mut State<A>) -> Option<(Parcel<A>, Option<Waker>)> {
        let parcel = state.parcels.pop_front()?;
        let mut sender = None;
        if let Some(first) = state.line.pop_front() {
            state.parcels.push_back(first.parcel);
            if let Sender::Waits(turn) = first.sender {
                sender = turn.decide(TurnState::Queued);
            }
        }
        self.depth.store(state.parcels.len(), Ordering::Relaxed);
        Some((parcel, sender))
    }

    /// Takes no more messages. What is queued stays until it is taken; those in line get theirs back, and the parcels of
    /// those who did not wait are returned, to be answered.
    #[must_use]
    pub(crate) fn close(&self) -> Vec<Parcel<A>> {
        let line = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.line)
        };
        let mut detached = Vec::new();
        for Waiting { parcel, sender } in line {
            match sender {
                Sender::Waits(turn) => wake(turn.decide(TurnState::Refused(Some(parcel)))),
                Sender::Detached => detached.push(parcel),
            }
        }
        detached
    }

    /// What is still queued once nobody will consume it: the mailbox must be closed, and every claim ends.
    pub(crate) fn empty(&self) -> VecDeque<Parcel<A>> {
        self.claim();
        let mut state = self.state.lock();
        debug_assert!(state.closed);
        self.depth.store(0, Ordering::Relaxed);
        std::mem::take(&mut state.parcels)
    }
}

fn next_signal<A>(state: &mut State<A>, claim: Claim) -> Option<Signal> {
    if state.claim == claim { state.signal.take() } else { Some(Signal::Halt) }
}

fn register(slot: &mut Option<Waker>, cx: &TaskContext<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
