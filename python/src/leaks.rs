//! `rt.leaks`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ironcliw_actors::leak::{self, AgeLimits, Check, GrowthConfig, Level};
use ironcliw_actors::pool::Owner;
use parking_lot::Mutex;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::args::{self, invalid};
use crate::bridge::{self, Call, Outcome};
use crate::errors::to_py_err;
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

    #[getter]
    fn age_limit<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.0.here()?;
        let limits = py.detach(|| self.0.subsystems.tracker.age_limits());
        let dict = PyDict::new(py);
        dict.set_item("plain", limits.plain.map(|limit| limit.as_secs_f64()))?;
        dict.set_item("tracked", limits.explicit.map(|limit| limit.as_secs_f64()))?;
        Ok(dict)
    }

    #[setter]
    fn set_age_limit(&self, py: Python<'_>, limit: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.here()?;
        let tracker = &self.0.subsystems.tracker;
        let limits = parse_ages(limit, py.detach(|| tracker.age_limits()))?;
        py.detach(|| tracker.set_age_limits(limits));
        Ok(())
    }

    #[pyo3(signature = (*, timeout=None))]
    fn check<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, Call>> {
        let timeout = args::timeout(timeout)?;
        let subsystems = self.0.open()?;
        send::ask(py, "leaks.check", self.0.handle(), &subsystems.leaks, Check, timeout, |reports| {
            Outcome::value(move |py| Ok(to_list(py, reports)?.into_any().unbind()))
        })
    }

    #[pyo3(signature = (*, stream=None))]
    fn report(&self, py: Python<'_>, stream: Option<&Bound<'_, PyAny>>) -> PyResult<LeakTable> {
        self.0.open()?;
        bridge::settle(py);
        let table = LeakTable(py.detach(|| self.0.subsystems.tracker.table()));
        if let Some(stream) = stream {
            stream.call_method1("write", (table.0.to_string(),))?;
        }
        Ok(table)
    }

    #[pyo3(signature = (*, owner=None, assert_clean=false))]
    fn scope<'py>(&self, py: Python<'py>, owner: Option<String>, assert_clean: bool) -> PyResult<Bound<'py, PyAny>> {
        self.0.open()?;
        let native = Scope { inner: Arc::clone(&self.0), owner, scope: Mutex::new(None) };
        py.import("ironcliw.leaks")?.call_method1("LeakScope", (native, assert_clean))
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

/// Seconds for all kinds of leases, None for no limit, or a dictionary with either for one or both.
fn parse_ages(limit: &Bound<'_, PyAny>, mut limits: AgeLimits) -> PyResult<AgeLimits> {
    let Ok(by_kind) = limit.cast::<PyDict>() else {
        let limit = parse_age(limit)?;
        return Ok(AgeLimits { plain: limit, explicit: limit });
    };
    // Copied first: to read a number may run code that changes the dictionary.
    let by_kind: Vec<_> = by_kind.iter().collect();
    for (kind, limit) in by_kind {
        let limit = parse_age(&limit)?;
        match kind.extract::<String>().unwrap_or_default().as_str() {
            "plain" => limits.plain = limit,
            "tracked" => limits.explicit = limit,
            _ => {
                return Err(invalid(format!(
                    "an age limit is for \"plain\" or \"tracked\" leases, not {}",
                    args::shown(&kind)
                )));
            }
        }
    }
    Ok(limits)
}

/// What errors call it, which is `leak_age` of a runtime and `age_limit` later.
const AGE_LIMIT: &str = "an age limit";

fn parse_age(limit: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    if limit.is_none() {
        return Ok(None);
    }
    let seconds: f64 = limit.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(limit.py()) {
            return invalid(format!("{AGE_LIMIT} must be a number of seconds, not {}", args::shown(limit)));
        }
        if !error.is_instance_of::<PyTypeError>(limit.py()) {
            return error;
        }
        let kind = limit.get_type().qualname().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("{AGE_LIMIT} must be a number of seconds, None or a dict, not {kind}"))
    })?;
    args::span(seconds, AGE_LIMIT).map(Some)
}

/// The argument `leak_age` of a runtime.
#[derive(Default)]
pub(crate) struct Ages(pub(crate) AgeLimits);

impl<'py> FromPyObject<'_, 'py> for Ages {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        parse_ages(&object, AgeLimits::default()).map(Self)
    }
}

/// The argument `leak_growth` of a runtime: `(windows, seconds)`, or None for no report of growth.
pub(crate) struct Growth(pub(crate) Option<GrowthConfig>);

impl Default for Growth {
    fn default() -> Self {
        Self(Some(GrowthConfig::default()))
    }
}

