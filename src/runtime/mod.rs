//! [`Runtime`] owns the threads and the tree; [`Handle`] is what everybody else holds.

mod builder;
mod owner;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle as Timers;
use tokio::sync::{oneshot, watch};
use tracing::error;

use crate::arbiters::allowed_cores;
use crate::cell::{ActorCell, Cell, Core};
use crate::child::{Child, Settings};
use crate::clock;
use crate::deadlines::Deadlines;
use crate::in_hand::InHand;
use crate::mailbox::{Mailbox, Signal};
use crate::names::Names;
use crate::observe::{
    ActorState, Deadlocks, EventLog, Failure, Info, Looks, Section, Snapshot, SupervisionEvent, Wait, cycles,
};
use crate::panics::Panicked;
use crate::registry::Registry;
use crate::supervision::{Command, Supervisor, SupervisorRef, launch};
#[cfg(feature = "testkit")]
use crate::testkit::Faults;
use crate::threads::Threads;
use crate::ties::Ties;
use crate::watchdog::Watchdog;
use crate::{ActixChild, Actor, Address, Error, panics};

pub use builder::Builder;
pub use owner::Runtime;

use builder::OnRootFailure;

/// The longest name of an actor or supervisor, in bytes: paths stay readable and metrics labels short.
const NAME_MAX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Running = 0,
    /// The root used up its restarts.
    Failed = 1,
    Closing = 2,
    Closed = 3,
}

struct Tree {
    root: SupervisorRef,
    /// Where embedders' actors live; made by the first of them.
    user: Option<SupervisorRef>,
}

struct Shared {
    timers: Timers,
    threads: Threads,
    began: Instant,
    registry: Registry,
    names: Arc<Names>,
    events: EventLog,
    deadlines: Deadlines,
    deadlocks: Deadlocks,
    /// At actors and at threads.
    looks: [Looks; 2],
    /// Held while `user` is made, so that two spawns cannot both make it.
    making_user: tokio::sync::Mutex<()>,
    seeds: AtomicU64,
    state: AtomicU8,
    /// How the root ended: exhausted or not.
    ended: watch::Sender<Option<bool>>,
    tree: Mutex<Option<Tree>>,
    sections: RwLock<Vec<(&'static str, Arc<dyn Section>)>>,
    /// Taken by the first who calls it.
    on_root_failure: Mutex<Option<OnRootFailure>>,
    watchdog: Watchdog,
    /// The test kit's.
    #[cfg(feature = "testkit")]
    faults: Option<Faults>,
}

/// A cheap handle to a runtime: to spawn, and to look. It does not keep the runtime alive.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({})", self.state_name())
    }
}

impl Handle {
    /// With its empty tree.
    fn over(shared: Shared) -> Self {
        let handle = Self { shared: Arc::new(shared) };
        let root = launch(&Supervisor::new(""), String::new(), &handle);
        root.begin_as_root();
        *handle.shared.tree.lock() = Some(Tree { root, user: None });
        handle
    }

    /// Spawns an actor under `user` and waits until it has started.
    ///
    /// # Errors
    /// Those of [`SupervisorRef::spawn`].
    pub async fn spawn<A: Actor>(&self, child: Child<A>) -> Result<Address<A>, Error> {
        self.user().await?.spawn(child).await
    }

    /// Spawns many actors of one type under `user`, all of them or none, and waits until all have started.
    ///
    /// # Errors
    /// Those of [`SupervisorRef::spawn_many`].
    pub async fn spawn_many<A: Actor>(
        &self,
        children: impl IntoIterator<Item = Child<A>>,
    ) -> Result<Vec<Address<A>>, Error> {
        self.user().await?.spawn_many(children).await
    }

    /// Spawns an actor that was written for actix 0.13, unchanged, under `user` and waits until it has started.
    ///
    /// # Errors
    /// Those of [`SupervisorRef::spawn`].
    pub async fn spawn_actix<A>(&self, child: ActixChild<A>) -> Result<actix::Addr<A>, Error>
    where
        A: actix::Actor<Context = actix::Context<A>>,
    {
        self.user().await?.spawn_actix(child).await
    }

    /// Starts a supervisor under `user`.
    ///
    /// # Errors
    /// Those of [`SupervisorRef::spawn`].
    pub async fn supervise(&self, spec: Supervisor) -> Result<SupervisorRef, Error> {
        self.user().await?.supervise(spec).await
    }

