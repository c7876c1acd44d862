//! What a user writes: an [`Actor`], its [`Message`]s and a [`Handler`] for each.

use std::future::{Future, ready};

use crate::Context;

/// Why an actor's `started` hook refuses to start, in the actor's own words.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// State that is touched by one thread only and changed by messages only.
///
/// An actor is made by its child's factory, on the thread it will live on, so it need not be `Send`. A restart makes a
/// new one: what must outlive a crash belongs behind an `Arc` that the factory captures.
///
/// ```
/// use ironcliw::{Actor, Context, Handler, Message};
///
/// struct Counter { total: u64 }
/// impl Actor for Counter {}
///
/// struct Add(u64);
/// impl Message for Add { type Reply = u64; }
///
/// impl Handler<Add> for Counter {
///     async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
///         self.total += n;
///         self.total
///     }
/// }
/// ```
pub trait Actor: Sized + 'static {
    /// Runs before the first message of every incarnation. An error, or a panic, is a failed start: the first one is
    /// returned to the spawner, a later one counts against the supervisor's budget.
    fn started(&mut self, ctx: &mut Context<Self>) -> impl Future<Output = Result<(), StartError>> {
        let _ = ctx;
        ready(Ok(()))
    }

    /// Runs after the last message of an incarnation that was stopped. It does not run after a panic: then the state
    /// cannot be trusted and is dropped as it is.
    fn stopped(&mut self, ctx: &mut Context<Self>) -> impl Future<Output = ()> {
        let _ = ctx;
        ready(())
    }
}

/// Something an actor can be sent, and what it answers.
pub trait Message: Send + 'static {
    /// The answer; `()` where there is nothing to say. A handler that can fail answers a `Result`.
    type Reply: Send + 'static;
}

/// How an actor treats one type of message.
pub trait Handler<M: Message>: Actor {
    /// Handles one message. The handler may hold `&mut self` across `.await`: the next message waits.
    ///
    /// If it panics, the sender of this message gets [`Error::ActorPanicked`](crate::Error::ActorPanicked), the message
    /// is not delivered again, and the supervisor decides what becomes of the actor. Queued messages are kept.
    fn handle(&mut self, message: M, ctx: &mut Context<Self>) -> impl Future<Output = M::Reply>;
}
