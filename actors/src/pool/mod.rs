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
mod admission;
mod block;
mod budget;
mod buffer;
mod cache;
mod class;
mod config;
#[cfg(test)]
mod control_tests;
mod core;
mod decay;
pub(crate) mod fallible;
#[cfg(all(target_os = "linux", not(any(ironcliw_loom, ironcliw_shuttle))))]
mod fork;
/// Elsewhere the child of a fork must not use what it inherits.
#[cfg(not(all(target_os = "linux", not(any(ironcliw_loom, ironcliw_shuttle)))))]
mod fork {
    pub(super) fn watch(_: &super::Core) {}
    pub(super) fn forget(_: &super::Core) {}
}
mod lease;
mod measure;
mod memory;
mod misuse;
mod owner;
mod patience;
mod pressure;
mod purge;
mod queue;
mod reservation;
mod shared;
mod shelf;
#[cfg(all(test, ironcliw_shuttle))]
mod shuttle_tests;
#[cfg(all(test, ironcliw_shuttle))]
mod shuttle_waiting_tests;
mod slot;
mod slots;
mod stats;
mod strict;
pub(crate) mod sync;
#[cfg(all(test, not(any(ironcliw_loom, ironcliw_shuttle))))]
mod tests;
mod waiting;
#[cfg(test)]
mod waiting_tests;
mod watermarks;

pub(crate) use accounts::Tally;
pub(crate) use actor::Standing;
pub use actor::{PoolActor, PressureChanged, SetLimit, Statistics, Subscribe, Trim, Watch};
pub use buffer::Buffer;
pub use class::SizeClass;
pub use config::PoolConfig;
use lease::LeaseTerms;
pub use lease::{AllocOptions, LeaseKind};
pub use measure::{Measure, Measured};
pub use memory::collect_with;
pub use misuse::{Misuse, MisuseCounter, MisuseCounts};
pub use owner::Owner;
#[cfg(target_os = "linux")]
pub use pressure::close_inherited_descriptors;
pub use pressure::{
    Alarm, AlarmStream, Cause, MemoryReading, MemorySource, Pressure, PressureChange, PressureGauge, PressureStats,
    PressureSubscription, PublishedPressure, Sight, Stall, SystemMemory,
};
pub use reservation::Reservation;
pub use shared::{ForeignBuffer, Shared};
pub use slots::LeaseId;
pub(crate) use slots::LiveLease;
pub use stats::{ClassStats, OwnerStats, PoolStats, ReservationStats, SoftLimitStats};
pub use waiting::{AllocateWhenFree, WaitStats};
pub use watermarks::Watermarks;

