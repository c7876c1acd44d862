//! The event loops that have a completion queue, and the drain that resumes their calls.
//!
//! A loop gets its queue when the first call is awaited on it. The loop itself owns the [`Drain`], as the
//! callback of a watched descriptor, so the queue ends when the loop closes or is collected. The registry and
//! the queue refer to the loop weakly or not at all: neither keeps it alive.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

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
    let residents = Residents::default();
    let (queue, drain) = open(event_loop, &residents)?;
    let event_loop = PyWeakrefReference::new(event_loop)?.unbind();
    let entry = Entry { event_loop, queue: Arc::clone(&queue), residents, _drain: drain };
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
fn add_reader(event_loop: &Bound<'_, PyAny>, watched: std::os::fd::RawFd, drain: &Bound<'_, Drain>) -> PyResult<()> {
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

/// The callback that resumes the calls of one loop, on that loop's thread.
#[pyclass(module = "ironcliw._native", name = "_Drain", frozen)]
pub(super) struct Drain {
    key: usize,
    queue: Arc<Queue>,
    /// Taken from the queue and not resumed yet: the rest of a full batch, or what an interrupt left.
    backlog: Mutex<VecDeque<Arc<Node>>>,
    residents: Residents,
    /// The descriptor that the loop watches for it, if it does.
    #[cfg(unix)]
    watched: Option<std::os::fd::RawFd>,
}

impl Drain {
    pub(super) fn new(event_loop: &Bound<'_, PyAny>, queue: Arc<Queue>, residents: Residents) -> Self {
        Self {
            key: event_loop.as_ptr().addr(),
            queue,
            backlog: Mutex::default(),
            residents,
            #[cfg(unix)]
            watched: None,
        }
    }

    /// Refuses later completions and lets go of the calls that nobody will resume.
    pub(super) fn close(&self) {
        let mut left: Vec<_> = std::mem::take(&mut *self.backlog.lock()).into();
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
}

impl Drain {
    fn call(&self, py: Python<'_>) -> PyResult<()> {
        self.take_in();
        release::drain(py);
        let mut left = BATCH;
        let until = Instant::now() + TURN;
        loop {
            let resumed = self.resume_backlog(py, &mut left);
            let turned = resumed.and_then(|()| self.give_turns(py));
            let is_asked_for = self.has_work();
            match turned {
                Ok(false) if !is_asked_for => return Ok(()),
                Ok(_) if left > 0 && Instant::now() < until => {}
                turned => {
                    self.queue.wake();
                    return turned.map(|_| ());
                }
            }
            if self.queue.has_some() {
                self.take_in();
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

    fn take_in(&self) {
        let mut backlog = self.backlog.lock();
        self.queue.take(|node| backlog.push_back(node));
    }

    fn has_work(&self) -> bool {
        !self.backlog.lock().is_empty()
            || self.queue.has_some()
            || self.residents.lock().iter().any(|resident| resident.has_work())
    }

    fn resume_backlog(&self, py: Python<'_>, left: &mut usize) -> PyResult<()> {
        while *left > 0 {
            // One at a time: what is resumed may raise, or run the loop and so this drain again.
            let Some(node) = self.backlog.lock().pop_front() else { break };
            if let Err(interrupt) = resume(py, &node) {
                self.backlog.lock().push_front(node);
                return Err(interrupt);
            }
            *left -= 1;
        }
        Ok(())
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
