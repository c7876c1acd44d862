//! The event loops that have a completion queue, and the drain that resumes their calls.
//!
//! A loop gets its queue when the first call is awaited on it. The loop itself owns the [`Drain`], as the
//! callback of a watched descriptor, so the queue ends when the loop closes or is collected. The registry and
//! the queue refer to the loop weakly or not at all: neither keeps it alive.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyWeakrefMethods, PyWeakrefReference};

use super::call::Call;
use super::node::Node;
use super::queue::Queue;
use super::{forward, release};

/// How many calls one drain resumes before it lets the loop look at its other work. A resumed task takes about
/// a microsecond, so a full batch stays near a millisecond.
const BATCH: usize = 1024;

struct Entry {
    event_loop: Py<PyWeakrefReference>,
    queue: Arc<Queue>,
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

/// The queue of `event_loop`, made if this is its first call.
pub(super) fn queue_of(event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Queue>> {
    let py = event_loop.py();
    let key = event_loop.as_ptr().addr();
    if let Some(entry) = LOOPS.lock().get(&key)
        && entry.event_loop.bind(py).upgrade().is_some_and(|found| found.is(event_loop))
        && !entry.queue.is_closed()
    {
        return Ok(Arc::clone(&entry.queue));
    }
    let (queue, drain) = open(event_loop)?;
    let entry =
        Entry { event_loop: PyWeakrefReference::new(event_loop)?.unbind(), queue: Arc::clone(&queue), _drain: drain };
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

/// The callback that resumes the calls of one loop, on that loop's thread.
#[pyclass(module = "ironcliw._native", name = "_Drain", frozen)]
pub(super) struct Drain {
    key: usize,
    queue: Arc<Queue>,
    /// Taken from the queue and not resumed yet: the rest of a full batch, or what an interrupt left.
    backlog: Mutex<VecDeque<Arc<Node>>>,
}

impl Drain {
    pub(super) fn new(event_loop: &Bound<'_, PyAny>, queue: Arc<Queue>) -> Self {
        Self { key: event_loop.as_ptr().addr(), queue, backlog: Mutex::default() }
    }

    /// Refuses later completions and lets go of the calls that nobody will resume.
    pub(super) fn close(&self) {
        let mut left: Vec<_> = std::mem::take(&mut *self.backlog.lock()).into();
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
        {
            let mut backlog = self.backlog.lock();
            self.queue.take(|node| backlog.push_back(node));
        }
        release::drain(py);
        let mut resumed = Ok(());
        for _ in 0..BATCH {
            // One at a time: what is resumed may raise, or run the loop and so this drain again.
            let Some(node) = self.backlog.lock().pop_front() else {
                return Ok(());
            };
            resumed = resume(py, &node);
            if resumed.is_err() {
                self.backlog.lock().push_front(node);
                break;
            }
        }
        if !self.backlog.lock().is_empty() {
            self.queue.wake();
        }
        resumed
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

/// Calls the call's callbacks, each in its own context: a waiting task takes its next step right here.
///
/// An error is an interrupt that must end the loop's run; callbacks not yet called stay with the call.
fn resume(py: Python<'_>, node: &Node) -> PyResult<()> {
    let Some(owner) = node.take_owner() else {
        return Ok(());
    };
    let call = owner.bind(py);
    while let Some(callback) = call.get().next_callback() {
        let ran = callback.context.bind(py).call_method1(intern!(py, "run"), (&callback.function, call));
        let Err(error) = ran else { continue };
        if error.is_instance_of::<PyKeyboardInterrupt>(py) || error.is_instance_of::<PySystemExit>(py) {
            node.put_owner(owner);
            return Err(error);
        }
        report(call, &callback.function, error)?;
    }
    Ok(())
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
