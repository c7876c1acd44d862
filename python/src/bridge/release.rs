//! Python references that end on a thread without the GIL.
//!
//! A worker that is done with a borrowed input must not wait for the GIL to say so. It leaves the reference on
//! a process-wide stack; the next Python thread that makes a call, takes a result or drains a loop's queue
//! drops it. Since a worker lets go of its input before it completes the call, an awaited call's input is free
//! when the await returns. After the interpreter's exit nobody drains: the references die with the process.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use pyo3::prelude::*;

use super::node::Node;

enum Left {
    Object(Py<PyAny>),
    Owner(Arc<Node>),
}

struct Grave {
    left: Left,
    below: *mut Grave,
}

static TOP: AtomicPtr<Grave> = AtomicPtr::new(ptr::null_mut());

fn bury(left: Left) {
    let grave = Box::into_raw(Box::new(Grave { left, below: ptr::null_mut() }));
    let mut top = TOP.load(Relaxed);
    loop {
        // SAFETY: `grave` is ours alone until the CAS publishes it.
        unsafe { (*grave).below = top };
        match TOP.compare_exchange_weak(top, grave, AcqRel, Relaxed) {
            Ok(_) => return,
            Err(now) => top = now,
        }
    }
}

/// Leaves a node whose loop is gone, for the call that it keeps alive.
pub(super) fn bury_owner(node: Arc<Node>) {
    bury(Left::Owner(node));
}

/// Drops everything that workers left. One load when there is nothing.
pub(super) fn drain(_py: Python<'_>) {
    if TOP.load(Acquire).is_null() {
        return;
    }
    let mut top = TOP.swap(ptr::null_mut(), AcqRel);
    while !top.is_null() {
        // SAFETY: the chain was detached by the swap; each grave came from `Box::into_raw` and is in it once.
        let grave = unsafe { Box::from_raw(top) };
        top = grave.below;
        match grave.left {
            Left::Object(object) => drop(object),
            Left::Owner(node) => drop(node.take_owner()),
        }
    }
}

/// Holds a Python object (a borrowed array) for a worker.
///
/// It can be moved to and dropped on any thread. Its drop never takes the GIL and never runs Python code: the
/// reference is released by the next Python thread that enters the bridge. Drop it *before* completing the
/// call, so that the object is free when the await returns.
pub(crate) struct Keep(Option<Py<PyAny>>);

impl Keep {
    /// Takes a share of `object`.
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> Self {
        Self(Some(object.clone().unbind()))
    }

    /// The object, for a look.
    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, PyAny>> {
        self.0.as_ref().map(|object| object.bind(py))
    }

    /// Takes the object out, on a thread that holds the GIL.
    pub(crate) fn into_inner(mut self, _py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.take()
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            bury(Left::Object(object));
        }
    }
}
