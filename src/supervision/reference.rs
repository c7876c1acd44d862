//! What others hold of a supervisor: embedders, to spawn children; its own supervisor, as a child among others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::bounds::UNBOUNDED;
use super::command::{Adoption, Command, Newcomers, Report};
use super::info::SupervisorInfo;
use super::spec::{AutoShutdown, Supervisor};
use super::step::Policy;
use super::supervisor::launch;
use crate::actix_actor::ActixCell;
use crate::arbiters::{Arbiter, HandOver};
use crate::cell::Cell;
use crate::child::Child;
use crate::mailbox::Signal;
use crate::observe::{ActorSnapshot, Info, SupervisorSnapshot};
use crate::pulse::Beat;
use crate::{ActixChild, Actor, Address, Error, Handle, Restart};

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

    /// What there is to see of the supervisor itself, also once it has ended. Nothing that runs is disturbed by looking.
    pub fn observe(&self) -> SupervisorSnapshot {
        self.shared.observe()
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
    /// [`Error::NameTaken`]; [`Error::UnfitChild`] if it is significant where no child can be, or permanent as well;
    /// [`Error::ActorStopped`] if the supervisor has stopped for good; [`Error::RuntimeClosed`].
    pub async fn spawn<A: Actor>(&self, child: Child<A>) -> Result<Address<A>, Error> {
        let path = self.runtime.child_path(self.path(), &child.name)?;
        let policy = Policy::from(&child.settings);
        self.check(policy, &path)?;
        let (address, cell) = self.runtime.make_cell(child, path)?;
        self.adopt(Newcomers::one(cell, policy)).await?;
        Ok(address)
    }

    /// Spawns many actors of one type and waits until all have started: the supervisor hears of them once, and starts them
    /// side by side. Their addresses are in the order of `children`, and so is their start order.
    ///
    /// All of them or none: if one does not start, those that have are stopped, and the error says which it was and why. A
    /// name that is taken is found out before any of them starts.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ironcliw::{Actor, Child, Runtime, Supervisor};
    /// # struct Worker(usize);
    /// # impl Actor for Worker {}
    /// # let runtime = Runtime::builder().workers(2).build()?;
    /// # runtime.block_on(async {
    /// let pool = runtime.supervise(Supervisor::new("pool")).await?;
    /// let workers = pool.spawn_many((0..1_000).map(|n| Child::new(format!("worker-{n}"), move || Worker(n)))).await?;
    /// assert_eq!(workers[7].path(), "user/pool/worker-7");
    /// # Ok::<_, ironcliw::Error>(())
    /// # })?;
    /// # runtime.shutdown(Duration::from_secs(5))?;
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`SupervisorRef::spawn`], for the first child that has one.
    pub async fn spawn_many<A: Actor>(
        &self,
        children: impl IntoIterator<Item = Child<A>>,
    ) -> Result<Vec<Address<A>>, Error> {
        let children = children.into_iter();
        let (count, _) = children.size_hint();
        let (mut addresses, mut newcomers) = (Vec::with_capacity(count), Newcomers::with_capacity(count));
        for child in children {
            let path = self.runtime.child_path(self.path(), &child.name)?;
            let policy = Policy::from(&child.settings);
            self.check(policy, &path)?;
            let (address, cell) = self.runtime.make_cell(child, path)?;
            addresses.push(address);
            newcomers.push(cell, policy);
        }
        self.adopt(newcomers).await?;
        Ok(addresses)
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
        let policy = Policy::from(&child.settings);
        self.check(policy, &path)?;
        let (addr, cell) = ActixCell::new(child, path, &self.runtime);
        self.adopt(Newcomers::one(Arc::new(cell), policy)).await?;
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
        let Supervisor { restart, backoff, significant, .. } = spec;
        let policy = Policy { restart, backoff, significant, bound: UNBOUNDED };
        self.check(policy, &path)?;
        let below = launch(&spec, path, &self.runtime);
        self.adopt(Newcomers::one(Arc::new(below.clone()), policy)).await?;
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

    /// As OTP does, refuses what could only be a mistake.
    fn check(&self, policy: Policy, path: &str) -> Result<(), Error> {
        let reason = match (policy.significant, policy.restart, self.shared.auto_shutdown) {
            (false, _, _) => return Ok(()),
            (true, Restart::Permanent, _) => "a permanent child never ends, so it cannot be significant",
            (true, _, AutoShutdown::Never) => "it is significant, and its supervisor's `auto_shutdown` is `Never`",
            (true, _, AutoShutdown::AnySignificant | AutoShutdown::AllSignificant) => return Ok(()),
        };
        Err(Error::UnfitChild { path: path.to_owned(), reason })
    }

    async fn adopt(&self, newcomers: Newcomers) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let gone = || Err(self.runtime.gone(self.path()));
        if self.command(Command::Add(Adoption { newcomers, reply })) {
            answer.await.unwrap_or_else(|_| gone())
        } else {
            gone()
        }
    }
}

/// A supervisor is a child of the supervisor above it.
impl Cell for SupervisorRef {
    fn info(&self) -> &Arc<Info> {
        &self.shared.info
    }

    fn start(self: Arc<Self>, report: Report, _: &mut HandOver) {
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
