//! The allocator of the native module, and what it and the system say of its memory: `ironcliw.allocator_stats()`,
//! `rt.snapshot()["allocator"]` and the endpoint's `ironcliw_allocator_*`.
//!
//! It serves what Rust code allocates: messages, small pooled blocks, the pool's books. The interpreter, numpy and the
//! pool's blocks of 2 MiB and more get theirs elsewhere, so what it holds is only a part of what is resident. Start with
//! [`Stats`]; `mimalloc.rs` and `system.rs` are the two sources, of which the build has one, `process.rs` asks the kernel.

#[cfg(feature = "mimalloc")]
mod mimalloc;
mod process;
#[cfg(not(feature = "mimalloc"))]
mod system;

use ironcliw::{Metric, Section};
use pyo3::prelude::*;
use serde_json::{Map, Value, json};

use self::process::Process;
use crate::snapshot::to_python;

#[cfg(feature = "mimalloc")]
pub(crate) use self::mimalloc::NAME;
#[cfg(not(feature = "mimalloc"))]
pub(crate) use self::system::NAME;

/// What an allocator tells of itself. What it does not tell is `None`.
#[derive(Debug, Default)]
struct Told {
    version: Option<String>,
    committed: Option<u64>,
    committed_peak: Option<u64>,
    reserved: Option<u64>,
    used: Option<u64>,
    purged: Option<u64>,
    /// The rest, by the allocator's own names.
    details: Map<String, Value>,
    /// Of the process, where only the allocator knows how to ask this system.
    process: Process,
}

/// Once, before there is a pool.
pub(crate) fn install() {
    #[cfg(feature = "mimalloc")]
    mimalloc::collect_at_trims();
}

fn told() -> Told {
    #[cfg(feature = "mimalloc")]
    return mimalloc::told();
    #[cfg(not(feature = "mimalloc"))]
    system::told()
}

/// The figures of one moment.
#[derive(Debug)]
struct Stats {
    told: Told,
    process: Process,
}

impl Stats {
    fn now() -> Self {
        let told = told();
        let process = Process::now().or(told.process);
        Self { told, process }
    }

    /// `ironcliw.types.AllocatorStats`.
    fn to_json(&self) -> Value {
        let Self { told, process } = self;
        json!({
            "name": NAME,
            "version": told.version,
            "committed_bytes": told.committed,
            "committed_peak_bytes": told.committed_peak,
            "reserved_bytes": told.reserved,
            "used_bytes": told.used,
            "purged_bytes": told.purged,
            "resident_bytes": process.resident,
            "resident_peak_bytes": process.resident_peak,
            "page_faults": process.faults,
            "major_page_faults": process.major_faults,
            "details": told.details,
        })
    }

    fn metrics(&self) -> Vec<Metric> {
        let Self { told, process } = self;
        let version = told.version.clone().unwrap_or_default();
        let labels = vec![("name", NAME.to_owned()), ("version", version)];
        let info = Metric::gauge("allocator_info", "The allocator of the native module", 1.0);
        let gauges = [
            ("allocator_committed_bytes", "Bytes it holds from the system", told.committed),
            ("allocator_committed_peak_bytes", "The most bytes it ever held", told.committed_peak),
            ("allocator_reserved_bytes", "Address space it has reserved", told.reserved),
            ("allocator_used_bytes", "Bytes that are allocated", told.used),
            ("allocator_resident_bytes", "Bytes of the whole process in memory", process.resident),
            ("allocator_resident_peak_bytes", "The most of them that there ever were", process.resident_peak),
        ];
        let counters = [
            ("allocator_purged_bytes", "Bytes it gave back to the system", told.purged),
            ("allocator_page_faults", "Page faults of the process that needed no disk", process.faults),
            ("allocator_major_page_faults", "Page faults of the process that did", process.major_faults),
        ];
        let gauges =
            gauges.into_iter().filter_map(|(name, help, value)| Some(Metric::gauge(name, help, value? as f64)));
        let counters =
            counters.into_iter().filter_map(|(name, help, value)| Some(Metric::counter(name, help, value? as f64)));
        std::iter::once(Metric { samples: vec![(labels, 1.0)], ..info }).chain(gauges).chain(counters).collect()
    }
}

/// Its part of a runtime's snapshot and metrics.
pub(crate) struct Figures;

impl Section for Figures {
    fn snapshot(&self) -> Value {
        Stats::now().to_json()
    }

    fn metrics(&self) -> Vec<Metric> {
        Stats::now().metrics()
    }
}

/// `ironcliw.types.AllocatorStats`.
#[pyfunction]
pub(crate) fn allocator_stats(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    to_python(py, &py.detach(|| Stats::now().to_json()))
}
