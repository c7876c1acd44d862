//! `ironcliw.Supervisor`: a group of actors with rules of its own.

use std::sync::Arc;

use ironcliw::{Strategy, SupervisorRef};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::Realm;
use super::options::{checked_name, restart, seconds};
use super::spawn::{self, Parent};
use crate::args::{self, invalid};
use crate::bridge::{self, Call, Keep, Outcome};
use crate::errors::classes;
use crate::snapshot;

/// How far a group has come.
enum Stage {
    /// Described only.
    New(ironcliw::Supervisor, Parent),
    Starting,
    Started {
        itself: SupervisorRef,
        above: SupervisorRef,
    },
}

#[pyclass(module = "ironcliw", frozen, weakref)]
pub(crate) struct Supervisor {
    realm: Arc<Realm>,
    name: String,
    stage: Arc<Mutex<Stage>>,
}

/// The keywords of `rt.supervisor` and `group.supervisor`.
pub(crate) struct Rules<'a, 'py> {
    pub(crate) strategy: &'a str,
    pub(crate) max_restarts: &'a Bound<'py, PyAny>,
    pub(crate) within: &'a Bound<'py, PyAny>,
    pub(crate) restart: &'a str,
}

impl Supervisor {
    pub(crate) fn new(
        realm: &Arc<Realm>,
        parent: Parent,
        name: &Bound<'_, PyAny>,
        rules: &Rules<'_, '_>,
    ) -> PyResult<Self> {
        realm.check()?;
        let name = checked_name(name)?;
        let strategy = match rules.strategy {
            "one_for_one" => Strategy::OneForOne,
            "one_for_all" => Strategy::OneForAll,
            "rest_for_one" => Strategy::RestForOne,
            other => {
                let known = "\"one_for_one\", \"one_for_all\" or \"rest_for_one\"";
                return Err(invalid(format!("strategy is {known}, not {other:?}")));
            }
        };
        let max = args::count(rules.max_restarts, "max_restarts", 0)?;
        let max =
            u32::try_from(max).map_err(|_| invalid(format!("max_restarts must be less than 2**32, not {max}")))?;
        let within = seconds(rules.within, "within")?;
        let spec =
            ironcliw::Supervisor::new(&name).strategy(strategy).restarts(max, within).restart(restart(rules.restart)?);
        let stage = Arc::new(Mutex::new(Stage::New(spec, parent)));
        Ok(Self { realm: realm.clone(), name, stage })
    }

    /// The supervisor itself, if it has been started.
    pub(super) fn started(&self) -> PyResult<SupervisorRef> {
        match &*self.stage.lock() {
            Stage::Started { itself, .. } => Ok(itself.clone()),
            Stage::New(..) | Stage::Starting => Err(classes::InvalidInput::new_err(format!(
                "the supervisor {} has not been started: use it in `async with`, or await its start()",
                self.name
            ))),
        }
    }
}

#[pymethods]
impl Supervisor {
    fn start<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Call>> {
        let this = slf.get();
        this.realm.check()?;
        let (spec, parent) = {
            let mut stage = this.stage.lock();
            match std::mem::replace(&mut *stage, Stage::Starting) {
                Stage::New(spec, parent) => (spec, parent),
                other => {
                    *stage = other;
                    let message = format!("the supervisor {} has been started before", this.name);
                    return Err(classes::InvalidInput::new_err(message));
                }
            }
        };
        let (handle, stage, group) = (this.realm.handle.clone(), this.stage.clone(), Keep::new(slf.as_any()));
        spawn::on_clock(slf.py(), "start", &this.realm.handle, async move {
            let again = (spec.clone(), parent.clone());
            let started = async {
                let above = parent.find(&handle).await?;
                Ok::<_, ironcliw::Error>(Stage::Started { itself: above.supervise(spec).await?, above })
            };
            match started.await {
                Ok(started) => {
                    *stage.lock() = started;
                    Outcome::value(move |py| Ok(group.into_inner(py).unwrap_or_else(|| py.None())))
                }
                Err(error) => {
                    *stage.lock() = Stage::New(again.0, again.1);
                    Outcome::Error(error.into())
                }
            }
        })
    }

    #[pyo3(signature = (cls, /, *args, **options))]
    fn spawn<'py>(
        &self,
        cls: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Call>> {
        spawn::spawn(&self.realm, Some(Parent::Group(self.started()?)), cls, args, options)
    }

    #[pyo3(signature = (name, *, strategy="one_for_one", max_restarts=None, within=None, restart="temporary"),
        text_signature = "(self, name, *, strategy='one_for_one', max_restarts=5, within=10.0, restart='temporary')")]
    fn supervisor<'py>(
        &self,
        name: &Bound<'py, PyAny>,
        strategy: &str,
        max_restarts: Option<&Bound<'py, PyAny>>,
        within: Option<&Bound<'py, PyAny>>,
        restart: &str,
    ) -> PyResult<Self> {
        let parent = Parent::Group(self.started()?);
        new_group(&self.realm, parent, name, strategy, max_restarts, within, restart)
    }

    fn stop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Call>> {
        self.realm.check()?;
        let found = match &*self.stage.lock() {
            Stage::Started { itself, above } => Some((itself.path().to_owned(), above.clone())),
            Stage::New(..) | Stage::Starting => None,
        };
        let Some((path, above)) = found else { return bridge::ready(py, "stop", Outcome::Unit) };
        spawn::on_clock(py, "stop", &self.realm.handle, async move {
            above.stop_child(&path).await;
            Outcome::Unit
        })
    }

    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let seen = self.started()?.observe();
        snapshot::to_python(py, &serde_json::to_value(&seen).unwrap_or_default())
    }

    #[getter]
    fn path(&self) -> PyResult<String> {
        Ok(self.started()?.path().to_owned())
    }

    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Call>> {
        Self::start(slf)
    }

    #[pyo3(signature = (exc_type, exc, tb, /))]
    fn __aexit__<'py>(
        &self,
        py: Python<'py>,
        exc_type: Option<Bound<'py, PyAny>>,
        exc: Option<Bound<'py, PyAny>>,
        tb: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Call>> {
        let _ = (exc_type, exc, tb);
        self.stop(py)
    }

    fn __repr__(&self) -> String {
        match &*self.stage.lock() {
            Stage::Started { itself, .. } => {
                let seen = itself.observe();
                format!("<ironcliw.Supervisor {} {}: {} children>", seen.path, seen.state, seen.children)
            }
            Stage::New(..) | Stage::Starting => format!("<ironcliw.Supervisor {} not started>", self.name),
        }
    }
}

pub(crate) fn new_group(
    realm: &Arc<Realm>,
    parent: Parent,
    name: &Bound<'_, PyAny>,
    strategy: &str,
    max_restarts: Option<&Bound<'_, PyAny>>,
    within: Option<&Bound<'_, PyAny>>,
    restart: &str,
) -> PyResult<Supervisor> {
    let py = name.py();
    let five = 5_u32.into_pyobject(py)?.into_any();
    let ten = 10.0_f64.into_pyobject(py)?.into_any();
    let rules =
        Rules { strategy, max_restarts: max_restarts.unwrap_or(&five), within: within.unwrap_or(&ten), restart };
    Supervisor::new(realm, parent, name, &rules)
}
