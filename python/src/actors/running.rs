//! A Python call that is under way: a hook or a handler, at once or as an asyncio task.
//!
//! A task's first step is taken right here where asyncio can do that (`_start_task` in `ironcliw/actor.py`), so that a coroutine
//! that never suspends takes no round of the loop. The future of a task that suspends is woken by the task's own
//! callback, which gives the actor its turn at once. Dropped, it cancels the task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::task::{Context as TaskContext, Poll, Waker};

use parking_lot::Mutex;
use pyo3::exceptions::asyncio::CancelledError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use super::current::Suspended;
use super::host::Host;
use super::record::Record;
use crate::send::Shared;

/// How a Python call ended.
pub(super) enum Ended {
    Value(Py<PyAny>),
    Raised(PyErr),
    /// Cancelled by us, for whoever asked has gone.
    CalledOff,
}

/// A Python call: over, or a task that goes on.
pub(super) enum Running {
    Over(Option<Ended>),
    Task(Waiting),
}

pub(super) struct Waiting {
    task: Py<PyAny>,
    done: Py<Done>,
    asker: Option<Shared>,
    is_cancelled: bool,
    is_over: bool,
    /// Gone before the task is.
    suspended: Option<Suspended>,
}

impl Running {
    pub(super) fn raised(error: PyErr) -> Self {
        Self::Over(Some(Ended::Raised(error)))
    }

    /// Calls `method` in `context`, and begins the coroutine that it may return.
    pub(super) fn begin(
        method: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        context: Option<&Bound<'_, PyAny>>,
        event_loop: &Bound<'_, PyAny>,
        of: (&Arc<Host>, &Arc<Record>),
        asker: Option<Shared>,
    ) -> Self {
        let py = method.py();
        let called = match (context, args.len()) {
            (Some(context), 1) => match args.get_item(0) {
                Ok(only) => context.call_method1(intern!(py, "run"), (method, only)),
                Err(error) => Err(error),
            },
            _ => method.call1(args),
        };
        let value = match called {
            Ok(value) => value,
            Err(error) => return Self::raised(error),
        };
        if !is_awaitable(&value) {
            return Self::Over(Some(Ended::Value(value.unbind())));
        }
        Self::begin_task(&value, context, event_loop, of, asker).unwrap_or_else(Self::raised)
    }

    fn begin_task(
        awaitable: &Bound<'_, PyAny>,
        context: Option<&Bound<'_, PyAny>>,
        event_loop: &Bound<'_, PyAny>,
        (host, record): (&Arc<Host>, &Arc<Record>),
        asker: Option<Shared>,
    ) -> PyResult<Self> {
        let py = awaitable.py();
        let task = start_task(&as_coroutine(awaitable)?, context, event_loop)?;
        if task.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(Self::Over(Some(outcome(&task, false))));
        }
        let done = Bound::new(py, Done { over: AtomicBool::new(false), waker: Mutex::default(), host: host.clone() })?;
        task.call_method1(intern!(py, "add_done_callback"), (&done,))?;
        let suspended = Some(Suspended::new(&task, record));
        let (task, done) = (task.unbind(), done.unbind());
        Ok(Self::Task(Waiting { task, done, asker, is_cancelled: false, is_over: false, suspended }))
    }
}

impl Future for Running {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Ended> {
        match self.get_mut() {
            Self::Over(ended) => Poll::Ready(ended.take().unwrap_or(Ended::CalledOff)),
            Self::Task(waiting) => waiting.poll(cx),
        }
    }
}

impl Waiting {
    fn poll(&mut self, cx: &TaskContext<'_>) -> Poll<Ended> {
        let done = self.done.get();
        *done.waker.lock() = Some(cx.waker().clone());
        if let Some(asker) = &self.asker {
            asker.watch(cx.waker());
        }
        if done.over.load(Acquire) {
            self.is_over = true;
            self.suspended = None;
            return Poll::Ready(Python::attach(|py| outcome(self.task.bind(py), self.is_cancelled)));
        }
        if !self.is_cancelled && self.asker.as_ref().is_some_and(Shared::is_called_off) {
            self.is_cancelled = true;
            Python::attach(|py| self.cancel(py));
        }
        Poll::Pending
    }

    fn cancel(&self, py: Python<'_>) {
        if let Err(error) = self.task.bind(py).call_method0(intern!(py, "cancel")) {
            error.write_unraisable(py, Some(self.task.bind(py)));
        }
    }
}

impl Drop for Waiting {
    /// Its time is over, or its thread's: nobody is left to hear what it comes to.
    fn drop(&mut self) {
        // A task that is being cancelled may clean up: what it leases meanwhile is Python's.
        self.suspended = None;
        if !self.is_over && !self.done.get().over.load(Acquire) {
            // Not where the interpreter is gone, or about to be.
            Python::try_attach(|py| self.cancel(py));
        }
    }
}

/// The callback of a task that a handler has become.
#[pyclass(module = "ironcliw._native", name = "_Done", frozen)]
pub(super) struct Done {
    over: AtomicBool,
    waker: Mutex<Option<Waker>>,
    host: Arc<Host>,
}

#[pymethods]
impl Done {
    fn __call__(&self, py: Python<'_>, _task: &Bound<'_, PyAny>) -> PyResult<()> {
        self.over.store(true, Release);
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
        self.host.turn_now(py)
    }
}

/// What a finished task has come to. An exception that nobody asks it for, asyncio would report.
fn outcome(task: &Bound<'_, PyAny>, is_cancelled: bool) -> Ended {
    let py = task.py();
    match task.call_method0(intern!(py, "result")) {
        Ok(value) => Ended::Value(value.unbind()),
        Err(error) if is_cancelled && error.is_instance_of::<CancelledError>(py) => Ended::CalledOff,
        Err(error) => Ended::Raised(error),
    }
}

/// Whether a handler's value is to be awaited, which is asked for every message: so it is the type's slot that is looked at.
fn is_awaitable(value: &Bound<'_, PyAny>) -> bool {
    if value.is_none() {
        return false;
    }
    // SAFETY: the object's type is a type, and the slot number is one that every CPython of our ABI knows.
    !unsafe { ffi::PyType_GetSlot(ffi::Py_TYPE(value.as_ptr()), ffi::Py_am_await) }.is_null()
}

fn as_coroutine<'py>(awaitable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static COROUTINE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static WRAP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = awaitable.py();
    if awaitable.get_type().is(COROUTINE.import(py, "types", "CoroutineType")?) {
        return Ok(awaitable.clone());
    }
    WRAP.import(py, "ironcliw.actor", "_awaited")?.call1((awaitable,))
}

/// Makes a task of a coroutine, and takes its first step where asyncio can: `ironcliw.actor` knows how.
fn start_task<'py>(
    coroutine: &Bound<'py, PyAny>,
    context: Option<&Bound<'py, PyAny>>,
    event_loop: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    static START: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    START.import(coroutine.py(), "ironcliw.actor", "_start_task")?.call1((event_loop, coroutine, context))
}
