//! `rt.scheduler`: Python callables, and work of our own, on the scheduler's threads.
//!
//! These threads are the only ones of the runtime that enter Python. When the interpreter exits no queued callable is begun
//! any more, and those that run get some time to end: a thread that came back later would find no interpreter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ironcliw_actors::{Error, Subsystems};
use parking_lot::{Condvar, Mutex};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::args;
use crate::bridge::{self, Call, Failure, Keep, Outcome};
use crate::runtime::Inner;
use crate::send::{self, Shared};

/// What callables that run when the interpreter exits get to end.
const EXIT_BOUND: Duration = Duration::from_secs(5);

/// Who is inside Python, and whether anybody may still enter.
struct Door {
    inside: usize,
    closed: bool,
}

static DOOR: Mutex<Door> = Mutex::new(Door { inside: 0, closed: false });
static LEFT: Condvar = Condvar::new();

/// Leave to be inside Python; given back when dropped.
struct Visit;

impl Visit {
    fn begin() -> Option<Self> {
        let mut door = DOOR.lock();
        if door.closed {
            return None;
        }
        door.inside += 1;
        Some(Self)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        DOOR.lock().inside -= 1;
        LEFT.notify_all();
    }
}

/// Closes the door when the interpreter exits.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    let close =
        PyCFunction::new_closure(py, None, None, |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            args.py().detach(close_door);
        })?;
    py.import("atexit")?.call_method1("register", (close,))?;
    Ok(())
}

fn close_door() {
    let deadline = Instant::now() + EXIT_BOUND;
    let mut door = DOOR.lock();
    door.closed = true;
    while door.inside > 0 && !LEFT.wait_until(&mut door, deadline).timed_out() {}
}

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct Scheduler(pub(crate) Arc<Inner>);

#[pymethods]
impl Scheduler {
    #[pyo3(signature = (fn_, /, *args, timeout=None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        fn_: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        if !fn_.is_callable() {
            let kind = fn_.get_type().qualname()?;
            return Err(PyTypeError::new_err(format!("what is run must be callable, not {kind}")));
        }
        let timeout = args::timeout(timeout)?;
        let subsystems = self.0.open()?;
        if subsystems.scheduler.is_current_thread() {
            // A job that waits for a job of its own pool may wait for its own thread: it is run here and now.
            return bridge::ready(py, "scheduler.run", call_python(fn_, args));
        }
        let (function, args) = (Keep::new(fn_), Keep::new(args.as_any()));
        bridge::submit(py, "scheduler.run", |completer| {
            let shared = Shared::new(completer);
            if let Some(after) = timeout {
                send::expire(self.0.handle(), "scheduler", &shared, after);
            }
            let asker = shared.clone();
            let job = move || {
                if asker.is_called_off() {
                    return None;
                }
                let _visit = Visit::begin()?;
                Python::attach(|py| {
                    let (function, args) = (function.into_inner(py)?, args.into_inner(py)?);
                    Some(match args.bind(py).cast::<PyTuple>() {
                        Ok(args) => call_python(function.bind(py), args),
                        Err(error) => Outcome::Error(Failure::Python(error.into())),
                    })
                })
            };
            let tell = move |outcome: Result<Option<Outcome>, Error>| match outcome {
                Ok(Some(outcome)) => shared.complete(outcome),
                // Called off, or the interpreter is exiting: nobody listens.
                Ok(None) => {}
                Err(error) => shared.complete(Outcome::Error(Failure::from(error))),
            };
            subsystems.scheduler.submit(job, tell);
            Ok(())
        })
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats(py, &self.0.subsystems)
    }

    fn __repr__(&self) -> String {
        let stats = self.0.subsystems.scheduler.stats();
        format!(
            "<ironcliw.Scheduler: {} threads, {} tasks run, {} wait>",
            stats.active_workers, stats.active_tasks, stats.queue_depth
        )
    }
}

fn call_python(function: &Bound<'_, PyAny>, args: &Bound<'_, PyTuple>) -> Outcome {
    match function.call1(args) {
        Ok(value) => {
            let value = Keep::new(&value);
            Outcome::value(move |py| Ok(value.into_inner(py).unwrap_or_else(|| py.None())))
        }
        Err(error) => Outcome::Error(Failure::Python(error)),
    }
}

/// Runs work of our own that is too long for an event loop.
pub(crate) fn run_native<'py>(
    py: Python<'py>,
    name: &'static str,
    subsystems: &Subsystems,
    work: impl FnOnce() -> Outcome + Send + 'static,
) -> PyResult<Bound<'py, Call>> {
    bridge::submit(py, name, |completer| {
        let failed = |error| Outcome::Error(Failure::from(error));
        let tell = move |outcome: Result<Outcome, Error>| completer.complete(outcome.unwrap_or_else(failed));
        subsystems.scheduler.submit(work, tell);
        Ok(())
    })
}

pub(crate) fn stats<'py>(py: Python<'py>, subsystems: &Subsystems) -> PyResult<Bound<'py, PyDict>> {
    let stats = subsystems.scheduler.stats();
    let dict = PyDict::new(py);
    dict.set_item("active_tasks", stats.active_tasks)?;
    dict.set_item("total_spawned", stats.total_spawned)?;
    dict.set_item("total_completed", stats.total_completed)?;
    dict.set_item("active_workers", stats.active_workers)?;
    dict.set_item("queue_depth", stats.queue_depth)?;
    Ok(dict)
}
