//! What the subsystems show in snapshots and at the endpoint.

use std::sync::Arc;

use ironcliw::{Handle, Metric, MetricKind, Section};
use serde_json::{Value, json};

use crate::image::Images;
use crate::inference::Loaded;
use crate::pool::{Pool, PublishedPressure};
use crate::scheduler::Scheduler;
use crate::tree::Subsystems;

pub(crate) fn register(runtime: &Handle, subsystems: &Subsystems) {
    let Subsystems { pool, pressure, scheduler, images, inference, .. } = subsystems;
    runtime.register("pool", Arc::new(Memory { pool: pool.clone(), pressure: pressure.clone() }));
    runtime.register("scheduler", Arc::new(Threads(scheduler.clone())));
    runtime.register("images", Arc::new(Workers(images.clone())));
    runtime.register("inference", Arc::new(Models(inference.loaded().clone())));
}

fn to_value(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| json!({ "error": error.to_string() }))
}

struct Memory {
    pool: Pool,
    pressure: PublishedPressure,
}

impl Section for Memory {
    fn snapshot(&self) -> Value {
        let recorder = self.pool.recorder();
        json!({
            "stats": to_value(self.pool.stats()),
            "pressure": self.pressure.get(),
            "leaks": {
                "level": recorder.level().as_str(),
                "recorded_leases": recorder.recorded_leases(),
                "dropped_events": recorder.dropped_events(),
            },
        })
    }

    fn metrics(&self) -> Vec<Metric> {
        let stats = self.pool.stats();
        let by_owner = |pick: fn(&crate::pool::OwnerStats) -> f64| {
            stats.owners.iter().map(|owner| (vec![("owner", owner.owner.name().to_owned())], pick(owner))).collect()
        };
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
            Metric::counter("pool_allocations", "Leases granted", stats.allocations as f64),
            Metric::counter("pool_recycled", "Leases served by a block that was leased before", stats.recycled as f64),
            Metric::counter("pool_failures", "Allocations refused", stats.failures as f64),
            Metric::counter(
                "leak_dropped_unreleased",
                "Buffers that had to be released and were only dropped",
                stats.dropped_unreleased as f64,
            ),
            Metric::counter(
                "leak_dropped_events",
                "Events the full channel dropped",
                self.pool.recorder().dropped_events() as f64,
            ),
            Metric {
                name: "pool_owner_live_bytes",
                help: "Bytes leased, by owner",
                kind: MetricKind::Gauge,
                samples: by_owner(|owner| owner.live_bytes as f64),
            },
        ]
    }
}

struct Threads(Scheduler);

impl Section for Threads {
    fn snapshot(&self) -> Value {
        to_value(self.0.stats())
    }

    fn metrics(&self) -> Vec<Metric> {
        let stats = self.0.stats();
        vec![
            Metric::gauge("scheduler_active_tasks", "Jobs that run", stats.active_tasks as f64),
            Metric::gauge("scheduler_queue_depth", "Jobs that wait for a thread", stats.queue_depth as f64),
            Metric::gauge("scheduler_threads", "Threads of the pool", stats.active_workers as f64),
            Metric::counter("scheduler_spawned", "Jobs taken in", stats.total_spawned as f64),
            Metric::counter("scheduler_completed", "Jobs that ended", stats.total_completed as f64),
            Metric::counter("scheduler_panicked", "Jobs that panicked", stats.total_panicked as f64),
            Metric::counter("scheduler_busy_seconds", "Seconds that jobs ran", stats.busy_s),
            Metric::counter("scheduler_waited_seconds", "Seconds that jobs waited for a thread", stats.waited_s),
        ]
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
        let stats = self.0.stats();
        let by_worker = |pick: fn(&crate::image::WorkerStats) -> f64| {
            let paths = self.0.workers().map(|worker| vec![("path", worker.path().to_owned())]);
            paths.zip(&stats).map(|(labels, stats)| (labels, pick(stats))).collect()
        };
        let metric = |name, help, kind, samples| Metric { name, help, kind, samples };
        vec![
            metric("images_jobs", "Image jobs done", MetricKind::Counter, by_worker(|worker| worker.jobs as f64)),
            metric(
                "images_errors",
                "Image jobs that failed",
                MetricKind::Counter,
                by_worker(|worker| worker.errors as f64),
            ),
            metric(
                "images_split_batches",
                "Batches split through the scheduler",
                MetricKind::Counter,
                by_worker(|worker| worker.split_batches as f64),
            ),
            metric(
                "images_scratch_bytes",
                "Working memory held between jobs",
                MetricKind::Gauge,
                by_worker(|worker| worker.scratch_bytes as f64),
            ),
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
        let stats = self.0.stats();
        let by_model = |pick: fn(&crate::inference::ModelStats) -> f64| {
            stats.iter().map(|model| (vec![("model", model.name.clone())], pick(model))).collect()
        };
        let metric = |name, help, kind, samples| Metric { name, help, kind, samples };
        vec![
            metric("inference_runs", "Inferences done", MetricKind::Counter, by_model(|model| model.inferences as f64)),
            metric(
                "inference_errors",
                "Inferences that failed",
                MetricKind::Counter,
                by_model(|model| model.errors as f64),
            ),
            metric(
                "inference_weight_bytes",
                "Bytes of packed weights",
                MetricKind::Gauge,
                by_model(|model| model.weight_bytes as f64),
            ),
        ]
    }
}
