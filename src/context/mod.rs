//! What a handler sees of the world around its actor: what it may set going for the time of one incarnation.

mod children;
mod links;
mod streams;
mod tasks;
mod timers;

use std::sync::Arc;

pub(crate) use children::Nest;
pub use links::Link;
pub use streams::{Attached, StreamEnd};
use tasks::Tasks;
pub use timers::TimerHandle;

use crate::cell::Core;
use crate::mailbox::Claim;
use crate::{Actor, Address, Handle};

/// Passed to every hook and handler of one incarnation.
pub struct Context<A: Actor> {
    core: Arc<Core<A>>,
    /// The incarnation's right to the mailbox.
    claim: Claim,
    runtime: Handle,
    stopping: bool,
    /// Timers, watches and streams: they end with the incarnation; `started` renews them.
    tasks: Tasks,
}

impl<A: Actor> Context<A> {
    pub(crate) fn new(core: Arc<Core<A>>, claim: Claim, runtime: Handle) -> Self {
        Self { core, claim, runtime, stopping: false, tasks: Tasks::default() }
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

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    pub(crate) fn core(&self) -> &Arc<Core<A>> {
        &self.core
    }

    pub(crate) fn claim(&self) -> Claim {
        self.claim
    }
}
