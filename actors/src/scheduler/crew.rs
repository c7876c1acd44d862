//! A pool's threads: one rayon pool, each thread pinned. A resize replaces the whole crew.

use std::cell::RefCell;
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::counts::Counts;
use super::stats::WorkerStats;
use crate::Result;

thread_local! {
    /// The counts of the pool whose thread this is: they are what tells one pool from another.
    static HOME: RefCell<Option<Arc<Counts>>> = const { RefCell::new(None) };
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
