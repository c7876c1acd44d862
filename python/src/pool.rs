//! `rt.pool`.

use std::sync::Arc;

use ironcliw_actors::pool::{
    AllocOptions, AllocateWhenFree, LeaseKind, MisuseCounts, Owner, PoolStats, Pressure, SizeClass, Subscribe, Trim,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::actors::ActorRef;
use crate::args;
use crate::bridge::{self, Call, Outcome};
use crate::buffer::Buffer;
use crate::errors::to_py_err;
use crate::runtime::Inner;
use crate::send::{self, Shared};

/// The owner of what Python leases itself.
const OWNER: &str = "python";

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
        let owner = Owner::named(OWNER);
        if let Some(wait) = timeout {
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
        let pool = subsystems.pool.clone();
        let work = move || pool.allocate_with(len, owner, options);
        if zeroed && len > INLINE_ZEROING_MAX {
            return crate::scheduler::run_native(py, "pool.allocate", subsystems, move || {
                Outcome::from_result(work(), lease)
            });
        }
        bridge::ready(py, "pool.allocate", Outcome::from_result(work(), lease))
    }

    #[pyo3(signature = (n, *, zeroed=true, tracked=false))]
    fn try_allocate(&self, py: Python<'_>, n: &Bound<'_, PyAny>, zeroed: bool, tracked: bool) -> PyResult<Buffer> {
        let len = args::count(n, "n", 1)?;
        let subsystems = self.0.open()?;
        let kind = if tracked { LeaseKind::Explicit } else { LeaseKind::Plain };
        let site = tracked.then(|| caller(py)).flatten().map(Into::into);
        let options = AllocOptions { zeroed, kind, record: tracked, site };
        let buffer = subsystems.pool.allocate_with(len, Owner::named(OWNER), options).map_err(to_py_err)?;
        Ok(Buffer::new(buffer))
    }

    fn release(&self, buffer: &Bound<'_, Buffer>) -> PyResult<bool> {
        buffer.get().end_in(self.0.subsystems.pool.misuse())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        bridge::settle(py);
        stats(py, &self.0.subsystems.pool.stats(), self.pressure_now())
    }

    fn trim<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Call>> {
        let subsystems = self.0.open()?;
        let message = Trim { cached_bytes: 0 };
        send::ask(py, "pool.trim", self.0.handle(), &subsystems.keeper, message, None, |bytes| {
            Outcome::U64(bytes as u64)
        })
    }

    fn tell_pressure<'py>(&self, to: &Bound<'py, ActorRef>) -> PyResult<Bound<'py, Call>> {
        let subsystems = self.0.open()?;
        let message = Subscribe(to.get().pressure_recipient());
        send::ask(to.py(), "pool.tell_pressure", self.0.handle(), &subsystems.keeper, message, None, |()| Outcome::Unit)
    }

    #[getter]
    fn pressure(&self) -> &'static str {
        self.pressure_now().as_str()
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

/// Takes the pool actor's word that a request was queued; a refusal drops the request, whose completer then says so.
struct Accepted;

impl ironcliw::ReplySink<()> for Accepted {
    fn send(self: Box<Self>, _: Result<(), ironcliw::Error>) {}
}

fn lease(buffer: ironcliw_actors::pool::Buffer) -> Outcome {
    Outcome::value(move |py| Ok(Py::new(py, Buffer::new(buffer))?.into_any()))
}

pub(crate) fn stats<'py>(py: Python<'py>, stats: &PoolStats, pressure: Pressure) -> PyResult<Bound<'py, PyDict>> {
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
    dict.set_item("memory_pressure", pressure.as_str())?;
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

/// `file.py:12` of the innermost frame that is not of this package's own Python code.
fn caller(py: Python<'_>) -> Option<String> {
    let mut frame = py.import("sys").ok()?.call_method1("_getframe", (0,)).ok()?;
    loop {
        let globals = frame.getattr("f_globals").ok()?;
        let name: String = globals.get_item("__name__").and_then(|name| name.extract()).unwrap_or_default();
        let package = name.split('.').next().unwrap_or_default();
        if package != "ironcliw" && package != "jarvis_rust_core" {
            let file: String = frame.getattr("f_code").ok()?.getattr("co_filename").ok()?.extract().ok()?;
            let line: u32 = frame.getattr("f_lineno").ok()?.extract().ok()?;
            return Some(format!("{file}:{line}"));
        }
        frame = frame.getattr("f_back").ok().filter(|frame| !frame.is_none())?;
    }
}
