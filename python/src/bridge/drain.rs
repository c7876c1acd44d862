//! What a loop calls of ours: it resumes calls that are answered, and gives the actors that live on the loop their turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::call::{Call, Callback};
use super::loops::forget;
#[cfg(unix)]
use super::loops::{add_reader, running};
use super::node::Node;
use super::queue::Queue;
use super::{release, spin};

/// How many calls one drain resumes before it lets the loop look at its other work. A resumed task takes about
/// a microsecond, so a full batch stays near a millisecond.
const BATCH: usize = 1024;

/// How long one drain goes on with what its own work has brought about.
const TURN: Duration = Duration::from_millis(1);

/// What shares a loop's drain with the completions: the actors of one runtime that live on the loop.
pub(crate) trait Resident: Send + Sync {
    /// Does what there is to do, for a moment, and says whether there is more. An error is an interrupt that must end the loop's
    /// run.
    fn turn(&self, py: Python<'_>) -> PyResult<bool>;

    /// Whether there is something to do.
    fn has_work(&self) -> bool;

    /// Whether it will never have anything to do again.
    fn is_over(&self) -> bool;

    /// The loop is closed or gone, and its drain is not called again.
    fn close(&self);
}

pub(super) type Residents = Arc<Mutex<Vec<Arc<dyn Resident>>>>;

/// The callback that resumes the calls of one loop, on that loop's thread, when its descriptor says so.
#[pyclass(module = "ironcliw._native", name = "_Drain", frozen)]
pub(super) struct Drain {
    key: usize,
    queue: Arc<Queue>,
    residents: Residents,
    /// The descriptor that the loop watches for it, if it does.
    #[cfg(unix)]
    pub(super) watched: Option<std::os::fd::RawFd>,
}

impl Drain {
    pub(super) fn new(event_loop: &Bound<'_, PyAny>, queue: Arc<Queue>, residents: Residents) -> Self {
        Self {
            key: event_loop.as_ptr().addr(),
            queue,
            residents,
            #[cfg(unix)]
            watched: None,
        }
    }

    /// Refuses later completions and lets go of the calls that nobody will resume.
    pub(super) fn close(&self) {
        let mut left = Vec::new();
        self.queue.close(|node| left.push(node));
        for node in left {
            drop(node.take_owner());
        }
        let residents = std::mem::take(&mut *self.residents.lock());
        residents.iter().for_each(|resident| resident.close());
        forget(self.key, &self.queue);
    }
}

#[pymethods]
impl Drain {
    /// Resumes what has completed, at most one batch of it, and gives the residents their turns. What they answer is resumed here
    /// as well, and what that sends them is handled: a question and its answer take no round of the loop.
    fn __call__(slf: &Bound<'_, Self>) -> PyResult<()> {
        let called = slf.get().call(slf.py());
        #[cfg(unix)]
        if called.is_err() {
            slf.get().renew(slf);
        }
        called
    }

    fn __repr__(&self) -> String {
        format!("<ironcliw completion queue of loop {:#x}>", self.key)
    }

    /// A loop that nobody closes is garbage for all that it has not resumed: answered calls keep their loop, and the loop
    /// keeps them through this.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.queue.visit_owners(|owner| visit.call(owner))
    }

    fn __clear__(&self) {
        self.close();
    }
}

impl Drain {
    fn call(&self, py: Python<'_>) -> PyResult<()> {
        spin::loop_has_turned();
        self.queue.take();
        release::drain(py);
        let mut left = BATCH;
        let until = Instant::now() + TURN;
        loop {
            let resumed = resume_due(py, &self.queue, &mut left);
            let turned = resumed.and_then(|()| self.give_turns(py));
            match turned {
                Ok(false) if !self.has_work() => return Ok(()),
                Ok(_) if left > 0 && Instant::now() < until => {}
                turned => {
                    self.queue.wake();
                    return turned.map(|_| ());
                }
            }
            if self.queue.has_some() {
                self.queue.take();
            }
        }
    }

    /// Has the loop watch the descriptor anew. What ends the loop's run keeps the frames that it came through, and with them the
    /// handle that called the drain: the drain is to end with the loop, however long somebody keeps the exception.
    #[cfg(unix)]
    fn renew(&self, this: &Bound<'_, Self>) {
        let py = this.py();
        let event_loop = running(py).ok().flatten().filter(|found| found.as_ptr().addr() == self.key);
        if let (Some(event_loop), Some(watched)) = (event_loop, self.watched)
            && let Err(error) = add_reader(&event_loop, watched, this)
        {
            error.write_unraisable(py, Some(&event_loop));
        }
    }

