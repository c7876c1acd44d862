//! The pool: buffers of recycled, aligned, zeroed memory under one limit.
//!
//! This folder is the data plane. Leasing and releasing go through no actor and no lock: a [`Pool`] is shared, cheap to
//! clone, and outlived by its buffers.
//!
//! Invariants:
//! 1. Blocks held from the system, leased and free together, never exceed the limit (`budget`). When it is reached, free
//!    blocks are given up before an allocation is refused. (A limit that is lowered below what is leased is met as the
//!    leases end.)
//! 2. A buffer's bytes are always initialised, and read as zeros unless the caller asked to do without (`block`, `core`).
//! 3. A [`LeaseId`] is live exactly while its buffer is (`slot`, `slots`); the leak tracker relies on it.
//! 4. Counts by class and by owner are exact whatever the leak level (`cache/tallies`).
//! 5. A block is in one place only: in a [`Buffer`], in a thread's cache, on a shelf, or in the hands of the function that
//!    moves it.
//! 6. What is free in any thread's cache can be had by whoever needs it: a trim, a lower limit, a request that finds the
//!    limit reached, the end of the pool (`cache/gate`).
//!
//! Start reading with the README beside this file: where a block is, and why nobody takes it twice. Then `core`: how a
//! block is found and where it returns to; `purge`: how free memory goes back to the system. [`Pool`] and [`Buffer`] are
//! the handles.

// Where forks are not looked after, nothing uses what only they need.
#![cfg_attr(not(all(target_os = "linux", not(any(ironcliw_loom, ironcliw_shuttle)))), allow(dead_code))]

mod accounts;
mod actor;
mod block;
mod budget;
mod buffer;
mod cache;
mod class;
mod config;
mod core;
mod fallible;
#[cfg(all(target_os = "linux", not(any(ironcliw_loom, ironcliw_shuttle))))]
mod fork;
/// Elsewhere the child of a fork must not use what it inherits.
#[cfg(not(all(target_os = "linux", not(any(ironcliw_loom, ironcliw_shuttle)))))]
mod fork {
    pub(super) fn watch(_: &super::Core) {}
    pub(super) fn forget(_: &super::Core) {}
}
mod lease;
mod memory;
mod misuse;
mod owner;
mod pressure;
mod purge;
mod queue;
mod shared;
mod shelf;
#[cfg(all(test, ironcliw_shuttle))]
mod shuttle_tests;
mod slot;
mod slots;
mod stats;
mod sync;
mod system;
#[cfg(all(test, not(any(ironcliw_loom, ironcliw_shuttle))))]
mod tests;

pub(crate) use actor::Standing;
pub use actor::{AllocateWhenFree, PoolActor, PressureChanged, SetLimit, Statistics, Subscribe, Trim, Watch};
pub use buffer::Buffer;
pub use class::SizeClass;
pub use config::PoolConfig;
pub use lease::{AllocOptions, LeaseKind};
pub use misuse::{Misuse, MisuseCounter, MisuseCounts};
pub use owner::Owner;
pub use pressure::{Pressure, PressureGauge, PublishedPressure};
pub use shared::{ForeignBuffer, Shared};
pub use slots::LeaseId;
pub use stats::{ClassStats, OwnerStats, PoolStats};
pub use system::{MemoryReading, MemorySource, SystemMemory};

use self::core::Core;
use crate::Result;
use crate::leak::Recorder;
use std::sync::Arc;

/// A pool of buffers. Clones are handles of the same pool.
///
/// ```
/// use ironcliw_actors::pool::{Owner, Pool, PoolConfig};
/// let pool = Pool::new(PoolConfig::limited(64 << 20))?;
/// let mut buffer = pool.allocate(1000, Owner::named("example"))?;
/// buffer[0] = 7;
/// assert_eq!(pool.stats().live_count, 1);
/// drop(buffer);
/// assert_eq!(pool.stats().live_count, 0);
/// # Ok::<_, ironcliw_actors::Error>(())
/// ```
pub struct Pool {
    core: Arc<Core>,
}

impl Clone for Pool {
    fn clone(&self) -> Self {
        self.core.add_handle();
        Self { core: self.core.clone() }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.core.drop_handle();
    }
}

