//! What a message travels in: itself, who waits for its answer and until when.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use crate::clock;
use crate::panics;
use crate::reply::{ErasedReplier, Replier, drop_unwanted};
use crate::room::Outcome;
use crate::trail::Trail;
#[cfg(any(feature = "testkit", feature = "trace-messages"))]
use crate::trail::handled;
use crate::{Actor, Context, Error, Handler, Message};

/// When the asker stops waiting, and how long that was, for the error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) after: Duration,
}

impl Deadline {
    /// `None` where the time is too far away to matter.
    pub(crate) fn after(after: Duration) -> Option<Self> {
        clock::now().checked_add(after).map(|at| Self { at, after })
    }

    pub(crate) fn error(&self, path: &str) -> Error {
        Error::DeadlineExceeded { path: path.to_owned(), after: self.after }
    }
}

/// What is to be done with a message that has been reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    Deliver,
    /// Nobody waits for it any more.
    Abandoned,
    Expired(Deadline),
}

impl Fate {
    #[inline]
    fn of<R: Send + 'static>(replier: Option<&Replier<R>>, deadline: Option<Deadline>) -> Self {
        if replier.is_some_and(Replier::is_abandoned) {
            return Self::Abandoned;
        }
        match deadline {
            Some(deadline) if deadline.at <= clock::now() => Self::Expired(deadline),
            _ => Self::Deliver,
        }
    }
}

/// A message for actors of type `A`, in what it needs to travel.
pub(crate) trait Envelope<A: Actor>: Send + Sized + 'static {
    /// Whether somebody may wait for an answer.
    const ASKS: bool;

    /// Whether its [fate](Self::fate) is for foreign code to say.
    const HAS_SINK: bool = false;

    fn fate(&self) -> Fate;

    /// The duty to answer goes to whoever has the message in hand.
    fn take_replier(&mut self) -> Option<ErasedReplier>;

    /// Its fate, and the replier if it is to be delivered.
    #[inline]
    fn take_up(&mut self) -> (Fate, Option<ErasedReplier>) {
        let fate = self.fate();
        let replier = if matches!(fate, Fate::Deliver) { self.take_replier() } else { None };
        (fate, replier)
    }

    /// Runs the handler, and answers.
    ///
    /// # Safety
    /// The context lives as long as the future, and nobody else uses it till then.
    unsafe fn deliver(self, actor: &mut A, ctx: *mut Context<A>) -> impl Future<Output = Outcome>;

    /// Answers without delivering.
    fn fail(self, error: Error);
}

/// A handler's future, with what the features put around it.
#[inline(always)]
fn handler<'a, A: Handler<M>, M: Message>(
    actor: &'a mut A,
    message: M,
    ctx: &'a mut Context<A>,
    trail: Trail,
) -> impl Future<Output = M::Reply> + use<'a, A, M> {
    #[cfg(any(feature = "testkit", feature = "trace-messages"))]
    return async move {
        #[cfg(feature = "testkit")]
        ctx.meet_faults().await;
        handled!(trail, M, actor.handle(message, ctx))
    };
    #[cfg(not(any(feature = "testkit", feature = "trace-messages")))]
    {
        let Trail = trail;
        actor.handle(message, ctx)
    }
}

pin_project! {
    /// The future of a handler, and what is done with its reply. It is no `async` block: what one of those holds is moved into
    /// it, and once more with it, and handlers' futures are large.
    struct Handling<F, T> {
        #[pin]
        handler: Option<F>,
        then: Option<T>,
    }
}

impl<F, T> Handling<F, T> {
    #[inline(always)]
    fn new(handler: F, then: T) -> Self {
        Self { handler: Some(handler), then: Some(then) }
    }
}

impl<F: Future, T: FnOnce(F::Output)> Future for Handling<F, T> {
    type Output = Outcome;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        if let Some(handler) = this.handler.as_mut().as_pin_mut() {
            let reply = ready!(handler.poll(cx));
            this.handler.set(None);
            if let Some(then) = this.then.take() {
                then(reply);
            }
        }
        Poll::Ready(Outcome::Handled)
    }
}

