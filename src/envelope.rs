//! A queued message: what it is, who waits for it and until when.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use crate::in_hand::InHand;
use crate::panics::{self, Panicked};
use crate::reply::ReplyTo;
use crate::{Actor, Context, Error, Handler, Message};

pub(crate) type Parcel<A> = Box<dyn Deliver<A> + Send>;
pub(crate) type Delivery<'a> = Pin<Box<dyn Future<Output = Result<(), Panicked>> + 'a>>;

/// When the asker stops waiting, and how long that was, for the error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) after: Duration,
}

impl Deadline {
    /// `None` where the time is too far away to matter.
    pub(crate) fn after(after: Duration) -> Option<Self> {
        Instant::now().checked_add(after).map(|at| Self { at, after })
    }

    pub(crate) fn error(&self, path: &str) -> Error {
        Error::DeadlineExceeded { path: path.to_owned(), after: self.after }
    }
}

/// A message whose type is known to its actor's handler only.
pub(crate) trait Deliver<A: Actor> {
    /// Runs the handler. A panic is answered to the asker and returned.
    fn deliver<'a>(self: Box<Self>, actor: &'a mut A, ctx: &'a mut Context<A>) -> Delivery<'a>;

    /// Answers without delivering.
    fn fail(self: Box<Self>, error: Error);

    /// The envelope itself, to give a refused message back to its sender.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;

    /// Nobody waits for it any more, or its deadline has passed: it is not to be handled.
    fn is_abandoned(&self) -> bool;

    /// The deadline, if it has passed by `now`.
    fn expired(&self, now: Instant) -> Option<Deadline>;
}

pub(crate) struct Envelope<M: Message> {
    pub(crate) message: M,
    pub(crate) reply: ReplyTo<M::Reply>,
    pub(crate) deadline: Option<Deadline>,
}

impl<A, M> Deliver<A> for Envelope<M>
where
    A: Handler<M>,
    M: Message,
{
    fn deliver<'a>(self: Box<Self>, actor: &'a mut A, ctx: &'a mut Context<A>) -> Delivery<'a> {
        let Self { message, reply, deadline } = *self;
        let core = ctx.core().clone();
        let mut in_hand = match InHand::new(core, ctx.claim(), reply) {
            Ok(in_hand) => in_hand,
            Err(reply) => {
                Deliver::<A>::fail(Box::new(Self { message, reply, deadline }), ctx.core().ended());
                return Box::pin(std::future::ready(Ok(())));
            }
        };
        Box::pin(async move {
            let outcome = panics::catch_async(async { actor.handle(message, ctx).await }).await;
            match outcome {
                Ok(answer) => {
                    in_hand.answer(Ok(answer));
                    Ok(())
                }
                Err(panicked) => {
                    let path = in_hand.path().to_owned();
                    in_hand.answer(Err(Error::ActorPanicked { path, reason: panicked.0.clone() }));
                    Err(panicked)
                }
            }
        })
    }

    fn fail(self: Box<Self>, error: Error) {
        let Self { message, reply, .. } = *self;
        // The message's own `Drop` is user code as well; its panic must not take the queue with it.
        if let Err(panicked) = panics::catch(move || drop(message)) {
            tracing::error!(reason = panicked.0, "a message panicked as it was dropped");
        }
        reply.send(Err(error));
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_abandoned()
    }

    fn expired(&self, now: Instant) -> Option<Deadline> {
        self.deadline.filter(|deadline| deadline.at <= now)
    }
}
