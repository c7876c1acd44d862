//! The bounded queue between senders and one actor.
//!
//! It belongs to the actor's address, not to an incarnation: a crash leaves it as it is, and the next incarnation goes on
//! with the next message. Control signals have a lane of their own, which is never full and is looked at first.
//!
//! Invariants, all under the one lock:
//! - `parcels.len() <= capacity`, except that nothing is pushed at all once `closed`;
//! - a parcel leaves the queue exactly once: to the actor, to an overflow victim's answer, or to the final seal;
//! - whoever pushes takes the consumer's waker, so a push after the consumer has registered always wakes it.
//!
//! For [`Overflow::Block`] the semaphore holds one permit a free place; it is fair, so messages of one sender stay in
//! order even when it has to wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Overflow;
use crate::envelope::Parcel;

/// What a supervisor tells an incarnation, past the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// End now; the queue is kept for the next incarnation.
    Restart,
    /// Handle what is queued, then end for good.
    Drain,
    /// End at the next await, whatever came before.
    Halt,
}

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

struct State<A> {
    parcels: VecDeque<Parcel<A>>,
    signal: Option<Signal>,
    consumer: Option<Waker>,
    closed: bool,
}

pub(crate) struct Mailbox<A> {
    state: Mutex<State<A>>,
    capacity: usize,
    overflow: Overflow,
    room: Arc<Semaphore>,
    // Copies for observers, who must not take the lock.
    depth: AtomicUsize,
    high_water: AtomicUsize,
}

impl<A> Mailbox<A> {
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        assert!(capacity > 0, "a mailbox holds at least one message");
        Self {
            state: Mutex::new(State { parcels: VecDeque::new(), signal: None, consumer: None, closed: false }),
            capacity,
            overflow,
            room: Arc::new(Semaphore::new(capacity.min(Semaphore::MAX_PERMITS))),
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

    /// The permits of [`Overflow::Block`]; closed with the mailbox.
    pub(crate) fn room(&self) -> &Arc<Semaphore> {
        &self.room
    }

    /// Queues without waiting, by this mailbox's policy.
    pub(crate) fn push(&self, parcel: Parcel<A>) -> Result<Pushed<A>, Refused<A>> {
        if self.overflow == Overflow::Block {
            return match self.room.clone().try_acquire_owned() {
                Ok(permit) => self.push_with(permit, parcel).map(|()| Pushed::Queued),
                Err(tokio::sync::TryAcquireError::NoPermits) => Err(Refused::Full(parcel)),
                Err(tokio::sync::TryAcquireError::Closed) => Err(Refused::Closed(parcel)),
            };
        }
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
        self.append(state, parcel);
        Ok(evicted.map_or(Pushed::Queued, Pushed::Evicted))
    }

    /// Queues in the place that `permit` stands for.
    pub(crate) fn push_with(&self, permit: OwnedSemaphorePermit, parcel: Parcel<A>) -> Result<(), Refused<A>> {
        let state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed(parcel));
        }
        // The place is taken now; `next` gives the permit back when the parcel leaves.
        permit.forget();
        self.append(state, parcel);
        Ok(())
    }

    fn append(&self, mut state: parking_lot::MutexGuard<'_, State<A>>, parcel: Parcel<A>) {
        state.parcels.push_back(parcel);
        let depth = state.parcels.len();
        debug_assert!(depth <= self.capacity);
        self.depth.store(depth, Ordering::Relaxed);
        self.high_water.fetch_max(depth, Ordering::Relaxed);
        let consumer = state.consumer.take();
        drop(state);
        if let Some(consumer) = consumer {
            consumer.wake();
        }
    }

    /// Sends a signal. One that leaves less time replaces one that leaves more, never the other way round.
    pub(crate) fn signal(&self, signal: Signal) {
        let mut state = self.state.lock();
        let rank = |signal: Signal| match signal {
            Signal::Restart => 0,
            Signal::Drain => 1,
            Signal::Halt => 2,
        };
        if state.signal.is_none_or(|waiting| rank(waiting) < rank(signal)) {
            state.signal = Some(signal);
        }
        let consumer = state.consumer.take();
        drop(state);
        if let Some(consumer) = consumer {
            consumer.wake();
        }
    }

    /// Forgets a signal that no incarnation is left to hear.
    pub(crate) fn clear_signal(&self) {
        self.state.lock().signal = None;
    }

    /// The next signal, or else the next parcel.
    pub(crate) fn poll_next(&self, cx: &mut TaskContext<'_>) -> Poll<Next<A>> {
        let mut state = self.state.lock();
        if let Some(signal) = state.signal.take() {
            return Poll::Ready(Next::Signal(signal));
        }
        match self.take(&mut state) {
            Some(parcel) => Poll::Ready(Next::Parcel(parcel)),
            None => {
                register(&mut state.consumer, cx);
                Poll::Pending
            }
        }
    }

    /// The next signal alone: for the time while a message is in hand.
    pub(crate) fn poll_signal(&self, cx: &mut TaskContext<'_>) -> Poll<Signal> {
        let mut state = self.state.lock();
        match state.signal.take() {
            Some(signal) => Poll::Ready(signal),
            None => {
                register(&mut state.consumer, cx);
                Poll::Pending
            }
        }
    }

    /// A parcel if there is one: for draining.
    pub(crate) fn try_next(&self) -> Option<Parcel<A>> {
        self.take(&mut self.state.lock())
    }

    fn take(&self, state: &mut State<A>) -> Option<Parcel<A>> {
        let parcel = state.parcels.pop_front()?;
        self.depth.store(state.parcels.len(), Ordering::Relaxed);
        if self.overflow == Overflow::Block && !state.closed {
            self.room.add_permits(1);
        }
        Some(parcel)
    }

    /// Takes no more messages. What is queued stays until it is taken.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
    }
}

fn register(slot: &mut Option<Waker>, cx: &TaskContext<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}