/// A message that nobody waits for.
pub(crate) struct Told<M> {
    pub(crate) message: M,
    trail: Trail,
}

impl<M> Told<M> {
    #[inline]
    pub(crate) fn new(message: M) -> Self {
        Self { message, trail: Trail::here() }
    }
}

impl<A: Handler<M>, M: Message> Envelope<A> for Told<M> {
    const ASKS: bool = false;

    #[inline]
    fn fate(&self) -> Fate {
        Fate::Deliver
    }

    fn take_replier(&mut self) -> Option<ErasedReplier> {
        None
    }

    #[inline(always)]
    unsafe fn deliver(self, actor: &mut A, ctx: *mut Context<A>) -> impl Future<Output = Outcome> {
        // SAFETY: the caller's promise.
        let handler = handler(actor, self.message, unsafe { &mut *ctx }, self.trail);
        Handling::new(handler, |unwanted| {
            if std::mem::needs_drop::<M::Reply>() {
                drop_unwanted(unwanted);
            }
        })
    }

    fn fail(self, _: Error) {
        drop_message(self.message);
    }
}

/// A message that somebody waits for.
pub(crate) struct Asked<M: Message> {
    pub(crate) message: M,
    replier: Option<Replier<M::Reply>>,
    trail: Trail,
}

impl<M: Message> Asked<M> {
    #[inline]
    pub(crate) fn new(message: M, replier: Replier<M::Reply>) -> Self {
        Self { message, replier: Some(replier), trail: Trail::here() }
    }
}

impl<A: Handler<M>, M: Message> Envelope<A> for Asked<M> {
    const ASKS: bool = true;

    #[inline]
    fn fate(&self) -> Fate {
        Fate::of(self.replier.as_ref(), self.replier.as_ref().and_then(Replier::deadline))
    }

    #[inline]
    fn take_replier(&mut self) -> Option<ErasedReplier> {
        self.replier.take().map(Into::into)
    }

    #[inline(always)]
    unsafe fn deliver(self, actor: &mut A, ctx: *mut Context<A>) -> impl Future<Output = Outcome> {
        // SAFETY: the caller's promise.
        let handler = handler(actor, self.message, unsafe { &mut *ctx }, self.trail);
        // SAFETY: as above; the handler's future, which has borrowed it, is dropped by then.
        Handling::new(handler, move |answer| unsafe { (*ctx).answer(answer) })
    }

    fn fail(self, error: Error) {
        drop_message(self.message);
        if let Some(replier) = self.replier {
            replier.send(Err(error));
        }
    }
}

/// The same with a deadline of its own: for answers that go into a sink.
pub(crate) struct Sunk<M: Message> {
    pub(crate) asked: Asked<M>,
    pub(crate) deadline: Option<Deadline>,
}

impl<A: Handler<M>, M: Message> Envelope<A> for Sunk<M> {
    const ASKS: bool = true;
    const HAS_SINK: bool = true;

    fn fate(&self) -> Fate {
        Fate::of(self.asked.replier.as_ref(), self.deadline)
    }

    /// Its fate was asked for before, when no window was open.
    fn take_up(&mut self) -> (Fate, Option<ErasedReplier>) {
        (Fate::Deliver, Envelope::<A>::take_replier(self))
    }

    fn take_replier(&mut self) -> Option<ErasedReplier> {
        Envelope::<A>::take_replier(&mut self.asked)
    }

    unsafe fn deliver(self, actor: &mut A, ctx: *mut Context<A>) -> impl Future<Output = Outcome> {
        // SAFETY: passed on.
        unsafe { self.asked.deliver(actor, ctx) }
    }

    fn fail(self, error: Error) {
        Envelope::<A>::fail(self.asked, error);
    }
}

/// A message's own `Drop` is user code as well; its panic must not take the queue with it.
fn drop_message<M>(message: M) {
    if let Err(panicked) = panics::catch(move || drop(message)) {
        tracing::error!(reason = panicked.0, "a message panicked as it was dropped");
    }
}
