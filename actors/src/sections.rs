//! What the subsystems show in snapshots and at the endpoint.

use std::sync::Arc;

use ironcliw::{Handle, Metric, Section};
use serde_json::{Value, json};

use crate::image::{Images, WorkerStats};
use crate::inference::{Loaded, ModelStats};
use crate::leak::{LeakKind, Tracker};
use crate::pool::{MisuseCounts, OwnerStats, Pool, PublishedPressure};
use crate::scheduler::{self, Scheduler};
use crate::snapshot::Observer;
use crate::tree::Subsystems;

pub(crate) fn register(runtime: &Handle, subsystems: &Subsystems) {
    let Subsystems { pool, tracker, pressure, observer, scheduler, images, inference, .. } = subsystems;
    let memory = Memory {
        pool: pool.clone(),
        tracker: tracker.clone(),
        pressure: pressure.clone(),
        observer: observer.clone(),
        handle: runtime.clone(),
    };
    runtime.register("pool", Arc::new(memory));
    runtime.register("scheduler", Arc::new(Threads(scheduler.clone())));
    runtime.register("images", Arc::new(Workers(images.clone())));
    runtime.register("inference", Arc::new(Models(inference.loaded().clone())));
}

fn to_value(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| json!({ "error": error.to_string() }))
}

/// A sample for each of `rows`, labelled with its name.
fn of_each<R>(metric: Metric, label: &'static str, rows: &[(String, R)], value: fn(&R) -> f64) -> Metric {
    let samples = rows.iter().map(|(name, row)| (vec![(label, name.clone())], value(row))).collect();
    Metric { samples, ..metric }
}

struct Memory {
    pool: Pool,
    tracker: Tracker,
    pressure: PublishedPressure,
    observer: Observer,
    /// For the failures that the history marks. The circle ends when the runtime does: it forgets its sections.
    handle: Handle,
}

impl Section for Memory {
    fn snapshot(&self) -> Value {
        let recorder = self.pool.recorder();
        json!({
            "stats": to_value(self.pool.stats()),
            "pressure": self.pressure.get(),
            "pressure_stats": to_value(self.pool.pressure_stats()),
            "leaks": {
                "level": recorder.level().as_str(),
                "recorded_leases": recorder.recorded_leases(),
                "dropped_events": recorder.dropped_events(),
                "lost_records": self.tracker.lost_records(),
                "lost_stacks": recorder.lost_stacks(),
                "open_scopes": recorder.scopes(),
                "by_kind": to_value(self.tracker.counts()),
            },
        })
    }

    fn details(&self) -> Option<Value> {
        let (_, events) = self.handle.events_after(0);
        Some(to_value(self.observer.snapshot(&events)))
    }

