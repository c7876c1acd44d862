//! The event loops that have a completion queue.
//!
//! A loop gets its queue when the first call is awaited on it. The loop itself owns the [`Drain`], as the
//! callback of a watched descriptor, so the queue ends when the loop closes or is collected. The registry and
//! the queue refer to the loop weakly or not at all: neither keeps it alive.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use super::call::Call;
use super::drain::{Drain, Resident, Residents, Resumer};
use super::forward;
use super::queue::Queue;

/// A loop that may have residents.
pub(crate) struct Home {
    queue: Arc<Queue>,
    residents: Residents,
}

impl Home {
    /// What has the loop call its drain, on any thread.
    pub(crate) fn waker(&self) -> impl Fn() + Send + Sync + use<> {
        let queue = Arc::clone(&self.queue);
        move || queue.wake()
    }

    /// Adds a resident. One that comes after the loop's end is told so at once.
    pub(crate) fn move_in(&self, resident: Arc<dyn Resident>) {
        self.residents.lock().push(Arc::clone(&resident));
        if self.queue.is_closed() {
            resident.close();
        }
    }
}

/// The home that `event_loop` is, to be asked for on its thread.
pub(crate) fn home_of(event_loop: &Bound<'_, PyAny>) -> PyResult<Home> {
    let queue = queue_of(event_loop)?;
    let loops = LOOPS.lock();
    let entry = loops.get(&event_loop.as_ptr().addr()).filter(|entry| Arc::ptr_eq(&entry.queue, &queue));
    let residents = entry.map(|entry| Arc::clone(&entry.residents)).unwrap_or_default();
    Ok(Home { queue, residents })
}

struct Entry {
    event_loop: Py<PyWeakrefReference>,
    queue: Arc<Queue>,
    resumer: Py<Resumer>,
    residents: Residents,
    /// For a loop that cannot watch a descriptor and so cannot own its drain.
    _drain: Option<Py<Drain>>,
}

/// By the loop's address. A loop that died has left its entry by the time its address is used again; the weak
/// reference makes sure.
static LOOPS: LazyLock<Mutex<HashMap<usize, Entry>>> = LazyLock::new(Mutex::default);

/// The event loop that runs on this thread.
pub(crate) fn running(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
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
    let residents = Residents::default();
    let (queue, drain) = open(event_loop, &residents)?;
    let resumer = Py::new(py, Resumer(Arc::clone(&queue)))?;
    let event_loop = PyWeakrefReference::new(event_loop)?.unbind();
    let entry = Entry { event_loop, queue: Arc::clone(&queue), resumer, residents, _drain: drain };
    let stale = LOOPS.lock().insert(key, entry);
    // Dropped here, after the lock: it may run Python code.
    drop(stale);
    Ok(queue)
}

/// Forgets a loop's queue. `queue` tells it from a later loop's at the same address.
pub(super) fn forget(key: usize, queue: &Arc<Queue>) {
    let mut loops = LOOPS.lock();
    if loops.get(&key).is_some_and(|entry| Arc::ptr_eq(&entry.queue, queue)) {
        let entry = loops.remove(&key);
        drop(loops);
        drop(entry);
    }
}

/// Gives the loop a queue and a drain, by the best means that it has.
fn open(event_loop: &Bound<'_, PyAny>, residents: &Residents) -> PyResult<(Arc<Queue>, Option<Py<Drain>>)> {
    #[cfg(unix)]
    if let Some(queue) = watch(event_loop, residents)? {
        return Ok((queue, None));
    }
    let (queue, drain) = forward::open(event_loop, Arc::clone(residents))?;
    Ok((queue, Some(drain)))
}

/// Has the loop watch a descriptor. None if it is a loop that cannot.
#[cfg(unix)]
fn watch(event_loop: &Bound<'_, PyAny>, residents: &Residents) -> PyResult<Option<Arc<Queue>>> {
    use pyo3::exceptions::PyNotImplementedError;

    let py = event_loop.py();
    let descriptor = super::wake::Descriptor::new()?;
    let watched = descriptor.watched();
    let queue = Arc::new(Queue::new(Box::new(descriptor)));
    let mut drain = Drain::new(event_loop, Arc::clone(&queue), Arc::clone(residents));
    drain.watched = Some(watched);
    match add_reader(event_loop, watched, &Bound::new(py, drain)?) {
        Ok(()) => Ok(Some(queue)),
        Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has the loop call the drain. In an empty context: the loop would keep the first caller's context variables alive for good.
#[cfg(unix)]
pub(super) fn add_reader(
    event_loop: &Bound<'_, PyAny>,
    watched: std::os::fd::RawFd,
    drain: &Bound<'_, Drain>,
) -> PyResult<()> {
    let py = event_loop.py();
    let add = event_loop.getattr(intern!(py, "add_reader"))?;
    empty_context(py)?.call_method1(intern!(py, "run"), (add, watched, drain))?;
    Ok(())
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
