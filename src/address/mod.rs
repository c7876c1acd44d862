//! [`Address`]: how anybody sends to an actor. `sending.rs` is how a message gets into its mailbox, `tell.rs` and `ask.rs`
//! the futures that are returned. `../recipient.rs` is the same without the actor's type.

mod ask;
mod sending;
mod tell;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cell::Core;
use crate::envelope::{Asked, Deadline, Sunk, Told};
use crate::mailbox::{Pushed, Refused, Sender};
use crate::parcel::{Parcel, Unpacked};
use crate::reply::{Replier, ReplySink};
use crate::{Actor, ActorSnapshot, Error, ExitReason, Handler, Message, Overflow};

pub use ask::Ask;
pub use tell::Tell;

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
    pub(crate) fn lost(error: Error) -> Self {
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

    /// What there is to see of the actor, also once it has stopped. Nothing that runs is disturbed by looking. How busy it has
    /// been of late is for [`Handle::snapshot`](crate::Handle::snapshot) to say, which compares one look with the next.
    pub fn observe(&self) -> ActorSnapshot {
        self.core.observe()
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
    #[inline]
    pub fn tell<M>(&self, message: M) -> Tell<'_, A, M>
    where
        A: Handler<M>,
        M: Message,
    {
        Tell::new(self, message)
    }

    /// Sends many without an answer, in order, and several at a time: they enter the mailbox in batches of up to 32, each as
    /// dear as one message. Waits for room where the policy is [`Overflow::Block`]. Returns how many were sent.
    ///
    /// ```no_run
    /// # use ironcliw::*;
    /// # struct Counter; impl Actor for Counter {}
    /// # struct Add(u64); impl Message for Add { type Reply = u64; }
    /// # impl Handler<Add> for Counter { async fn handle(&mut self, m: Add, _: &mut Context<Self>) -> u64 { m.0 } }
    /// # async fn example(counter: Address<Counter>) -> Result<(), Error> {
    /// counter.tell_many((0..10_000).map(Add)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Address::tell`], with the first message that was not sent; what was to follow it is dropped.
    pub async fn tell_many<M>(&self, messages: impl IntoIterator<Item = M>) -> Result<usize, SendError<M>>
    where
        A: Handler<M>,
        M: Message,
    {
        let parcels = messages.into_iter().map(|message| Parcel::new(Told::new(message)));
        sending::batches(&self.core, parcels).await.map_err(|(error, parcel)| {
            let message = Some(parcel.open::<Told<M>>().message);
            SendError { error, message }
        })
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
        let Err(Unpacked(told)) = self.core.mailbox.push_now(Unpacked(Told::new(message))) else { return Ok(()) };
        self.core.try_send(Parcel::new(told)).map_err(|(error, parcel)| {
            let message = Some(parcel.open::<Told<M>>().message);
            SendError { error, message }
        })
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
    #[inline]
    pub fn ask<M>(&self, message: M) -> Ask<A, M>
    where
        A: Handler<M>,
        M: Message,
    {
        Ask::new(self.clone(), message)
    }

    /// Sends many, as [`Address::tell_many`], and waits for all answers, which come in the order of the messages.
    pub async fn ask_many<M>(&self, messages: impl IntoIterator<Item = M>) -> Vec<Result<M::Reply, Error>>
    where
        A: Handler<M>,
        M: Message,
    {
        ask::ask_many(self, messages).await
    }

    /// Submits at once and answers into `sink`, which may belong to another runtime. Where there is no room the message
    /// waits its turn outside the caller's thread, in the order of the calls.
    pub fn ask_into<M>(&self, message: M, deadline: Option<Duration>, sink: Box<dyn ReplySink<M::Reply>>)
    where
        A: Handler<M>,
        M: Message,
    {
        let asked = Asked::new(message, Replier::sink(sink));
        let parcel = Parcel::new(Sunk { asked, deadline: deadline.and_then(Deadline::after) });
        let mailbox = &self.core.mailbox;
        let outcome = match mailbox.overflow() {
            Overflow::Block => {
                mailbox.push_or_line_up(parcel, Sender::Detached).map_err(|refused| self.core.give_back(refused))
            }
            Overflow::Reject | Overflow::DropNewest | Overflow::DropOldest => self.core.try_send(parcel),
        };
        if let Err((error, parcel)) = outcome {
            parcel.fail(error);
        }
    }
}

impl<A: Actor> Core<A> {
    /// Queues without waiting, by the mailbox's policy, and answers for whatever that drops.
    #[cold]
    fn try_send(&self, parcel: Parcel<A>) -> Result<(), (Error, Parcel<A>)> {
        match self.mailbox.push(parcel) {
            Ok(Pushed::Queued) => Ok(()),
            Ok(Pushed::Evicted(victim) | Pushed::Dropped(victim)) => {
                self.info.count_dead_letters(1);
                victim.fail(self.full());
                Ok(())
            }
            Err(refused) => Err(self.give_back(refused)),
        }
    }

    /// Why, and the parcel.
    #[cold]
    fn give_back(&self, refused: Refused<Parcel<A>>) -> (Error, Parcel<A>) {
        match refused {
            Refused::Full(parcel) => (self.full(), parcel),
            Refused::Closed(parcel) => (self.stopped(), parcel),
        }
    }
}
