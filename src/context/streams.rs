//! Streams of messages that feed an actor: sockets, channels, intervals, whatever yields items.
//!
//! A stream is polled on the actor's thread, and only once its last item is in the mailbox: a full mailbox holds it
//! back. An item that was taken from the stream is not lost with the incarnation that took it: it keeps its place in
//! line for the mailbox, as the messages of any other sender do.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::Stream;
use tracing::error;

use super::{Context, TaskHandle};
use crate::panics::{self, Panicked};
use crate::{Actor, Address, Error, Handler, Message, Overflow};

/// Items that are taken in one go before the thread's other tasks get a turn.
const TURN: u32 = 64;

/// A stream that [`Context::attach`] feeds an actor from. Dropping this does not detach it.
#[derive(Debug, Clone)]
pub struct Attached(TaskHandle);

impl Attached {
    /// Drops the stream. What the actor has got from it before is handled nevertheless.
    pub fn detach(&self) {
        self.0.cancel();
    }

    /// Whether the stream has ended, was detached, or ended with its incarnation.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

/// How an attached stream ended, for [`Context::attach_with_end`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEnd {
    /// It had no more items.
    Finished,
    /// It panicked, with this message.
    Panicked(String),
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Panicked(reason) => write!(f, "panicked: {reason}"),
        }
    }
}

impl<A: Actor> Context<A> {
    /// Tells the actor each item of a stream, in order, until the stream ends, the handle detaches it or this incarnation
    /// ends: as with timers, `started` attaches it again.
    ///
    /// The next item is asked for once the mailbox has taken the last, so a full mailbox holds the stream back; one that
    /// drops messages by its policy drops the stream's as well, and what a [`Overflow::Reject`] mailbox refuses is counted
    /// as a dead letter. A stream that panics is over; the panic is contained and logged.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use futures_util::stream;
    /// use ironcliw::{Actor, Child, Context, Handler, Message, Runtime, StartError};
    ///
    /// struct Sum(u64);
    /// impl Actor for Sum {
    ///     async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
    ///         ctx.attach(stream::iter((1..=4).map(Add)));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// struct Add(u64);
    /// impl Message for Add { type Reply = u64; }
    /// impl Handler<Add> for Sum {
    ///     async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
    ///         self.0 += n;
    ///         self.0
    ///     }
    /// }
    /// # let runtime = Runtime::builder().workers(1).build()?;
    /// # runtime.block_on(async {
    /// let sum = runtime.spawn(Child::new("sum", || Sum(0))).await?;
    /// while sum.ask(Add(0)).await? < 10 {
    ///     tokio::task::yield_now().await;
    /// }
    /// # Ok::<_, ironcliw::Error>(())
    /// # })?;
    /// # runtime.shutdown(Duration::from_secs(5))?;
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub fn attach<S>(&mut self, stream: S) -> Attached
    where
        S: Stream + 'static,
        S::Item: Message,
        A: Handler<S::Item>,
    {
        let address = self.address();
        self.feed(async move {
            if let Some(StreamEnd::Panicked(reason)) = feed(&address, stream).await {
                error!(path = address.path(), reason, "an attached stream panicked");
            }
        })
    }

    /// The same, and once the stream has ended by itself or by its panic the actor is told `end(how)`, behind the last
    /// item. It is not if the stream was detached.
    pub fn attach_with_end<S, E>(&mut self, stream: S, end: impl FnOnce(StreamEnd) -> E + 'static) -> Attached
    where
        S: Stream + 'static,
        S::Item: Message,
        E: Message,
        A: Handler<S::Item> + Handler<E>,
    {
        let address = self.address();
        self.feed(async move {
            let Some(how) = feed(&address, stream).await else { return };
            if let StreamEnd::Panicked(reason) = &how {
                error!(path = address.path(), reason, "an attached stream panicked");
            }
            deliver(&address, end(how)).await;
        })
    }

    fn feed(&mut self, work: impl Future<Output = ()> + 'static) -> Attached {
        Attached(self.tasks.spawn(self.core.info.path(), work))
    }
}

/// Tells the actor the stream's items to its end; `None` if the actor has ended first.
async fn feed<A, S>(address: &Address<A>, stream: S) -> Option<StreamEnd>
where
    S: Stream + 'static,
    S::Item: Message,
    A: Handler<S::Item>,
{
    let mut stream = Box::pin(stream);
    let mut turn = 0;
    loop {
        match next_of(&mut stream).await {
            Ok(Some(item)) => {
                if !deliver(address, item).await {
                    return None;
                }
            }
            Ok(None) => return Some(StreamEnd::Finished),
            Err(Panicked(reason)) => return Some(StreamEnd::Panicked(reason)),
        }
        turn += 1;
        if turn == TURN {
            turn = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// The next item, or the panic that there was instead.
async fn next_of<S: Stream>(stream: &mut Pin<Box<S>>) -> Result<Option<S::Item>, Panicked> {
    poll_fn(|cx| match panics::catch(|| stream.as_mut().poll_next(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// Queues a message once there is room; false if the actor has ended.
async fn deliver<A, M>(address: &Address<A>, message: M) -> bool
where
    A: Handler<M>,
    M: Message,
{
    let mut outcome = address.try_tell(message);
    if let Err(refused) = &mut outcome
        && address.core.mailbox.overflow() == Overflow::Block
        && matches!(refused.error, Error::MailboxFull { .. })
        && let Some(message) = refused.message.take()
    {
        // A task of its own, which does not end with the incarnation: what it sends waits in line across a restart.
        let waiting = address.clone();
        let sent = tokio::task::spawn_local(async move {
            let outcome = waiting.tell(message).await;
            count_lost(&waiting, &outcome);
            outcome
        });
        // Its own end without an outcome is that of the thread.
        return sent.await.is_ok_and(|outcome| outcome.is_ok());
    }
    count_lost(address, &outcome);
    !matches!(outcome, Err(refused) if matches!(refused.error, Error::ActorStopped { .. }))
}

/// Nobody is there to take back what is refused.
fn count_lost<A: Actor, M>(address: &Address<A>, outcome: &Result<(), crate::SendError<M>>) {
    if outcome.is_err() {
        address.core.info.count_dead_letters(1);
    }
}
