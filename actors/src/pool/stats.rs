//! What a pool looks like from outside. Reading it disturbs no lease.

use super::accounts::Tally;
use super::class::SizeClass;
use super::core::Core;
use super::misuse::MisuseCounts;
use super::owner::Owner;
use super::reservation::{Reservation, group_of};
use super::waiting::WaitStats;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// The counts of a pool. Each is exact, save the two high-water marks, which say so; while other threads lease and release,
/// they are of moments close to each other.
/// All bytes are those of whole blocks, which is what the limit counts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PoolStats {
    /// Bytes leased.
    pub live_bytes: usize,
    /// Buffers leased.
    pub live_count: u64,
    /// Bytes of free blocks kept for reuse. Live and cached together never exceed the limit.
    pub cached_bytes: usize,
    /// Bytes that the pool may hold.
    pub limit_bytes: usize,
    /// Bytes of free blocks that it may keep.
    pub retain_bytes: usize,
    /// The most bytes leased at a time: exact as long as one thread leases, and otherwise between that and the most bytes
    /// ever held.
    pub high_water_bytes: usize,
    /// Leases ever granted.
    pub allocations: u64,
    /// Of these, those served by a block that was leased before.
    pub recycled: u64,
    /// Of these, those that needed a new block from the system.
    pub fresh: u64,
    /// Allocations refused.
    pub failures: u64,
    /// Explicit leases that were dropped without a release, ever.
    pub dropped_unreleased: u64,
    /// Bytes that went back to the system after they had been of no use for a while, ever.
    pub purged_bytes: u64,
    /// The soft limit.
    pub soft_limit: SoftLimitStats,
    /// Those who wait for memory.
    pub waits: WaitStats,
    /// Room that is kept for some owners, in the order it was reserved.
    pub reservations: Vec<ReservationStats>,
    /// Wrong uses of handles, ever.
    pub misuse: MisuseCounts,
    /// Threads' caches that a fork, of which this is the child, found half changed: their blocks are lost.
    pub abandoned_caches: u64,
    /// The size classes that were ever used, smallest first.
    pub classes: Vec<ClassStats>,
    /// The owners that ever leased.
    pub owners: Vec<OwnerStats>,
}

/// The soft limit, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct SoftLimitStats {
    /// When more is held than this, free blocks go back to the system.
    pub high_bytes: usize,
    /// Until no more than this is held.
    pub low_bytes: usize,
    /// Whether `high_bytes` was passed, and `low_bytes` not reached since.
    pub is_above: bool,
    /// How often `high_bytes` was passed.
    pub crossings: u64,
}

/// Room that is kept for a group of owners.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReservationStats {
    /// The owner, or what the names of the group begin with.
    pub name: String,
    /// Bytes that nobody else takes.
    pub reserved_bytes: usize,
    /// The most that the group may lease.
    pub cap_bytes: Option<usize>,
    /// Bytes that it leases.
    pub live_bytes: u64,
}

/// One size class.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ClassStats {
    /// Bytes of a block; 0 stands for the huge class, whose blocks differ.
    pub size: usize,
    /// Buffers leased.
    pub live: u64,
    /// Free blocks, on the shelf and in the threads' caches.
    pub available: usize,
    /// Free blocks that the class may keep for all threads, besides what each thread keeps for itself.
    pub capacity: usize,
    /// The most blocks that existed at a time: no fewer than were ever leased at a time, and more by what other threads
    /// kept while one had to make its own.
    pub high_water_mark: u64,
    /// Leases ever granted.
    pub allocations: u64,
}

/// One owner.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OwnerStats {
    /// The owner, by name.
    pub owner: Owner,
    /// Buffers leased.
    pub live_count: u64,
    /// Bytes of their blocks.
    pub live_bytes: u64,
    /// Buffers leased, by the bytes of a block of their class (0: huge); classes without any are left out.
    pub live_by_class: BTreeMap<usize, u64>,
    /// Leases ever granted.
    pub allocations: u64,
    /// Explicit leases of this owner that were dropped without a release, ever.
    pub dropped_unreleased: u64,
}

