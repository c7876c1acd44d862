//! [`Stash`]: messages that an actor puts off until its state allows them.

use std::collections::VecDeque;
use std::fmt;

use crate::envelope::Told;
use crate::parcel::Parcel;
use crate::{Context, Handler, Message};

/// Messages that came too early, in order: an actor that cannot handle them yet puts them here, and has them handled once
/// it can, before anything that waits in its mailbox.
///
/// It is for messages that are told. The answer to an ask is what `handle` returns, so an asker has had its answer when
/// the message is put off; a handler that wants to answer later awaits what it lacks. Where one actor puts off messages of
/// several types, their common order is kept by one stash of an enum.
///
/// A stash is bounded, as a mailbox is. One that is the actor's own goes with its incarnation; one that is to survive a
/// panic belongs behind an `Arc` that the factory captures, as here:
///
/// ```
/// # use std::time::Duration;
/// use std::sync::{Arc, Mutex};
/// use ironcliw::{Actor, Child, Context, Handler, Message, Runtime, Stash};
///
/// struct Account { is_open: bool, total: u64, early: Arc<Mutex<Stash<Deposit>>> }
/// impl Actor for Account {}
///
/// struct Deposit(u64);
/// impl Message for Deposit { type Reply = (); }
/// impl Handler<Deposit> for Account {
///     async fn handle(&mut self, Deposit(sum): Deposit, _: &mut Context<Self>) {
///         if self.is_open {
///             self.total += sum;
///         } else if let Err(full) = self.early.lock().unwrap().put(Deposit(sum)) {
///             eprintln!("{full}");                       // and `full.0` is the deposit
///         }
///     }
/// }
///
/// struct Open;
/// impl Message for Open { type Reply = (); }
/// impl Handler<Open> for Account {
///     async fn handle(&mut self, _: Open, ctx: &mut Context<Self>) {
///         self.is_open = true;
///         self.early.lock().unwrap().unstash_all(ctx);
///     }
/// }
///
/// struct Total;
/// impl Message for Total { type Reply = u64; }
/// impl Handler<Total> for Account {
///     async fn handle(&mut self, _: Total, _: &mut Context<Self>) -> u64 {
///         self.total
///     }
/// }
///
/// struct Crash;
/// impl Message for Crash { type Reply = (); }
/// impl Handler<Crash> for Account {
///     async fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
///         panic!("before it was open");
///     }
/// }
/// # let runtime = Runtime::builder().workers(1).build()?;
/// # runtime.block_on(async {
/// let early = Arc::new(Mutex::new(Stash::new(100)));
/// let account = Child::new("account", move || Account { is_open: false, total: 0, early: early.clone() });
/// let account = runtime.spawn(account).await?;
/// account.tell(Deposit(40)).await?;
/// account.tell(Deposit(2)).await?;
/// account.ask(Crash).await.unwrap_err();
/// account.tell(Open).await?;
/// assert_eq!(account.ask(Total).await?, 42);
/// # Ok::<_, ironcliw::Error>(())
/// # })?;
/// # runtime.shutdown(Duration::from_secs(5))?;
/// # Ok::<_, ironcliw::Error>(())
/// ```
pub struct Stash<M> {
    kept: VecDeque<M>,
    capacity: usize,
}

/// A message that a full [`Stash`] gives back.
pub struct StashFull<M>(pub M);

impl<M> fmt::Display for StashFull<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stash is full")
    }
}

/// Messages need not be `Debug`.
impl<M> fmt::Debug for StashFull<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StashFull").finish_non_exhaustive()
    }
}

impl<M> std::error::Error for StashFull<M> {}

impl<M> fmt::Debug for Stash<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stash({} of {})", self.kept.len(), self.capacity)
    }
}

impl<M> Stash<M> {
    /// An empty one, for at most this many messages.
    pub fn new(capacity: usize) -> Self {
        Self { kept: VecDeque::new(), capacity }
    }

    /// Puts a message off, behind those that are here.
    ///
    /// # Errors
    /// [`StashFull`], with the message.
    pub fn put(&mut self, message: M) -> Result<(), StashFull<M>> {
        if self.kept.len() >= self.capacity {
            return Err(StashFull(message));
        }
        self.kept.push_back(message);
        Ok(())
    }

    /// Takes the oldest message out, to do something else with it.
    pub fn take(&mut self) -> Option<M> {
        self.kept.pop_front()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many there may be.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Has everything here handled after the message in hand, in order and before what waits in the mailbox, whether that
    /// has room or not.
    ///
    /// From here on they are queued messages like any other: a panic costs the one in hand, and the next incarnation goes
    /// on with the rest; what is left at the final stop is counted as dead letters. The mailbox's depth does not show
    /// them. A handler may put them off again.
    pub fn unstash_all<A>(&mut self, ctx: &mut Context<A>)
    where
        A: Handler<M>,
        M: Message,
    {
        ctx.handle_first(self.kept.drain(..).map(|message| Parcel::new(Told::new(message))).collect());
    }
}