impl Pool {
    /// An empty pool.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) when the limit is below 64 bytes or the event channel has no
    /// capacity.
    pub fn new(config: PoolConfig) -> Result<Self> {
        let limit = config::checked_limit(config.limit_bytes)?;
        let recorder = Arc::new(Recorder::new(&config.leaks)?);
        Ok(Self { core: Core::new(budget::Budget::new(limit, config.retain_bytes), recorder) })
    }

    /// A buffer of `len` zeroed bytes. A buffer of 0 bytes is a lease like any other.
    ///
    /// # Errors
    /// [`Error::PoolExhausted`](crate::Error::PoolExhausted) when the limit, or the system, has no room for it;
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a length beyond [`SizeClass::MAX_LEN`].
    #[inline]
    pub fn allocate(&self, len: usize, owner: Owner) -> Result<Buffer> {
        self.allocate_with(len, owner, AllocOptions::default())
    }

    /// A buffer of `len` bytes that the caller is about to overwrite, every one: see [`AllocOptions::zeroed`].
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    #[inline]
    pub fn allocate_for_overwrite(&self, len: usize, owner: Owner) -> Result<Buffer> {
        self.allocate_with(len, owner, AllocOptions::for_overwrite())
    }

    /// A buffer of `len` bytes, leased as `options` say.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    #[inline]
    pub fn allocate_with(&self, len: usize, owner: Owner, options: AllocOptions) -> Result<Buffer> {
        Buffer::lease(&self.core, len, owner, options)
    }

    /// Ends a lease of this pool on purpose: [`Buffer::release`], for a program with several pools.
    ///
    /// # Errors
    /// [`ForeignBuffer`], counted, with the buffer unharmed, when it is another pool's.
    pub fn release(&self, buffer: Buffer) -> Result<(), ForeignBuffer> {
        if Arc::ptr_eq(buffer.misuse(), &self.core.misuse) {
            buffer.release();
            return Ok(());
        }
        self.core.misuse.count(Misuse::ForeignRelease);
        Err(ForeignBuffer(buffer))
    }

    /// Whether this lease has not ended.
    pub fn is_live(&self, id: LeaseId) -> bool {
        self.core.slots.is_live(id)
    }

    /// The same for one who is about to rely on it.
    ///
    /// # Errors
    /// [`Error::BufferReleased`](crate::Error::BufferReleased), counted, when it has ended or never was.
    pub fn verify(&self, id: LeaseId) -> Result<()> {
        if self.is_live(id) { Ok(()) } else { Err(self.core.misuse.used_after_release(id.get())) }
    }

    /// The counts of wrong uses of this pool's handles.
    pub fn misuse(&self) -> &Arc<MisuseCounter> {
        &self.core.misuse
    }

    /// The pool's counts.
    pub fn stats(&self) -> PoolStats {
        PoolStats::read(&self.core)
    }

    /// Bytes leased, and the limit.
    pub fn reading(&self) -> MemoryReading {
        MemoryReading { used: self.core.live(), limit: self.core.budget.limit() }
    }

    /// Gives free blocks back to the system, the largest first, until at most `cached_bytes` of them remain. Returns
    /// the bytes given back.
    pub fn trim(&self, cached_bytes: usize) -> usize {
        self.core.trim(cached_bytes)
    }

    /// Gives free blocks back that are more than the limit or the retained bytes: threads that lease and release at the same
    /// time may keep a little more for a while. Returns the bytes given back.
    pub(crate) fn settle(&self) -> usize {
        self.core.settle()
    }

    /// Changes the limit. Free blocks beyond it are given back at once (their bytes are returned), and leases beyond it
    /// as they end.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) below 64 bytes.
    pub fn set_limit(&self, limit_bytes: usize) -> Result<usize> {
        Ok(self.core.set_limit(config::checked_limit(limit_bytes)?))
    }

    /// Changes how many bytes of free blocks are kept. Returns the bytes given back for it.
    pub fn set_retain(&self, retain_bytes: usize) -> usize {
        self.core.set_retain(retain_bytes)
    }

    /// What this pool tells the leak tracker.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.core.recorder
    }

    /// Dropped explicit leases that no event told of, each handed out once.
    pub(crate) fn take_untold(&self) -> Vec<accounts::Untold> {
        self.core.accounts.take_untold()
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let MemoryReading { used, limit } = self.reading();
        f.debug_struct("Pool").field("live_bytes", &used).field("limit_bytes", &limit).finish_non_exhaustive()
    }
}
