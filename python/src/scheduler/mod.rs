//! `rt.scheduler`: Python callables, and work of our own, on the scheduler's threads.
//!
//! These threads are the only ones of the runtime that enter Python, through `door.rs`. `job.rs` is what a function can ask
//! while it runs, `progress.rs` what it can say, `map.rs` one function over many items.

mod door;
mod job;
mod map;
mod progress;
mod stats;

use std::sync::Arc;

use ironcliw_actors::scheduler::{
    CreatePool, DEFAULT_POOL, Pool, PoolSpec, Priority, Remaining, RemovePool, ResizePool,
};
use ironcliw_actors::{Error, Subsystems};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyTuple};

use self::door::Visit;
use self::job::{Core, Terms, call_in};
pub(crate) use self::job::{Job, current_job};
use self::progress::{Progress, copy_context};
pub(crate) use self::stats::stats;
use crate::actors::handing;
use crate::args::{self, invalid};
use crate::bridge::{self, Call, Failure, Keep, Outcome};
use crate::errors::to_py_err;
use crate::lease;
use crate::runtime::Inner;
use crate::send;

/// Sees to it that no thread of the scheduler enters Python once the interpreter has begun to exit.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    door::register(py)
}

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct Scheduler(pub(crate) Arc<Inner>);

#[pymethods]
impl Scheduler {
    #[pyo3(signature = (fn_, /, *args, priority="normal", timeout=None, name=None, progress=None, pool=None))]
    #[allow(clippy::too_many_arguments)] // Python's keywords.
    fn run<'py>(
        &self,
        py: Python<'py>,
        fn_: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        priority: &str,
        timeout: Option<f64>,
        name: Option<String>,
        progress: Option<&Bound<'py, PyAny>>,
        pool: Option<&str>,
    ) -> PyResult<Bound<'py, Call>> {
        callable(fn_, "what is run")?;
        let terms = terms(name, pool, priority, timeout)?;
        let pool = self.pool(&terms)?;
        let progress = listener(py, progress, &terms, fn_)?;
        note_given(&terms, fn_, args.iter());
        let context_run = copy_context(py)?.getattr("run")?;
        let arguments = PyTuple::new(py, std::iter::once(fn_.clone()).chain(args.iter()).collect::<Vec<_>>())?;
        bridge::submit(py, "scheduler.run", |completer| {
            let core = Core::new(terms, completer, progress);
            if pool.is_current_thread() {
                // A job that waits for a job of its own pool may wait for its own thread: it is run here and now.
                let outcome = call(&core, &context_run, &arguments);
                Progress::settle(&core, py);
                core.finish(outcome);
                return Ok(());
            }
            core.keep_time(self.0.handle());
            let (context_run, arguments) = (Keep::new(&context_run), Keep::new(arguments.as_any()));
            let (asked, ran) = (Arc::clone(&core), Arc::clone(&core));
            let job = move || {
                let _visit = Visit::begin()?;
                Python::attach(|py| {
                    let (context_run, arguments) = (context_run.into_inner(py)?, arguments.into_inner(py)?);
                    let arguments = arguments.into_bound(py).cast_into::<PyTuple>().ok()?;
                    let outcome = call(&ran, context_run.bind(py), &arguments);
                    Progress::settle(&ran, py);
                    Some(outcome)
                })
            };
            let tell = move |outcome: Result<Option<Outcome>, Error>| match outcome {
                Ok(Some(outcome)) => core.finish(outcome),
                // The interpreter is exiting: nobody listens.
                Ok(None) => {}
                Err(error) => core.fail(error),
            };
            pool.submit_if(move || !asked.is_cancelled(), job, tell);
            Ok(())
        })
    }

    #[pyo3(signature = (fn_, iterable, /, *, chunk=None, priority="normal", timeout=None, name=None, progress=None,
        pool=None))]
    #[allow(clippy::too_many_arguments)] // Python's keywords.
    fn map<'py>(
        &self,
        py: Python<'py>,
        fn_: &Bound<'py, PyAny>,
        iterable: &Bound<'py, PyAny>,
        chunk: Option<&Bound<'py, PyAny>>,
        priority: &str,
        timeout: Option<f64>,
        name: Option<String>,
        progress: Option<&Bound<'py, PyAny>>,
        pool: Option<&str>,
    ) -> PyResult<Bound<'py, Call>> {
        callable(fn_, "what is mapped")?;
        let chunk = args::optional_count(chunk, "chunk", 1)?;
        let terms = terms(name, pool, priority, timeout)?;
        let pool = self.pool(&terms)?;
        // A list of our own: the caller may change theirs.
        let items = PyList::empty(py);
        for item in iterable.try_iter()? {
            items.append(item?)?;
        }
        let progress = listener(py, progress, &terms, fn_)?;
        note_given(&terms, fn_, items.iter());
        if items.is_empty() {
            let nothing = Keep::new(items.as_any());
            let empty = move |py: Python<'_>| Ok(nothing.into_inner(py).unwrap_or_else(|| py.None()));
            return bridge::ready(py, "scheduler.map", Outcome::value(empty));
        }
        bridge::submit(py, "scheduler.map", |completer| {
            let core = Core::new(terms, completer, progress);
            core.keep_time(self.0.handle());
            map::submit(core, &pool, fn_, &items, chunk)
        })
    }

    #[pyo3(signature = (name, *, threads=None, pin=None, cores=None, niceness=None, queue=None))]
    #[allow(clippy::too_many_arguments)] // Python's keywords; in Rust they are a `PoolSpec`.
    fn create_pool<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        threads: Option<&Bound<'py, PyAny>>,
        pin: Option<bool>,
        cores: Option<Vec<usize>>,
        niceness: Option<i32>,
        queue: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Call>> {
        let mut spec = PoolSpec::new(name);
        if let Some(threads) = args::optional_count(threads, "threads", 1)? {
            spec = spec.threads(threads);
        }
        if let Some(pin) = pin {
            if !pin && cores.is_some() {
                return Err(invalid("cores are what threads are pinned to: with pin=False there are none"));
            }
            spec = spec.pin(pin);
        }
        if let Some(cores) = cores {
            spec = spec.cores(cores);
        }
        if let Some(niceness) = niceness {
            if !(0..=19).contains(&niceness) {
                return Err(invalid(format!("niceness is 0 to 19, not {niceness}")));
            }
            spec = spec.niceness(niceness);
        }
        if let Some(queue) = args::optional_count(queue, "queue", 1)? {
            spec = spec.queue(queue);
        }
        let scheduler = &self.0.open()?.scheduler;
        let made = |pool: Result<Pool, Error>| Outcome::from_result(pool, |_| Outcome::Unit);
        let message = CreatePool(spec);
        send::ask(py, "scheduler.create_pool", self.0.handle(), scheduler.address(), message, None, made)
    }

    fn resize_pool<'py>(&self, py: Python<'py>, name: &str, threads: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Call>> {
        let threads = args::count(threads, "threads", 1)?;
        let scheduler = &self.0.open()?.scheduler;
        let message = ResizePool { name: name.to_owned(), threads };
        send::ask(py, "scheduler.resize_pool", self.0.handle(), scheduler.address(), message, None, unit)
    }

    #[pyo3(signature = (name, *, remaining="run"))]
    fn remove_pool<'py>(&self, py: Python<'py>, name: &str, remaining: &str) -> PyResult<Bound<'py, Call>> {
        let remaining = match remaining {
            "run" => Remaining::Run,
            "refuse" => Remaining::Refuse,
            other => return Err(invalid(format!("what remains is \"run\" or \"refuse\", not {other:?}"))),
        };
        let scheduler = &self.0.open()?.scheduler;
        let message = RemovePool { name: name.to_owned(), remaining };
        send::ask(py, "scheduler.remove_pool", self.0.handle(), scheduler.address(), message, None, unit)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats(py, &self.0.subsystems)
    }

    fn __repr__(&self) -> String {
        let stats = self.0.subsystems.scheduler.stats();
        format!(
            "<ironcliw.Scheduler: {} threads, {} jobs run, {} wait, {} pools>",
            stats.active_workers,
            stats.active_tasks,
            stats.queue_depth,
            stats.pools.len()
        )
    }
}

