//! `ironcliw.Call`: what a native call returns, and what Python awaits.
//!
//! It follows the protocol of `asyncio.Future` and that of a coroutine, so that everything that takes either
//! takes it as it is; [`coroutine`] says how both at once are possible.

mod callbacks;
pub(super) mod coroutine;
mod settled;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::asyncio::{CancelledError, InvalidStateError};
use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

pub(super) use self::callbacks::{Callback, Callbacks};
use self::settled::Settled;
use super::loan::{Term, Terms};
use super::node::{Life, Node};
use super::{loops, many, release, sleep, spin};
use crate::errors::classes::{DeadlineExceeded, InvalidInput, RuntimeClosed};

/// How long a blocked `result()` sleeps before it looks for signals: what Ctrl-C waits at most.
const SIGNAL_SLICE: Duration = Duration::from_millis(50);

/// What only Python threads touch. The lock is held for moves in memory only, never while Python code runs.
#[derive(Default)]
struct Face {
    event_loop: Option<Py<PyAny>>,
    callbacks: Callbacks,
    settled: Option<Settled>,
    cancel_message: Option<Py<PyAny>>,
}

/// The result of a native call, which may not be there yet: await it, or take it with ``result()``.
///
/// It belongs to the event loop that ran when the call was made, else to the first loop that awaits it. A result
/// that nobody takes is dropped in silence.
#[pyclass(module = "ironcliw", frozen, weakref, subclass)]
pub(crate) struct Call {
    node: Arc<Node>,
    /// Part of asyncio's protocol: set when a task is to wait, cleared by that task.
    blocking: AtomicBool,
    /// What has been borrowed for it.
    terms: Mutex<Vec<Terms>>,
    face: Mutex<Face>,
}

impl Call {
    pub(super) fn new(node: Arc<Node>, event_loop: Option<Py<PyAny>>) -> Self {
        let face = Face { event_loop, ..Face::default() };
        Self { node, blocking: AtomicBool::new(true), terms: Mutex::default(), face: Mutex::new(face) }
    }

    /// Remembers what was borrowed for the call, or for one of its requests.
    pub(crate) fn has_borrowed(&self, terms: Terms) {
        self.terms.lock().push(terms);
    }

    /// A call that is done when all that was borrowed is given back, or that part of each loan that `which` names.
    fn when_over<'py>(
        &self,
        py: Python<'py>,
        name: &'static str,
        which: impl Fn(&Terms) -> &Term,
    ) -> PyResult<Bound<'py, Self>> {
        // Not under the lock: making a call may run Python code. What is borrowed after this is not waited for.
        let count = self.terms.lock().len();
        let (call, parts) = many::joint(py, name, count)?;
        self.terms.lock().iter().zip(parts).for_each(|(terms, part)| which(terms).tell(part));
        Ok(call)
    }

    /// The loop that the call belongs to, if it does already.
    pub(super) fn home<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.face.lock().event_loop.as_ref().map(|found| found.bind(py).clone())
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(super) fn take_callbacks(&self) -> Callbacks {
        std::mem::take(&mut self.face.lock().callbacks)
    }

    /// Puts back those that have not been called, before those that were added meanwhile.
    pub(super) fn put_callbacks_back(&self, callbacks: Callbacks) {
        let mut face = self.face.lock();
        let added = std::mem::replace(&mut face.callbacks, callbacks);
        face.callbacks.append(added);
    }

    fn has_callbacks(&self) -> bool {
        self.face.lock().callbacks.iter().next().is_some()
    }

    fn is_final(&self) -> bool {
        matches!(self.node.life(), Life::Done | Life::Cancelled)
    }

    /// The loop that the call belongs to from now on.
    fn adopt<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(home) = self.home(py) {
            return Ok(home);
        }
        let running = loops::running(py)?.ok_or_else(|| {
            PyRuntimeError::new_err(format!(
                "the call {} belongs to no event loop yet: await it in one, or use result()",
                self.node.name
            ))
        })?;
        self.face.lock().event_loop = Some(running.clone().unbind());
        Ok(running)
    }

    /// The value of an answered call, or its exception.
    fn outcome(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.node.life() == Life::Cancelled {
            return Err(self.cancelled_error(py));
        }
        // The worker has let go of its input by now.
        release::drain(py);
        settled::value(py, &self.node, &self.face)
    }

    fn cancelled_error(&self, py: Python<'_>) -> PyErr {
        let message = self.face.lock().cancel_message.as_ref().map(|message| message.clone_ref(py));
        match message {
            Some(message) => CancelledError::new_err((message,)),
            None => CancelledError::new_err(()),
        }
    }

    /// Raises what ends an awaiting `yield from`: `StopIteration` with the value.
    fn stop(&self, py: Python<'_>) -> PyErr {
        match self.outcome(py) {
            Err(error) => error,
            Ok(value) => {
                let bound = value.bind(py);
                // Those two would be taken for the exception's arguments, and for the exception itself.
                if bound.is_instance_of::<PyTuple>() || bound.is_instance_of::<PyBaseException>() {
                    PyStopIteration::new_err((value,))
                } else {
                    PyStopIteration::new_err(value)
                }
            }
        }
    }

    /// A call that was in flight when the process forked is answered in the parent.
    fn check_process(&self) -> PyResult<()> {
        if self.node.can_be_answered() {
            return Ok(());
        }
        Err(RuntimeClosed::new_err(format!(
            "{} was made before the process forked: its answer goes to the parent",
            self.node.name
        )))
    }

    /// Blocks, without the GIL, until the call has ended.
    fn sleep(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let until = match timeout {
            None => None,
            Some(seconds) if seconds.is_nan() => {
                return Err(InvalidInput::new_err("timeout must be a number of seconds, not NaN"));
            }
            // More than `Instant` can hold is as good as for ever.
            Some(seconds) => {
                Duration::try_from_secs_f64(seconds.max(0.0)).ok().and_then(|length| Instant::now().checked_add(length))
            }
        };
        while self.node.announce_sleeper() {
            self.check_process()?;
            let slice =
                until.map_or(SIGNAL_SLICE, |until| SIGNAL_SLICE.min(until.saturating_duration_since(Instant::now())));
            if slice.is_zero() {
                return Err(DeadlineExceeded::new_err(format!(
                    "{} did not answer within {} s",
                    self.node.name,
                    timeout.unwrap_or_default()
                )));
            }
            py.detach(|| sleep::wait(&self.node, slice));
            py.check_signals()?;
        }
        Ok(())
    }
}

