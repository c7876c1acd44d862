//! [`Probe`]: an actor that remembers what it was sent, for a test to ask about.

use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::{Actor, Address, Backoff, Child, Context, Error, Handler, Message, Overflow, Recipient, SupervisorRef};

/// How long [`Probe::expect`] waits.
const WAIT: Duration = Duration::from_secs(60);

/// Messages a probe's own mailbox holds: a test that sends more at once than that is about overflow.
const MAILBOX: usize = 4096;

struct Heard<M> {
    messages: Mutex<VecDeque<M>>,
    came: Notify,
}

type Reply<M> = dyn Fn(&M) -> <M as Message>::Reply + Send + Sync;

/// The actor behind a [`Probe`].
pub struct ProbeActor<M: Message> {
    heard: Arc<Heard<M>>,
    reply: Arc<Reply<M>>,
}

impl<M: Message> Actor for ProbeActor<M> {}

impl<M: Message> Handler<M> for ProbeActor<M> {
    async fn handle(&mut self, message: M, _: &mut Context<Self>) -> M::Reply {
        let reply = (self.reply)(&message);
        self.heard.messages.lock().push_back(message);
        self.heard.came.notify_one();
        reply
    }
}

/// An actor that stands where another one would and remembers what it is sent. [`TestRuntime::probe`] makes one.
///
/// [`TestRuntime::probe`]: super::TestRuntime::probe
pub struct Probe<M: Message> {
    address: Address<ProbeActor<M>>,
    heard: Arc<Heard<M>>,
}

impl<M: Message> fmt::Debug for Probe<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probe({}, {} heard)", self.address.path(), self.heard.messages.lock().len())
    }
}

impl<M: Message> Probe<M> {
    /// One below `parent`, which may be of any runtime, that answers with what `reply` makes of a message. A panic of
    /// `reply` is the probe's, as of any actor.
    ///
    /// # Errors
    /// Those of [`SupervisorRef::spawn`].
    pub async fn replying(
        parent: &SupervisorRef,
        name: &str,
        reply: impl Fn(&M) -> M::Reply + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let heard = Arc::new(Heard { messages: Mutex::default(), came: Notify::new() });
        let (kept, reply): (_, Arc<Reply<M>>) = (heard.clone(), Arc::new(reply));
        let child = Child::new(name, move || ProbeActor { heard: kept.clone(), reply: reply.clone() });
        let address = parent.spawn(child.backoff(Backoff::NONE).mailbox(MAILBOX, Overflow::Block)).await?;
        Ok(Self { address, heard })
    }

    /// Where it can be reached.
    pub fn address(&self) -> Address<ProbeActor<M>> {
        self.address.clone()
    }

    /// The same for whoever wants to know no more than that it takes `M`.
    pub fn recipient(&self) -> Recipient<M> {
        self.address.recipient()
    }

    /// The next message: one that has come, or the first that comes within a minute.
    ///
    /// # Panics
    /// If none does.
    #[track_caller]
    pub fn expect(&self) -> impl Future<Output = M> {
        self.expect_within(WAIT)
    }

    /// The same within `limit`.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn expect_within(&self, limit: Duration) -> impl Future<Output = M> {
        let place = Location::caller();
        async move {
            let next = timeout(limit, self.next()).await;
            next.unwrap_or_else(|_| panic!("{} heard nothing within {limit:?} ({place})", self.address.path()))
        }
    }

    /// Waits for `time`, in which no message may come; nor may one be left from before.
    ///
    /// # Panics
    /// If there is one.
    #[track_caller]
    pub fn expect_none_within(&self, time: Duration) -> impl Future<Output = ()> {
        let place = Location::caller();
        async move {
            if timeout(time, self.next()).await.is_ok() {
                panic!("{} heard something within {time:?} ({place})", self.address.path());
            }
        }
    }

    /// Takes what has come and was not yet expected, in order.
    pub fn received(&self) -> Vec<M> {
        self.heard.messages.lock().drain(..).collect()
    }

    async fn next(&self) -> M {
        loop {
            // Its own statement: the lock is not held while waiting.
            let next = self.heard.messages.lock().pop_front();
            match next {
                Some(message) => return message,
                // A message that came since has left a permit.
                None => self.heard.came.notified().await,
            }
        }
    }
}