impl Scheduler {
    /// The pool that a call asked for, with what its jobs get.
    fn pool(&self, terms: &Terms) -> PyResult<Pool> {
        let pool = self.0.open()?.scheduler.pool(&terms.pool).map_err(to_py_err)?.priority(terms.priority);
        Ok(match terms.timeout {
            Some(after) => pool.deadline(after),
            None => pool,
        })
    }
}

fn unit(done: Result<(), Error>) -> Outcome {
    Outcome::from_result(done, |()| Outcome::Unit)
}

fn callable(object: &Bound<'_, PyAny>, what: &str) -> PyResult<()> {
    if object.is_callable() {
        return Ok(());
    }
    let kind = object.get_type().qualname()?;
    Err(PyTypeError::new_err(format!("{what} must be callable, not {kind}")))
}

fn terms(name: Option<String>, pool: Option<&str>, priority: &str, timeout: Option<f64>) -> PyResult<Terms> {
    let found = Priority::ALL.into_iter().find(|level| level.as_str() == priority);
    let priority =
        found.ok_or_else(|| invalid(format!("priority is \"high\", \"normal\" or \"low\", not {priority:?}")))?;
    Ok(Terms { name, pool: pool.unwrap_or(DEFAULT_POOL).to_owned(), priority, timeout: args::timeout(timeout)? })
}

/// Who is to hear of the progress: a callable, on the running loop's thread if there is one, or with `True` a bar.
fn listener(
    py: Python<'_>,
    asked: Option<&Bound<'_, PyAny>>,
    terms: &Terms,
    function: &Bound<'_, PyAny>,
) -> PyResult<Option<Progress>> {
    let Some(asked) = asked else { return Ok(None) };
    let Ok(is_wanted) = asked.cast::<PyBool>() else {
        callable(asked, "progress")?;
        return Progress::new(asked, bridge::running_loop(py)?.as_ref()).map(Some);
    };
    if !is_wanted.is_true() {
        return Ok(None);
    }
    let bar = py.import("ironcliw._bar")?.call_method1("Bar", (terms.name_or(function),))?;
    Progress::new(&bar, None).map(Some)
}

/// Buffers that are given to a job know it, if their records keep such things.
#[inline]
fn note_given<'py>(terms: &Terms, function: &Bound<'py, PyAny>, values: impl IntoIterator<Item = Bound<'py, PyAny>>) {
    if lease::is_any_traced() {
        handing::note_given(values, || terms.name_or(function));
    }
}

fn call(core: &Arc<Core>, context_run: &Bound<'_, PyAny>, arguments: &Bound<'_, PyTuple>) -> Outcome {
    match call_in(core, context_run, arguments) {
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
