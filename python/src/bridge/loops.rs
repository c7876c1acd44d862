//! The event loops that have a completion queue, and the drain that resumes their calls.
//!
//! A loop gets its queue when the first call is awaited on it. The loop itself owns the [`Drain`], as the
//! callback of a watched descriptor, so the queue ends when the loop closes or is collected. The registry and
//! the queue refer to the loop weakly or not at all: neither keeps it alive.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyWeakrefMethods, PyWeakrefReference};

use super::call::{Call, Callback};
use super::node::Node;
use super::queue::Queue;
use super::{forward, release};

/// How many calls one drain resumes before it lets the loop look at its other work. A resumed task takes about
/// a microsecond, so a full batch stays near a millisecond.
const BATCH: usize = 1024;

struct Entry {
    event_loop: Py<PyWeakrefReference>,
    queue: Arc<Queue>,
    resumer: Py<Resumer>,
    /// For a loop that cannot watch a descriptor and so cannot own its drain.
    _drain: Option<Py<Drain>>,
}

/// By the loop's address. A loop that died has left its entry by the time its address is used again; the weak
/// reference makes sure.
static LOOPS: LazyLock<Mutex<HashMap<usize, Entry>>> = LazyLock::new(Mutex::default);

/// The event loop that runs on this thread.
pub(super) fn running(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let found = GET.import(py, "asyncio", "_get_running_loop")?.call0()?;
    Ok((!found.is_none()).then_some(found))
}

thread_local! {
    /// The queue that this thread asked for last, and its loop's address. While the queue is open that loop is alive, and no
    /// other has its address.
    static LAST: RefCell<Option<(usize, Arc<Queue>)>> = const { RefCell::new(None) };
}

