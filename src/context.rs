//! What a handler sees of the world around its actor.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing::error;

use crate::cell::Core;
use crate::mailbox::Lease;
use crate::panics::{self, Panicked};
use crate::reply::drop_unwanted;
use crate::{Actor, Address, Error, ExitReason, Handle, Handler, Message};

/// Passed to every hook and handler of one incarnation.
pub struct Context<A: Actor> {
    core: Arc<Core<A>>,
    /// The incarnation's right to the mailbox.
    lease: Arc<Lease>,
    runtime: Handle,
    stopping: bool,
    /// Timers and watches of this incarnation.
    timers: Vec<AbortHandle>,
}

/// Timers and watches end with the incarnation; `started` renews them.
impl<A: Actor> Drop for Context<A> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<A: Actor> Context<A> {
    pub(crate) fn new(core: Arc<Core<A>>, lease: Arc<Lease>, runtime: Handle) -> Self {
        Self { core, lease, runtime, stopping: false, timers: Vec::new() }
    }

    /// The actor's own address.
    pub fn address(&self) -> Address<A> {
        Address { core: self.core.clone() }
    }

    /// The actor's path, as `memory/pool`.
    pub fn path(&self) -> &str {
        self.core.info.path()
    }

    /// How many times the actor has been restarted; 0 in its first incarnation.
    pub fn restarts(&self) -> u64 {
        self.core.info.restarts()
    }

    /// The runtime, to spawn or to look around.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Ends this incarnation after the message in hand, as a normal stop: a permanent child is started again, any other
    /// is finished, and what is still queued for it is answered with `ActorStopped`.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Tells the actor `make()` every `period`, the first time after one, until this incarnation ends. A beat that finds
    /// the mailbox full is left out, and so is one whose `make` panics.
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn every<M>(&mut self, period: Duration, make: impl Fn() -> M + 'static)
    where
        A: Handler<M>,
        M: Message,
    {
        assert!(!period.is_zero(), "an interval needs a period");
        let address = self.address();
        let task = tokio::task::spawn_local(async move {
            let mut beats = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
            beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                beats.tick().await;
                let message = match panics::catch(&make) {
                    Ok(message) => message,
                    Err(Panicked(reason)) => {
                        error!(path = address.path(), reason, "a timer's message could not be made");
                        continue;
                    }
                };
                if address.try_tell(message).is_err_and(|refused| matches!(refused.error, Error::ActorStopped { .. })) {
                    break;
                }
            }
        });
        self.timers.push(task.abort_handle());
    }

    /// Tells the actor `message` once, after `delay`, unless this incarnation ends before.
    pub fn after<M>(&mut self, delay: Duration, message: M)
    where
        A: Handler<M>,
        M: Message,
    {
        let address = self.address();
        let task = tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            // Refused only if the actor has stopped: then nobody is left to care.
            let _ = address.tell(message).await;
        });
        self.timers.retain(|timer| !timer.is_finished());
        self.timers.push(task.abort_handle());
    }

    /// Tells the actor `make(reason)` once the other one has ended for good, unless this incarnation ends before: as with
    /// timers, `started` watches again. The reason is why the other's last incarnation ended; its restarts are not an end.
    /// The message waits for room where the mailbox does. It is left out if `make` panics.
    pub fn watch<B, M>(&mut self, other: &Address<B>, make: impl FnOnce(ExitReason) -> M + 'static)
    where
        A: Handler<M>,
        B: Actor,
        M: Message,
    {
        let (address, stopped) = (self.address(), other.stopped());
        let task = tokio::task::spawn_local(async move {
            let reason = stopped.await;
            match panics::catch(|| make(reason)) {
                // Refused only if the actor has stopped: then nobody is left to care.
                Ok(message) => drop(address.tell(message).await),
                Err(Panicked(reason)) => {
                    error!(path = address.path(), reason, "a watch's message could not be made");
                }
            }
        });
        self.timers.retain(|timer| !timer.is_finished());
        self.timers.push(task.abort_handle());
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Answers the message in hand, unless that was done on behalf of a thread that did not come back in time.
    #[inline]
    pub(crate) fn answer<R: Send + 'static>(&self, answer: R) {
        let in_hand = self.lease.open().and_then(|window| self.core.in_hand.take(&window));
        match in_hand {
            Some(replier) => replier.typed().send(Ok(answer)),
            None => drop_unwanted(answer),
        }
    }

    /// Ends the timers and watches.
    pub(crate) fn end(&mut self) {
        self.timers.drain(..).for_each(|timer| timer.abort());
    }
}