    fn has_work(&self) -> bool {
        self.queue.has_some()
            || self.queue.due.is_left()
            || self.residents.lock().iter().any(|resident| resident.has_work())
    }

    /// Whether a resident has more to do.
    fn give_turns(&self, py: Python<'_>) -> PyResult<bool> {
        let mut is_left = false;
        let count = self.residents.lock().len();
        for index in 0..count {
            // Not under the lock: handlers may do anything.
            let Some(resident) = self.residents.lock().get(index).cloned() else { break };
            is_left |= resident.turn(py)?;
        }
        self.residents.lock().retain(|resident| !resident.is_over());
        Ok(is_left)
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.close();
    }
}

/// Resumes what was answered before anybody asked: the loop calls it in its next round, as it calls any callback.
#[pyclass(module = "ironcliw._native", name = "_Resumer", frozen)]
pub(super) struct Resumer(pub(super) Arc<Queue>);

#[pymethods]
impl Resumer {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        spin::loop_has_turned();
        let mut left = BATCH;
        let resumed = resume_due(py, &self.0, &mut left);
        if self.0.due.is_left() {
            self.0.wake();
        }
        resumed
    }

    #[allow(clippy::unused_self)]
    fn __repr__(&self) -> &'static str {
        "<ironcliw: calls that are done>"
    }
}

/// Resumes the calls that are due by now, at most `left` of them. Those that become so meanwhile get the loop's next round, as
/// timers and sockets do.
fn resume_due(py: Python<'_>, queue: &Queue, left: &mut usize) -> PyResult<()> {
    for _ in 0..queue.due.begin().min(*left) {
        // One at a time: what is resumed may raise, or run the loop and so this function again.
        let Some(node) = queue.due.pop() else { break };
        if let Err(interrupt) = resume(py, &node) {
            queue.due.put_back(node);
            return Err(interrupt);
        }
        *left -= 1;
    }
    Ok(())
}

/// Calls the call's callbacks, each in its own context: a waiting task takes its next step right here.
///
/// An error is an interrupt that must end the loop's run; callbacks not yet called stay with the call.
fn resume(py: Python<'_>, node: &Node) -> PyResult<()> {
    let Some(owner) = node.take_owner() else {
        return Ok(());
    };
    let call = owner.bind(py);
    // Those that are added meanwhile have a round of their own.
    let mut callbacks = call.get().take_callbacks();
    while let Some(callback) = callbacks.pop() {
        let Err(error) = run_in(&callback, call) else { continue };
        if error.is_instance_of::<PyKeyboardInterrupt>(py) || error.is_instance_of::<PySystemExit>(py) {
            call.get().put_callbacks_back(callbacks);
            node.put_owner(owner);
            return Err(error);
        }
        report(call, &callback.function, error)?;
    }
    Ok(())
}

/// Calls the callback in its context.
fn run_in(callback: &Callback, call: &Bound<'_, Call>) -> PyResult<()> {
    let py = call.py();
    let run = intern!(py, "run");
    // SAFETY: four live objects, each of which the callee borrows, and the null that ends them; a new reference or null with
    // an exception set comes back. Safe calls make a bound method and a tuple first, twice the cost of the call itself.
    unsafe {
        let returned = ffi::PyObject_CallMethodObjArgs(
            callback.context.as_ptr(),
            run.as_ptr(),
            callback.function.as_ptr(),
            call.as_ptr(),
            std::ptr::null_mut::<ffi::PyObject>(),
        );
        Bound::from_owned_ptr_or_err(py, returned).map(drop)
    }
}

/// Tells the loop's exception handler, as the loop does for a callback that it runs itself.
fn report(call: &Bound<'_, Call>, function: &Py<PyAny>, error: PyErr) -> PyResult<()> {
    let py = call.py();
    let Some(event_loop) = call.get().home(py) else {
        error.write_unraisable(py, Some(call.as_any()));
        return Ok(());
    };
    let context = PyDict::new(py);
    let callback = function.bind(py).repr()?;
    context.set_item("message", format!("Exception in callback {callback}"))?;
    context.set_item("exception", error.into_value(py))?;
    context.set_item("future", call)?;
    event_loop.call_method1(intern!(py, "call_exception_handler"), (context,))?;
    Ok(())
}