impl PoolStats {
    pub(crate) fn read(core: &Core) -> Self {
        let mut by_class = [Tally::default(); SizeClass::COUNT];
        let owners: Vec<OwnerStats> = Owner::all()
            .filter(|&owner| core.caches.knows(owner))
            .map(|owner| {
                let mut of_owner = Tally::default();
                let mut live_by_class = BTreeMap::new();
                for class in SizeClass::all() {
                    let tally = core.caches.tally(owner, class);
                    of_owner.add(tally);
                    if tally.live > 0 {
                        live_by_class.insert(class.bytes().unwrap_or(0), tally.live);
                    }
                    by_class[class.index()].add(tally);
                }
                OwnerStats {
                    owner,
                    live_count: of_owner.live,
                    live_bytes: of_owner.live_bytes,
                    live_by_class,
                    allocations: of_owner.leases,
                    dropped_unreleased: core.accounts.unreleased_of(owner),
                }
            })
            .collect();
        let classes: Vec<ClassStats> = core
            .shelves
            .iter()
            .filter(|shelf| shelf.made() > 0)
            .map(|shelf| {
                let Tally { leases, live, .. } = by_class[shelf.class().index()];
                ClassStats {
                    size: shelf.class().bytes().unwrap_or(0),
                    live,
                    available: shelf.existing().saturating_sub(live) as usize,
                    capacity: shelf.capacity(),
                    high_water_mark: shelf.high_water(),
                    allocations: leases,
                }
            })
            .collect();
        let fresh = core.shelves.iter().map(|shelf| shelf.made()).sum();
        let allocations = owners.iter().map(|owner| owner.allocations).sum::<u64>();
        core.note_high_water();
        let live_bytes = core.live();
        let (waits, reservations) = of_admission(core, &owners);
        Self {
            live_bytes,
            live_count: owners.iter().map(|owner| owner.live_count).sum(),
            cached_bytes: core.budget.held().saturating_sub(live_bytes),
            limit_bytes: core.budget.limit(),
            retain_bytes: core.budget.retain(),
            high_water_bytes: core.budget.high_water(),
            allocations,
            recycled: allocations.saturating_sub(fresh),
            fresh,
            failures: core.failures.load(Relaxed),
            dropped_unreleased: owners.iter().map(|owner| owner.dropped_unreleased).sum(),
            purged_bytes: core.purged.load(Relaxed),
            soft_limit: soft_limit(core),
            waits,
            reservations,
            misuse: core.misuse.counts(),
            abandoned_caches: core.caches.abandoned(),
            classes,
            owners,
        }
    }

    /// The counts of one owner, if it ever leased.
    pub fn owner(&self, owner: Owner) -> Option<&OwnerStats> {
        self.owners.iter().find(|stats| stats.owner == owner)
    }
}

fn soft_limit(core: &Core) -> SoftLimitStats {
    let (high_bytes, low_bytes) = core.budget.soft();
    SoftLimitStats {
        high_bytes,
        low_bytes,
        is_above: core.budget.is_above_soft(),
        crossings: core.budget.soft_crossings(),
    }
}

fn of_admission(core: &Core, owners: &[OwnerStats]) -> (WaitStats, Vec<ReservationStats>) {
    // Leases may wait for this lock: what takes longer is done outside.
    let (waiting, reservations) =
        core.caches.admission(|admission| (admission.waiting(), admission.groups.all().cloned().collect::<Vec<_>>()));
    let mut reservations: Vec<ReservationStats> = reservations
        .into_iter()
        .map(|Reservation { name, bytes, cap }| ReservationStats {
            name,
            reserved_bytes: bytes,
            cap_bytes: cap,
            live_bytes: 0,
        })
        .collect();
    for owner in owners {
        let names = reservations.iter().map(|reservation| reservation.name.as_str());
        if let Some(at) = group_of(owner.owner.name(), names) {
            reservations[at].live_bytes += owner.live_bytes;
        }
    }
    (core.waits.read(waiting), reservations)
}
