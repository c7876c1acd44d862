//! The way back to a loop that cannot watch a descriptor, such as Windows' proactor loop.
//!
//! A small thread a loop sleeps until a worker wakes it, then asks the loop to run the drain. It is the one
//! thread of the bridge that takes the GIL, once a burst, so that no worker has to. It ends when its loop does,
//! and all of them end before the interpreter does.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyWeakrefMethods, PyWeakrefReference};

use super::drain::{Drain, Residents};
use super::queue::{Queue, Wake};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bell {
    Quiet,
    Rung,
    Ended,
}

struct Shared {
    bell: Mutex<Bell>,
    changed: Condvar,
}

impl Shared {
    fn set(&self, to: Bell) {
        let mut bell = self.bell.lock();
        if *bell != Bell::Ended {
            *bell = to;
            self.changed.notify_one();
        }
    }

    /// Sleeps until the bell rings. False if the thread is to end.
    fn heard(&self) -> bool {
        let mut bell = self.bell.lock();
        while *bell == Bell::Quiet {
            self.changed.wait(&mut bell);
        }
        let rung = *bell == Bell::Rung;
        if rung {
            *bell = Bell::Quiet;
        }
        rung
    }
}

/// Rings the bell of a forwarding thread. Dropped with its queue's closing, which ends the thread.
struct Forwarder {
    number: u64,
    shared: Arc<Shared>,
}

impl Wake for Forwarder {
    fn wake(&self) {
        self.shared.set(Bell::Rung);
    }

    fn clear(&self) {}
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.shared.set(Bell::Ended);
        // Not joined here: this thread may hold the GIL, which that one may be waiting for.
        if let Some(threads) = &mut *THREADS.lock() {
            threads.remove(&self.number);
        }
    }
}

type Threads = HashMap<u64, (Arc<Shared>, JoinHandle<()>)>;

/// The threads that run. None once the interpreter has begun to exit: there are to be no more.
static THREADS: LazyLock<Mutex<Option<Threads>>> = LazyLock::new(|| Mutex::new(Some(HashMap::new())));

/// A queue for `event_loop`, with a thread that forwards its wake-ups.
pub(super) fn open(event_loop: &Bound<'_, PyAny>, residents: Residents) -> PyResult<(Arc<Queue>, Py<Drain>)> {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let py = event_loop.py();
    let number = NUMBERS.fetch_add(1, Relaxed);
    let shared = Arc::new(Shared { bell: Mutex::new(Bell::Quiet), changed: Condvar::new() });
    let forwarder = Forwarder { number, shared: Arc::clone(&shared) };
    let queue = Arc::new(Queue::new(Box::new(forwarder)));
    let drain = Bound::new(py, Drain::new(event_loop, Arc::clone(&queue), residents))?;

    // Such a loop does not own its drain: a collected loop ends it through this reference's callback, a
    // closed one through the error that it answers the thread with.
    let ended = drain.clone().unbind();
    let on_collected = PyCFunction::new_closure(py, None, None, move |args, _| {
        ended.bind(args.py()).get().close();
    })?;
    let target = PyWeakrefReference::new_with(event_loop, on_collected)?.unbind();
    let (drain, heard) = (drain.unbind(), Arc::clone(&shared));
    let theirs = drain.clone_ref(py);
    let thread = std::thread::Builder::new().name("ironcliw-wake".into()).spawn(move || run(&heard, target, theirs))?;
    match &mut *THREADS.lock() {
        Some(threads) => drop(threads.insert(number, (shared, thread))),
        None => shared.set(Bell::Ended),
    }
    Ok((queue, drain))
}

fn run(shared: &Shared, target: Py<PyWeakrefReference>, drain: Py<Drain>) {
    while shared.heard() {
        let attached = Python::try_attach(|py| {
            let event_loop = target.bind(py).upgrade();
            let asked = event_loop.map(|found| found.call_method1(intern!(py, "call_soon_threadsafe"), (&drain,)));
            if !matches!(asked, Some(Ok(_))) {
                drain.get().close();
            }
        });
        if attached.is_none() {
            break;
        }
    }
    // The references are left to the next thread that enters Python: this one must not, the interpreter may
    // be about to exit.
    drop((target, drain));
}

/// Ends and joins all forwarding threads. The interpreter calls it at exit, while it is still whole.
fn end_all(py: Python<'_>) {
    let threads = THREADS.lock().take().unwrap_or_default();
    py.detach(|| {
        for (shared, thread) in threads.into_values() {
            shared.set(Bell::Ended);
            // A thread that panicked has ended as well.
            let _ = thread.join();
        }
    });
}

/// Has the interpreter end these threads before it exits.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    let end = PyCFunction::new_closure(py, None, None, |args, _| end_all(args.py()))?;
    py.import("atexit")?.call_method1("register", (end,))?;
    Ok(())
}
