//! What others hold of a supervisor: embedders, to spawn children; its own supervisor, as a child among others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::spec::Supervisor;
use super::step::Policy;
use super::supervisor::{Adoption, Command, Report, SupervisorInfo, UNBOUNDED, launch};
use crate::actix_actor::ActixCell;
use crate::arbiters::Arbiter;
use crate::cell::Cell;
use crate::child::Child;
use crate::mailbox::Signal;
use crate::observe::{ActorSnapshot, Info, SupervisorSnapshot};
use crate::pulse::Beat;
use crate::{ActixChild, Actor, Address, Error, Handle};

/// A running supervisor, to spawn children under.
#[derive(Clone)]
pub struct SupervisorRef {
    to: UnboundedSender<Command>,
    shared: Arc<SupervisorInfo>,
    runtime: Handle,
}

impl std::fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SupervisorRef({}, {})", self.path(), self.shared.info.state())
    }
}

impl SupervisorRef {
    pub(super) fn new(to: UnboundedSender<Command>, shared: Arc<SupervisorInfo>, runtime: Handle) -> Self {
        Self { to, shared, runtime }
    }

    /// The supervisor's path; empty for the root.
    pub fn path(&self) -> &str {
        self.shared.info.path()
    }

    /// The root has no parent: it begins by itself and has nobody to report to.
    pub(crate) fn begin_as_root(&self) {
        self.command(Command::Begin(None));
    }

    pub(crate) fn command(&self, command: Command) -> bool {
        self.to.send(command).is_ok()
    }

    /// Spawns a child and waits until it has started.
    ///
    /// # Errors
    /// [`Error::StartFailed`] with what the factory or `started` said, or the system if it gave no thread;
    /// [`Error::NameTaken`]; [`Error::ActorStopped`] if the supervisor has stopped for good; [`Error::RuntimeClosed`].
    pub async fn spawn<A: Actor>(&self, child: Child<A>) -> Result<Address<A>, Error> {
        let path = self.runtime.child_path(self.path(), &child.name)?;
        let (policy, bound) =
            (Policy { restart: child.settings.restart, backoff: child.settings.backoff }, child.settings.shutdown);
        let (address, cell) = self.runtime.make_cell(child, path)?;
        self.adopt(cell, policy, bound).await?;
        Ok(address)
    }

    /// Spawns an actor that was written for actix 0.13, unchanged, and waits until it has started: until `started` is done
    /// and what it told the context to wait for. It lives until it stops itself or is stopped, whether or not anybody has
    /// its address.
    ///
    /// # Errors
    /// Those of [`SupervisorRef::spawn`].
    pub async fn spawn_actix<A>(&self, child: ActixChild<A>) -> Result<actix::Addr<A>, Error>
    where
        A: actix::Actor<Context = actix::Context<A>>,
    {
        let path = self.runtime.child_path(self.path(), &child.name)?;
        if !self.runtime.is_ready() {
            return Err(Error::RuntimeClosed);
        }
        let (policy, bound) =
            (Policy { restart: child.settings.restart, backoff: child.settings.backoff }, child.settings.shutdown);
        let (addr, cell) = ActixCell::new(child, path, &self.runtime);
        self.adopt(Arc::new(cell), policy, bound).await?;
        Ok(addr)
    }

    /// Starts a supervisor below this one.
    ///
    /// # Errors
    /// Those of [`SupervisorRef::spawn`].
    pub async fn supervise(&self, spec: Supervisor) -> Result<SupervisorRef, Error> {
        let path = self.runtime.child_path(self.path(), &spec.name)?;
        if !self.runtime.is_ready() {
            return Err(Error::RuntimeClosed);
        }
        let below = launch(&spec, path, &self.runtime);
        let policy = Policy { restart: spec.restart, backoff: spec.backoff };
        self.adopt(Arc::new(below.clone()), policy, UNBOUNDED).await?;
        Ok(below)
    }

    /// Stops a child for good: it handles what is queued, within its shutdown bound. Waits until it is gone; a path that
    /// is not a child's is gone already.
    pub async fn stop_child(&self, path: &str) {
        let (done, gone) = oneshot::channel();
        if self.command(Command::Remove { path: path.to_owned(), done }) {
            let _ = gone.await;
        }
    }

    async fn adopt(&self, cell: Arc<dyn Cell>, policy: Policy, bound: Duration) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let adoption = Adoption { cell: cell.clone(), policy, bound, reply };
        let gone = || Err(self.runtime.gone(self.path()));
        let adopted =
            if self.command(Command::Add(adoption)) { answer.await.unwrap_or_else(|_| gone()) } else { gone() };
        if adopted.is_err() {
            cell.seal();
        }
        adopted
    }
}

/// A supervisor is a child of the supervisor above it.
impl Cell for SupervisorRef {
    fn info(&self) -> &Arc<Info> {
        &self.shared.info
    }

    fn start(&self, report: Report) {
        let _ = self.to.send(Command::Begin(Some(report)));
    }

    fn stop(&self, signal: Signal, bound: Duration) {
        let _ = self.to.send(Command::Stop { signal, bound });
    }

    /// Its children have bounds of their own.
    fn halt(&self) {}

    /// It has no thread of its own to lose.
    fn give_up(&self) {}

    fn replace(&self, child: &str, thread: &Arc<Arbiter>, held: Beat) {
        self.command(Command::Replace { path: child.to_owned(), thread: thread.clone(), held });
    }

    fn displace(&self, child: &str, thread: &Arc<Arbiter>) {
        self.command(Command::Displace { path: child.to_owned(), thread: thread.clone() });
    }

    fn seal(&self) -> u64 {
        // Its task answers its children's messages and counts them.
        let _ = self.to.send(Command::Seal);
        0
    }

    fn observe(&self) -> Option<ActorSnapshot> {
        None
    }

    fn observe_supervisor(&self) -> Option<SupervisorSnapshot> {
        Some(self.shared.observe())
    }
}
