//! Which process this is: a forked child inherits our objects and none of our threads.
//!
//! Asking the system for the process's number costs as much as a tenth of an await, so a fork is noticed when it happens
//! (`os.register_at_fork`), by whoever forks through Python. A fork behind Python's back leaves an interpreter that must
//! not be used anyway.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// One process of a line of forks. What was made in another one belongs to threads that are not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Self {
        Self(FORKS.load(Relaxed))
    }

    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }
}

/// Refuses interpreters beside the main one: what the extension keeps for the process (types, loops, threads that enter
/// Python) belongs to one. CPython asks a module of one's own accord in isolated ones only, and from 3.12 on.
pub(crate) fn refuse_sub_interpreters(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: the thread is attached to the interpreter that it asks about.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if id == 0 {
        return Ok(());
    }
    Err(PyImportError::new_err("ironcliw cannot be used in a sub-interpreter: import it in the main interpreter"))
}

/// Has the interpreter say so when it has forked.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    let os = py.import("os")?;
    // Windows has no fork.
    let Some(register) = os.getattr_opt("register_at_fork")? else { return Ok(()) };
    let forked = PyCFunction::new_closure(py, None, None, |_, _| {
        FORKS.fetch_add(1, Relaxed);
        // SAFETY: this is the child of a fork, and what is of the parent's runtimes in it is never used or dropped.
        #[cfg(target_os = "linux")]
        unsafe {
            ironcliw_actors::pool::close_inherited_descriptors();
        }
    })?;
    let options = PyDict::new(py);
    options.set_item("after_in_child", forked)?;
    register.call((), Some(&options))?;
    Ok(())
}
