//! The threads and their counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Serialize;

use crate::{Error, Result};

/// The most threads a pool may have: rayon's own limit is far above what any machine has cores.
const THREADS_MAX: usize = 1024;

/// Counts of a pool, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SchedulerStats {
    /// Jobs that run now.
    pub active_tasks: usize,
    /// Jobs that were taken in.
    pub total_spawned: u64,
    /// Jobs that ended, well or in a panic.
    pub total_completed: u64,
    /// Of these, those that panicked.
    pub total_panicked: u64,
    /// Threads.
    pub active_workers: usize,
    /// Jobs that wait for a thread.
    pub queue_depth: usize,
    /// Seconds that jobs ran, added up over all threads.
    pub busy_s: f64,
    /// Seconds that jobs waited before they ran, added up.
    pub waited_s: f64,
    /// The threads.
    pub workers: Vec<WorkerStats>,
}

/// One thread of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerStats {
    /// The thread's name.
    pub name: String,
    /// The core it was to be pinned to.
    pub wanted_core: Option<usize>,
    /// The core it was found to be pinned to.
    pub pinned_core: Option<usize>,
}

#[derive(Default)]
struct Counts {
    spawned: AtomicU64,
    completed: AtomicU64,
    panicked: AtomicU64,
    active: AtomicUsize,
    busy_ns: AtomicU64,
    waited_ns: AtomicU64,
}

/// A pool of work-stealing threads.
pub struct WorkPool {
    /// `None` once they were told to end.
    threads: RwLock<Option<ThreadPool>>,
    counts: Arc<Counts>,
    workers: Arc<Mutex<Vec<WorkerStats>>>,
}

impl WorkPool {
    /// A pool of so many threads, pinned in turn to `cores` if there are any.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for no or too many threads; [`ironcliw::Error::Setup`] if the system refuses them.
    pub fn new(threads: usize, cores: &[usize], niceness: Option<i32>) -> Result<Self> {
        if !(1..=THREADS_MAX).contains(&threads) {
            return Err(Error::invalid(format!("a pool has 1 to {THREADS_MAX} threads, not {threads}")));
        }
        let wanted = |index: usize| (!cores.is_empty()).then(|| cores[index % cores.len()]);
        let workers: Vec<_> = (0..threads)
            .map(|index| WorkerStats { name: thread_name(index), wanted_core: wanted(index), pinned_core: None })
            .collect();
        let workers = Arc::new(Mutex::new(workers));
        let (found, (settled, ready)) = (workers.clone(), mpsc::channel());
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(thread_name)
            .start_handler(move |index| {
                let pinned = found.lock()[index].wanted_core.filter(|&core| ironcliw::pin_current_thread(core));
                found.lock()[index].pinned_core = pinned;
                if let Some(niceness) = niceness {
                    ironcliw::set_thread_niceness(niceness);
                }
                let _ = settled.send(());
            })
            .build()
            .map_err(|error| ironcliw::Error::Setup { reason: error.to_string() })?;
        // Every thread has reported before anybody can ask.
        ready.iter().take(threads).for_each(drop);
        Ok(Self { threads: RwLock::new(Some(pool)), counts: Arc::default(), workers })
    }

    /// Threads; none after the shutdown.
    pub fn len(&self) -> usize {
        self.threads.read().as_ref().map_or(0, ThreadPool::current_num_threads)
    }

    /// Whether its threads were told to end.
    pub fn is_empty(&self) -> bool {
        self.threads.read().is_none()
    }

    /// Lets the threads end once they have run what is queued. Does not wait for them.
    fn close(&self) {
        drop(self.threads.write().take());
    }

    /// Whether the caller is one of the threads.
    pub(crate) fn is_current_thread(&self) -> bool {
        self.threads.read().as_ref().is_some_and(|threads| threads.current_thread_index().is_some())
    }

    /// Queues a job. A panic in it is caught, counted and logged. `tell` is called with what came of it once it has been
    /// counted, so that whoever is told finds it in the counts. After the shutdown both are dropped.
    pub(crate) fn spawn<T>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
        tell: impl FnOnce(Result<T, String>) + Send + 'static,
    ) {
        let threads = self.threads.read();
        let Some(threads) = threads.as_ref() else { return };
        let counts = self.counts.clone();
        counts.spawned.fetch_add(1, Ordering::Relaxed);
        let queued = Instant::now();
        threads.spawn(move || {
            counts.waited_ns.fetch_add(nanos(queued.elapsed()), Ordering::Relaxed);
            counts.active.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            let outcome = ironcliw::catch_panic(job);
            counts.busy_ns.fetch_add(nanos(began.elapsed()), Ordering::Relaxed);
            counts.active.fetch_sub(1, Ordering::Relaxed);
            if let Err(reason) = &outcome {
                tracing::error!(reason, "a job panicked");
                counts.panicked.fetch_add(1, Ordering::Relaxed);
            }
            counts.completed.fetch_add(1, Ordering::Release);
            if let Err(reason) = ironcliw::catch_panic(move || tell(outcome)) {
                tracing::error!(reason, "a job's answer panicked");
            }
        });
    }

    /// The counts.
    pub fn stats(&self) -> SchedulerStats {
        let counts = &self.counts;
        // Read in this order, so that no job is seen ended before it was seen taken in.
        let completed = counts.completed.load(Ordering::Acquire);
        let active = counts.active.load(Ordering::Acquire);
        let spawned = counts.spawned.load(Ordering::Acquire);
        let waiting = spawned.saturating_sub(completed).saturating_sub(active as u64);
        SchedulerStats {
            active_tasks: active,
            total_spawned: spawned,
            total_completed: completed,
            total_panicked: counts.panicked.load(Ordering::Relaxed),
            active_workers: self.len(),
            queue_depth: usize::try_from(waiting).unwrap_or(usize::MAX),
            busy_s: counts.busy_ns.load(Ordering::Relaxed) as f64 * 1e-9,
            waited_s: counts.waited_ns.load(Ordering::Relaxed) as f64 * 1e-9,
            workers: self.workers.lock().clone(),
        }
    }
}

/// Whoever keeps a pool's threads running: they end when it is dropped, while the counts may still be read.
pub(crate) struct Running(Arc<WorkPool>);

impl Running {
    pub(crate) fn new(pool: Arc<WorkPool>) -> Self {
        Self(pool)
    }

    pub(crate) fn pool(&self) -> &Arc<WorkPool> {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn thread_name(index: usize) -> String {
    format!("ironcliw-s{index}")
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
