//! The snapshot's shape, which is its JSON's. Names end in their unit. A reader must bear keys that it does not know.

use super::history::{Mark, Sample};
use super::stacks::StackTable;
use crate::leak::{LeakReport, Level};
use crate::pool::{LeaseId, LeaseKind, Owner, Pressure};
use std::sync::Arc;

/// What the document calls itself.
pub const FORMAT: &str = "ironcliw.pool";
/// Raised when a key changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// What a pool held at a moment, and who.
#[derive(Debug, serde::Serialize)]
pub struct PoolSnapshot {
    /// [`FORMAT`].
    pub format: &'static str,
    /// [`VERSION`].
    pub version: u32,
    /// When, in seconds since the Unix epoch, by the history's clock.
    pub taken_at_unix_s: f64,
    /// The pressure that was published.
    pub pressure: Pressure,
    /// The sums.
    pub totals: Totals,
    /// The size classes that were ever used, smallest first.
    pub classes: Vec<ClassHolding>,
    /// The owners that ever leased.
    pub owners: Vec<OwnerHolding>,
    /// The threads that keep free blocks for themselves, most bytes first.
    pub threads: Vec<ThreadHolding>,
    /// How closely leases were watched.
    pub tracking: Tracking,
    /// The leases that carry a record and live, the oldest first.
    pub leases: Vec<HeldLease>,
    /// Leaks that are known besides the leases above that are too old: those that were dropped though they had to be
    /// released.
    pub leaks: Vec<KnownLeak>,
    /// The calls that `leases` and `leaks` refer to. Serialising them reads the program's symbols, which is slow.
    pub stacks: StackTable,
    /// A sample a second of the last ten minutes, the oldest first; the last one is of this moment.
    pub history: Vec<Sample>,
    /// What happened meanwhile, the oldest first.
    pub marks: Vec<Mark>,
}

/// The pool as a whole. All bytes are those of whole blocks, which is what the limit counts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Bytes from the system: leased and idle.
    pub held_bytes: u64,
    /// Bytes leased.
    pub live_bytes: u64,
    /// Buffers leased.
    pub live: u64,
    /// Bytes of free blocks.
    pub idle_bytes: u64,
    /// Bytes that the pool may hold.
    pub limit_bytes: u64,
    /// Bytes of free blocks that it may keep.
    pub retain_bytes: u64,
    /// The most bytes leased at a time, as [`PoolStats`](crate::pool::PoolStats) has it.
    pub high_water_bytes: u64,
    /// Leases ever granted.
    pub allocations: u64,
    /// Of these, those served by a block that was leased before.
    pub recycled: u64,
    /// Allocations refused.
    pub failures: u64,
    /// Explicit leases dropped without a release, ever.
    pub dropped_unreleased: u64,
}

/// One size class.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ClassHolding {
    /// Bytes of a block; 0 stands for the huge class, whose blocks differ.
    pub size: usize,
    /// Buffers leased.
    pub live: u64,
    /// Bytes of their blocks.
    pub live_bytes: u64,
    /// Free blocks in the threads' caches: those of [`PoolSnapshot::threads`].
    pub idle_in_caches: u64,
    /// Free blocks on the class's shelf.
    pub idle_on_shelf: u64,
    /// Free blocks that fit on the shelf.
    pub capacity: usize,
    /// The most blocks that existed at a time.
    pub high_water: u64,
    /// Leases ever granted.
    pub allocations: u64,
    /// Of the leased ones, how many carry a record.
    pub recorded: u64,
    /// Bytes of the leased blocks that no buffer uses: exact if all are recorded, estimated if some are, unknown if none.
    pub waste_bytes: Option<u64>,
}

/// One owner.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OwnerHolding {
    /// The owner, by name.
    pub owner: Owner,
    /// Buffers leased.
    pub live: u64,
    /// Bytes of their blocks.
    pub live_bytes: u64,
    /// Leases ever granted.
    pub allocations: u64,
    /// Explicit leases dropped without a release, ever.
    pub dropped_unreleased: u64,
    /// The classes of which it holds any, smallest first and the huge one last.
    pub classes: Vec<HeldClass>,
}

/// What an owner holds of a class.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HeldClass {
    /// Bytes of a block; 0: huge.
    pub size: usize,
    /// Buffers leased.
    pub live: u64,
    /// Bytes of their blocks.
    pub live_bytes: u64,
    /// Bytes of them for which no record stands.
    pub unrecorded_bytes: u64,
}

/// One thread that keeps free blocks in a cache of its own.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ThreadHolding {
    /// The system's number for it; `None` where that is not known (not on Linux), and of a thread that a fork left behind.
    pub id: Option<u64>,
    /// What it is called, if that can be known.
    pub name: Option<String>,
    /// Bytes of its free blocks.
    pub idle_bytes: u64,
    /// Its free blocks by class, smallest first.
    pub classes: Vec<IdleClass>,
}

/// What a thread keeps of a class.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct IdleClass {
    /// Bytes of a block.
    pub size: usize,
    /// Free blocks.
    pub idle: u64,
}

/// How closely leases are watched, and what was lost.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Tracking {
    /// The level in force.
    pub level: Level,
    /// One lease in so many is recorded at `simple` and `advanced`.
    pub sample_every: u32,
    /// Leases ever recorded.
    pub recorded_leases: u64,
    /// Events dropped because the tracker did not keep up, ever.
    pub dropped_events: u64,
    /// Leases that should have a record and have none, as there was no memory for it or there were too many, ever.
    pub lost_records: u64,
    /// Records without the calls that they should have, for want of memory, ever.
    pub lost_stacks: u64,
}

/// A lease that carries a record and lives.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct HeldLease {
    /// The lease's id.
    pub id: LeaseId,
    /// Who holds it.
    pub owner: Owner,
    /// Bytes of a block of its class; 0: huge.
    pub size: usize,
    /// Bytes of the buffer.
    pub bytes: usize,
    /// Bytes of its block.
    pub block_bytes: usize,
    /// How it is meant to end.
    pub kind: LeaseKind,
    /// How long it has been held, in seconds.
    pub age_s: f64,
    /// Whether that is longer than leases of its kind should be: a leak.
    pub too_old: bool,
    /// For how many leases of its owner and class it stands; by bytes where blocks differ.
    pub weight: f64,
    /// Where the program asked for it, if it said so.
    #[serde(serialize_with = "as_text")]
    pub site: Option<Arc<str>>,
    /// The asyncio task that asked for it, if that is known.
    #[serde(serialize_with = "as_text")]
    pub task: Option<Arc<str>>,
    /// Its calls, as a place in the table of stacks.
    pub stack: Option<usize>,
}

fn as_text<S: serde::Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&text.as_deref(), serializer)
}

/// A leak that is known, and its calls.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct KnownLeak {
    /// As the tracker reports it, without the frames.
    #[serde(flatten)]
    pub report: LeakReport,
    /// Its calls, as a place in the table of stacks.
    pub stack: Option<usize>,
}
