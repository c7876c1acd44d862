//! How a pool is to be.

use crate::{Error, Result};

/// The most threads a pool may have: rayon's own limit is far above what any machine has cores.
pub(crate) const THREADS_MAX: usize = 1024;

/// Jobs that may wait in a pool, unless told. It bounds memory (a job that waits is a few hundred bytes and what it has
/// captured), not waiting: who wants to be refused early asks for less.
pub(crate) const QUEUE_DEFAULT: usize = 1 << 20;

/// The longest name of a pool, in bytes: paths stay readable and metrics labels short.
const NAME_MAX: usize = 64;

/// A pool to be made.
///
/// ```
/// use ironcliw_actors::scheduler::PoolSpec;
/// let io = PoolSpec::new("io").threads(2).pin(false).queue(1000);
/// assert_eq!(io.name(), "io");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSpec {
    pub(crate) name: String,
    pub(crate) threads: Option<usize>,
    pub(crate) pin: Option<bool>,
    pub(crate) cores: Option<Vec<usize>>,
    pub(crate) niceness: Option<i32>,
    pub(crate) queue: usize,
}

impl PoolSpec {
    /// A pool of this name, with one thread for each allowed core, pinned and nice as the default pool's.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { name, threads: None, pin: None, cores: None, niceness: None, queue: QUEUE_DEFAULT }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// So many threads, 1 to 1024.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Whether each thread is pinned to a core, in turn.
    pub fn pin(mut self, pin: bool) -> Self {
        self.pin = Some(pin);
        self
    }

    /// The cores to pin to, in turn, rather than all that are allowed. Implies `pin(true)`. A core that cannot be had is seen
    /// in [`WorkerStats::pinned_core`](super::WorkerStats::pinned_core).
    pub fn cores(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.cores = Some(cores.into_iter().collect());
        self.pin(true)
    }

    /// The threads' niceness (Linux; elsewhere it has no effect).
    pub fn niceness(mut self, niceness: i32) -> Self {
        self.niceness = Some(niceness);
        self
    }

    /// Jobs that may wait before another is refused with [`Error::QueueFull`], and async jobs that may be alive. Default:
    /// 1,048,576 of each.
    pub fn queue(mut self, jobs: usize) -> Self {
        self.queue = jobs;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let is_fine = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if self.name.is_empty() || self.name.len() > NAME_MAX || !self.name.chars().all(is_fine) {
            let name = &self.name;
            return Err(Error::invalid(format!(
                "a pool's name is 1 to {NAME_MAX} of a-z A-Z 0-9 - _ . and not {name:?}"
            )));
        }
        if self.queue == 0 {
            return Err(Error::invalid("a pool's queue has room for 1 job or more, not 0"));
        }
        if self.cores.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid("the cores to pin to are 1 or more, not none"));
        }
        self.threads.map_or(Ok(()), check_threads)
    }
}

pub(crate) fn check_threads(threads: usize) -> Result<()> {
    if (1..=THREADS_MAX).contains(&threads) {
        Ok(())
    } else {
        Err(Error::invalid(format!("a pool has 1 to {THREADS_MAX} threads, not {threads}")))
    }
}