use self::core::Core;
use crate::Result;
use crate::leak::{Level, Origin, Recorder};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) when the limit is below 64 bytes, more than it is reserved, the
    /// watermarks are no shares, or the event channel has no capacity.
    pub fn new(config: PoolConfig) -> Result<Self> {
        let limit = config::checked_limit(config.limit_bytes)?;
        let recorder = Arc::new(Recorder::new(&config.leaks)?);
        let retain = if config.purge_after == Some(Duration::ZERO) { 0 } else { config.retain_bytes };
        let budget = budget::Budget::new(limit, retain, config.soft.checked()?);
        let core = Core::new(budget, decay::Decay::new(config.purge_after), recorder);
        let pool = Self { core };
        config.reservations.into_iter().try_for_each(|reservation| pool.reserve(reservation))?;
        Ok(pool)
    }

    /// A buffer of `len` zeroed bytes. A buffer of 0 bytes is a lease like any other.
    ///
    /// # Errors
    /// [`Error::PoolExhausted`](crate::Error::PoolExhausted) when the limit, or the system, has no room for it;
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a length beyond [`SizeClass::MAX_LEN`].
    #[inline]
    pub fn allocate(&self, len: usize, owner: Owner) -> Result<Buffer> {
        Buffer::lease(&self.core, len, owner, LeaseTerms::plain(true), |_| None)
    }

    /// A buffer of `len` bytes that the caller is about to overwrite, every one: see [`AllocOptions::zeroed`].
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    #[inline]
    pub fn allocate_for_overwrite(&self, len: usize, owner: Owner) -> Result<Buffer> {
        Buffer::lease(&self.core, len, owner, LeaseTerms::plain(false), |_| None)
    }

    /// A buffer of `len` bytes, leased as `options` say.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    #[inline]
    pub fn allocate_with(&self, len: usize, owner: Owner, options: AllocOptions) -> Result<Buffer> {
        Buffer::lease(&self.core, len, owner, LeaseTerms::of(&options), |_| Some(options.into_origin(Origin::default)))
    }

    /// The same for a caller from another language, which is asked for its origin if the lease is recorded, and what its
    /// record is to carry.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    #[inline]
    pub fn allocate_from(
        &self,
        len: usize,
        owner: Owner,
        options: AllocOptions,
        origin: impl FnOnce(Level) -> Origin,
    ) -> Result<Buffer> {
        let terms = LeaseTerms::of(&options);
        Buffer::lease(&self.core, len, owner, terms, |level| Some(options.into_origin(|| origin(level))))
    }

    /// Whether a lease that is about to be asked for should be recorded, by the level and by sampling, and what its record
    /// is to carry: for a caller that will not be there when it begins. It asks with
    /// [`AllocOptions::record`] and [`AllocOptions::origin`] then.
    pub fn sample(&self) -> Option<Level> {
        let every = || self.core.recorder.pace();
        let is_sample = self.core.caches.with(&self.core, |inside, _| inside.is_sample(every));
        is_sample.then(|| self.core.recorder.recording()).flatten()
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

    /// The leases that have not ended and that `wanted` picks, from the lease table: exact at every leak level, and slow,
    /// as it reads every slot that there ever was (a cache line a block).
    pub(crate) fn live_leases(&self, wanted: impl FnMut(&LiveLease) -> bool) -> Vec<LiveLease> {
        self.core.slots.live(wanted)
    }

    /// What is leased now by owner and class, where anything is.
    pub(crate) fn live_tallies(&self) -> Vec<(Owner, SizeClass, accounts::Tally)> {
        let caches = &self.core.caches;
        let owners = Owner::all().filter(|&owner| caches.knows(owner));
        let pairs = owners.flat_map(|owner| SizeClass::all().map(move |class| (owner, class)));
        let tallies = pairs.map(|(owner, class)| (owner, class, caches.tally(owner, class)));
        tallies.filter(|(_, _, tally)| tally.live > 0).collect()
    }

    /// How many leases of `owner` still run.
    pub(crate) fn live_of(&self, owner: Owner) -> u64 {
        SizeClass::all().map(|class| self.core.caches.tally(owner, class).live).sum()
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
        let freed = self.core.trim(cached_bytes);
        if freed > 0 {
            memory::give_back();
        }
        freed
    }

    /// Gives free blocks back that are more than the limit or the retained bytes (threads that lease and release at the
    /// same time may keep a little more for a while), and those that were of no use for as long as the pool was told
    /// ([`PoolConfig::purge_after`]; a second if more than the soft limit is held), up to 64 MiB of them. Returns the bytes
    /// given back. The pool's actor does this ten times a second; without it, do it now and then.
    pub fn purge(&self) -> usize {
        self.core.tick(Instant::now())
    }

    /// How long free blocks may be of no use before they go back to the system; `None`: they stay.
    pub fn purge_after(&self) -> Option<Duration> {
        sync::lock(&self.core.decay).delay()
    }

    /// Changes that. With zero they go back at the next purge, and if none are to be kept at all, [`Pool::set_retain`].
    pub fn set_purge_after(&self, delay: Option<Duration>) {
        sync::lock(&self.core.decay).set_delay(delay);
    }

    /// Keeps room for a group of owners, so that no other can starve it: whatever the others lease, the group can lease as
    /// many bytes of blocks as are reserved. What it leases beyond comes from the common room. With a cap it cannot lease
    /// more than that. A later reservation of the same name takes the place of the earlier one; one of 0 bytes without a
    /// cap ends it. Room that others have leased already is the group's as their leases end.
    ///
    /// Leases cost the same as without, as long as what is held leaves room for all that is reserved (and is no more than
    /// the smallest cap); beyond, each takes a lock.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for more than the limit holds beside what is reserved for others,
    /// a cap below what is reserved or below 64 bytes, an empty name, and for more than 64 names.
    ///
    /// ```
    /// use ironcliw_actors::pool::{Owner, Pool, PoolConfig, Reservation};
    /// let pool = Pool::new(PoolConfig::limited(64 << 20))?;
    /// pool.reserve(Reservation::new("images", 16 << 20))?;
    /// let all_others_get = pool.allocate(48 << 20, Owner::named("tables"))?;
    /// assert!(pool.allocate(1, Owner::named("tables")).is_err());
    /// assert!(pool.allocate(16 << 20, Owner::named("images/0")).is_ok());
    /// # Ok::<_, ironcliw_actors::Error>(())
    /// ```
    pub fn reserve(&self, reservation: Reservation) -> Result<()> {
        self.core.reserve(reservation)
    }

    /// Counts leases until the answer is dropped: of the whole pool, or of an owner (`images/0`) or group of owners
    /// (`images`). Exact on any number of threads; meanwhile every lease and release takes a lock.
    pub fn measure(&self, of: Option<&str>) -> Measure {
        Measure::open(self, of)
    }

    /// Changes the limit. Free blocks beyond it are given back at once (their bytes are returned), and leases beyond it
    /// as they end.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) below 64 bytes, and below what is reserved.
    pub fn set_limit(&self, limit_bytes: usize) -> Result<usize> {
        self.core.set_limit(config::checked_limit(limit_bytes)?)
    }

    /// Changes how many bytes of free blocks are kept. Returns the bytes given back for it.
    pub fn set_retain(&self, retain_bytes: usize) -> usize {
        self.core.set_retain(retain_bytes)
    }

    /// The level of memory pressure that the pool's actor publishes; a pool without one stays at `Low`.
    pub fn pressure(&self) -> &PublishedPressure {
        self.core.pressure.published()
    }

    /// What pressure there was and what was done about it.
    pub fn pressure_stats(&self) -> PressureStats {
        self.core.pressure.stats()
    }

    /// Calls `callback` at every change of pressure, on the thread of the pool's actor, until the subscription is dropped or
    /// the actor has ended; then the callback is dropped. It must not block. Its panic is logged. An actor subscribes with
    /// [`Subscribe`] instead.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use ironcliw::Runtime;
    /// use ironcliw_actors::pool::{Owner, Pressure, Watch};
    /// use ironcliw_actors::{Config, Subsystems};
    ///
    /// let runtime = Runtime::new()?;
    /// # runtime.block_on(async {
    /// let config = Config { memory_limit: Some(1 << 20), memory_source: None, ..Config::default() };
    /// let Subsystems { pool, keeper, .. } = Subsystems::start(runtime.handle(), config).await?;
    /// let (tell, told) = mpsc::channel();
    /// let subscription = pool.on_pressure(move |change| tell.send(change.level).unwrap_or_default());
    /// let most = pool.allocate(850 << 10, Owner::named("example"))?;
    /// keeper.ask(Watch).await.map_err(ironcliw::Error::from)?;
    /// assert_eq!(told.recv(), Ok(Pressure::High));
    /// drop((most, subscription));
    /// # Ok::<_, ironcliw_actors::Error>(()) }).unwrap();
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub fn on_pressure(&self, callback: impl Fn(PressureChange) + Send + Sync + 'static) -> PressureSubscription {
        self.core.on_pressure(callback)
    }

    /// Whether the system's memory counts, or the pool's own occupancy alone; it does, unless told.
    pub fn set_watches_system(&self, watches: bool) {
        self.core.pressure.watch_system(watches);
    }

    /// See [`Pool::set_watches_system`].
    pub fn watches_system(&self) -> bool {
        self.core.pressure.watches_system()
    }

    /// Whether leases that need new memory are refused while the system's memory is at `Critical`; yes, unless told.
    pub fn set_refuses_under_pressure(&self, refuses: bool) {
        self.core.pressure.enable_refusal(refuses);
    }

    /// See [`Pool::set_refuses_under_pressure`].
    pub fn refuses_under_pressure(&self) -> bool {
        self.core.pressure.may_refuse()
    }

    /// What this pool tells the leak tracker.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.core.recorder
    }

    /// Free blocks in the threads' caches.
    pub(crate) fn kept_by_thread(&self) -> Vec<cache::Kept> {
        self.core.caches.kept_by_thread()
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
