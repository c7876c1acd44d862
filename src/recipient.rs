//! [`Recipient`]: an address that knows only what its actor takes.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::envelope::Deadline;
use crate::{Actor, Address, Handler, Message, SendError};

type Sent<T, M> = Pin<Box<dyn Future<Output = Result<T, SendError<M>>> + Send>>;

trait Accept<M: Message>: Send + Sync {
    fn tell(&self, message: M) -> Sent<(), M>;
    fn try_tell(&self, message: M) -> Result<(), SendError<M>>;
    fn ask(&self, message: M, deadline: Option<Deadline>) -> Sent<M::Reply, M>;
    fn path(&self) -> &str;
    fn is_alive(&self) -> bool;
    /// The same for every address of one actor, and for no other's.
    fn identity(&self) -> usize;
}

impl<A, M> Accept<M> for Address<A>
where
    A: Handler<M>,
    M: Message,
{
    fn tell(&self, message: M) -> Sent<(), M> {
        let address = self.clone();
        Box::pin(async move { address.tell(message).await })
    }

    fn try_tell(&self, message: M) -> Result<(), SendError<M>> {
        Self::try_tell(self, message)
    }

    fn ask(&self, message: M, deadline: Option<Deadline>) -> Sent<M::Reply, M> {
        Box::pin(Self::ask(self, message).until(deadline))
    }

    fn path(&self) -> &str {
        Self::path(self)
    }

    fn is_alive(&self) -> bool {
        Self::is_alive(self)
    }

    fn identity(&self) -> usize {
        Self::identity(self)
    }
}

impl<A: Actor> Address<A> {
    fn identity(&self) -> usize {
        Arc::as_ptr(&self.core).addr()
    }

    /// The same address, knowing only that the actor takes `M`.
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        A: Handler<M>,
        M: Message,
    {
        Recipient { to: Arc::new(self.clone()) }
    }
}

/// Addresses are equal if they are the same actor's. One that was spawned later is another one, whatever its path.
impl<A: Actor> PartialEq for Address<A> {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl<A: Actor> Eq for Address<A> {}

impl<A: Actor> Hash for Address<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

/// Any actor that takes `M`, whatever else it is. Two are equal if they are the same actor's.
///
/// ```
/// # use std::time::Duration;
/// # use ironcliw::{Actor, Child, Context, Handler, Message, Recipient, Runtime};
/// # struct Add(u64);
/// # impl Message for Add { type Reply = u64; }
/// # struct Counter(u64);
/// # impl Actor for Counter {}
/// # impl Handler<Add> for Counter {
/// #     async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 { self.0 += n; self.0 }
/// # }
/// # struct Echo;
/// # impl Actor for Echo {}
/// # impl Handler<Add> for Echo {
/// #     async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 { n }
/// # }
/// # let runtime = Runtime::builder().workers(1).build()?;
/// # runtime.block_on(async {
/// let adders: [Recipient<Add>; 2] = [
///     runtime.spawn(Child::new("counter", || Counter(40))).await?.recipient(),
///     runtime.spawn(Child::new("echo", || Echo)).await?.recipient(),
/// ];
/// let mut answers = Vec::new();
/// for adder in &adders {
///     answers.push(adder.ask(Add(2)).deadline(Duration::from_secs(5)).await?);
/// }
/// assert_eq!(answers, [42, 2]);
/// # Ok::<_, ironcliw::Error>(())
/// # })?;
/// # runtime.shutdown(Duration::from_secs(5))?;
/// # Ok::<_, ironcliw::Error>(())
/// ```
pub struct Recipient<M: Message> {
    to: Arc<dyn Accept<M>>,
}

impl<M: Message> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Self { to: self.to.clone() }
    }
}

impl<M: Message> fmt::Debug for Recipient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.path())
    }
}

impl<M: Message> PartialEq for Recipient<M> {
    fn eq(&self, other: &Self) -> bool {
        self.to.identity() == other.to.identity()
    }
}

impl<M: Message> Eq for Recipient<M> {}

impl<M: Message> Hash for Recipient<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to.identity().hash(state);
    }
}

impl<M: Message> Recipient<M> {
    /// As [`Address::tell`].
    ///
    /// # Errors
    /// Those of [`Address::tell`].
    pub async fn tell(&self, message: M) -> Result<(), SendError<M>> {
        self.to.tell(message).await
    }

    /// As [`Address::try_tell`].
    ///
    /// # Errors
    /// Those of [`Address::try_tell`].
    pub fn try_tell(&self, message: M) -> Result<(), SendError<M>> {
        self.to.try_tell(message)
    }

    /// As [`Address::ask`].
    pub fn ask(&self, message: M) -> RecipientAsk<M> {
        RecipientAsk { to: self.to.clone(), message, deadline: None }
    }

    /// The actor's path.
    pub fn path(&self) -> &str {
        self.to.path()
    }

    /// As [`Address::is_alive`].
    pub fn is_alive(&self) -> bool {
        self.to.is_alive()
    }
}

/// An ask of a recipient that has not been sent yet; awaiting it sends.
#[must_use = "an ask is sent when it is awaited"]
pub struct RecipientAsk<M: Message> {
    to: Arc<dyn Accept<M>>,
    message: M,
    deadline: Option<Duration>,
}

impl<M: Message> RecipientAsk<M> {
    /// As [`Ask::deadline`](crate::Ask::deadline).
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }
}

impl<M: Message> IntoFuture for RecipientAsk<M> {
    type Output = Result<M::Reply, SendError<M>>;
    type IntoFuture = Sent<M::Reply, M>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { to, message, deadline } = self;
        // The deadline begins with the wait, as an ask of an address does.
        Box::pin(async move { to.ask(message, deadline.and_then(Deadline::after)).await })
    }
}