    /// The top of the tree.
    ///
    /// # Errors
    /// [`Error::RuntimeClosed`] after the shutdown.
    pub fn root(&self) -> Result<SupervisorRef, Error> {
        self.shared.tree.lock().as_ref().map(|tree| tree.root.clone()).ok_or(Error::RuntimeClosed)
    }

    /// The actor at `path`, as `user/counter`, if it is an `A` and has not stopped for good. It may be starting or
    /// restarting: then what it is sent waits for it. Nothing that runs is disturbed by looking.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ironcliw::{Actor, Child, Runtime};
    /// # struct Counter;
    /// # impl Actor for Counter {}
    /// # struct Clock;
    /// # impl Actor for Clock {}
    /// # let runtime = Runtime::builder().workers(1).build()?;
    /// runtime.block_on(runtime.spawn(Child::new("counter", || Counter)))?;
    /// assert!(runtime.find::<Counter>("user/counter").is_some());
    /// assert!(runtime.find::<Clock>("user/counter").is_none());
    /// # runtime.shutdown(Duration::from_secs(5))?;
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub fn find<A: Actor>(&self, path: &str) -> Option<Address<A>> {
        self.shared.registry.find(path)
    }

    /// Lets an actor be found by a name of its choice, whatever its path. The name survives restarts and is free again
    /// when the actor has ended for good. An actor may have several; to give it one that it has changes nothing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ironcliw::{Actor, Child, Runtime};
    /// # struct Counter;
    /// # impl Actor for Counter {}
    /// # struct Clock;
    /// # impl Actor for Clock {}
    /// # let runtime = Runtime::builder().workers(1).build()?;
    /// let counter = runtime.block_on(runtime.spawn(Child::new("counter", || Counter)))?;
    /// runtime.register_name("the counter", &counter)?;
    /// assert_eq!(runtime.whereis("the counter"), Some(counter));
    /// assert!(runtime.whereis::<Clock>("the counter").is_none());
    /// # runtime.shutdown(Duration::from_secs(5))?;
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NameTaken`] if another actor has the name and lives; [`Error::ActorStopped`] if this one does not.
    pub fn register_name<A: Actor>(&self, name: &str, address: &Address<A>) -> Result<(), Error> {
        self.shared.names.register(name, address)
    }

    /// The actor of that name, if it is an `A` and has not stopped for good.
    pub fn whereis<A: Actor>(&self, name: &str) -> Option<Address<A>> {
        self.shared.names.find(name)
    }

    /// Frees a name, whoever has it, and tells whether a living actor had it.
    pub fn unregister_name(&self, name: &str) -> bool {
        self.shared.names.unregister(name)
    }

    /// The whole tree, read without disturbing it.
    pub fn snapshot(&self) -> Snapshot {
        let cells = self.shared.registry.cells();
        let mut actors: Vec<_> = cells.iter().filter_map(|cell| cell.observe()).collect();
        let mut arbiters = self.shared.threads.observe();
        let (now, [of_actors, of_arbiters]) = (Instant::now(), &self.shared.looks);
        of_actors.take(now, actors.iter_mut().map(|one| (one.path.as_str(), one.busy_s, &mut one.busy_ratio)));
        of_arbiters.take(now, arbiters.iter_mut().map(|one| (one.name.as_str(), one.busy_s, &mut one.busy_ratio)));
        let waits: Vec<Wait> = cells.iter().flat_map(|cell| cell.info().waits()).collect();
        let root = self.root().ok();
        Snapshot {
            state: self.state_name(),
            uptime_s: clock::since(self.shared.began).as_secs_f64(),
            cores: allowed_cores().to_vec(),
            restarts: self.shared.registry.restarts(),
            dead_letters: self.shared.registry.buried() + actors.iter().map(|actor| actor.dead_letters).sum::<u64>(),
            supervisors: root
                .iter()
                .filter_map(Cell::observe_supervisor)
                .chain(cells.iter().filter_map(|cell| cell.observe_supervisor()))
                .collect(),
            actors,
            arbiters,
            lost_threads: self.shared.threads.lost(),
            deadlocks: cycles(&waits),
            deadlocks_seen: self.shared.deadlocks.seen(),
            waits,
            events: self.shared.events.recent(),
        }
    }

    /// What has happened since somebody has `seen` so many supervision events (0 at first): how many there are by now, and those
    /// that are new. Who looks too rarely misses some: the last 256 are kept.
    pub fn events_after(&self, seen: u64) -> (u64, Vec<SupervisionEvent>) {
        self.shared.events.after(seen)
    }

    /// Calls `act` whenever an incarnation of any actor has failed: after its state was dropped, and before it is started
    /// again. So what is of the incarnation that failed can be told from what the next one makes. It is called on the
    /// thread of the actor's supervisor and must be short; one that panics is logged. It is kept until the [`Runtime`] is
    /// dropped.
    pub fn on_failure(&self, act: impl Fn(Failure<'_>) + Send + Sync + 'static) {
        self.shared.events.on_failure(Arc::new(act));
    }

    /// Adds what a subsystem has to show to snapshots and to the endpoint. A later one of the same name takes its place.
    /// It is kept until the [`Runtime`] is dropped, and so may hold a handle.
    pub fn register(&self, name: &'static str, section: Arc<dyn Section>) {
        let mut sections = self.shared.sections.write();
        sections.retain(|(other, _)| *other != name);
        sections.push((name, section));
    }

    /// What the subsystems have registered, in the order they did.
    pub fn sections(&self) -> Vec<(&'static str, Arc<dyn Section>)> {
        self.shared.sections.read().clone()
    }

    /// Whether the tree stands: neither failed nor closing.
    pub fn is_ready(&self) -> bool {
        self.state() == State::Running
    }

    /// Runs a future on the runtime's own clock thread. For waiting and forwarding; computing there delays every timer.
    pub fn spawn_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.timers.spawn(task);
    }

    /// Calls `act` after `delay`, on the runtime's own clock thread: something short, such as giving up on an answer.
    pub fn call_later(&self, delay: Duration, act: impl FnOnce() + Send + 'static) {
        self.shared.timers.spawn(async move {
            tokio::time::sleep(delay).await;
            act();
        });
    }

    /// Runs a future to its end on the calling thread. Must not be called from async code.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        #[cfg(feature = "testkit")]
        assert!(self.shared.faults.is_none(), "a test runtime is driven by `TestRuntime::block_on`");
        self.shared.timers.block_on(future)
    }

    /// Stops the tree, not the threads.
    pub(crate) fn drain(&self, bound: Duration) -> impl Future<Output = ()> + Send + use<> {
        self.shared.state.store(State::Closing as u8, Ordering::Release);
        let mut ended = self.shared.ended.subscribe();
        let root = self.shared.tree.lock().take().map(|tree| tree.root);
        async move {
            let Some(root) = root else { return };
            if root.command(Command::Stop { signal: Signal::Drain, bound }) {
                let _ = ended.wait_for(Option::is_some).await;
            }
        }
    }

    /// After the drain: nothing is left to run.
    #[cfg(feature = "testkit")]
    pub(crate) fn close_in_place(&self) -> Vec<String> {
        self.shared.state.store(State::Closed as u8, Ordering::Release);
        self.shared.threads.join_all(clock::now())
    }

    /// The sections may hold handles, which hold them: the circle ends here. Their own `Drop` must not meet the lock.
    pub(crate) fn forget_sections(&self) {
        let sections = std::mem::take(&mut *self.shared.sections.write());
        let on_root_failure = self.shared.on_root_failure.lock().take();
        drop((sections, on_root_failure));
    }

    fn state(&self) -> State {
        match self.shared.state.load(Ordering::Acquire) {
            0 => State::Running,
            1 => State::Failed,
            2 => State::Closing,
            _ => State::Closed,
        }
    }

    fn state_name(&self) -> &'static str {
        match self.state() {
            State::Running => "running",
            State::Failed => "failed",
            State::Closing => "closing",
            State::Closed => "closed",
        }
    }

    /// The supervisor of embedders' actors, which is made when it is first needed.
    ///
    /// # Errors
    /// [`Error::RuntimeClosed`] after the shutdown.
    pub async fn user(&self) -> Result<SupervisorRef, Error> {
        if let Some(user) = self.present_user() {
            return Ok(user);
        }
        // On a task of its own: a spawner that stops waiting leaves neither a lock behind nor half a supervisor.
        let (handle, (reply, made)) = (self.clone(), oneshot::channel());
        self.spawn_task(async move {
            let _ = reply.send(handle.make_user().await);
        });
        made.await.unwrap_or(Err(Error::RuntimeClosed))
    }

    async fn make_user(&self) -> Result<SupervisorRef, Error> {
        let _making = self.shared.making_user.lock().await;
        if let Some(user) = self.present_user() {
            return Ok(user);
        }
        let user = self.root()?.supervise(Supervisor::new("user")).await?;
        if let Some(tree) = self.shared.tree.lock().as_mut() {
            tree.user = Some(user.clone());
        }
        Ok(user)
    }

    /// `user`, unless it has not been made or has been stopped.
    fn present_user(&self) -> Option<SupervisorRef> {
        let tree = self.shared.tree.lock();
        tree.as_ref()?.user.clone().filter(|user| user.info().state() != ActorState::Stopped)
    }

    /// What to say of a supervisor that takes no more children.
    pub(crate) fn gone(&self, path: &str) -> Error {
        if self.is_ready() { Error::ActorStopped { path: path.to_owned() } } else { Error::RuntimeClosed }
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.shared.timers
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    pub(crate) fn events(&self) -> &EventLog {
        &self.shared.events
    }

    pub(crate) fn deadlines(&self) -> &Deadlines {
        &self.shared.deadlines
    }

    pub(crate) fn deadlocks(&self) -> &Deadlocks {
        &self.shared.deadlocks
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.shared.threads
    }

    pub(crate) fn watchdog(&self) -> &Watchdog {
        &self.shared.watchdog
    }

    #[cfg(feature = "testkit")]
    pub(crate) fn faults(&self) -> Option<&Faults> {
        self.shared.faults.as_ref()
    }

    pub(crate) fn next_seed(&self) -> u64 {
        self.shared.seeds.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn root_ended(&self, exhausted: bool) {
        if exhausted {
            let (from, to) = (State::Running as u8, State::Failed as u8);
            let changed = self.shared.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
            if changed.is_ok() {
                self.tell_root_failure();
            }
        }
        self.shared.ended.send_replace(Some(exhausted));
    }

    fn tell_root_failure(&self) {
        let Some(act) = self.shared.on_root_failure.lock().take() else { return };
        let last = self.snapshot();
        let told = std::thread::Builder::new().name("ironcliw-failed".to_owned()).spawn(move || {
            if let Err(Panicked(reason)) = panics::catch(|| act(last)) {
                error!(reason, "the callback for the root's failure panicked");
            }
        });
        if let Err(reason) = told {
            error!(%reason, "there is no thread to tell the root's failure on");
        }
    }

    /// Joins a parent's path and a child's name, which must be usable in a path.
    pub(crate) fn child_path(&self, parent: &str, name: &str) -> Result<String, Error> {
        let usable = !name.is_empty() && name.len() <= NAME_MAX && !name.contains(|c: char| c == '/' || c.is_control());
        // As long as it is to stay: it is kept as it is.
        let path = if parent.is_empty() { name.to_owned() } else { [parent, name].join("/") };
        if usable {
            Ok(path)
        } else {
            let reason = format!("a name has 1 to {NAME_MAX} bytes, no '/' and no control characters, not {name:?}");
            Err(Error::StartFailed { path, reason })
        }
    }

    /// Runs an actor with nothing around it, on the thread of another: see `cell/bare.rs`.
    #[cfg(feature = "bench-internals")]
    #[doc(hidden)]
    pub fn spawn_unsupervised<A: Actor>(&self, child: Child<A>, beside: &Address<impl Actor>) -> Address<A> {
        let home = beside.core.arbiter.lock().clone().expect("the other actor lives");
        let core = self.make_core(&child.settings, "bare".to_owned());
        home.spawn(crate::cell::bare::newcomer(core.clone(), child.factory));
        Address { core }
    }

    fn make_core<A: Actor>(&self, settings: &Settings, path: String) -> Arc<Core<A>> {
        Arc::new(Core {
            mailbox: Mailbox::new(settings.capacity, settings.overflow),
            info: Arc::new(Info::new(path, std::any::type_name::<A>)),
            in_hand: InHand::default(),
            ties: Ties::default(),
            arbiter: Mutex::new(None),
            runtime: self.clone(),
        })
    }

    pub(crate) fn make_cell<A: Actor>(
        &self,
        child: Child<A>,
        path: String,
    ) -> Result<(Address<A>, Arc<dyn Cell>), Error> {
        if self.state() != State::Running {
            return Err(Error::RuntimeClosed);
        }
        let core = self.make_core(&child.settings, path);
        let Settings { shutdown: bound, placement, niceness, patience, .. } = child.settings;
        let cell = ActorCell { core: core.clone(), factory: child.factory, bound, placement, niceness, patience };
        Ok((Address { core }, Arc::new(cell)))
    }
}
