//! [`Address`]: how anybody sends to an actor, and the futures that sending returns. `recipient.rs` is the same without the
//! actor's type.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::cell::Core;
use crate::envelope::{Deadline, Deliver, Envelope};
use crate::mailbox::{Pushed, Refused, Sender};
use crate::reply::{ReplySink, ReplyTo};
use crate::{Actor, Error, ExitReason, Handler, Message, Overflow, panics};

/// A handle to an actor. It is cheap to clone, may cross threads, and stays valid while the actor restarts; it does not
/// keep the actor running, nor does dropping the last one stop it: the supervisor does.
pub struct Address<A: Actor> {
    pub(crate) core: Arc<Core<A>>,
}

impl<A: Actor> Clone for Address<A> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone() }
    }
}

impl<A: Actor> fmt::Debug for Address<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({}, {})", self.path(), self.core.info.state())
    }
}

/// A message that could not be sent, with the reason.
#[derive(Clone, PartialEq, Eq)]
pub struct SendError<M> {
    /// The reason.
    pub error: Error,
    /// The message, if it was refused before it was queued; `None` if its fate was decided later.
    pub message: Option<M>,
}

impl<M> SendError<M> {
    fn lost(error: Error) -> Self {
        Self { error, message: None }
    }
}

impl<M> fmt::Display for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// Says whether the message came back, not what it is: messages need not be `Debug`.
impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let returned = self.message.is_some();
        f.debug_struct("SendError").field("error", &self.error).field("message_returned", &returned).finish()
    }
}

impl<M> std::error::Error for SendError<M> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<M> From<SendError<M>> for Error {
    fn from(refused: SendError<M>) -> Self {
        refused.error
    }
}

impl<A: Actor> Address<A> {
    /// The actor's path, as `memory/pool`.
    pub fn path(&self) -> &str {
        self.core.info.path()
    }

    /// Messages that wait in the mailbox now.
    pub fn depth(&self) -> usize {
        self.core.mailbox.depth()
    }

    /// Whether the actor may still take messages: it runs, starts or restarts.
    pub fn is_alive(&self) -> bool {
        !self.core.info.is_final()
    }

    /// Waits until the actor has ended for good and all that was queued for it is answered, and tells why its last
    /// incarnation ended. Restarts are not an end. It ends at once if the actor has, and with the runtime at the latest.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ironcliw::{Actor, Child, ExitReason, Runtime, Supervisor};
    /// # struct Counter;
    /// # impl Actor for Counter {}
    /// # let runtime = Runtime::builder().workers(1).build()?;
    /// # runtime.block_on(async {
    /// let team = runtime.supervise(Supervisor::new("team")).await?;
    /// let counter = team.spawn(Child::new("counter", || Counter)).await?;
    /// let stopped = counter.stopped();
    /// team.stop_child(counter.path()).await;
    /// assert_eq!(stopped.await, ExitReason::Shutdown);
    /// # Ok::<_, ironcliw::Error>(())
    /// # })?;
    /// # runtime.shutdown(Duration::from_secs(5))?;
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub fn stopped(&self) -> impl Future<Output = ExitReason> + Send + use<A> {
        let info = self.core.info.clone();
        async move { info.end().await }
    }

    /// Sends without an answer; the future waits for room where the mailbox's policy is [`Overflow::Block`].
    ///
    /// # Errors
    /// [`Error::MailboxFull`] or [`Error::ActorStopped`], with the message.
    pub fn tell<M>(&self, message: M) -> impl Future<Output = Result<(), SendError<M>>> + Send + use<A, M>
    where
        A: Handler<M>,
        M: Message,
    {
        let address = self.clone();
        async move { address.send(Envelope { message, reply: ReplyTo::Nobody, deadline: None }).await }
    }

    /// Sends without an answer and without waiting.
    ///
    /// # Errors
    /// [`Error::MailboxFull`] or [`Error::ActorStopped`], with the message.
    pub fn try_tell<M>(&self, message: M) -> Result<(), SendError<M>>
    where
        A: Handler<M>,
        M: Message,
    {
        self.try_send(Envelope { message, reply: ReplyTo::Nobody, deadline: None })
            .map_err(|(error, envelope)| SendError { error, message: Some(envelope.message) })
    }

    /// Sends and waits for the answer. Dropping the future frees the reply slot, and the message is skipped if it has not
    /// been reached.
    ///
    /// ```no_run
    /// # use ironcliw::*;
    /// # use std::time::Duration;
    /// # struct Counter; impl Actor for Counter {}
    /// # struct Add(u64); impl Message for Add { type Reply = u64; }
    /// # impl Handler<Add> for Counter { async fn handle(&mut self, m: Add, _: &mut Context<Self>) -> u64 { m.0 } }
    /// # async fn example(counter: Address<Counter>) -> Result<(), Error> {
    /// let total = counter.ask(Add(41)).deadline(Duration::from_millis(50)).await?;
    /// # Ok(()) }
    /// ```
    pub fn ask<M>(&self, message: M) -> Ask<A, M>
    where
        A: Handler<M>,
        M: Message,
    {
        Ask { address: self.clone(), message, deadline: None }
    }

