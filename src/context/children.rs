//! Children of an actor: they live under a supervisor of the incarnation's own, its *nest*, and end with it.
//!
//! The nest is nobody's child. The incarnation itself stops it as its last act, before its supervisor hears of the end, so
//! the children are gone before the next incarnation begins. Where an incarnation cannot do so, because its thread is lost
//! or its bound is over, the nest stays among the actor's ties: it is told to hurry, and the next incarnation waits for it.
//! A nest that has used up its restarts makes the incarnation fail, for the supervisor above to deal with.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::cell::{Cell, Core};
use crate::links::Linked;
use crate::mailbox::{Claim, Signal};
use crate::observe::ActorState;
use crate::supervision::{Command, Report, launch};
use crate::{Actor, Address, Child, Error, Handle, Supervisor, SupervisorRef};

/// The supervisor of one incarnation's children.
#[derive(Clone)]
pub(crate) struct Nest {
    /// The incarnation's.
    pub(crate) claim: Claim,
    supervisor: SupervisorRef,
}

impl Nest {
    fn open<A: Actor>(core: &Arc<Core<A>>, claim: Claim, runtime: &Handle) -> Self {
        // It has the actor's own path, so that the children's follow from that.
        let supervisor = launch(&Supervisor::new(""), core.info.path().to_owned(), runtime);
        let (report, mut heard) = Report::to_owner();
        supervisor.command(Command::Begin(Some(report)));
        let number = runtime.registry().show(Arc::new(supervisor.clone()));
        let shown = Shown { runtime: runtime.clone(), number };
        let (nest, core) = (supervisor.clone(), core.clone());
        runtime.spawn_task(async move {
            while let Some(command) = heard.recv().await {
                if let Command::Exited { reason, .. } = command {
                    if reason.is_failure() {
                        core.doom(Some(claim), reason);
                    }
                    nest.seal();
                }
            }
            nest.info().end().await;
            drop(shown);
        });
        Self { claim, supervisor }
    }

    /// Tells the children to end, the last started first, within `bound`. A later call can only shorten it.
    pub(crate) fn stop(&self, bound: Duration) {
        self.supervisor.command(Command::Stop { signal: Signal::Drain, bound });
    }

    /// Ends when the last of them has.
    pub(crate) async fn end(&self) {
        self.supervisor.info().end().await;
    }
}

/// A nest in the registry, which must not keep it: it holds the runtime.
struct Shown {
    runtime: Handle,
    number: u64,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.runtime.registry().hide(self.number);
    }
}

impl<A: Actor> Context<A> {
    /// Spawns a child of this actor at `<its path>/<the child's name>`, and waits until it has started.
    ///
    /// Children live with the incarnation that spawned them. When it ends, by whatever reason, they handle what is queued
    /// for them and end, the last started first, before the actor is started again; `started` spawns them anew. All of
    /// that has the actor's own shutdown bound. In between they are restarted one for one; more than 5 restarts in 10
    /// seconds are a failure of the actor. [`Context::supervise`] is for other rules.
    ///
    /// # Errors
    /// Those of [`SupervisorRef::spawn`]. [`Error::ActorStopped`] or [`Error::ActorRestarting`], with this actor's path,
    /// if it has been told to end.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use ironcliw::{Actor, Address, Child, Context, Runtime, StartError};
    ///
    /// struct Worker;
    /// impl Actor for Worker {}
    ///
    /// #[derive(Default)]
    /// struct Boss { workers: Vec<Address<Worker>> }
    /// impl Actor for Boss {
    ///     async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
    ///         for n in 0..2 {
    ///             self.workers.push(ctx.spawn_child(Child::new(format!("worker-{n}"), || Worker)).await?);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let runtime = Runtime::builder().workers(1).build()?;
    /// runtime.block_on(runtime.spawn(Child::new("boss", Boss::default)))?;
    /// assert!(runtime.find::<Worker>("user/boss/worker-1").is_some());
    /// # runtime.shutdown(Duration::from_secs(5))?;
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub async fn spawn_child<B: Actor>(&mut self, child: Child<B>) -> Result<Address<B>, Error> {
        self.nest()?.spawn(child).await
    }

    /// Starts a supervisor of children of this actor, at `<its path>/<the supervisor's name>`, with a strategy and a budget
    /// of its own. It ends with this incarnation, as children do: see [`Context::spawn_child`].
    ///
    /// # Errors
    /// Those of [`Context::spawn_child`].
    pub async fn supervise(&mut self, spec: Supervisor) -> Result<SupervisorRef, Error> {
        self.nest()?.supervise(spec).await
    }

    /// Stops a child of this incarnation for good, by its path, and waits until it is gone: see
    /// [`SupervisorRef::stop_child`].
    pub async fn stop_child(&mut self, path: &str) {
        let nest = self.core.ties.look(|bonds| bonds.nest.clone()).filter(|nest| nest.claim == self.claim());
        if let Some(nest) = nest {
            nest.supervisor.stop_child(path).await;
        }
    }

    fn nest(&self) -> Result<SupervisorRef, Error> {
        let core = &self.core;
        if core.info.is_final() {
            return Err(self.core.runtime.gone(core.info.path()));
        }
        if core.info.state() == ActorState::Restarting || !self.is_present() {
            return Err(Error::ActorRestarting { path: core.info.path().to_owned() });
        }
        if !self.core.runtime.is_ready() {
            return Err(Error::RuntimeClosed);
        }
        let present = core.ties.look(|bonds| bonds.nest.clone()).filter(|nest| nest.claim == self.claim());
        // Nobody else makes one under this claim.
        let nest = present.unwrap_or_else(|| {
            let nest = Nest::open(core, self.claim(), &self.core.runtime);
            core.ties.change(|bonds| bonds.nest = Some(nest.clone()));
            nest
        });
        Ok(nest.supervisor)
    }
}