    fn metrics(&self) -> Vec<Metric> {
        let (stats, recorder) = (self.pool.stats(), self.pool.recorder());
        let reservations: Vec<_> =
            stats.reservations.iter().map(|reservation| (reservation.name.clone(), reservation.clone())).collect();
        let owners: Vec<_> = stats.owners.iter().map(|owner| (owner.owner.name().to_owned(), owner.clone())).collect();
        let pressure = self.pool.pressure_stats();
        let causes: Vec<_> = pressure.by_cause.iter().map(|(cause, level)| (cause.to_string(), *level)).collect();
        vec![
            Metric::gauge("pool_live_bytes", "Bytes leased, by block", stats.live_bytes as f64),
            Metric::gauge("pool_live_buffers", "Buffers leased", stats.live_count as f64),
            Metric::gauge("pool_cached_bytes", "Bytes of free blocks kept for reuse", stats.cached_bytes as f64),
            Metric::gauge("pool_limit_bytes", "Bytes the pool may hold", stats.limit_bytes as f64),
            Metric::gauge(
                "pool_pressure",
                "Memory pressure, 0 (low) to 3 (critical)",
                self.pressure.get() as u8 as f64,
            ),
            of_each(
                Metric::gauge(
                    "pool_pressure_by_cause",
                    "Memory pressure as each cause has it, 0 (low) to 3 (critical)",
                    0.0,
                ),
                "cause",
                &causes,
                |&level| level as u8 as f64,
            ),
            Metric::counter(
                "pool_pressure_returned_bytes",
                "Idle memory given back to the system because memory was short",
                pressure.returned_bytes as f64,
            ),
            Metric::counter(
                "pool_pressure_refusals",
                "Allocations refused because the system's memory was critically short",
                pressure.refused as f64,
            ),
            Metric::counter("pool_allocations", "Leases granted", stats.allocations as f64),
            Metric::counter("pool_recycled", "Leases served by a block that was leased before", stats.recycled as f64),
            Metric::counter("pool_failures", "Allocations refused", stats.failures as f64),
            Metric::counter("pool_purged_bytes", "Bytes given back after they were idle", stats.purged_bytes as f64),
            Metric::counter(
                "pool_soft_limit_crossings",
                "Times the soft limit was passed",
                stats.soft_limit.crossings as f64,
            ),
            Metric::gauge("pool_waiting", "Requests that wait for memory", stats.waits.waiting as f64),
            Metric::counter("pool_waits_served", "Requests served after a wait", stats.waits.served as f64),
            Metric::counter("pool_waits_timed_out", "Requests that waited in vain", stats.waits.timed_out as f64),
            Metric::gauge(
                "pool_longest_wait_seconds",
                "The longest that a request waited for memory",
                stats.waits.longest_ns as f64 / 1e9,
            ),
            of_each(
                Metric::gauge("pool_reserved_bytes", "Bytes kept for a group of owners", 0.0),
                "group",
                &reservations,
                |reservation| reservation.reserved_bytes as f64,
            ),
            of_each(
                Metric::counter("pool_misuse", "Wrong uses of buffers' handles, by kind", 0.0),
                "kind",
                &misuse(stats.misuse),
                |&count| count as f64,
            ),
            Metric::counter(
                "leak_dropped_unreleased",
                "Buffers that had to be released and were only dropped",
                stats.dropped_unreleased as f64,
            ),
            Metric::counter("leak_dropped_events", "Events the full channel dropped", recorder.dropped_events() as f64),
            Metric::counter(
                "leak_lost_records",
                "Leases without the record they should carry, for want of memory or as there were too many",
                self.tracker.lost_records() as f64,
            ),
            Metric::counter(
                "leak_lost_stacks",
                "Records without the calls they should carry, for want of memory",
                recorder.lost_stacks() as f64,
            ),
            self.leaks_by_kind(),
            of_each(Metric::gauge("pool_owner_live_bytes", "Bytes leased, by owner", 0.0), "owner", &owners, |owner| {
                owner.live_bytes as f64
            }),
        ]
    }

    fn unclean(&self) -> Vec<String> {
        let owners = self.pool.stats().owners.into_iter().filter(|owner| owner.live_count > 0);
        let told = |owner: OwnerStats| {
            let OwnerStats { owner, live_count, live_bytes, .. } = owner;
            format!("buffers on lease to {}: {live_count}, {live_bytes} bytes", owner.name())
        };
        owners.map(told).collect()
    }
}

impl Memory {
    /// A sample for every kind that a check may find: one that is gone shows as 0.
    fn leaks_by_kind(&self) -> Metric {
        let counts = self.tracker.counts();
        let kinds = LeakKind::ALL.iter().filter(|&&kind| kind != LeakKind::StillOut);
        let sample = |kind: &LeakKind| {
            let count = counts.get(kind).copied().unwrap_or(0);
            (vec![("kind", kind.as_str().to_owned())], count as f64)
        };
        let metric = Metric::gauge("leak_known", "Leaks known at the last check, by kind", 0.0);
        Metric { samples: kinds.map(sample).collect(), ..metric }
    }
}

