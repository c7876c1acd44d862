//! `ironcliw.ActorContext`: what an incarnation knows of itself and its place.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use parking_lot::Mutex;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use super::Realm;
use super::reference::ActorRef;
use crate::args::invalid;
use crate::errors::to_py_err;

#[pyclass(module = "ironcliw", frozen)]
pub(crate) struct ActorContext {
    of: Py<ActorRef>,
    event_loop: Mutex<Option<Py<PyAny>>>,
    realm: Arc<Realm>,
    restarts: u64,
    stopping: AtomicBool,
    /// Handles of the loop's, which end with the incarnation.
    timers: Mutex<Vec<Py<PyAny>>>,
}

impl ActorContext {
    pub(super) fn new(of: Py<ActorRef>, event_loop: Py<PyAny>, realm: Arc<Realm>, restarts: u64) -> Self {
        let (stopping, timers) = (AtomicBool::new(false), Mutex::default());
        Self { of, event_loop: Mutex::new(Some(event_loop)), realm, restarts, stopping, timers }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }

    /// The incarnation is over: its timers are cancelled, and no further ones are made.
    pub(super) fn end(&self, py: Python<'_>) {
        let event_loop = self.event_loop.lock().take();
        let timers = std::mem::take(&mut *self.timers.lock());
        for timer in &timers {
            if let Err(error) = timer.bind(py).call_method0(intern!(py, "cancel")) {
                error.write_unraisable(py, Some(timer.bind(py)));
            }
        }
        drop((event_loop, timers));
    }
}

#[pymethods]
impl ActorContext {
    #[getter(r#ref)]
    fn reference(&self, py: Python<'_>) -> Py<ActorRef> {
        self.of.clone_ref(py)
    }

    #[getter]
    fn path(&self) -> &str {
        self.of.get().path()
    }

    #[getter]
    fn name(&self) -> &str {
        self.of.get().name()
    }

    #[getter]
    fn restarts(&self) -> u64 {
        self.restarts
    }

    #[getter]
    fn runtime<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let known = self.realm.runtime();
        let runtime = known
            .as_ref()
            .and_then(|known| known.bind(py))
            .and_then(|known| known.cast::<PyWeakrefReference>().ok().and_then(PyWeakrefMethods::upgrade));
        runtime.ok_or_else(|| to_py_err(ironcliw::Error::RuntimeClosed))
    }

    fn stop(&self) {
        self.stopping.store(true, Release);
    }

    /// Returns the loop's handle.
    fn tell_later<'py>(&self, py: Python<'py>, delay: f64, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if !delay.is_finite() || delay < 0.0 {
            return Err(invalid(format!("delay must be a number of seconds from 0 on, not {delay}")));
        }
        let event_loop = self.event_loop.lock().as_ref().map(|found| found.clone_ref(py));
        let Some(event_loop) = event_loop else {
            let path = self.of.get().path().to_owned();
            return Err(to_py_err(ironcliw::Error::ActorStopped { path }));
        };
        let tell = self.of.bind(py).getattr(intern!(py, "tell"))?;
        let timer = event_loop.bind(py).call_method1(intern!(py, "call_later"), (delay, tell, message))?;
        let now: f64 = event_loop.bind(py).call_method0(intern!(py, "time"))?.extract()?;
        let mut timers = std::mem::take(&mut *self.timers.lock());
        // Those that are over need not be cancelled. Looked through when there are many, for it takes a call each.
        if timers.len() >= 64 {
            timers.retain(|timer| is_ahead(timer.bind(py), now));
        }
        timers.push(timer.clone().unbind());
        self.timers.lock().append(&mut timers);
        Ok(timer)
    }

    fn __repr__(&self) -> String {
        format!("<ironcliw.ActorContext of {}, {} restarts>", self.of.get().path(), self.restarts)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.of)?;
        if let Some(event_loop) = self.event_loop.try_lock() {
            visit.call(&*event_loop)?;
        }
        let Some(timers) = self.timers.try_lock() else { return Ok(()) };
        timers.iter().try_for_each(|timer| visit.call(timer))
    }

    fn __clear__(&self) {
        let timers = std::mem::take(&mut *self.timers.lock());
        let event_loop = self.event_loop.lock().take();
        drop((timers, event_loop));
    }
}

fn is_ahead(timer: &Bound<'_, PyAny>, now: f64) -> bool {
    let when = timer.call_method0("when").and_then(|when| when.extract::<f64>());
    when.map_or(true, |when| when > now)
}