    /// Submits at once and answers into `sink`, which may belong to another runtime. Where there is no room the message
    /// waits its turn outside the caller's thread, in the order of the calls.
    pub fn ask_into<M>(&self, message: M, deadline: Option<Duration>, sink: Box<dyn ReplySink<M::Reply>>)
    where
        A: Handler<M>,
        M: Message,
    {
        let deadline = deadline.and_then(Deadline::after);
        let envelope = Envelope { message, reply: ReplyTo::Sink(sink), deadline };
        let mailbox = &self.core.mailbox;
        let outcome = match mailbox.overflow() {
            Overflow::Block => {
                mailbox.push_or_line_up(Box::new(envelope), Sender::Detached).map_err(|refused| self.give_back(refused))
            }
            Overflow::Reject | Overflow::DropNewest | Overflow::DropOldest => self.try_send(envelope),
        };
        if let Err((error, envelope)) = outcome {
            Deliver::<A>::fail(Box::new(envelope), error);
        }
    }

    /// An ask, now.
    pub(crate) async fn ask_until<M>(&self, message: M, deadline: Option<Deadline>) -> Result<M::Reply, SendError<M>>
    where
        A: Handler<M>,
        M: Message,
    {
        let (sender, answer) = oneshot::channel();
        let envelope = Envelope { message, reply: ReplyTo::Asker(sender), deadline };
        let exchange = async {
            self.send(envelope).await?;
            match answer.await {
                Ok(answer) => answer.map_err(SendError::lost),
                Err(_) => Err(SendError::lost(self.core.stopped())),
            }
        };
        let Some(deadline) = deadline else {
            return exchange.await;
        };
        // The timer belongs to the runtime's own clock: the caller may be on any executor, or on none of tokio's.
        let mut timer = pin!({
            let _context = self.core.timers.enter();
            tokio::time::sleep_until(deadline.at.into())
        });
        // A clock that ends with its runtime panics; whoever ends the runtime also answers.
        let timer = poll_fn(|cx| panics::catch(|| timer.as_mut().poll(cx)).unwrap_or(Poll::Pending));
        tokio::select! {
            biased;
            outcome = exchange => outcome,
            () = timer => Err(SendError::lost(deadline.error(self.path()))),
        }
    }

    /// Queues or waits for room.
    async fn send<M>(&self, envelope: Envelope<M>) -> Result<(), SendError<M>>
    where
        A: Handler<M>,
        M: Message,
    {
        let outcome = match self.core.mailbox.overflow() {
            Overflow::Block => {
                let queued = self.core.mailbox.push_waiting(Box::new(envelope)).await;
                queued.map_err(|refused| self.give_back(refused))
            }
            Overflow::Reject | Overflow::DropNewest | Overflow::DropOldest => self.try_send(envelope),
        };
        outcome.map_err(|(error, envelope)| SendError { error, message: Some(envelope.message) })
    }

    fn try_send<M>(&self, envelope: Envelope<M>) -> Result<(), (Error, Envelope<M>)>
    where
        A: Handler<M>,
        M: Message,
    {
        match self.core.mailbox.push(Box::new(envelope)) {
            Ok(Pushed::Queued) => Ok(()),
            Ok(Pushed::Evicted(victim) | Pushed::Dropped(victim)) => {
                self.core.info.count_dead_letters(1);
                victim.fail(self.core.full());
                Ok(())
            }
            Err(refused) => Err(self.give_back(refused)),
        }
    }

    /// The error and the message of a parcel that this very call had tried to queue.
    fn give_back<M>(&self, refused: Refused<A>) -> (Error, Envelope<M>)
    where
        A: Handler<M>,
        M: Message,
    {
        let (error, parcel) = match refused {
            Refused::Full(parcel) => (self.core.full(), parcel),
            Refused::Closed(parcel) => (self.core.stopped(), parcel),
        };
        let envelope = parcel.into_any().downcast::<Envelope<M>>().expect("a mailbox gives back what it was given");
        (error, *envelope)
    }
}

/// An ask that has not been sent yet; awaiting it sends.
#[must_use = "an ask is sent when it is awaited"]
pub struct Ask<A: Actor, M: Message> {
    address: Address<A>,
    message: M,
    deadline: Option<Duration>,
}

impl<A: Actor, M: Message> Ask<A, M> {
    /// Gives up after this long: the answer is [`Error::DeadlineExceeded`], and a message not yet reached is skipped.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }
}

impl<A, M> IntoFuture for Ask<A, M>
where
    A: Handler<M>,
    M: Message,
{
    type Output = Result<M::Reply, SendError<M>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { address, message, deadline } = self;
        Box::pin(async move { address.ask_until(message, deadline.and_then(Deadline::after)).await })
    }
}
