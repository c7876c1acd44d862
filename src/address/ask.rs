//! The future of a message that somebody waits for: it ends with the answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Sleep;

use super::sending::{self, batches};
use super::{Address, SendError};
use crate::envelope::{Asked, Deadline};
use crate::mailbox::PlaceInLine;
use crate::observe::Waiting;
use crate::parcel::Parcel;
use crate::reply::{self, Answer, Peephole};
use crate::{Actor, Error, Handler, Message, panics};

/// A message that has not been sent yet; awaiting it sends and waits for the answer.
#[must_use = "an ask is sent when it is awaited"]
pub struct Ask<A: Actor, M: Message> {
    to: Address<A>,
    deadline: Option<Deadline>,
    /// While it waits, if an actor asks. Dropped before the answer.
    waiting: Option<Waiting>,
    state: State<A, M>,
    timer: Option<Pin<Box<Sleep>>>,
}

enum State<A: Actor, M: Message> {
    Unsent(M),
    /// In line for room.
    InLine(PlaceInLine<Parcel<A>>, Answer<M::Reply>),
    Sent(Answer<M::Reply>),
    Over,
}

impl<A: Actor, M: Message> State<A, M> {
    fn peephole(&self) -> Option<Peephole> {
        match self {
            Self::InLine(_, answer) | Self::Sent(answer) => answer.peephole(),
            Self::Unsent(_) | Self::Over => None,
        }
    }
}

/// Nothing in it is pinned.
impl<A: Actor, M: Message> Unpin for Ask<A, M> {}

impl<A: Actor, M: Message> Drop for Ask<A, M> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

impl<A: Actor, M: Message> Ask<A, M> {
    #[inline]
    pub(super) fn new(to: Address<A>, message: M) -> Self {
        Self { to, deadline: None, state: State::Unsent(message), timer: None, waiting: None }
    }

    /// Gives up after this long: the answer is [`Error::DeadlineExceeded`], and a message not yet reached is skipped. The time
    /// counts from this call.
    pub fn deadline(self, after: Duration) -> Self {
        self.until(Deadline::after(after))
    }

    /// Gives a place in line up.
    #[inline]
    fn leave(&self) {
        if let State::InLine(place, _) = &self.state {
            self.to.core.mailbox.leave(place);
        }
    }

    pub(crate) fn until(mut self, deadline: Option<Deadline>) -> Self {
        self.deadline = deadline;
        self
    }
}

impl<A: Handler<M>, M: Message> Ask<A, M> {
    #[inline]
    fn exchange(&mut self, cx: &Context<'_>) -> Poll<Result<M::Reply, SendError<M>>> {
        let core = &self.to.core;
        let refused = |(error, parcel): (Error, Parcel<A>)| {
            let message = Some(parcel.open::<Asked<M>>().message);
            Poll::Ready(Err(SendError { error, message }))
        };
        if let State::Unsent(_) = self.state
            && let State::Unsent(message) = std::mem::replace(&mut self.state, State::Over)
        {
            let (replier, answer) = reply::pair(self.deadline, Some(cx.waker()));
            match sending::send(core, Asked::new(message, replier)) {
                Ok(None) => {
                    self.state = State::Sent(answer);
                    return Poll::Pending;
                }
                Ok(Some(place)) => self.state = State::InLine(place, answer),
                Err(error) => return refused(error),
            }
        }
        if let State::InLine(place, _) = &self.state {
            let queued = ready!(place.poll(cx));
            let State::InLine(_, answer) = std::mem::replace(&mut self.state, State::Over) else {
                unreachable!("it was just that")
            };
            self.state = State::Sent(answer);
            if let Err(error) = queued {
                self.waiting = None;
                self.state = State::Over;
                return refused(core.give_back(error));
            }
        }
        let State::Sent(answer) = &mut self.state else { unreachable!("polled after the answer") };
        if !answer.is_answered(cx) {
            return Poll::Pending;
        }
        self.waiting = None;
        let answer = ready!(answer.poll(cx));
        self.state = State::Over;
        Poll::Ready(answer.unwrap_or_else(|| Err(core.stopped())).map_err(SendError::lost))
    }
}

impl<A: Handler<M>, M: Message> Future for Ask<A, M> {
    type Output = Result<M::Reply, SendError<M>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let exchanged = this.exchange(cx);
        if exchanged.is_ready() {
            this.waiting = None;
        } else if this.waiting.is_none()
            && let Some(answer) = this.state.peephole()
        {
            // SAFETY: the wait ends before the answer is taken, in `exchange`, and before the state is changed or dropped.
            this.waiting = unsafe { Waiting::begin(&this.to.core, answer) };
        }
        if let (Poll::Pending, Some(deadline)) = (&exchanged, this.deadline) {
            // The timer belongs to the runtime's own clock: the caller may be on any executor, or on none of tokio's.
            let timer = this.timer.get_or_insert_with(|| {
                let _context = this.to.core.runtime.timers().enter();
                Box::pin(tokio::time::sleep_until(deadline.at.into()))
            });
            // A clock that ends with its runtime panics; whoever ends the runtime also answers.
            if panics::catch(|| timer.poll_unpin(cx)).is_ok_and(|polled| polled.is_ready()) {
                this.leave();
                this.waiting = None;
                this.state = State::Over;
                return Poll::Ready(Err(SendError::lost(deadline.error(this.to.path()))));
            }
        }
        exchanged
    }
}

pub(super) async fn ask_many<A, M>(
    to: &Address<A>,
    messages: impl IntoIterator<Item = M>,
) -> Vec<Result<M::Reply, Error>>
where
    A: Handler<M>,
    M: Message,
{
    let mut answers: Vec<Answer<M::Reply>> = Vec::new();
    let parcels = messages.into_iter().map(|message| {
        let (replier, answer) = reply::pair(None, None);
        answers.push(answer);
        Parcel::new(Asked::new(message, replier))
    });
    let refused = batches(&to.core, parcels).await.err();
    let mut received = Vec::with_capacity(answers.len());
    if let Some((error, parcel)) = refused {
        // That one and those behind it hear the same.
        parcel.fail(error);
    }
    for mut answer in answers {
        // Dropped before the answer is taken.
        let mut waiting = None;
        let is_answered = |cx: &mut Context<'_>| {
            if answer.is_answered(cx) {
                waiting = None;
                return Poll::Ready(());
            }
            if waiting.is_none()
                && let Some(peephole) = answer.peephole()
            {
                // SAFETY: see above; a wait that is given up drops it before the answer, which was declared earlier.
                waiting = unsafe { Waiting::begin(&to.core, peephole) };
            }
            Poll::Pending
        };
        std::future::poll_fn(is_answered).await;
        let answer = std::future::poll_fn(|cx| answer.poll(cx)).await;
        received.push(answer.unwrap_or_else(|| Err(to.core.stopped())));
    }
    received
}
