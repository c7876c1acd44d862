//! The Python object that an outcome became, kept for whoever asks again.

use std::cell::RefCell;
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::exceptions::PyBaseException;
use pyo3::exceptions::asyncio::InvalidStateError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTraceback;

use super::Face;
use crate::bridge::node::Node;
use crate::bridge::outcome::Outcome;

/// How long a thread waits before it looks again whether another has finished the conversion. A rare case.
const CONVERSION_POLL: Duration = Duration::from_millis(1);

thread_local! {
    /// The nodes whose outcomes this thread is converting. A conversion may run Python code, and that may ask for the very
    /// result: it would wait for itself.
    static CONVERTING: RefCell<Vec<*const Node>> = const { RefCell::new(Vec::new()) };
}

/// The thread converts this node's outcome until it is dropped.
struct Converting;

impl Converting {
    fn begin(node: &Node) -> Self {
        CONVERTING.with_borrow_mut(|nodes| nodes.push(node));
        Self
    }

    fn is_here(node: &Node) -> bool {
        CONVERTING.with_borrow(|nodes| nodes.iter().any(|found| std::ptr::eq(*found, node)))
    }
}

impl Drop for Converting {
    fn drop(&mut self) {
        CONVERTING.with_borrow_mut(Vec::pop);
    }
}

/// A converted outcome.
pub(super) enum Settled {
    Value(Py<PyAny>),
    /// With the traceback it came with: each raise would add to it otherwise.
    Error(Py<PyBaseException>, Option<Py<PyTraceback>>),
}

impl Settled {
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Value(value) => visit.call(value),
            Self::Error(exception, traceback) => {
                visit.call(exception)?;
                visit.call(traceback)
            }
        }
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Value(value) => Self::Value(value.clone_ref(py)),
            Self::Error(exception, traceback) => {
                Self::Error(exception.clone_ref(py), traceback.as_ref().map(|found| found.clone_ref(py)))
            }
        }
    }
}

/// The value of an answered call, or its exception to raise.
pub(super) fn value(py: Python<'_>, node: &Node, face: &Mutex<Face>) -> PyResult<Py<PyAny>> {
    match settle(py, node, face)? {
        Settled::Value(value) => Ok(value),
        Settled::Error(exception, traceback) => {
            let error = PyErr::from_value(exception.into_bound(py).into_any());
            error.set_traceback(py, traceback.map(|found| found.into_bound(py)));
            Err(error)
        }
    }
}

/// The exception of an answered call, if it has one.
pub(super) fn exception(py: Python<'_>, node: &Node, face: &Mutex<Face>) -> PyResult<Option<Py<PyBaseException>>> {
    // A plain value need not be made for this. Others must: their conversion may fail.
    if matches!(&*node.outcome.lock(), Some(Outcome::Unit | Outcome::U64(_))) {
        return Ok(None);
    }
    Ok(match settle(py, node, face)? {
        Settled::Value(_) => None,
        Settled::Error(exception, _) => Some(exception),
    })
}

fn settle(py: Python<'_>, node: &Node, face: &Mutex<Face>) -> PyResult<Settled> {
    loop {
        let taken = {
            let mut outcome = node.outcome.lock();
            match &*outcome {
                // As cheap to make as to keep.
                Some(Outcome::Unit) => return Ok(Settled::Value(py.None())),
                Some(Outcome::U64(number)) => {
                    return Ok(Settled::Value(number.into_pyobject(py)?.into_any().unbind()));
                }
                _ => outcome.take(),
            }
        };
        if let Some(outcome) = taken {
            let converting = Converting::begin(node);
            let converted = outcome.into_python(py);
            drop(converting);
            let settled = match converted {
                Ok(value) => Settled::Value(value),
                Err(error) => {
                    let traceback = error.traceback(py).map(Bound::unbind);
                    Settled::Error(error.into_value(py), traceback)
                }
            };
            face.lock().settled = Some(settled.clone_ref(py));
            return Ok(settled);
        }
        if let Some(settled) = &face.lock().settled {
            return Ok(settled.clone_ref(py));
        }
        if Converting::is_here(node) {
            return Err(InvalidStateError::new_err(format!("the result of {} is being taken", node.name)));
        }
        // Another thread has taken the outcome and is converting it.
        py.detach(|| std::thread::sleep(CONVERSION_POLL));
        py.check_signals()?;
    }
}
