//! `rt.pool`.

use std::sync::Arc;

use ironcliw_actors::pool::{
    AllocOptions, AllocateWhenFree, LeaseKind, MisuseCounts, PoolStats, Pressure, PressureStats, Reservation, SetLimit,
    SizeClass, Subscribe, Trim,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::actors::ActorRef;
use crate::args;
use crate::bridge::{self, Call, Outcome};
use crate::buffer::Buffer;
use crate::caller;
use crate::errors::to_py_err;
use crate::holdings;
use crate::measure::Measure;
use crate::pressure::{self, Pressures};
use crate::runtime::Inner;
use crate::send::{self, Shared};

/// Zeroing more than this takes longer than an event loop should wait (some 30 µs): it is done on the scheduler's threads.
const INLINE_ZEROING_MAX: usize = 512 << 10;

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct Pool(pub(crate) Arc<Inner>);

#[pymethods]
impl Pool {
    #[pyo3(signature = (n, *, zeroed=true, timeout=None))]
    fn allocate<'py>(
        &self,
        py: Python<'py>,
        n: &Bound<'py, PyAny>,
        zeroed: bool,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let len = args::count(n, "n", 1)?;
        if SizeClass::block_bytes(len).is_none() {
            return Err(args::invalid(format!("no buffer can have {len} bytes")));
        }
        let timeout = args::timeout(timeout)?;
        let subsystems = self.0.open()?;
        let options = AllocOptions { zeroed, ..AllocOptions::default() };
        let owner = caller::owner(py);
        if let Some(wait) = timeout {
            let options = recorded_before(py, &subsystems.pool, options);
            return bridge::submit(py, "pool.allocate", |completer| {
                let shared = Shared::new(completer);
                let asker = shared.clone();
                let request = AllocateWhenFree {
                    len,
                    owner,
                    options,
                    wait,
                    is_abandoned: Box::new(move || asker.is_closed()),
                    done: Box::new(move |outcome| shared.complete(Outcome::from_result(outcome, lease))),
                };
                subsystems.keeper.ask_into(request, None, Box::new(Accepted));
                Ok(())
            });
        }
        if zeroed && len > INLINE_ZEROING_MAX {
            let (pool, options) = (subsystems.pool.clone(), recorded_before(py, &subsystems.pool, options));
            return crate::scheduler::run_native(py, "pool.allocate", subsystems, move || {
                Outcome::from_result(pool.allocate_with(len, owner, options), lease)
            });
        }
        let leased = subsystems.pool.allocate_from(len, owner, options, |level| caller::origin(py, level));
        bridge::ready(py, "pool.allocate", Outcome::from_result(leased, lease))
    }

    #[pyo3(signature = (n, *, zeroed=true, tracked=false))]
    fn try_allocate(&self, py: Python<'_>, n: &Bound<'_, PyAny>, zeroed: bool, tracked: bool) -> PyResult<Buffer> {
        let len = args::count(n, "n", 1)?;
        let subsystems = self.0.open()?;
        let kind = if tracked { LeaseKind::Explicit } else { LeaseKind::Plain };
        let options = AllocOptions { zeroed, kind, record: tracked, ..AllocOptions::default() };
        let leased = subsystems.pool.allocate_from(len, caller::owner(py), options, |level| caller::origin(py, level));
        leased.map(Buffer::new).map_err(to_py_err)
    }

    fn release(&self, buffer: &Bound<'_, Buffer>) -> PyResult<bool> {
        buffer.get().end_in(self.0.subsystems.pool.misuse())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        bridge::settle(py);
        let pool = &self.0.subsystems.pool;
        stats(py, &pool.stats(), &pool.pressure_stats(), self.pressure_now())
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        holdings::take(py, &self.0)
    }

    fn trim<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Call>> {
        let subsystems = self.0.open()?;
        let message = Trim { cached_bytes: 0 };
        send::ask(py, "pool.trim", self.0.handle(), &subsystems.keeper, message, None, |bytes| {
            Outcome::U64(bytes as u64)
        })
    }

    #[getter]
    fn limit(&self) -> usize {
        self.0.subsystems.pool.reading().limit
    }

    fn set_limit<'py>(&self, py: Python<'py>, n: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Call>> {
        let message = SetLimit(args::count(n, "n", 1)?);
        let subsystems = self.0.open()?;
        send::ask(py, "pool.set_limit", self.0.handle(), &subsystems.keeper, message, None, |outcome| {
            Outcome::from_result(outcome, |bytes| Outcome::U64(bytes as u64))
        })
    }

    #[pyo3(signature = (owner, n, *, cap=None))]
    fn reserve(
        &self,
        py: Python<'_>,
        owner: String,
        n: &Bound<'_, PyAny>,
        cap: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (bytes, cap) = (args::count(n, "n", 0)?, args::optional_count(cap, "cap", 0)?);
        let pool = &self.0.open()?.pool;
        py.detach(|| pool.reserve(Reservation { name: owner, bytes, cap })).map_err(to_py_err)
    }

    #[pyo3(signature = (owner=None))]
    fn measure(&self, owner: Option<String>) -> PyResult<Measure> {
        Ok(Measure::new(self.0.open()?.pool.clone(), owner))
    }

    fn tell_pressure<'py>(&self, to: &Bound<'py, ActorRef>) -> PyResult<Bound<'py, Call>> {
        let subsystems = self.0.open()?;
        let message = Subscribe(to.get().pressure_recipient());
        send::ask(to.py(), "pool.tell_pressure", self.0.handle(), &subsystems.keeper, message, None, |()| Outcome::Unit)
    }

    fn pressure(&self, py: Python<'_>) -> PyResult<Py<Pressures>> {
        self.0.open()?;
        Py::new(py, Pressures::new(&self.0))
    }

    #[getter]
    fn pressure_level(&self) -> &'static str {
        self.pressure_now().as_str()
    }

    #[getter]
    fn refuses_under_pressure(&self) -> bool {
        self.0.subsystems.pool.refuses_under_pressure()
    }

    #[setter]
    fn set_refuses_under_pressure(&self, refuses: bool) -> PyResult<()> {
        self.0.open()?.pool.set_refuses_under_pressure(refuses);
        Ok(())
    }

    #[getter]
    fn watches_system(&self) -> bool {
        self.0.subsystems.pool.watches_system()
    }

    #[setter]
    fn set_watches_system(&self, watches: bool) -> PyResult<()> {
        self.0.open()?.pool.set_watches_system(watches);
        Ok(())
    }

    fn __repr__(&self) -> String {
        let stats = self.0.subsystems.pool.stats();
        format!(
            "<ironcliw.Pool: {} buffers of {} bytes leased, {} bytes idle, limit {}>",
            stats.live_count, stats.live_bytes, stats.cached_bytes, stats.limit_bytes
        )
    }
}

