//! The tree: `memory` (pool, leak) · `scheduler` · `images` (a worker a thread) · `inference` (a child a model replica) ·
//! `ping`, all below the root, in this order.

use std::sync::Arc;
use std::time::Duration;

use ironcliw::{Address, Backoff, Child, Handle, Overflow, Placement, Strategy, Supervisor, allowed_cores};

use crate::image::{ImageWorker, Images, WorkerCounts};
use crate::inference::Inference;
use crate::leak::{LeakTracker, Level, RecorderConfig, Tracker, TrackerConfig};
use crate::ping::Pinger;
use crate::pool::{
    MemorySource, Pool, PoolActor, PoolConfig, PublishedPressure, Reservation, Standing, SystemMemory, Watermarks,
};
use crate::scheduler::{Defaults, Pools, Running, Scheduler, SchedulerActor};
use crate::sections;
use crate::snapshot::Observer;
use crate::{Crash, Error, Result};

/// What the jobs of a worker get when it is stopped, unless whoever stops it sets a tighter bound: closing a runtime does.
pub(crate) const DRAIN: Duration = Duration::from_secs(24 * 3600);

/// The arbiter of the actors that only coordinate.
const CONTROL: Placement = Placement::Shared("control");

/// Restarts that the supervisor of the image workers bears. A worker meets files and frames from outside, so it may crash
/// more often than an actor of ours that only coordinates.
const IMAGE_RESTARTS: (u32, Duration) = (20, Duration::from_secs(10));

/// How the subsystems are to be.
pub struct Config {
    /// Image workers, each on a thread of its own. Default: one for each allowed core.
    pub image_workers: usize,
    /// Threads of the scheduler's pool. Default: one for each allowed core.
    pub scheduler_threads: usize,
    /// Bytes the pool may hold. Default: half of the memory this process may use.
    pub memory_limit: Option<usize>,
    /// Shares of that limit between which the pool settles: see [`PoolConfig::soft`].
    pub memory_watermarks: Watermarks,
    /// How long memory may be of no use before it goes back to the system; `None` is for ever. Default: 10 seconds.
    pub purge_after: Option<Duration>,
    /// Room that is kept for some owners, such as `images`, `inference` or `python`. Default: none.
    pub memory_reservations: Vec<Reservation>,
    /// Which leases carry a record.
    pub leak_level: Level,
    /// What is called a leak.
    pub leaks: TrackerConfig,
    /// Whether the scheduler's threads are pinned.
    pub pin: bool,
    /// The niceness of the scheduler's threads.
    pub niceness: Option<i32>,
    /// What tells how short the machine is of memory; by default the machine and its control groups.
    pub memory_source: Option<Box<dyn MemorySource>>,
    /// Image jobs that may wait for a worker before callers wait for room.
    pub image_queue: usize,
}

impl Default for Config {
    fn default() -> Self {
        let cores = allowed_cores().len();
        let source = SystemMemory::detect().map(|system| Box::new(system) as Box<dyn MemorySource>);
        Self {
            image_workers: cores,
            scheduler_threads: cores,
            memory_limit: None,
            memory_watermarks: Watermarks::default(),
            purge_after: PoolConfig::PURGE_AFTER,
            memory_reservations: Vec::new(),
            leak_level: Level::default(),
            leaks: TrackerConfig::default(),
            pin: true,
            niceness: None,
            memory_source: source,
            image_queue: 4096,
        }
    }
}

/// Image workers a runtime may have: each has a thread of its own.
const IMAGE_WORKERS_MAX: usize = 256;

