//! `rt.snapshot()`: the runtime's own picture as a dict.

use ironcliw::ActorState;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde_json::Value;

use crate::runtime::Inner;
use crate::{pool, scheduler};

/// In one word, how the tree is.
pub(crate) fn status(inner: &Inner) -> &'static str {
    if inner.is_closed() {
        return inner.closing_word();
    }
    let snapshot = inner.handle().snapshot();
    let all_run = snapshot.actors.iter().all(|actor| actor.state == ActorState::Running);
    if snapshot.state == "running" && all_run { "running" } else { "degraded" }
}

pub(crate) fn take<'py>(py: Python<'py>, inner: &Inner) -> PyResult<Bound<'py, PyDict>> {
    crate::bridge::settle(py);
    let snapshot = inner.handle().snapshot();
    let actors = PyList::empty(py);
    let mut panics = 0;
    for actor in &snapshot.actors {
        let entry = PyDict::new(py);
        entry.set_item("path", &actor.path)?;
        entry.set_item("kind", actor.kind)?;
        entry.set_item("state", actor.state.to_string())?;
        entry.set_item("restarts", actor.restarts)?;
        entry.set_item("failures", actor.failures)?;
        entry.set_item("queued", actor.depth)?;
        entry.set_item("capacity", actor.capacity)?;
        entry.set_item("high_water", actor.high_water)?;
        entry.set_item("handled", actor.handled)?;
        entry.set_item("skipped", actor.skipped)?;
        entry.set_item("stuck", actor.stuck)?;
        entry.set_item("dead_letters", actor.dead_letters)?;
        entry.set_item("last_exit", actor.last_exit.as_deref())?;
        entry.set_item("busy", actor.busy_s)?;
        entry.set_item("busy_ratio", actor.busy_ratio)?;
        entry.set_item("handler", durations(py, &actor.handler)?)?;
        entry.set_item("mailbox_wait", durations(py, &actor.mailbox_wait)?)?;
        entry.set_item("thread", &actor.arbiter)?;
        entry.set_item("core", actor.core)?;
        actors.append(entry)?;
        panics += actor.failures;
    }
    let dict = PyDict::new(py);
    dict.set_item("status", status(inner))?;
    dict.set_item("uptime", snapshot.uptime_s)?;
    dict.set_item("restarts", snapshot.restarts)?;
    dict.set_item("panics", panics)?;
    dict.set_item("dead_letters", snapshot.dead_letters)?;
    dict.set_item("actors", actors)?;
    dict.set_item("supervisors", to_python(py, &serde_json::to_value(&snapshot.supervisors).unwrap_or_default())?)?;
    dict.set_item("waits", to_python(py, &serde_json::to_value(&snapshot.waits).unwrap_or_default())?)?;
    dict.set_item("deadlocks", &snapshot.deadlocks)?;
    dict.set_item("deadlocks_seen", snapshot.deadlocks_seen)?;
    dict.set_item("lost_threads", snapshot.lost_threads)?;
    dict.set_item("events", to_python(py, &serde_json::to_value(&snapshot.events).unwrap_or_default())?)?;
    dict.set_item("threads", threads(py, inner, &snapshot)?)?;
    dict.set_item("cpu", cpu(py, &snapshot)?)?;
    let subsystems = &inner.subsystems;
    let pressure = subsystems.pool.pressure_stats();
    dict.set_item("pool", pool::stats(py, &subsystems.pool.stats(), &pressure, pressure.level)?)?;
    dict.set_item("scheduler", scheduler::stats(py, subsystems)?)?;
    dict.set_item("allocator", crate::allocator::allocator_stats(py)?)?;
    Ok(dict)
}

fn durations<'py>(py: Python<'py>, summary: &ironcliw::Summary) -> PyResult<Bound<'py, PyAny>> {
    to_python(py, &serde_json::to_value(summary).unwrap_or_default())
}

fn threads<'py>(py: Python<'py>, inner: &Inner, snapshot: &ironcliw::Snapshot) -> PyResult<Bound<'py, PyList>> {
    let arbiters = snapshot.arbiters.iter().map(|arbiter| (&arbiter.name, arbiter.wanted_core, arbiter.pinned_core));
    let workers = inner.subsystems.scheduler.stats().workers;
    let workers = workers.iter().map(|worker| (&worker.name, worker.wanted_core, worker.pinned_core));
    let list = PyList::empty(py);
    for (name, wanted, pinned) in arbiters.chain(workers) {
        let entry = PyDict::new(py);
        entry.set_item("name", name)?;
        entry.set_item("core", wanted)?;
        entry.set_item("pinned", pinned.is_some())?;
        list.append(entry)?;
    }
    Ok(list)
}

fn cpu<'py>(py: Python<'py>, snapshot: &ironcliw::Snapshot) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("arch", std::env::consts::ARCH)?;
    dict.set_item("allowed_cores", snapshot.cores.len())?;
    dict.set_item("features", ironcliw_actors::cpu_features())?;
    Ok(dict)
}

/// JSON as plain Python objects.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into_pyobject(py)?.into_any(),
            (None, Some(number)) => number.into_pyobject(py)?.into_any(),
            (None, None) => number.as_f64().unwrap_or(f64::NAN).into_pyobject(py)?.into_any(),
        },
        Value::String(text) => text.into_pyobject(py)?.into_any(),
        Value::Array(values) => {
            let list = PyList::empty(py);
            for value in values {
                list.append(to_python(py, value)?)?;
            }
            list.into_any()
        }
        Value::Object(entries) => {
            let dict = PyDict::new(py);
            for (key, value) in entries {
                dict.set_item(key, to_python(py, value)?)?;
            }
            dict.into_any()
        }
    })
}
