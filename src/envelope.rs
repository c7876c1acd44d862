//! What a message travels in: itself, who waits for its answer and until when.

use std::time::{Duration, Instant};

use crate::clock;
use crate::panics;
use crate::reply::{ErasedReplier, Replier, drop_unwanted};
use crate::trail::{Trail, handled};
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
    fn deliver(self, actor: &mut A, ctx: &mut Context<A>) -> impl Future<Output = ()>;

    /// Answers without delivering.
    fn fail(self, error: Error);
}

/// A message that nobody waits for.
pub(crate) struct Told<M> {
    pub(crate) message: M,
    #[cfg_attr(not(feature = "trace-messages"), expect(dead_code, reason = "it is nothing"))]
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

    #[inline]
    async fn deliver(self, actor: &mut A, ctx: &mut Context<A>) {
        #[cfg(feature = "testkit")]
        ctx.meet_faults().await;
        let unwanted = handled!(self.trail, M, actor.handle(self.message, ctx));
        if std::mem::needs_drop::<M::Reply>() {
            drop_unwanted(unwanted);
        }
    }

    fn fail(self, _: Error) {
        drop_message(self.message);
    }
}

/// A message that somebody waits for.
pub(crate) struct Asked<M: Message> {
    pub(crate) message: M,
    replier: Option<Replier<M::Reply>>,
    #[cfg_attr(not(feature = "trace-messages"), expect(dead_code, reason = "it is nothing"))]
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

    #[inline]
    async fn deliver(self, actor: &mut A, ctx: &mut Context<A>) {
        #[cfg(feature = "testkit")]
        ctx.meet_faults().await;
        let answer = handled!(self.trail, M, actor.handle(self.message, ctx));
        ctx.answer(answer);
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

    async fn deliver(self, actor: &mut A, ctx: &mut Context<A>) {
        self.asked.deliver(actor, ctx).await;
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
