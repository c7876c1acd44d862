//! `rt.leaks`.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironcliw_actors::leak::{self, Check, Level};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::args::{self, invalid};
use crate::bridge::{self, Call, Outcome};
use crate::runtime::Inner;
use crate::send;

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct Leaks(pub(crate) Arc<Inner>);

#[pymethods]
impl Leaks {
    #[getter]
    fn level(&self) -> &'static str {
        self.0.subsystems.pool.recorder().level().as_str()
    }

    #[setter]
    fn set_level(&self, level: &str) -> PyResult<()> {
        self.0.subsystems.pool.recorder().set_level(parse_level(level)?);
        Ok(())
    }

    #[pyo3(signature = (*, timeout=None))]
    fn check<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, Call>> {
        let timeout = args::timeout(timeout)?;
        let subsystems = self.0.open()?;
        send::ask(py, "leaks.check", self.0.handle(), &subsystems.leaks, Check, timeout, |reports| {
            Outcome::value(move |py| {
                let reports = reports.into_iter().map(|report| Py::new(py, LeakReport(report)));
                let reports = reports.collect::<PyResult<Vec<_>>>()?;
                Ok(PyList::new(py, reports)?.into_any().unbind())
            })
        })
    }

    fn counts(&self, py: Python<'_>) -> BTreeMap<&'static str, BTreeMap<usize, u64>> {
        bridge::settle(py);
        let stats = self.0.subsystems.pool.stats();
        let owners = stats.owners.into_iter().filter(|owner| !owner.live_by_class.is_empty());
        owners.map(|owner| (owner.owner.name(), owner.live_by_class)).collect()
    }

    fn __repr__(&self) -> String {
        let recorder = self.0.subsystems.pool.recorder();
        format!(
            "<ironcliw.Leaks: level {}, {} leases recorded, {} events dropped>",
            recorder.level(),
            recorder.recorded_leases(),
            recorder.dropped_events()
        )
    }
}

/// A level by name.
pub(crate) fn parse_level(name: &str) -> PyResult<Level> {
    name.parse()
        .map_err(|_| invalid(format!("unknown leak level {name:?}: one of disabled, simple, advanced, paranoid")))
}

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct LeakReport(leak::LeakReport);

#[pymethods]
impl LeakReport {
    #[getter]
    fn kind(&self) -> &'static str {
        match self.0.kind {
            leak::LeakKind::DroppedUnreleased => "dropped_unreleased",
            leak::LeakKind::TooOld => "too_old",
        }
    }

    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes
    }

    #[getter]
    fn owner(&self) -> &'static str {
        self.0.owner.name()
    }

    #[getter]
    fn site(&self) -> Option<&str> {
        self.0.site.as_deref()
    }

    #[getter]
    fn task(&self) -> Option<&str> {
        self.0.task.as_deref()
    }

    #[getter]
    fn frames<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let frame = |frame: &leak::Frame| {
            let dict = PyDict::new(py);
            dict.set_item("function", &frame.function)?;
            dict.set_item("file", &frame.file)?;
            dict.set_item("line", frame.line)?;
            Ok(dict)
        };
        self.0.frames.iter().map(frame).collect()
    }

    #[getter]
    fn touches<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let touch = |touch: &leak::TouchReport| {
            let dict = PyDict::new(py);
            dict.set_item("hint", &touch.hint)?;
            dict.set_item("site", &touch.site)?;
            dict.set_item("after", touch.after.as_secs_f64())?;
            Ok(dict)
        };
        self.0.touches.iter().map(touch).collect()
    }

    #[getter]
    fn touches_dropped(&self) -> u64 {
        self.0.touches_dropped
    }

    #[getter]
    fn age(&self) -> f64 {
        self.0.age.as_secs_f64()
    }

    #[getter]
    fn equal(&self) -> u64 {
        self.0.equal
    }

    #[getter]
    fn message(&self) -> String {
        self.0.to_string()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<ironcliw.LeakReport: {}>", self.0)
    }
}