fn current_context(py: Python<'_>) -> PyResult<Py<PyAny>> {
    static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Ok(COPY.import(py, "contextvars", "copy_context")?.call0()?.unbind())
}

#[pymethods]
impl Call {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let call = slf.get();
        spin::wait_a_moment(&call.node);
        if call.is_final() {
            return Err(call.stop(slf.py()));
        }
        call.check_process()?;
        // Tells the task that it got here by an `await`.
        call.blocking.store(true, Relaxed);
        Ok(slf)
    }

    /// Part of the coroutine protocol: what a task calls to go on.
    fn send<'py>(slf: Bound<'py, Self>, _value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        Self::__next__(slf)
    }

    /// Part of the coroutine protocol: raises the exception in whoever awaits.
    #[pyo3(signature = (kind, value=None, traceback=None))]
    #[allow(clippy::unused_self)]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let exception = match (kind.cast::<PyType>(), value) {
            (Ok(_), Some(value)) if value.is_instance(kind)? => value.clone(),
            (Ok(_), Some(value)) => kind.call1((value,))?,
            (Ok(_), None) => kind.call0()?,
            (Err(_), _) => kind.clone(),
        };
        if !exception.is_instance_of::<PyBaseException>() {
            return Err(PyTypeError::new_err("throw() takes an exception"));
        }
        if let Some(traceback) = traceback {
            exception.setattr("__traceback__", traceback)?;
        }
        Err(PyErr::from_value(exception))
    }

    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> bool {
        self.blocking.load(Relaxed)
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.blocking.store(blocking, Relaxed);
    }

    /// The event loop that the call belongs to.
    fn get_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.adopt(py)
    }

    /// Has the loop call ``fn(call)`` once there is a result.
    #[pyo3(signature = (r#fn, *, context=None))]
    fn add_done_callback(slf: &Bound<'_, Self>, r#fn: Py<PyAny>, context: Option<Py<PyAny>>) -> PyResult<()> {
        let (py, call) = (slf.py(), slf.get());
        if !call.is_final() {
            call.check_process()?;
        }
        let context = context.map_or_else(|| current_context(py), Ok)?;
        let callback = Callback { function: r#fn, context };
        let home = call.adopt(py)?;
        let queue = loops::queue_of(&home)?;
        call.face.lock().callbacks.push(callback);
        match call.node.life() {
            Life::Waiting => return Ok(()),
            Life::Pending if call.node.wait_on(Arc::clone(&queue), slf.clone().unbind()) => return Ok(()),
            // Answered, but its earlier callbacks are yet to run: this one runs after them.
            _ if call.node.will_be_resumed() => return Ok(()),
            _ => {}
        }
        loops::resume_soon(&home, &queue, slf).inspect_err(|_| drop(call.take_callbacks()))
    }

    /// Takes all callbacks equal to ``fn`` off, and says how many that were.
    fn remove_done_callback(&self, r#fn: &Bound<'_, PyAny>) -> PyResult<usize> {
        let mut kept = Callbacks::default();
        let mut removed = 0;
        let mut all = std::mem::take(&mut self.face.lock().callbacks);
        let mut compared = Ok(());
        // Compared without the lock: an `__eq__` may be Python's.
        while let Some(callback) = all.pop() {
            let same = compared.is_ok()
                && callback.function.bind(r#fn.py()).eq(r#fn).unwrap_or_else(|error| {
                    compared = Err(error);
                    false
                });
            if same {
                removed += 1;
            } else {
                kept.push(callback);
            }
        }
        self.put_callbacks_back(kept);
        compared.map(|()| removed)
    }

    /// Cancels the call if it has no result yet, and says whether it did. Work that has not begun is skipped; work
    /// that has begun stops soon, or is finished in the background and its result dropped.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let call = slf.get();
        if call.is_final() {
            return Ok(false);
        }
        // Before the state says that it is there to be read.
        let former = std::mem::replace(&mut call.face.lock().cancel_message, msg);
        drop(former);
        if !call.node.cancel() {
            return Ok(false);
        }
        drop(call.node.take_owner());
        if let Some(home) = call.home(slf.py())
            && call.has_callbacks()
        {
            loops::resume_soon(&home, &loops::queue_of(&home)?, slf)?;
        }
        Ok(true)
    }

    /// True if the call was cancelled.
    fn cancelled(&self) -> bool {
        self.node.life() == Life::Cancelled
    }

    /// True if the call has a result, has failed, or was cancelled.
    fn done(&self) -> bool {
        self.is_final()
    }

    /// The result. Waits for it, with the GIL released, for at most ``timeout`` seconds (for ever if None).
    ///
    /// Raises what the call raised; ``DeadlineExceeded`` if the time is up, and the call goes on;
    /// ``asyncio.CancelledError`` if it was cancelled; ``asyncio.InvalidStateError`` if there is no result yet and
    /// waiting would block the call's own running event loop.
    #[pyo3(signature = (timeout=None))]
    fn result(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        if !self.is_final() {
            let home = self.home(py);
            if let (Some(home), Some(running)) = (home, loops::running(py)?)
                && home.is(&running)
            {
                return Err(InvalidStateError::new_err(format!(
                    "{} has no result yet, and waiting for it would block its event loop: await it",
                    self.node.name
                )));
            }
            self.sleep(py, timeout)?;
        }
        self.outcome(py)
    }

    /// A call that is done when the work reads its inputs no more: you may write to them again.
    fn copied<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Self>> {
        self.when_over(py, "copied", |terms| &terms.inputs)
    }

    /// A call that is done when the work touches no memory of yours any more, neither its inputs nor ``out``.
    fn released<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Self>> {
        self.when_over(py, "released", |terms| &terms.all)
    }

    /// The exception that the call raised, or None. Raises ``asyncio.InvalidStateError`` if it is not done.
    fn exception(&self, py: Python<'_>) -> PyResult<Option<Py<PyBaseException>>> {
        match self.node.life() {
            Life::Cancelled => Err(self.cancelled_error(py)),
            Life::Done => settled::exception(py, &self.node, &self.face),
            Life::Pending | Life::Waiting => {
                Err(InvalidStateError::new_err(format!("{} has no result yet", self.node.name)))
            }
        }
    }

    /// Used by ``asyncio.gather``.
    fn _make_cancelled_error(&self, py: Python<'_>) -> Py<PyBaseException> {
        self.cancelled_error(py).into_value(py)
    }

    fn __hash__(slf: &Bound<'_, Self>) -> PyResult<u64> {
        coroutine::end(slf)?;
        // By identity. The low bits of an address are its alignment.
        Ok(slf.as_ptr().addr().rotate_right(4) as u64)
    }

    /// What a task that runs the call shows of it.
    #[getter]
    fn __name__(&self) -> &'static str {
        self.node.name
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        self.node.name
    }

    /// ``Call[T]``, for annotations.
    #[classmethod]
    fn __class_getitem__<'py>(cls: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        static ALIAS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        ALIAS.import(cls.py(), "types", "GenericAlias")?.call1((cls, item))
    }

    fn __repr__(&self) -> String {
        let state = match self.node.life() {
            Life::Pending | Life::Waiting => "pending",
            Life::Done => "done",
            Life::Cancelled => "cancelled",
        };
        format!("<ironcliw.Call {} {state}>", self.node.name)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // The collector must not wait. A lock that is taken is held by a thread that was moving references:
        // what it holds is not garbage.
        let Some(face) = self.face.try_lock() else {
            return Ok(());
        };
        visit.call(&face.event_loop)?;
        visit.call(&face.cancel_message)?;
        for callback in face.callbacks.iter() {
            visit.call(&callback.function)?;
            visit.call(&callback.context)?;
        }
        face.settled.as_ref().map_or(Ok(()), |settled| settled.traverse(&visit))
    }

    fn __clear__(&self) {
        let face = std::mem::take(&mut *self.face.lock());
        // Outside the lock: dropping may run Python code.
        drop(face);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.node.drop_interest();
    }
}
