//! Taking a snapshot: records, then counts, then the sums.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use ironcliw::SupervisionEvent;

use super::history::{History, Mark, Sample};
use super::model::{
    ClassHolding, FORMAT, HeldClass, HeldLease, KnownLeak, OwnerHolding, PoolSnapshot, ThreadHolding, Totals, Tracking,
    VERSION,
};
use super::records::{Held, Records};
use super::stacks::StackTable;
use super::threads;
use super::weights::Cells;
use crate::leak::{LeakReport, Lease, Stack, Tracker};
use crate::pool::{Owner, Pool, PoolStats, SizeClass};

/// Looks at a pool and its ledger from outside, at any time and on any thread. Clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct Observer {
    pool: Pool,
    tracker: Tracker,
    history: Arc<History>,
}

impl Observer {
    pub(crate) fn new(pool: Pool, tracker: Tracker, history: Arc<History>) -> Self {
        Self { pool, tracker, history }
    }

    /// What the pool holds now. Failures among `events` are marked in the history: [`ironcliw::Snapshot::events`].
    ///
    /// Waits for the ledger's lock, which the leak tracker holds for as long as it takes in events or looks for leaks. In the
    /// child of a fork there is no record and no history, and it waits for nobody.
    pub fn snapshot(&self, events: &[SupervisionEvent]) -> PoolSnapshot {
        // Records first: whose lease is recorded, that owner and class are then among the counts.
        let Records { held, leaks } = Records::copy(&self.tracker);
        let threads = threads::read(&self.pool);
        let stats = self.pool.stats();
        let now = Instant::now();
        let cells = cells_of(&stats, &held);
        let (mut stacks, mut leases, mut waste) = (StackTable::default(), Vec::new(), HashMap::new());
        for record in held {
            let Lease { id, class, bytes, block_bytes, owner, kind } = record.lease;
            let weight = cells.weight(owner, class, kind);
            *waste.entry(class).or_default() += weight * block_bytes.saturating_sub(bytes) as f64;
            leases.push(HeldLease {
                id,
                owner,
                size: class.bytes().unwrap_or(0),
                bytes,
                block_bytes,
                kind,
                age_s: now.saturating_duration_since(record.at).as_secs_f64(),
                too_old: record.too_old,
                weight,
                site: record.site,
                task: record.task,
                stack: record.stack.as_ref().map(|stack| stacks.place(stack)),
            });
        }
        leases.sort_by(|a, b| b.age_s.total_cmp(&a.age_s).then(a.id.cmp(&b.id)));
        let known = |(report, stack): (LeakReport, Option<Stack>)| KnownLeak {
            report,
            stack: stack.as_ref().map(|stack| stacks.place(stack)),
        };
        let leaks = leaks.into_iter().map(known).collect();
        let pressure = self.pool.pressure().get();
        let at_unix_s = self.history.unix_seconds(now);
        // In the child of a fork a thread that is not there may have its lock.
        let (mut history, mut marks) = if self.tracker.is_parents() { Default::default() } else { self.history.read() };
        let since = self.history.since_unix_s(&history);
        history.push(Sample::of(&stats, pressure, at_unix_s));
        marks.extend(Mark::of_failures(events));
        marks.retain(|mark| mark.at_unix_s >= since);
        marks.sort_by(|a, b| a.at_unix_s.total_cmp(&b.at_unix_s));
        let owners = owners_of(&stats, &cells);
        PoolSnapshot {
            format: FORMAT,
            version: VERSION,
            taken_at_unix_s: at_unix_s,
            pressure,
            totals: totals_of(&stats, &owners),
            classes: classes_of(&stats, &owners, &threads, &cells, &waste),
            owners,
            threads,
            tracking: self.tracking(),
            leases,
            leaks,
            stacks,
            history,
            marks,
        }
    }

    fn tracking(&self) -> Tracking {
        let recorder = self.pool.recorder();
        Tracking {
            level: recorder.level(),
            sample_every: recorder.sample_every().get(),
            recorded_leases: recorder.recorded_leases(),
            dropped_events: recorder.dropped_events(),
            lost_records: self.tracker.lost_records(),
            lost_stacks: recorder.lost_stacks(),
        }
    }
}

