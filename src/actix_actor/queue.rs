//! The mailbox of an actix actor and the orders of its supervisor, which outlive the incarnations.
//!
//! The receiving end of an actix channel must have one consumer: it is touched under the lock alone, and by whoever holds
//! the present [`Claim`]. actix closes a channel by dropping that end, and the messages in it, so messages that are yet to
//! be handled are taken out before.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};

use actix::Addr;
use actix::dev::channel::{AddressReceiver, channel};
use actix::dev::{ContextParts, Envelope};
use futures_util::Stream;
use parking_lot::Mutex;

use crate::mailbox::Signal;

/// What a closing mailbox keeps to be handled: senders that never pause must not keep the supervisor at it for ever.
const KEPT_MAX: usize = 1 << 20;

/// An actix actor that lives in actix's own context, as every actor does that is not synchronous.
pub(crate) trait Actor: actix::Actor<Context = actix::Context<Self>> {}
impl<A: actix::Actor<Context = actix::Context<A>>> Actor for A {}

/// An incarnation's right to consume the mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim(u64);

/// Makes the core of a context whose addresses are those of the mailbox. It is made where it is used: it is not `Send`.
pub(crate) type MakeParts<A> = Box<dyn FnOnce() -> ContextParts<A> + Send>;

pub(crate) enum Next<A: Actor> {
    Message(Envelope<A>),
    /// Nothing for the moment; the waker will be used.
    Empty,
    /// Nothing ever again.
    Drained,
    /// Not without the signal being obeyed first.
    Signal(Signal),
    /// The claim is another's.
    Lost,
}

enum Messages<A: Actor> {
    Open(AddressReceiver<A>),
    Closed(VecDeque<Envelope<A>>),
}

struct State<A: Actor> {
    messages: Messages<A>,
    claim: Claim,
    signal: Option<Signal>,
    /// The task of the incarnation, for signals. For messages, the channel has a waker of its own.
    consumer: Option<Waker>,
}

pub(crate) struct Queue<A: Actor> {
    state: Mutex<State<A>>,
}

impl<A: Actor> Queue<A> {
    pub(crate) fn new(capacity: usize) -> (Self, Addr<A>) {
        let (sender, receiver) = channel(capacity);
        let state = State { messages: Messages::Open(receiver), claim: Claim(0), signal: None, consumer: None };
        (Self { state: Mutex::new(state) }, Addr::new(sender))
    }

    /// A new claim, which ends the one before and the signals to it. Without parts once the mailbox is closed.
    pub(crate) fn claim(&self) -> (Claim, Option<MakeParts<A>>) {
        let mut state = self.state.lock();
        state.claim.0 += 1;
        state.signal = None;
        let (claim, earlier) = (state.claim, state.consumer.take());
        let make: Option<MakeParts<A>> = match &state.messages {
            Messages::Open(receiver) => {
                let addresses = receiver.sender_producer();
                Some(Box::new(move || ContextParts::new(addresses)))
            }
            Messages::Closed(_) => None,
        };
        drop(state);
        wake(earlier);
        (claim, make)
    }

    pub(crate) fn is_held_by(&self, claim: Claim) -> bool {
        self.state.lock().claim == claim
    }

    /// The weightiest signal counts.
    pub(crate) fn signal(&self, signal: Signal) {
        let mut state = self.state.lock();
        state.signal = state.signal.max(Some(signal));
        let consumer = state.consumer.take();
        drop(state);
        wake(consumer);
    }

    /// The signal there is. `Err` if the claim has ended. Wakes `cx` at the next one.
    pub(crate) fn heard(&self, claim: Claim, cx: &TaskContext<'_>) -> Result<Option<Signal>, ()> {
        let mut state = self.state.lock();
        if state.claim != claim {
            return Err(());
        }
        match &mut state.consumer {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Ok(state.signal)
    }

    pub(crate) fn next(&self, claim: Claim, cx: &mut TaskContext<'_>) -> Next<A> {
        let mut state = self.state.lock();
        if state.claim != claim {
            return Next::Lost;
        }
        if let Some(signal @ (Signal::Restart | Signal::Halt)) = state.signal {
            return Next::Signal(signal);
        }
        match &mut state.messages {
            Messages::Open(receiver) => match Pin::new(receiver).poll_next(cx) {
                Poll::Ready(Some(message)) => Next::Message(message),
                Poll::Ready(None) | Poll::Pending => Next::Empty,
            },
            Messages::Closed(kept) => kept.pop_front().map_or(Next::Drained, Next::Message),
        }
    }

    /// Takes no more messages; what is queued stays.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        let Messages::Open(receiver) = &mut state.messages else {
            return;
        };
        let mut kept = VecDeque::new();
        let mut cx = TaskContext::from_waker(Waker::noop());
        while kept.len() < KEPT_MAX
            && let Poll::Ready(Some(message)) = Pin::new(&mut *receiver).poll_next(&mut cx)
        {
            kept.push_back(message);
        }
        let closed = std::mem::replace(&mut state.messages, Messages::Closed(kept));
        drop(state);
        // Messages that came between are dropped with it, and so may call anything.
        drop(closed);
    }

    /// One of the messages that a closed mailbox has left.
    pub(crate) fn take_left(&self) -> Option<Envelope<A>> {
        match &mut self.state.lock().messages {
            Messages::Open(_) => None,
            Messages::Closed(kept) => kept.pop_front(),
        }
    }

    /// Messages that wait. actix keeps the number of those in an open mailbox to itself: it is given as none.
    pub(crate) fn depth(&self) -> usize {
        match &self.state.lock().messages {
            Messages::Open(_) => 0,
            Messages::Closed(kept) => kept.len(),
        }
    }

    /// As the actor has last set it.
    pub(crate) fn capacity(&self) -> usize {
        match &self.state.lock().messages {
            Messages::Open(receiver) => receiver.capacity(),
            Messages::Closed(_) => 0,
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
