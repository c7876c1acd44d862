//! What subsystems add to the picture: a [`Section`] each, read by snapshots and by the endpoint.

use serde_json::Value;

/// A subsystem's own part of a snapshot. Its methods are called on the observer's thread and must not wait for an actor.
pub trait Section: Send + Sync {
    /// The part as JSON.
    fn snapshot(&self) -> Value;

    /// What is too much for every snapshot, as JSON: the endpoint serves it at `/api/v1/snapshot/NAME`. `None`: there is no
    /// more to know.
    fn details(&self) -> Option<Value> {
        None
    }

    /// The part as metrics. Names get the prefix `ironcliw_`.
    fn metrics(&self) -> Vec<Metric> {
        Vec::new()
    }

    /// What is out that should be back once everybody is done, in words, a line each: buffers on lease, open files. The
    /// test kit's `assert_clean` lists it.
    fn unclean(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows; its exported name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One metric with its samples, one a set of labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// As `pool_live_bytes`; a counter's without `_total`.
    pub name: &'static str,
    /// One sentence without a full stop.
    pub help: &'static str,
    /// What kind of number it is.
    pub kind: MetricKind,
    /// Labels and value.
    pub samples: Vec<(Vec<(&'static str, String)>, f64)>,
}

impl Metric {
    /// A gauge with one sample that has no labels.
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, kind: MetricKind::Gauge, samples: vec![(Vec::new(), value)] }
    }

    /// A counter with one sample that has no labels.
    pub fn counter(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, kind: MetricKind::Counter, samples: vec![(Vec::new(), value)] }
    }
}
