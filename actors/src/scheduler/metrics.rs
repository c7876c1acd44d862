//! The pools' statistics as metrics, labelled with the pool's name.

use ironcliw::Metric;

use super::{PoolStats, Priority, Queued, Times};

type Sample = (Vec<(&'static str, String)>, f64);

pub(crate) fn pool_metrics(pools: &[PoolStats]) -> Vec<Metric> {
    let each = |metric, value: fn(&PoolStats) -> f64| {
        with(metric, pools, |pool| vec![(vec![("pool", pool.name.clone())], value(pool))])
    };
    vec![
        each(Metric::gauge("scheduler_pool_threads", "Threads", 0.0), |pool| pool.threads as f64),
        each(Metric::gauge("scheduler_pool_running", "Jobs that run", 0.0), |pool| pool.running as f64),
        each(Metric::gauge("scheduler_pool_async_alive", "Async jobs that have not ended", 0.0), |pool| {
            pool.async_alive as f64
        }),
        each(Metric::gauge("scheduler_pool_queue_capacity", "Jobs that may wait", 0.0), |pool| {
            pool.queue_capacity as f64
        }),
        with(Metric::gauge("scheduler_pool_queue_depth", "Jobs that wait", 0.0), pools, by_priority),
        each(Metric::gauge("scheduler_pool_utilisation", "Share of the threads' time that jobs held", 0.0), |pool| {
            pool.utilisation
        }),
        each(Metric::counter("scheduler_pool_submitted", "Jobs taken in", 0.0), |pool| pool.submitted as f64),
        each(Metric::counter("scheduler_pool_rejected", "Jobs a full queue refused", 0.0), |pool| pool.rejected as f64),
        with(Metric::counter("scheduler_pool_ended", "Jobs that ended, and how", 0.0), pools, by_end),
        with(Metric::counter("scheduler_pool_steals", "Thefts between threads that can be known", 0.0), pools, by_kind),
        with(Metric::gauge("scheduler_pool_wait_seconds", "How long jobs waited", 0.0), pools, |pool| {
            quantiles(pool, &pool.wait)
        }),
        with(Metric::gauge("scheduler_pool_run_seconds", "How long jobs ran", 0.0), pools, |pool| {
            quantiles(pool, &pool.run)
        }),
    ]
}

fn with(metric: Metric, pools: &[PoolStats], samples: impl Fn(&PoolStats) -> Vec<Sample>) -> Metric {
    Metric { samples: pools.iter().flat_map(samples).collect(), ..metric }
}

fn labelled(pool: &PoolStats, label: &'static str, value: &str, sample: f64) -> Sample {
    (vec![("pool", pool.name.clone()), (label, value.to_owned())], sample)
}

fn by_priority(pool: &PoolStats) -> Vec<Sample> {
    let Queued { high, normal, low } = pool.queued;
    let depths = Priority::ALL.into_iter().zip([high, normal, low]);
    depths.map(|(priority, depth)| labelled(pool, "priority", priority.as_str(), depth as f64)).collect()
}

fn by_end(pool: &PoolStats) -> Vec<Sample> {
    let ends = [
        ("completed", pool.completed),
        ("panicked", pool.panicked),
        ("cancelled", pool.cancelled),
        ("expired", pool.expired),
        ("refused", pool.refused),
    ];
    ends.into_iter().map(|(end, count)| labelled(pool, "end", end, count as f64)).collect()
}

fn by_kind(pool: &PoolStats) -> Vec<Sample> {
    let kinds = [("jobs", pool.steals.jobs), ("tasks", pool.steals.tasks), ("joins", pool.steals.joins)];
    kinds.into_iter().map(|(kind, count)| labelled(pool, "of", kind, count as f64)).collect()
}

/// None of a pool that has no times yet.
fn quantiles(pool: &PoolStats, times: &Times) -> Vec<Sample> {
    let known = [("0.5", times.p50_s), ("0.99", times.p99_s)];
    known.into_iter().filter_map(|(quantile, time_s)| Some(labelled(pool, "quantile", quantile, time_s?))).collect()
}