/// The five subsystems, running under a runtime's root.
#[derive(Clone)]
pub struct Subsystems {
    /// The pool's data plane.
    pub pool: Pool,
    /// The pool's actor.
    pub keeper: Address<PoolActor>,
    /// The pressure that was published last.
    pub pressure: PublishedPressure,
    /// The leak tracker's actor.
    pub leaks: Address<LeakTracker>,
    /// What it tracks, for any thread.
    pub tracker: Tracker,
    /// What looks at the pool and the ledger from outside.
    pub observer: Observer,
    /// The scheduler.
    pub scheduler: Scheduler,
    /// The image workers.
    pub images: Images,
    /// The models.
    pub inference: Inference,
    /// The actor that answers pings.
    pub ping: Address<Pinger>,
}

impl std::fmt::Debug for Subsystems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subsystems").field("scheduler", &self.scheduler).field("images", &self.images).finish()
    }
}

impl Subsystems {
    /// Starts all of them and waits until they run.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a configuration that cannot be, and what a spawn may return.
    ///
    /// ```
    /// use ironcliw::Runtime;
    /// use ironcliw_actors::{Config, Subsystems, ping::Ping};
    /// let runtime = Runtime::new()?;
    /// let answered = runtime.block_on(async {
    ///     let subsystems = Subsystems::start(runtime.handle(), Config::default()).await?;
    ///     subsystems.ping.ask(Ping).await.map_err(ironcliw::Error::from).map_err(ironcliw_actors::Error::from)
    /// });
    /// assert_eq!(answered.unwrap(), 1);
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub async fn start(runtime: &Handle, mut config: Config) -> Result<Self> {
        if !(1..=IMAGE_WORKERS_MAX).contains(&config.image_workers) {
            let count = config.image_workers;
            return Err(Error::invalid(format!("there are 1 to {IMAGE_WORKERS_MAX} image workers, not {count}")));
        }
        let pool = make_pool(&config)?;
        let pools = make_pools(runtime, &config)?;
        let source = config.memory_source.take();
        let tracker = Tracker::new(pool.clone(), config.leaks)?;
        let (keeper, leaks, pressure, observer) = start_memory(runtime, &tracker, &pool, source).await?;
        let scheduler = start_scheduler(runtime, pools).await?;
        let images = start_images(runtime, &config, &pool, &keeper, &scheduler).await?;
        let inference = Inference::new(
            runtime.root()?.supervise(Supervisor::new("inference")).await?,
            pool.clone(),
            scheduler.clone(),
        );
        let answered = Arc::default();
        let pinger = move || Pinger { answered: Arc::clone(&answered) };
        let ping = Child::new("ping", pinger).mailbox(4096, Overflow::Block).placement(CONTROL).backoff(Backoff::NONE);
        let ping = runtime.root()?.spawn(ping).await?;
        let subsystems = Self { pool, keeper, pressure, leaks, tracker, observer, scheduler, images, inference, ping };
        sections::register(runtime, &subsystems);
        Ok(subsystems)
    }

    /// Makes the actor at `path` panic while it handles a message. `answer` is told what the actor's sender is told:
    /// [`ironcliw::Error::ActorPanicked`]. An image worker meets the crash with its next job in hand, if it has one: then the
    /// job's sender is told so, and `answer` gets `()` from the next incarnation.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if no actor of the subsystems has this path.
    pub fn crash(&self, path: &str, answer: Box<dyn ironcliw::ReplySink<()>>) -> Result<()> {
        if let Some(worker) = self.images.arm(path) {
            worker.ask_into(Crash, None, answer);
        } else if path == self.keeper.path() {
            self.keeper.ask_into(Crash, None, answer);
        } else if path == self.leaks.path() {
            self.leaks.ask_into(Crash, None, answer);
        } else if path == self.scheduler.address().path() {
            self.scheduler.address().ask_into(Crash, None, answer);
        } else if path == self.ping.path() {
            self.ping.ask_into(Crash, None, answer);
        } else if let Some(replica) = self.inference.replica(path) {
            replica.ask_into(Crash, None, answer);
        } else {
            return Err(Error::invalid(format!("there is no actor {path:?} to crash")));
        }
        Ok(())
    }
}

