//! What is known of an actor across its incarnations.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock};

use ironcliw::SupervisorRef;
use ironcliw_actors::pool::Owner;
use parking_lot::Mutex;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::handing;
use crate::bridge::Keep;

/// Outlives the incarnations, and is known to whoever has the actor's reference.
pub(crate) struct Record {
    pub(crate) path: String,
    pub(crate) name: String,
    pub(crate) parent: SupervisorRef,
    /// Whom its leases are booked on, once it has taken one: there are only so many owners.
    owner: OnceLock<Owner>,
    /// What the last incarnation raised, until the next has heard of it.
    last_error: Mutex<Option<Arc<Keep>>>,
    /// Its loop has closed: it will not come back.
    is_homeless: AtomicBool,
    /// What a test has in store: after how many messages, and what is raised then.
    fault: Mutex<Option<(u64, Keep)>>,
    has_fault: AtomicBool,
}

impl Record {
    pub(crate) fn new(parent: SupervisorRef, name: String) -> Self {
        let path = if parent.path().is_empty() { name.clone() } else { format!("{}/{name}", parent.path()) };
        Self {
            path,
            name,
            parent,
            owner: OnceLock::new(),
            last_error: Mutex::default(),
            is_homeless: AtomicBool::new(false),
            fault: Mutex::default(),
            has_fault: AtomicBool::new(false),
        }
    }

    pub(super) fn owner(&self) -> Owner {
        *self.owner.get_or_init(|| {
            handing::begin();
            Owner::named(&self.path)
        })
    }

    /// Whether it ever leased a buffer.
    pub(super) fn has_leased(&self) -> bool {
        self.owner.get().is_some()
    }

    /// An incarnation ends for this exception.
    pub(super) fn fail(&self, py: Python<'_>, error: &PyErr) {
        let kept = Arc::new(Keep::new(error.value(py).as_any()));
        let former = self.last_error.lock().replace(kept);
        drop(former);
    }

    /// What the last incarnation raised, for whoever had it in hand.
    pub(super) fn last_error(&self) -> Option<Arc<Keep>> {
        self.last_error.lock().clone()
    }

    /// The same for the next incarnation, after which it is forgotten: it holds the frames it came through.
    pub(super) fn take_last_error<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let kept = self.last_error.lock().take()?;
        kept.bind(py).cloned()
    }

    pub(super) fn lose_home(&self) {
        self.is_homeless.store(true, Release);
    }

    pub(super) fn is_homeless(&self) -> bool {
        self.is_homeless.load(Acquire)
    }

    /// The n-th message from now on is to raise `error`.
    pub(crate) fn plan_fault(&self, nth: u64, error: &Bound<'_, PyAny>) {
        let former = self.fault.lock().replace((nth, Keep::new(error)));
        self.has_fault.store(true, Relaxed);
        drop(former);
    }

    /// What the message in hand is to raise, if a test says so.
    pub(super) fn meet_fault(&self, py: Python<'_>) -> Option<PyErr> {
        if !self.has_fault.load(Relaxed) {
            return None;
        }
        let mut fault = self.fault.lock();
        let (left, _) = fault.as_mut()?;
        *left -= 1;
        if *left > 0 {
            return None;
        }
        self.has_fault.store(false, Relaxed);
        let (_, error) = fault.take()?;
        drop(fault);
        Some(PyErr::from_value(error.into_inner(py)?.into_bound(py)))
    }
}

/// An exception in one line: its type and what it says.
pub(super) fn in_a_line(error: &Bound<'_, PyAny>) -> String {
    let kind = error.get_type().name().map_or_else(|_| "exception".to_owned(), |name| name.to_string());
    match error.str().map(|text| text.to_string()) {
        Ok(text) if !text.is_empty() => format!("{kind}: {text}"),
        _ => kind,
    }
}

/// An exception with its traceback, as the interpreter prints it; in one line if that cannot be had.
pub(super) fn in_full(py: Python<'_>, error: &PyErr) -> String {
    let formatted = || -> PyResult<String> {
        let lines = py.import("traceback")?.call_method1("format_exception", (error.value(py),))?;
        let text: String = "".into_pyobject(py)?.call_method1("join", (lines,))?.extract()?;
        Ok(text.trim_end().to_owned())
    };
    formatted().unwrap_or_else(|_| in_a_line(error.value(py)))
}

/// `error` because of `cause`.
pub(super) fn because(py: Python<'_>, error: PyErr, cause: &Bound<'_, PyAny>) -> PyErr {
    if cause.is_instance_of::<PyBaseException>() {
        error.set_cause(py, Some(PyErr::from_value(cause.clone())));
    }
    error
}