fn misuse(counts: MisuseCounts) -> Vec<(String, u64)> {
    let MisuseCounts { use_after_release, double_release, foreign_release, out_of_bounds } = counts;
    let kinds = [
        ("use_after_release", use_after_release),
        ("double_release", double_release),
        ("foreign_release", foreign_release),
        ("out_of_bounds", out_of_bounds),
    ];
    kinds.map(|(kind, count)| (kind.to_owned(), count)).into()
}

struct Threads(Scheduler);

impl Section for Threads {
    fn snapshot(&self) -> Value {
        to_value(self.0.stats())
    }

    fn metrics(&self) -> Vec<Metric> {
        let stats = self.0.stats();
        let mut metrics = vec![
            Metric::gauge("scheduler_active_tasks", "Jobs that run", stats.active_tasks as f64),
            Metric::gauge("scheduler_queue_depth", "Jobs that wait for a thread", stats.queue_depth as f64),
            Metric::gauge("scheduler_threads", "Threads of the pool", stats.active_workers as f64),
            Metric::counter("scheduler_spawned", "Jobs taken in", stats.total_spawned as f64),
            Metric::counter("scheduler_completed", "Jobs that ended", stats.total_completed as f64),
            Metric::counter("scheduler_panicked", "Jobs that panicked", stats.total_panicked as f64),
            Metric::counter("scheduler_busy_seconds", "Seconds that jobs ran", stats.busy_s),
            Metric::counter("scheduler_waited_seconds", "Seconds that jobs waited for a thread", stats.waited_s),
        ];
        metrics.extend(scheduler::pool_metrics(&stats.pools));
        metrics
    }
}

struct Workers(Images);

impl Section for Workers {
    fn snapshot(&self) -> Value {
        let workers: Vec<Value> = self
            .0
            .workers()
            .zip(self.0.stats())
            .map(|(worker, stats)| json!({ "path": worker.path(), "stats": to_value(stats) }))
            .collect();
        Value::Array(workers)
    }

    fn metrics(&self) -> Vec<Metric> {
        let paths = self.0.workers().map(|worker| worker.path().to_owned());
        let workers: Vec<(String, WorkerStats)> = paths.zip(self.0.stats()).collect();
        let family = |metric, value| of_each(metric, "path", &workers, value);
        vec![
            family(Metric::counter("images_jobs", "Image jobs done", 0.0), |worker| worker.jobs as f64),
            family(Metric::counter("images_errors", "Image jobs that failed", 0.0), |worker| worker.errors as f64),
            family(Metric::counter("images_cancelled", "Image jobs that were stopped half way", 0.0), |worker| {
                worker.cancelled as f64
            }),
            family(Metric::counter("images_split_batches", "Batches split through the scheduler", 0.0), |worker| {
                worker.split_batches as f64
            }),
            family(Metric::gauge("images_scratch_bytes", "Working memory held between jobs", 0.0), |worker| {
                worker.scratch_bytes as f64
            }),
        ]
    }
}

/// The list, not the handle: that holds on to the runtime, which holds on to its sections.
struct Models(Loaded);

impl Section for Models {
    fn snapshot(&self) -> Value {
        to_value(self.0.stats())
    }

    fn metrics(&self) -> Vec<Metric> {
        let models: Vec<(String, ModelStats)> =
            self.0.stats().into_iter().map(|model| (model.name.clone(), model)).collect();
        let family = |metric, value| of_each(metric, "model", &models, value);
        vec![
            family(Metric::counter("inference_runs", "Inferences done", 0.0), |model| model.inferences as f64),
            family(Metric::counter("inference_errors", "Inferences that failed", 0.0), |model| model.errors as f64),
            family(Metric::counter("inference_cancelled", "Inferences that were stopped half way", 0.0), |model| {
                model.cancelled as f64
            }),
            family(Metric::gauge("inference_weight_bytes", "Bytes of packed weights", 0.0), |model| {
                model.weight_bytes as f64
            }),
        ]
    }
}