impl Pool {
    /// What was published, or the pool's own occupancy where that has risen since.
    fn pressure_now(&self) -> Pressure {
        let reading = self.0.subsystems.pool.reading();
        self.0.subsystems.pressure.get().max(Pressure::of(reading.used, reading.limit))
    }
}

/// The options of a lease that another thread will take: whether it is recorded is decided here, where the caller is.
fn recorded_before(py: Python<'_>, pool: &ironcliw_actors::pool::Pool, options: AllocOptions) -> AllocOptions {
    match pool.sample() {
        Some(level) => AllocOptions { record: true, origin: Some(Box::new(caller::origin(py, level))), ..options },
        None => options,
    }
}

/// Takes the pool actor's word that a request was queued; a refusal drops the request, whose completer then says so.
struct Accepted;

impl ironcliw::ReplySink<()> for Accepted {
    fn send(self: Box<Self>, _: Result<(), ironcliw::Error>) {}
}

fn lease(buffer: ironcliw_actors::pool::Buffer) -> Outcome {
    Outcome::value(move |py| Ok(Py::new(py, Buffer::new(buffer))?.into_any()))
}

/// `level` may be newer than what was published.
pub(crate) fn stats<'py>(
    py: Python<'py>,
    stats: &PoolStats,
    of_pressure: &PressureStats,
    level: Pressure,
) -> PyResult<Bound<'py, PyDict>> {
    let classes = PyList::empty(py);
    for class in &stats.classes {
        let entry = PyDict::new(py);
        entry.set_item("size", class.size)?;
        entry.set_item("available", class.available)?;
        entry.set_item("capacity", class.capacity)?;
        entry.set_item("high_water_mark", class.high_water_mark)?;
        classes.append(entry)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("total_active", stats.live_count)?;
    dict.set_item("total_allocated_bytes", stats.live_bytes + stats.cached_bytes)?;
    dict.set_item("active_bytes", stats.live_bytes)?;
    dict.set_item("limit_bytes", stats.limit_bytes)?;
    dict.set_item("allocations", stats.allocations)?;
    dict.set_item("recycled", stats.recycled)?;
    dict.set_item("failures", stats.failures)?;
    dict.set_item("purged_bytes", stats.purged_bytes)?;
    dict.set_item("soft_limit", soft_limit(py, stats)?)?;
    dict.set_item("waits", waits(py, stats)?)?;
    dict.set_item("reservations", reservations(py, stats)?)?;
    dict.set_item("memory_pressure", level.as_str())?;
    dict.set_item("pressure", pressure::stats(py, of_pressure)?)?;
    dict.set_item("size_classes", classes)?;
    dict.set_item("misuse", misuse(py, stats.misuse)?)?;
    Ok(dict)
}

fn misuse(py: Python<'_>, counts: MisuseCounts) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("use_after_release", counts.use_after_release)?;
    dict.set_item("double_release", counts.double_release)?;
    dict.set_item("foreign_release", counts.foreign_release)?;
    dict.set_item("out_of_bounds", counts.out_of_bounds)?;
    Ok(dict)
}

fn soft_limit<'py>(py: Python<'py>, stats: &PoolStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("high_bytes", stats.soft_limit.high_bytes)?;
    dict.set_item("low_bytes", stats.soft_limit.low_bytes)?;
    dict.set_item("is_above", stats.soft_limit.is_above)?;
    dict.set_item("crossings", stats.soft_limit.crossings)?;
    Ok(dict)
}

fn waits<'py>(py: Python<'py>, stats: &PoolStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("waiting", stats.waits.waiting)?;
    dict.set_item("served", stats.waits.served)?;
    dict.set_item("timed_out", stats.waits.timed_out)?;
    dict.set_item("abandoned", stats.waits.abandoned)?;
    dict.set_item("longest_s", stats.waits.longest_ns as f64 / 1e9)?;
    Ok(dict)
}

fn reservations<'py>(py: Python<'py>, stats: &PoolStats) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for reservation in &stats.reservations {
        let dict = PyDict::new(py);
        dict.set_item("owner", &reservation.name)?;
        dict.set_item("reserved_bytes", reservation.reserved_bytes)?;
        dict.set_item("cap_bytes", reservation.cap_bytes)?;
        dict.set_item("live_bytes", reservation.live_bytes)?;
        list.append(dict)?;
    }
    Ok(list)
}
