//! Those who wait for room in a full mailbox, in the order they came.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Refused;
use crate::sync::Mutex;

/// Whether a message that waits for room has a sender who waits with it.
pub(crate) enum Sender<T> {
    Waits(Arc<Turn<T>>),
    /// Gone: the message carries whatever is to be answered.
    Detached,
}

pub(super) struct Waiting<T> {
    pub(super) item: T,
    pub(super) sender: Sender<T>,
}

/// Almost always there is nobody, which takes a word.
pub(super) type Line<T> = Option<Box<VecDeque<Waiting<T>>>>;

/// Where a waiting sender learns what became of its message.
pub(crate) struct Turn<T>(Mutex<TurnState<T>>);

pub(super) enum TurnState<T> {
    InLine(Option<Waker>),
    Queued,
    Refused(Option<T>),
}

impl<T> Turn<T> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(TurnState::InLine(None))))
    }

    /// Ends the wait and returns whom to wake.
    pub(super) fn decide(&self, outcome: TurnState<T>) -> Option<Waker> {
        match std::mem::replace(&mut *self.0.lock(), outcome) {
            TurnState::InLine(waker) => waker,
            TurnState::Queued | TurnState::Refused(_) => None,
        }
    }

    pub(super) fn is_in_line(&self) -> bool {
        matches!(*self.0.lock(), TurnState::InLine(_))
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Result<(), Refused<T>>> {
        let is_known = matches!(&*self.0.lock(), TurnState::InLine(Some(waker)) if waker.will_wake(cx.waker()));
        // Wakers are foreign code: they are made and dropped under no lock.
        let mut other = if is_known { None } else { Some(cx.waker().clone()) };
        let polled = match &mut *self.0.lock() {
            TurnState::InLine(waker) => {
                if other.is_some() {
                    std::mem::swap(waker, &mut other);
                }
                Poll::Pending
            }
            TurnState::Queued => Poll::Ready(Ok(())),
            TurnState::Refused(item) => {
                Poll::Ready(Err(Refused::Closed(item.take().expect("a turn is over once it is refused"))))
            }
        };
        drop(other);
        polled
    }
}

/// A sender's place in line.
pub(crate) struct PlaceInLine<T> {
    pub(super) turn: Arc<Turn<T>>,
}

impl<T> PlaceInLine<T> {
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Result<(), Refused<T>>> {
        self.turn.poll(cx)
    }
}