/// The queue of `event_loop`, made if this is its first call.
pub(super) fn queue_of(event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Queue>> {
    let key = event_loop.as_ptr().addr();
    let last = LAST.with_borrow(|last| {
        let (of, queue) = last.as_ref()?;
        (*of == key && !queue.is_closed()).then(|| Arc::clone(queue))
    });
    if let Some(queue) = last {
        return Ok(queue);
    }
    let queue = registered(event_loop, key)?;
    LAST.set(Some((key, Arc::clone(&queue))));
    Ok(queue)
}

fn registered(event_loop: &Bound<'_, PyAny>, key: usize) -> PyResult<Arc<Queue>> {
    let py = event_loop.py();
    if let Some(entry) = LOOPS.lock().get(&key)
        && entry.event_loop.bind(py).upgrade().is_some_and(|found| found.is(event_loop))
        && !entry.queue.is_closed()
    {
        return Ok(Arc::clone(&entry.queue));
    }
    let (queue, drain) = open(event_loop)?;
    let entry = Entry {
        event_loop: PyWeakrefReference::new(event_loop)?.unbind(),
        queue: Arc::clone(&queue),
        resumer: Py::new(py, Resumer(Arc::clone(&queue)))?,
        _drain: drain,
    };
    let stale = LOOPS.lock().insert(key, entry);
    // Dropped here, after the lock: it may run Python code.
    drop(stale);
    Ok(queue)
}

/// Forgets a loop's queue. `queue` tells it from a later loop's at the same address.
fn forget(key: usize, queue: &Arc<Queue>) {
    let mut loops = LOOPS.lock();
    if loops.get(&key).is_some_and(|entry| Arc::ptr_eq(&entry.queue, queue)) {
        let entry = loops.remove(&key);
        drop(loops);
        drop(entry);
    }
}

/// Gives the loop a queue and a drain, by the best means that it has.
fn open(event_loop: &Bound<'_, PyAny>) -> PyResult<(Arc<Queue>, Option<Py<Drain>>)> {
    #[cfg(unix)]
    if let Some(queue) = watch(event_loop)? {
        return Ok((queue, None));
    }
    let (queue, drain) = forward::open(event_loop)?;
    Ok((queue, Some(drain)))
}

/// Has the loop watch a descriptor. None if it is a loop that cannot.
#[cfg(unix)]
fn watch(event_loop: &Bound<'_, PyAny>) -> PyResult<Option<Arc<Queue>>> {
    use pyo3::exceptions::PyNotImplementedError;

    let py = event_loop.py();
    let descriptor = super::wake::Descriptor::new()?;
    let watched = descriptor.watched();
    let queue = Arc::new(Queue::new(Box::new(descriptor)));
    let drain = Bound::new(py, Drain::new(event_loop, Arc::clone(&queue)))?;
    // In an empty context: the loop would keep the first caller's context variables alive for good.
    let added = empty_context(py)?
        .call_method1(intern!(py, "run"), (event_loop.getattr(intern!(py, "add_reader"))?, watched, drain));
    match added {
        Ok(_) => Ok(Some(queue)),
        Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn empty_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static CONTEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    CONTEXT.import(py, "contextvars", "Context")?.call0()
}

/// Has `event_loop` resume an answered call in one of its next rounds.
pub(super) fn resume_soon(event_loop: &Bound<'_, PyAny>, queue: &Arc<Queue>, call: &Bound<'_, Call>) -> PyResult<()> {
    let node = call.get().node();
    node.put_owner(call.clone().unbind());
    if !queue.due.push(Arc::clone(node)) {
        return Ok(());
    }
    tell(event_loop, queue).inspect_err(|_| {
        let kept = queue.due.take_back().and_then(|node| node.take_owner());
        drop(kept);
    })
}

/// Tells the loop that there are calls due.
fn tell(event_loop: &Bound<'_, PyAny>, queue: &Arc<Queue>) -> PyResult<()> {
    let py = event_loop.py();
    let is_here = running(py)?.is_some_and(|found| found.is(event_loop));
    let resumer = LOOPS.lock().get(&event_loop.as_ptr().addr()).map(|entry| entry.resumer.clone_ref(py));
    match resumer {
        Some(resumer) if is_here => {
            event_loop.call_method1(intern!(py, "call_soon"), (resumer,))?;
        }
        // Only the descriptor may be used from another thread.
        _ => queue.wake(),
    }
    Ok(())
}

/// The callback that resumes the calls of one loop, on that loop's thread, when its descriptor says so.
#[pyclass(module = "ironcliw._native", name = "_Drain", frozen)]
pub(super) struct Drain {
    key: usize,
    queue: Arc<Queue>,
}

impl Drain {
    pub(super) fn new(event_loop: &Bound<'_, PyAny>, queue: Arc<Queue>) -> Self {
        Self { key: event_loop.as_ptr().addr(), queue }
    }

    /// Refuses later completions and lets go of the calls that nobody will resume.
    pub(super) fn close(&self) {
        let mut left = Vec::new();
        self.queue.close(|node| left.push(node));
        for node in left {
            drop(node.take_owner());
        }
        forget(self.key, &self.queue);
    }
}

#[pymethods]
impl Drain {
    /// Resumes what has completed, at most one batch of it.
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.queue.take();
        release::drain(py);
        resume_due(py, &self.queue)
    }

    fn __repr__(&self) -> String {
        format!("<ironcliw completion queue of loop {:#x}>", self.key)
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.close();
    }
}

/// Resumes what was answered before anybody asked: the loop calls it in its next round, as it calls any callback.
#[pyclass(module = "ironcliw._native", name = "_Resumer", frozen)]
struct Resumer(Arc<Queue>);

#[pymethods]
impl Resumer {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        resume_due(py, &self.0)
    }

    #[allow(clippy::unused_self)]
    fn __repr__(&self) -> &'static str {
        "<ironcliw: calls that are done>"
    }
}

/// Resumes the calls that are due by now, at most a batch. Those that become so meanwhile get the loop's next round, as
/// timers and sockets do.
fn resume_due(py: Python<'_>, queue: &Queue) -> PyResult<()> {
    let mut resumed = Ok(());
    for _ in 0..queue.due.begin().min(BATCH) {
        // One at a time: what is resumed may raise, or run the loop and so this function again.
        let Some(node) = queue.due.pop() else {
            return Ok(());
        };
        resumed = resume(py, &node);
        if resumed.is_err() {
            queue.due.put_back(node);
            break;
        }
    }
    if !queue.due.is_empty() {
        queue.wake();
    }
    resumed
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
