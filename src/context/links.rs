//! Failing together with another actor, or hearing of its failures.

use std::fmt;
use std::sync::{Arc, Weak};

use tokio::sync::mpsc::unbounded_channel;
use tracing::error;

use super::Context;
use crate::links::{self, Linked, Then};
use crate::panics::{self, Panicked};
use crate::{Actor, Address, ExitReason, Handler, Message};

/// A link that [`Context::link`] or [`Context::trap`] has made. Dropping it does not unlink.
#[derive(Clone)]
pub struct Link {
    id: u64,
    ends: [Weak<dyn Linked>; 2],
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.ends.iter().filter_map(|end| Some(end.upgrade()?.info().path().to_owned())).collect();
        write!(f, "Link({})", paths.join(", "))
    }
}

impl Link {
    /// Ends the link: a failure from now on is each actor's own. One that is on its way already is not called back.
    pub fn unlink(&self) {
        for end in self.ends.iter().filter_map(Weak::upgrade) {
            links::remove(end.as_ref(), self.id);
        }
    }
}

impl<A: Actor> Context<A> {
    /// Links this incarnation to another actor, whoever supervises that: when an incarnation of the one fails, the other
    /// one fails as well, with [`ExitReason::Linked`]. Each one's supervisor then does what it does about failures. The
    /// message in hand gets its actor's shutdown bound and then `ActorRestarting`, and queues are kept.
    ///
    /// A panic is a failure, and so are a start that failed, a lost thread and a failure that came by another link. The
    /// other's end for good fails this actor whatever its reason, and at once if it is over already; while the runtime
    /// shuts down nobody fails for that. A restart by a supervisor and a normal stop of this actor are no failures.
    ///
    /// The link is used up by the first failure, and ends with this incarnation: as with timers, `started` links again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use ironcliw::{Actor, Address, Child, Context, Runtime, StartError};
    ///
    /// struct Connection;
    /// impl Actor for Connection {}
    ///
    /// /// Knows what the other side of the connection knows, and so is worth as little as that without it.
    /// struct Session { connection: Address<Connection> }
    /// impl Actor for Session {
    ///     async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
    ///         ctx.link(&self.connection);
    ///         Ok(())
    ///     }
    /// }
    /// # let runtime = Runtime::builder().workers(1).build()?;
    /// # runtime.block_on(async {
    /// let connection = runtime.spawn(Child::new("connection", || Connection)).await?;
    /// runtime.spawn(Child::new("session", move || Session { connection: connection.clone() })).await?;
    /// # Ok::<_, ironcliw::Error>(())
    /// # })?;
    /// # runtime.shutdown(Duration::from_secs(5))?;
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub fn link<B: Actor>(&mut self, other: &Address<B>) -> Link {
        self.tie(other, Then::Fail(Some(self.claim())))
    }

    /// Links as [`Context::link`] does, but instead of failing with the other one this actor is told `make(reason)`: each
    /// time an incarnation of the other fails, and when it has ended for good. The other one does fail with this.
    ///
    /// The message waits for room where the mailbox does. It is left out if `make` panics.
    pub fn trap<B, M>(&mut self, other: &Address<B>, make: impl Fn(ExitReason) -> M + 'static) -> Link
    where
        A: Handler<M>,
        B: Actor,
        M: Message,
    {
        // Failures are noticed on other threads; `make` runs on this one.
        let (tell, mut told) = unbounded_channel();
        let address = self.address();
        self.tasks.spawn(self.core.info.path(), async move {
            while let Some(reason) = told.recv().await {
                match panics::catch(|| make(reason)) {
                    // Refused only if the actor has stopped: then nobody is left to care.
                    Ok(message) => drop(address.tell(message).await),
                    Err(Panicked(reason)) => {
                        error!(path = address.path(), reason, "a link's message could not be made");
                    }
                }
            }
        });
        self.tie(other, Then::Tell(tell))
    }

    fn tie<B: Actor>(&self, other: &Address<B>, then: Then) -> Link {
        let (own, other): (Arc<dyn Linked>, Arc<dyn Linked>) = (self.core.clone(), other.core.clone());
        let ends = [Arc::downgrade(&own), Arc::downgrade(&other)];
        // An incarnation whose thread returns late is over already.
        let id = if self.is_present() { links::link(&own, &other, then) } else { u64::MAX };
        Link { id, ends }
    }
}