fn make_pool(config: &Config) -> Result<Pool> {
    let mut pool = config.memory_limit.map_or_else(PoolConfig::default, PoolConfig::limited);
    pool.soft = config.memory_watermarks;
    pool.purge_after = config.purge_after;
    pool.reservations = config.memory_reservations.clone();
    pool.leaks = RecorderConfig { level: config.leak_level, ..RecorderConfig::default() };
    Pool::new(pool)
}

async fn start_memory(
    runtime: &Handle,
    tracker: &Tracker,
    pool: &Pool,
    source: Option<Box<dyn MemorySource>>,
) -> Result<(Address<PoolActor>, Address<LeakTracker>, PublishedPressure, Observer)> {
    let memory = runtime.root()?.supervise(Supervisor::new("memory").strategy(Strategy::RestForOne)).await?;
    let (pool_of_actor, standing) = (pool.clone(), Arc::new(Standing::new(pool.clone())));
    let pressure = pool.pressure().clone();
    let observer = Observer::new(pool.clone(), tracker.clone(), standing.history().clone());
    // Shared with every incarnation: a restart does not open the system's files anew.
    let source: Option<Arc<dyn MemorySource>> = source.map(Arc::from);
    let factory = move || PoolActor::new(pool_of_actor.clone(), source.clone(), standing.clone());
    let keeper = Child::new("pool", factory).mailbox(1024, Overflow::Block).placement(CONTROL);
    let keeper = memory.spawn(keeper).await?;
    let of_crashes = tracker.clone();
    runtime.on_failure(move |failure| of_crashes.crashed(failure.path, failure.incarnation));
    let (tracker, to_keeper) = (tracker.clone(), keeper.clone());
    let factory = move || LeakTracker::new(tracker.clone(), to_keeper.clone());
    let leaks = memory.spawn(Child::new("leak", factory).mailbox(1024, Overflow::Block).placement(CONTROL)).await?;
    Ok((keeper, leaks, pressure, observer))
}

fn make_pools(runtime: &Handle, config: &Config) -> Result<Running> {
    let Config { scheduler_threads: threads, pin, niceness, .. } = *config;
    Pools::start(runtime, Defaults { threads, pin, niceness }).map(Running::new)
}

async fn start_scheduler(runtime: &Handle, running: Running) -> Result<Scheduler> {
    let pools = running.pools().clone();
    // The factory goes when the actor has ended for good, and the threads with it.
    let child = Child::new("scheduler", move || SchedulerActor::new(running.pools().clone()));
    let address = runtime.root()?.spawn(child.mailbox(4096, Overflow::Block).placement(CONTROL)).await?;
    Ok(Scheduler::new(address, pools))
}

async fn start_images(
    runtime: &Handle,
    config: &Config,
    pool: &Pool,
    keeper: &Address<PoolActor>,
    scheduler: &Scheduler,
) -> Result<Images> {
    let (restarts, within) = IMAGE_RESTARTS;
    let supervisor = runtime.root()?.supervise(Supervisor::new("images").restarts(restarts, within)).await?;
    let mut workers = Vec::with_capacity(config.image_workers);
    for index in 0..config.image_workers {
        let counts = Arc::<WorkerCounts>::default();
        let (pool, keeper, scheduler, seen) = (pool.clone(), keeper.clone(), scheduler.clone(), counts.clone());
        let path = format!("images/{index}");
        let factory = move || ImageWorker::new(&path, pool.clone(), keeper.clone(), scheduler.clone(), seen.clone());
        let child = Child::new(index.to_string(), factory)
            .mailbox(config.image_queue, Overflow::Block)
            .placement(Placement::Dedicated)
            // A job computes for as long as it is large, and closing waits for what is queued as long as it is told to.
            .stuck_after(None)
            .shutdown(DRAIN);
        workers.push((supervisor.spawn(child).await?, counts));
    }
    Ok(Images::new(workers))
}