impl<'py> FromPyObject<'_, 'py> for Growth {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if object.is_none() {
            return Ok(Self(None));
        }
        let (windows, seconds): (Bound<'_, PyAny>, f64) = object.extract()?;
        let windows = args::count(&windows, "the windows of leak_growth", 2)?;
        let window = args::span(seconds, "the window of leak_growth")?;
        let growth = GrowthConfig { windows, window, ..GrowthConfig::default() };
        growth.checked().map(|growth| Self(Some(growth))).map_err(to_py_err)
    }
}

fn to_list(py: Python<'_>, reports: Vec<leak::LeakReport>) -> PyResult<Bound<'_, PyList>> {
    let reports = reports.into_iter().map(|report| Py::new(py, LeakReport(report)));
    PyList::new(py, reports.collect::<PyResult<Vec<_>>>()?)
}

/// The native side of `ironcliw.leaks.LeakScope`. It is open from `begin` to `end`, or to its death.
#[pyclass(frozen, module = "ironcliw._native", name = "_Scope")]
pub(crate) struct Scope {
    inner: Arc<Inner>,
    owner: Option<String>,
    scope: Mutex<Option<leak::Scope>>,
}

#[pymethods]
impl Scope {
    #[getter]
    fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    #[getter]
    fn state(&self) -> &'static str {
        match &*self.scope.lock() {
            None => "new",
            Some(scope) if scope.is_open() => "open",
            Some(_) => "ended",
        }
    }

    fn begin(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.open()?;
        bridge::settle(py);
        py.detach(|| {
            let mut scope = self.scope.lock();
            if scope.is_some() {
                return Err(invalid("a leak scope is entered once: ask for another one"));
            }
            *scope = Some(self.inner.subsystems.tracker.scope(self.owner.as_deref().map(Owner::named)));
            Ok(())
        })
    }

    fn end(&self, py: Python<'_>) {
        // A forked child that leaves the block has nothing to look at.
        if self.inner.here().is_err() {
            return;
        }
        bridge::settle(py);
        py.detach(|| self.scope.lock().iter_mut().for_each(leak::Scope::end));
    }

    fn check<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        to_list(py, self.with(py, leak::Scope::check)?)
    }

    fn is_clean(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, leak::Scope::is_clean)
    }
}

impl Scope {
    fn with<T: Send>(&self, py: Python<'_>, look: impl FnOnce(&leak::Scope) -> T + Send) -> PyResult<T> {
        self.inner.here()?;
        bridge::settle(py);
        let looked = py.detach(|| self.scope.lock().as_ref().map(look));
        looked.ok_or_else(|| invalid("this leak scope was not entered: use `with` or `async with`"))
    }
}

/// Reports as text, for an error.
#[pyfunction]
#[pyo3(name = "_describe_leaks")]
pub(crate) fn describe(reports: Vec<PyRef<'_, LeakReport>>) -> String {
    let reports: Vec<_> = reports.iter().map(|report| report.0.clone()).collect();
    leak::describe(&reports)
}

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct LeakReport(leak::LeakReport);

#[pymethods]
impl LeakReport {
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind.as_str()
    }

    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes
    }

    #[getter]
    fn class_size(&self) -> usize {
        self.0.class_size
    }

    #[getter]
    fn owner(&self) -> &'static str {
        self.0.owner.name()
    }

    #[getter]
    fn incarnation(&self) -> Option<u64> {
        self.0.incarnation
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
    fn counts(&self) -> Vec<u64> {
        self.0.counts.clone()
    }

    #[getter]
    fn sites<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let site = |of: &leak::SiteCount| {
            let dict = PyDict::new(py);
            dict.set_item("site", &of.site)?;
            dict.set_item("live", of.live)?;
            dict.set_item("recent", of.recent)?;
            Ok(dict)
        };
        self.0.sites.iter().map(site).collect()
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

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct LeakTable(leak::Table);

#[pymethods]
impl LeakTable {
    #[getter]
    fn leaks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        to_list(py, self.0.leaks.clone())
    }

    #[getter]
    fn totals<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let totals = PyList::empty(py);
        for total in &self.0.totals {
            let entry = PyDict::new(py);
            entry.set_item("owner", total.owner.name())?;
            entry.set_item("class_size", total.class_size)?;
            entry.set_item("count", total.count)?;
            entry.set_item("bytes", total.bytes)?;
            totals.append(entry)?;
        }
        Ok(totals)
    }

    #[getter]
    fn level(&self) -> &'static str {
        self.0.level.as_str()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    /// The table itself: a prompt then shows what one asked for.
    fn __repr__(&self) -> String {
        self.0.to_string()
    }

    fn _repr_html_(&self) -> String {
        self.0.to_html()
    }
}