fn classes_of(
    stats: &PoolStats,
    owners: &[OwnerHolding],
    threads: &[ThreadHolding],
    cells: &Cells,
    waste: &HashMap<SizeClass, f64>,
) -> Vec<ClassHolding> {
    let mut held = BTreeMap::<usize, (u64, u64)>::new();
    for class in owners.iter().flat_map(|owner| &owner.classes) {
        let (live, live_bytes) = held.entry(class.size).or_default();
        *live += class.live;
        *live_bytes += class.live_bytes;
    }
    let mut recorded = HashMap::<SizeClass, u64>::new();
    cells.iter().for_each(|(_, class, cell)| *recorded.entry(class).or_default() += cell.recorded);
    let kept = threads::idle_by_class(threads);
    let classes = stats.classes.iter().map(|of| {
        let class = class_of(of.size);
        let (live, live_bytes) = held.get(&of.size).copied().unwrap_or_default();
        let recorded = recorded.get(&class).copied().unwrap_or_default();
        let idle_in_caches = kept.get(&class).copied().unwrap_or_default();
        let waste = waste.get(&class).map(|waste| waste.round() as u64);
        ClassHolding {
            size: of.size,
            live,
            live_bytes,
            idle_in_caches,
            idle_on_shelf: (of.available as u64).saturating_sub(idle_in_caches),
            capacity: of.capacity,
            high_water: of.high_water_mark,
            allocations: of.allocations,
            recorded,
            waste_bytes: if live == 0 { Some(0) } else { waste.filter(|_| recorded > 0) },
        }
    });
    let mut classes: Vec<_> = classes.collect();
    // The huge class, of size 0, is the last.
    classes.sort_by_key(|class| class.size.wrapping_sub(1));
    classes
}

/// The class whose blocks have `size` bytes; 0 is the huge one.
fn class_of(size: usize) -> SizeClass {
    if size == 0 { SizeClass::HUGE } else { SizeClass::of(size) }
}

fn cells_of(stats: &PoolStats, held: &[Held]) -> Cells {
    let mut cells = Cells::default();
    for of in &stats.owners {
        let classed: u64 = of.live_by_class.iter().map(|(&size, &live)| size as u64 * live).sum();
        for (&size, &live) in &of.live_by_class {
            let bytes = if size == 0 { of.live_bytes.saturating_sub(classed) } else { size as u64 * live };
            cells.count(of.owner, class_of(size), bytes);
        }
    }
    for Held { lease, .. } in held {
        cells.record(lease.owner, lease.class, lease.kind, lease.block_bytes as u64);
    }
    cells.settle();
    cells
}

fn owners_of(stats: &PoolStats, cells: &Cells) -> Vec<OwnerHolding> {
    let mut held = HashMap::<Owner, Vec<HeldClass>>::new();
    let counted: HashMap<Owner, &BTreeMap<usize, u64>> =
        stats.owners.iter().map(|of| (of.owner, &of.live_by_class)).collect();
    for (owner, class, cell) in cells.iter() {
        let size = class.bytes().unwrap_or(0);
        let counted = counted.get(&owner).and_then(|classes| classes.get(&size)).copied().unwrap_or_default();
        held.entry(owner).or_default().push(HeldClass {
            size,
            live: counted.max(cell.recorded),
            live_bytes: cell.live_bytes,
            unrecorded_bytes: cell.unrecorded_bytes(),
        });
    }
    let owners = stats.owners.iter().map(|of| {
        let mut classes = held.remove(&of.owner).unwrap_or_default();
        classes.sort_by_key(|class| class.size.wrapping_sub(1));
        OwnerHolding {
            owner: of.owner,
            live: classes.iter().map(|class| class.live).sum(),
            live_bytes: classes.iter().map(|class| class.live_bytes).sum(),
            allocations: of.allocations,
            dropped_unreleased: of.dropped_unreleased,
            classes,
        }
    });
    owners.collect()
}

fn totals_of(stats: &PoolStats, owners: &[OwnerHolding]) -> Totals {
    let live_bytes = owners.iter().map(|owner| owner.live_bytes).sum::<u64>();
    let held_bytes = ((stats.live_bytes + stats.cached_bytes) as u64).max(live_bytes);
    Totals {
        held_bytes,
        live_bytes,
        live: owners.iter().map(|owner| owner.live).sum(),
        idle_bytes: held_bytes - live_bytes,
        limit_bytes: stats.limit_bytes as u64,
        retain_bytes: stats.retain_bytes as u64,
        high_water_bytes: (stats.high_water_bytes as u64).max(live_bytes),
        allocations: stats.allocations,
        recycled: stats.recycled,
        failures: stats.failures,
        dropped_unreleased: stats.dropped_unreleased,
    }
}
