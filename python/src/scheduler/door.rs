//! The door to Python: who of the scheduler's threads is inside, and that nobody enters any more at exit.
//!
//! A thread that came back after the interpreter's end would find none. So at exit the door is closed: no queued
//! callable is begun, and those that run, whose jobs now say that they are cancelled, get some time to end.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

/// What callables that run when the interpreter exits get to end.
const EXIT_BOUND: Duration = Duration::from_secs(5);

/// How often the exit looks whether they have, and for Ctrl-C.
const EXIT_POLL: Duration = Duration::from_millis(2);

// Atomics rather than a lock: a fork may come at any moment, and a lock that another thread holds then is never released
// in the child.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Leave to be inside Python; given back when dropped.
pub(super) struct Visit(());

impl Visit {
    pub(super) fn begin() -> Option<Self> {
        // First in, then look: `close` closes first and counts then, so one of the two sees the other.
        INSIDE.fetch_add(1, SeqCst);
        let visit = Self(());
        (!is_closed()).then_some(visit)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // Saturating: a forked child begins with nobody inside.
        let _ = INSIDE.try_update(SeqCst, SeqCst, |inside| inside.checked_sub(1));
    }
}

/// Whether the interpreter is exiting.
pub(super) fn is_closed() -> bool {
    CLOSED.load(SeqCst)
}

/// Closes the door and waits for those inside. The interpreter calls it at exit, while it is still whole.
fn close(py: Python<'_>) -> PyResult<()> {
    CLOSED.store(true, SeqCst);
    let deadline = Instant::now() + EXIT_BOUND;
    loop {
        let inside = INSIDE.load(SeqCst);
        if inside == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            tracing::warn!(functions = inside, "the interpreter exits while functions still run on the scheduler");
            return Ok(());
        }
        py.detach(|| std::thread::sleep(EXIT_POLL));
        py.check_signals()?;
    }
}

/// Has the interpreter close the door before it exits, and a forked child begin with nobody inside.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    let at_exit =
        PyCFunction::new_closure(py, None, None, |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            close(args.py())
        })?;
    py.import("atexit")?.call_method1("register", (at_exit,))?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let in_child = PyCFunction::new_closure(py, None, None, |_: &Bound<'_, PyTuple>, _| {
            INSIDE.store(0, SeqCst);
        })?;
        let keywords = PyDict::new(py);
        keywords.set_item("after_in_child", in_child)?;
        os.call_method("register_at_fork", (), Some(&keywords))?;
    }
    Ok(())
}
