//! What a handler sees of the world around its actor.

use std::sync::Arc;

use crate::cell::Core;
use crate::observe::Info;
use crate::{Actor, Address, Handle};

/// Passed to every hook and handler of one incarnation.
pub struct Context<A: Actor> {
    core: Arc<Core<A>>,
    runtime: Handle,
    stopping: bool,
}

impl<A: Actor> Context<A> {
    pub(crate) fn new(core: Arc<Core<A>>, runtime: Handle) -> Self {
        Self { core, runtime, stopping: false }
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

    pub(crate) fn info(&self) -> &Arc<Info> {
        &self.core.info
    }
}
