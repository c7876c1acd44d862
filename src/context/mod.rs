//! What a handler sees of the world around its actor: what it may set going for the time of one incarnation.

mod children;
mod links;
mod streams;
mod tasks;
mod timers;

use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use children::Nest;
pub use links::Link;
pub use streams::{Attached, StreamEnd};
pub use tasks::TaskHandle;
use tasks::Tasks;
pub use timers::TimerHandle;

use crate::cell::Core;
use crate::mailbox::{Claim, Lease};
use crate::parcel::Parcel;
use crate::reply::drop_unwanted;
use crate::{Actor, Address, Handle};

/// Passed to every hook and handler of one incarnation.
pub struct Context<A: Actor> {
    core: Arc<Core<A>>,
    /// The incarnation's right to the mailbox.
    lease: Arc<Lease>,
    stopping: bool,
    /// There may be messages that go before the mailbox's.
    has_first: bool,
    /// Timers, watches, streams and what handlers have spawned: they end with the incarnation; `started` renews them.
    tasks: Tasks,
}

impl<A: Actor> Context<A> {
    pub(crate) fn new(core: Arc<Core<A>>, lease: Arc<Lease>) -> Self {
        // Those that an earlier incarnation left.
        let has_first = core.has_first();
        Self { core, lease, stopping: false, has_first, tasks: Tasks::default() }
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
        &self.core.runtime
    }

    /// Ends this incarnation after the message in hand, as a normal stop: a permanent child is started again, any other
    /// is finished, and what is still queued for it is answered with `ActorStopped`.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Queues these before everything else.
    pub(crate) fn handle_first(&mut self, parcels: VecDeque<Parcel<A>>) {
        self.has_first |= !parcels.is_empty();
        self.core.put_first(parcels);
    }

    /// The next of those that go before the mailbox's.
    pub(crate) fn next_first(&mut self) -> Option<Parcel<A>> {
        if !self.has_first {
            return None;
        }
        let next = self.core.take_first();
        self.has_first = next.is_some();
        next
    }

    /// Whether there may be one.
    #[inline]
    pub(crate) fn has_first(&self) -> bool {
        self.has_first
    }

    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    fn claim(&self) -> Claim {
        self.lease.claim()
    }

    /// Whether this incarnation may still speak for its actor.
    fn is_present(&self) -> bool {
        !self.lease.is_revoked()
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

    /// What the test kit has in store for the message that is about to be handled: a delay, the loss of the thread, a panic.
    #[cfg(feature = "testkit")]
    pub(crate) async fn meet_faults(&self) {
        self.core.info.set_message_in_hand(true);
        let Some(faults) = self.core.runtime.faults() else { return };
        let trouble = faults.on_message(self.path());
        if let Some(delay) = trouble.delay {
            tokio::time::sleep(delay).await;
        }
        if trouble.loses_thread {
            if let Some(arbiter) = self.core.arbiter.lock().as_ref() {
                arbiter.stop();
            }
            std::future::pending().await
        }
        if let Some(reason) = trouble.panic {
            panic!("{reason}");
        }
    }

    /// The same for `started`.
    #[cfg(feature = "testkit")]
    pub(crate) fn meet_start_faults(&self) {
        if let Some(reason) = self.core.runtime.faults().and_then(|faults| faults.on_start(self.path())) {
            panic!("{reason}");
        }
    }

    /// Why the factory is to fail.
    #[cfg(feature = "testkit")]
    pub(crate) fn factory_fault(&self) -> Option<String> {
        self.core.runtime.faults()?.on_factory(self.path())
    }

    /// Ends the timers, watches, streams and what handlers have spawned.
    pub(crate) fn end(&mut self) {
        self.tasks = Tasks::default();
    }
}
