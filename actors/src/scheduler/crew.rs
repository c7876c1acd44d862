//! A pool's threads: one rayon pool, each thread pinned. A resize replaces the whole crew.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::counts::Counts;
use super::stats::WorkerStats;
use crate::Result;

thread_local! {
    /// The counts of the pool whose thread this is: they are what tells one pool from another.
    static HOME: RefCell<Option<Arc<Counts>>> = const { RefCell::new(None) };
    /// Servers (see `core.rs`) on this thread's stack.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// A server on this thread, between two jobs, looks for parts of running jobs to help with.
    static HELPS: Cell<bool> = const { Cell::new(false) };
}

/// How threads are made, now and at each resize.
#[derive(Debug, Clone)]
pub(crate) struct Making {
    /// A thread's name is this and its number.
    pub(crate) prefix: String,
    /// Pinned to in turn; not pinned if there are none.
    pub(crate) cores: Vec<usize>,
    pub(crate) niceness: Option<i32>,
}

pub(crate) struct Crew {
    /// Its threads end once it is dropped and they have run what they were given.
    pub(crate) threads: ThreadPool,
    pub(crate) len: usize,
    pub(crate) workers: Vec<WorkerStats>,
}

impl Crew {
    /// Returns when every thread has begun and is where it can be. Not more than [`super::spec::THREADS_MAX`] of them.
    pub(crate) fn start(threads: usize, how: &Making, counts: &Arc<Counts>) -> Result<Arc<Self>> {
        let prefix = how.prefix.clone();
        let name = move |index: usize| format!("{prefix}{index}");
        let wanted = |index: usize| (!how.cores.is_empty()).then(|| how.cores[index % how.cores.len()]);
        let workers: Vec<_> = (0..threads)
            .map(|index| WorkerStats { name: name(index), wanted_core: wanted(index), pinned_core: None })
            .collect();
        let workers = Arc::new(Mutex::new(workers));
        let (found, niceness, counts) = (workers.clone(), how.niceness, counts.clone());
        let (settled, ready) = mpsc::channel();
        let threads_of_rayon = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(name)
            .start_handler(move |index| {
                HOME.set(Some(counts.clone()));
                let wanted = found.lock()[index].wanted_core;
                let pinned = wanted.filter(|&core| ironcliw::pin_current_thread(core));
                found.lock()[index].pinned_core = pinned;
                if let Some(niceness) = niceness {
                    ironcliw::set_thread_niceness(niceness);
                }
                let _ = settled.send(());
            })
            .build()
            .map_err(|error| ironcliw::Error::Setup { reason: error.to_string() })?;
        ready.iter().take(threads).for_each(drop);
        let workers = workers.lock().clone();
        Ok(Arc::new(Self { threads: threads_of_rayon, len: threads, workers }))
    }
}

/// Whether the caller is a thread of the pool with these counts, whichever crew it belongs to.
pub(crate) fn is_home(counts: &Arc<Counts>) -> bool {
    home(|here| Arc::ptr_eq(here, counts)).unwrap_or(false)
}

/// The counts of the pool whose thread the caller is.
pub(crate) fn home<T>(look: impl FnOnce(&Arc<Counts>) -> T) -> Option<T> {
    HOME.with_borrow(|home| home.as_ref().map(look))
}

/// Runs what `more` jobs of rayon there are, at most, and stops early when `stop` says so or another server came up.
pub(crate) fn help(more: usize, stop: impl Fn() -> bool) {
    HELPS.set(true);
    for _ in 0..more {
        if stop() || rayon::yield_now() != Some(rayon::Yield::Executed) || !HELPS.get() {
            break;
        }
    }
    HELPS.set(false);
}

/// Whether this server came up while another one on this thread helps. That one then stops helping: it has a slot to use.
pub(crate) fn has_interrupted_help() -> bool {
    HELPS.replace(false)
}

/// Marks that a server is on this thread's stack, for as long as it lives.
pub(crate) struct Serving;

impl Serving {
    /// And whether it is the only one: rayon lets a thread that waits for the parts of its job begin another one on top.
    pub(crate) fn enter() -> (Self, bool) {
        let depth = DEPTH.get();
        DEPTH.set(depth + 1);
        (Self, depth == 0)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
