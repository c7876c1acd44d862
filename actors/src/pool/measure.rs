//! Statistics of a block of a program: what was leased and returned within it, and the most at a time. The model is
//! RMM's statistics adaptor, whose counters are pushed and popped.
//!
//! Exact on any number of threads: while a scope is open, every lease and release goes through the pool's one lock.

use super::Pool;
use super::fallible::place;
use super::owner::Owner;
use super::reservation::belongs;

/// What happened within a [`Measure`], of the whole pool or of one owner. Bytes are those of whole blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Measured {
    /// Leases granted.
    pub allocations: u64,
    /// Their bytes.
    pub allocated_bytes: u64,
    /// Of the allocations, those that needed a new block from the system.
    pub fresh: u64,
    /// Allocations refused.
    pub failures: u64,
    /// Leases ended, earlier ones among them.
    pub releases: u64,
    /// Their bytes.
    pub released_bytes: u64,
    /// Bytes leased when it began.
    pub bytes_before: u64,
    /// Buffers leased when it began.
    pub count_before: u64,
    /// The most bytes leased at a time, those from before included.
    pub peak_live_bytes: u64,
    /// The most buffers leased at a time, those from before included.
    pub peak_live_count: u64,
}

impl Measured {
    /// Of the allocations, those served by a block that was leased before.
    pub fn recycled(&self) -> u64 {
        self.allocations - self.fresh
    }

    /// Bytes leased now.
    pub fn live_bytes(&self) -> u64 {
        (self.bytes_before + self.allocated_bytes).saturating_sub(self.released_bytes)
    }

    /// Buffers leased now.
    pub fn live_count(&self) -> u64 {
        (self.count_before + self.allocations).saturating_sub(self.releases)
    }

    /// By how many bytes the most that were leased at a time exceeded those leased when it began.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_live_bytes - self.bytes_before
    }

    /// The same of buffers.
    pub fn peak_count(&self) -> u64 {
        self.peak_live_count - self.count_before
    }
}

/// An open scope, in the hands of the admission.
#[derive(Debug)]
pub(crate) struct Scope {
    number: u64,
    /// The owner or group that is counted; `None` is everybody.
    of: Option<String>,
    /// Whether each owner that was seen is counted.
    known: Vec<Option<bool>>,
    figures: Measured,
}

impl Scope {
    pub(super) fn new(number: u64, of: Option<String>, live: impl Iterator<Item = (Owner, u64, usize)>) -> Self {
        let mut scope = Self { number, of, known: Vec::new(), figures: Measured::default() };
        for (owner, count, bytes) in live {
            if scope.counts(owner) {
                scope.figures.count_before += count;
                scope.figures.bytes_before += bytes as u64;
            }
        }
        scope.figures.peak_live_bytes = scope.figures.bytes_before;
        scope.figures.peak_live_count = scope.figures.count_before;
        scope
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn figures(&self) -> Measured {
        self.figures
    }

    fn counts(&mut self, owner: Owner) -> bool {
        let Some(of) = &self.of else { return true };
        let find = || belongs(owner.name(), of);
        place(&mut self.known, owner.index()).map_or_else(find, |known| *known.get_or_insert_with(find))
    }

    pub(super) fn begin(&mut self, owner: Owner, bytes: usize, fresh: bool) {
        if self.counts(owner) {
            let figures = &mut self.figures;
            figures.allocations += 1;
            figures.allocated_bytes += bytes as u64;
            figures.fresh += u64::from(fresh);
            figures.peak_live_bytes = figures.peak_live_bytes.max(figures.live_bytes());
            figures.peak_live_count = figures.peak_live_count.max(figures.live_count());
        }
    }

    pub(super) fn end(&mut self, owner: Owner, bytes: usize) {
        if self.counts(owner) {
            self.figures.releases += 1;
            self.figures.released_bytes += bytes as u64;
        }
    }

    pub(super) fn refuse(&mut self, owner: Owner) {
        if self.counts(owner) {
            self.figures.failures += 1;
        }
    }
}

/// A scope that counts until it is dropped. Scopes may overlap and nest: each counts for itself.
///
/// ```
/// use ironcliw_actors::pool::{Owner, Pool, PoolConfig};
/// let pool = Pool::new(PoolConfig::limited(64 << 20))?;
/// let measure = pool.measure(None);
/// for _ in 0..3 {
///     pool.allocate(1000, Owner::named("example"))?;
/// }
/// let figures = measure.figures();
/// assert_eq!((figures.allocations, figures.fresh, figures.peak_live_bytes), (3, 1, 1024));
/// # Ok::<_, ironcliw_actors::Error>(())
/// ```
#[must_use = "a scope counts until it is dropped"]
pub struct Measure {
    pool: Pool,
    number: u64,
}

impl Measure {
    pub(super) fn open(pool: &Pool, of: Option<&str>) -> Self {
        Self { pool: pool.clone(), number: pool.core.open_scope(of) }
    }

    /// What was counted so far.
    pub fn figures(&self) -> Measured {
        self.pool.core.scope_figures(self.number)
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        self.pool.core.close_scope(self.number);
    }
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.figures().fmt(f)
    }
}
