//! How a runtime is to be, and how it begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle as Timers;
use tokio::sync::watch;

use super::{Handle, Runtime, Shared, State};
use crate::arbiters::{RuntimeId, SystemThread, allowed_cores};
use crate::deadlines::Deadlines;
use crate::observe::{Deadlocks, EventLog, Looks, Snapshot};
use crate::registry::Registry;
#[cfg(feature = "testkit")]
use crate::testkit::Faults;
use crate::threads::{ThreadSettings, Threads};
use crate::watchdog::Watchdog;
use crate::{Error, clock, panics, watchdog};

/// The longest that a thread spins.
const SPIN_MAX: Duration = Duration::from_millis(100);

/// Called when the root has given up.
pub(super) type OnRootFailure = Arc<dyn Fn(Snapshot) + Send + Sync>;

/// How the runtime is to be.
#[derive(Clone)]
pub struct Builder {
    pub(super) threads: ThreadSettings,
    pub(super) on_root_failure: Option<OnRootFailure>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Builder {
    /// How many worker threads share the actors that are placed anywhere; they are made when first needed. Default: one
    /// for each allowed core.
    pub fn workers(mut self, workers: usize) -> Self {
        self.threads.workers = workers.max(1);
        self
    }

    /// Whether worker and dedicated threads are pinned to a core each. Default: true.
    pub fn pin(mut self, pin: bool) -> Self {
        self.threads.pin = pin;
        self
    }

    /// The niceness of the worker threads, which share the actors that are placed anywhere (Linux; elsewhere it has no
    /// effect). Default: the process's own.
    pub fn worker_niceness(mut self, niceness: i32) -> Self {
        self.threads.worker_niceness = Some(niceness);
        self
    }

    /// The niceness of dedicated threads, unless their actor [says otherwise](crate::Child::niceness) (Linux; elsewhere it has no effect). A positive one lets a latency-bound thread of
    /// the same process, such as an event loop, go first. Default: the process's own.
    pub fn niceness(mut self, niceness: i32) -> Self {
        self.threads.niceness = Some(niceness);
        self
    }

    /// How long a thread whose actors have nothing to do looks for more before it waits for the system to wake it. What comes
    /// meanwhile is handled at once, and its sender needs no call to the system. Zero turns it off. It pauses by itself
    /// where it is of no use, no more threads spin than there are cores, and on a single core none does. Default: 20 µs;
    /// more than 0.1 s is taken for 0.1 s, as a thread that spins hears of its end only when it rests.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.threads.spin = spin.min(SPIN_MAX);
        self
    }

    /// What to do when the root has used up its restarts, and with it everything has stopped: to say so, to end the
    /// process, to build another runtime. It is called once, with the runtime as it then was, on a thread of its own: it
    /// may block and may shut the runtime down. A panic is contained and logged. Default: nothing, beside what
    /// [`Handle::is_ready`] and [`Snapshot::state`] say.
    ///
    /// ```
    /// # use ironcliw::Runtime;
    /// let runtime = Runtime::builder()
    ///     .on_root_failure(|last| eprintln!("gave up after {} restarts", last.restarts))
    ///     .build()?;
    /// # runtime.shutdown(std::time::Duration::from_secs(5))?;
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub fn on_root_failure(mut self, act: impl Fn(Snapshot) + Send + Sync + 'static) -> Self {
        self.on_root_failure = Some(Arc::new(act));
        self
    }

    /// Starts the runtime's threads and its empty tree.
    ///
    /// # Errors
    /// [`Error::Setup`] if a thread could not be made.
    pub fn build(self) -> Result<Runtime, Error> {
        panics::install_hook();
        allowed_cores();
        let id = RuntimeId::next();
        let system = SystemThread::start(id)?;
        let handle = Handle::over(self.shared(id, system.timers().clone()));
        handle.spawn_task(watchdog::keep(handle.clone()));
        Ok(Runtime::over(handle, system))
    }

    /// The same on the current thread, where everything runs when `timers` is driven: for the test kit.
    #[cfg(feature = "testkit")]
    pub(crate) fn build_in_place(mut self, timers: Timers, seed: u64, faults: Faults) -> Handle {
        panics::install_hook();
        self.threads.in_place = true;
        let _context = timers.enter();
        let mut shared = self.shared(RuntimeId::next(), timers.clone());
        (shared.seeds, shared.faults, shared.registry) = (AtomicU64::new(seed), Some(faults), Registry::with_graves());
        Handle::over(shared)
    }

    fn shared(self, id: RuntimeId, timers: Timers) -> Shared {
        let (ended, _) = watch::channel(None);
        let began = clock::now();
        Shared {
            timers,
            threads: Threads::new(id, self.threads),
            began,
            registry: Registry::default(),
            names: Arc::default(),
            events: EventLog::new(),
            deadlines: Deadlines::default(),
            deadlocks: Deadlocks::default(),
            looks: [Looks::new(began), Looks::new(began)],
            making_user: tokio::sync::Mutex::default(),
            seeds: AtomicU64::new(std::process::id().into()),
            state: AtomicU8::new(State::Running as u8),
            ended,
            tree: Mutex::default(),
            sections: RwLock::default(),
            on_root_failure: Mutex::new(self.on_root_failure),
            watchdog: Watchdog::default(),
            #[cfg(feature = "testkit")]
            faults: None,
        }
    }
}
