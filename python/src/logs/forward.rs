//! The queue from any thread to Python's `logging`, and the one thread that empties it.
//!
//! The thread takes the GIL once a burst and lets `ironcliw._logs` handle the records. It is made with the process's first
//! runtime and joined at exit, when it has handed over what was queued. What finds the queue full is dropped and
//! counted, and the count is logged: a slow handler must not hold up a worker.
//!
//! A forked child has the queue and not the thread: it forwards nothing until a runtime is made in it.

use std::ptr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyList, PyTuple};

use super::levels;
use super::record::Record;
use crate::process::Process;

/// Records that may wait. At some 300 bytes each it bounds memory to about a megabyte.
const CAPACITY: usize = 4096;

/// Records handled in one visit to Python.
const BURST: usize = 256;

/// What handlers get at exit for what is queued: one that hangs must not keep the process.
const EXIT_BOUND: Duration = Duration::from_secs(2);

struct Sink {
    records: Sender<Record>,
    dropped: AtomicU64,
    process: Process,
}

/// Where events go; null while nothing is forwarded. What it points to is never freed: another thread may be using it, and
/// there is one a process.
static SINK: AtomicPtr<Sink> = AtomicPtr::new(ptr::null_mut());
static HAS_ENDED: AtomicBool = AtomicBool::new(false);

/// Of this process's thread: dropped to end it, and disconnected when it has ended.
struct Thread {
    _stop: Sender<()>,
    ended: Receiver<()>,
}

/// Locked by threads that hold the GIL only, so a fork never finds it locked.
static THREAD: Mutex<Option<Thread>> = Mutex::new(None);

fn sink() -> Option<&'static Sink> {
    // SAFETY: it is null, or came from `Box::leak` and is never freed.
    let sink = unsafe { SINK.load(Acquire).as_ref() }?;
    sink.process.is_current().then_some(sink)
}

/// Queues a record. Never blocks.
pub(super) fn send(record: impl FnOnce() -> Record) {
    if let Some(sink) = sink()
        && sink.records.try_send(record()).is_err()
    {
        sink.dropped.fetch_add(1, Relaxed);
    }
}

/// Begins to forward, if this process does not yet.
pub(crate) fn start(py: Python<'_>) -> PyResult<()> {
    if sink().is_some() || HAS_ENDED.load(Acquire) {
        return Ok(());
    }
    let module = py.import("ironcliw._logs")?;
    let (records, queue) = bounded(CAPACITY);
    let (stop, stopped) = bounded(0);
    let (end, ended) = bounded::<()>(0);
    let sink: &'static Sink =
        Box::leak(Box::new(Sink { records, dropped: AtomicU64::new(0), process: Process::current() }));
    std::thread::Builder::new().name("ironcliw-log".to_owned()).spawn(move || {
        run(&queue, &stopped, sink);
        drop(end);
    })?;
    // In a forked child, what is replaced are the parent's: nothing is to be told.
    std::mem::forget(THREAD.lock().replace(Thread { _stop: stop, ended }));
    SINK.store(ptr::from_ref(sink).cast_mut(), std::sync::atomic::Ordering::Release);
    module.call_method0("watch")?;
    Ok(())
}

fn run(queue: &Receiver<Record>, stopped: &Receiver<()>, sink: &Sink) {
    loop {
        let first = select! {
            recv(queue) -> record => record.ok(),
            recv(stopped) -> _ => None,
        };
        let is_last = first.is_none();
        let mut batch: Vec<Record> = first.into_iter().chain(queue.try_iter().take(BURST)).collect();
        while !batch.is_empty() {
            // None if the interpreter has gone.
            let Some(()) = Python::try_attach(|py| hand_over(py, batch, sink)) else { return };
            batch = queue.try_iter().take(if is_last { BURST } else { 0 }).collect();
        }
        if is_last {
            return;
        }
    }
}

fn hand_over(py: Python<'_>, batch: Vec<Record>, sink: &Sink) {
    let dropped = sink.dropped.swap(0, AcqRel);
    let handle = || {
        let records = PyList::empty(py);
        for record in batch {
            records.append(record.into_python(py)?)?;
        }
        py.import("ironcliw._logs")?.call_method1("handle", (records, dropped))
    };
    if let Err(error) = handle() {
        error.write_unraisable(py, None);
    }
}

/// Hands over what is queued and ends the thread. The interpreter calls it at exit, while it is still whole.
fn end(py: Python<'_>) {
    HAS_ENDED.store(true, std::sync::atomic::Ordering::Release);
    if sink().is_none() {
        return;
    }
    let thread = THREAD.lock().take();
    py.detach(|| {
        if let Some(Thread { _stop, ended }) = thread {
            drop(_stop);
            // It ends with a disconnection; or a handler hangs, and the thread is left to it.
            let _ = ended.recv_timeout(EXIT_BOUND);
        }
        SINK.store(ptr::null_mut(), std::sync::atomic::Ordering::Release);
        levels::set(Vec::new());
    });
}

/// Has the interpreter end the thread before it exits.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    // First, so that its handlers are flushed and closed after our last record.
    py.import("logging")?;
    let at_exit =
        PyCFunction::new_closure(py, None, None, |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            end(args.py());
        })?;
    py.import("atexit")?.call_method1("register", (at_exit,))?;
    Ok(())
}
