//! From Python's keywords to a supervised child.

use std::future::Future;
use std::sync::Arc;

use ironcliw::{Child, Overflow, SupervisorRef};
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::actor::{ContextMaker, PyActor, Recipe};
use super::context::ActorContext;
use super::host::{Host, host_of};
use super::options::{Settings, checked_name, name_of, settings};
use super::record::Record;
use super::reference::{ActorRef, failed};
use super::{Realm, group};
use crate::args::invalid;
use crate::bridge::{self, Call, Completer, Keep, Outcome, running};
use crate::errors::to_py_err;

/// Who a new actor's supervisor is.
#[derive(Clone)]
pub(crate) enum Parent {
    /// The one of all actors that name none.
    User,
    Group(SupervisorRef),
}

impl Parent {
    /// By the keyword `supervisor`.
    pub(crate) fn of(supervisor: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(supervisor) = supervisor.filter(|found| !found.is_none()) else { return Ok(Self::User) };
        let supervisor = supervisor.cast::<group::Supervisor>().map_err(|_| {
            let kind = supervisor.get_type();
            PyTypeError::new_err(format!("supervisor must be an ironcliw.Supervisor, not {kind}"))
        })?;
        Ok(Self::Group(supervisor.get().started()?))
    }

    pub(super) async fn find(self, handle: &ironcliw::Handle) -> Result<SupervisorRef, ironcliw::Error> {
        match self {
            Self::User => handle.user().await,
            Self::Group(group) => Ok(group),
        }
    }
}

/// Everything that `spawn` was told, ready to be begun on the loop that the actor is to live on.
#[pyclass(module = "ironcliw._native", name = "_Plan", frozen)]
pub(crate) struct Plan {
    realm: Arc<Realm>,
    parent: Parent,
    name: String,
    class: Keep,
    args: Keep,
    kwargs: Option<Keep>,
    settings: Settings,
    /// Taken when it is begun.
    asker: Mutex<Option<Completer>>,
}

/// `rt.spawn` and `group.spawn`.
pub(crate) fn spawn<'py>(
    realm: &Arc<Realm>,
    parent: Option<Parent>,
    class: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, Call>> {
    let py = class.py();
    realm.check()?;
    let class = check_class(class)?;
    let options = match keywords {
        Some(keywords) => keywords.copy()?,
        None => PyDict::new(py),
    };
    let take = |name: &str| -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = options.get_item(name)?;
        if found.is_some() {
            options.del_item(name)?;
        }
        Ok(found)
    };
    let parent = match (parent, take("supervisor")?) {
        (Some(_), Some(_)) => return Err(PyTypeError::new_err("a group's spawn takes no supervisor: it is the group")),
        (Some(parent), None) => parent,
        (None, given) => Parent::of(given.as_ref())?,
    };
    let name = match take("name")?.filter(|found| !found.is_none()) {
        Some(name) => checked_name(&name)?,
        None => name_of(&class)?,
    };
    let is_own = match take("loop")?.map(|found| found.extract::<String>()).transpose()?.as_deref() {
        None | Some("current") => false,
        Some("own") => true,
        Some(other) => return Err(invalid(format!("loop is \"current\" or \"own\", not {other:?}"))),
    };
    let kwargs = take("kwargs")?.filter(|found| !found.is_none());
    if let Some(kwargs) = &kwargs {
        kwargs.cast::<PyDict>().map_err(|_| PyTypeError::new_err("kwargs must be a dict"))?;
    }
    let settings = settings(&take)?;
    if let Some(unknown) = options.keys().iter().next() {
        let message = format!("spawn() got an unexpected keyword argument {}", unknown.repr()?);
        return Err(PyTypeError::new_err(format!("{message}; the actor's own keywords go into kwargs")));
    }
    let event_loop = if is_own { None } else { Some(current_loop(py)?) };
    let (call, completer) = bridge::pending(py, "spawn")?;
    let plan = Plan {
        realm: realm.clone(),
        parent,
        name,
        class: Keep::new(class.as_any()),
        args: Keep::new(args.as_any()),
        kwargs: kwargs.as_ref().map(Keep::new),
        settings,
        asker: Mutex::new(Some(completer)),
    };
    match event_loop {
        Some(event_loop) => drop(plan.begin(&event_loop)?),
        None => {
            py.import("ironcliw.actor")?.getattr("_begin_on_own_loop")?.call1((Bound::new(py, plan)?,))?;
        }
    }
    Ok(call)
}

fn current_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    running(py)?.ok_or_else(|| {
        PyRuntimeError::new_err(
            "no event loop runs here for the actor's handlers: spawn it in a coroutine, or with loop=\"own\"",
        )
    })
}

fn check_class<'py>(class: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyType>> {
    let base = class.py().import("ironcliw.actor")?.getattr("Actor")?;
    match class.cast::<PyType>() {
        Ok(found) if found.is_subclass(&base)? => Ok(found.clone()),
        _ => Err(PyTypeError::new_err(format!(
            "what is spawned must be a subclass of ironcliw.Actor, not {}",
            class.repr()?
        ))),
    }
}

impl Plan {
    /// Begins on `event_loop`, which runs on this thread. The call that is returned is over when the actor has ended for good, or
    /// could not start.
    fn begin<'py>(&self, event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Call>> {
        let py = event_loop.py();
        let host = host_of(&self.realm, event_loop)?;
        let Some(asker) = self.asker.lock().take() else {
            return Err(PyRuntimeError::new_err("the actor has been spawned"));
        };
        let (ended, end) = bridge::pending(py, "stopped")?;
        let share = |kept: &Keep| kept.bind(py).map(Keep::new);
        let (Some(class), Some(args)) = (share(&self.class), share(&self.args)) else {
            return Err(to_py_err(ironcliw::Error::RuntimeClosed));
        };
        let seed = Seed {
            realm: self.realm.clone(),
            host,
            class,
            args,
            kwargs: self.kwargs.as_ref().and_then(share),
            event_loop: Keep::new(event_loop),
            name: self.name.clone(),
            settings: self.settings.clone(),
        };
        let parent = self.parent.clone();
        let handle = self.realm.handle.clone();
        self.realm.handle.spawn_task(async move {
            let parent = match parent.find(&handle).await {
                Ok(parent) => parent,
                Err(error) => return asker.complete(Outcome::Error(error.into())),
            };
            seed.grow(parent, asker, end).await;
        });
        Ok(ended)
    }
}

#[pymethods]
impl Plan {
    /// The same on the loop that runs here.
    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Call>> {
        self.begin(&current_loop(py)?)
    }

    /// It could not be begun.
    fn fail(&self, error: &Bound<'_, PyAny>) {
        if let Some(asker) = self.asker.lock().take() {
            asker.complete(Outcome::Error(crate::bridge::Failure::Python(PyErr::from_value(error.clone()))));
        }
    }

    #[getter]
    fn name(&self) -> &str {
        &self.name
    }
}

/// What an actor is made of, on its way to its supervisor. It may be dropped on any thread.
struct Seed {
    realm: Arc<Realm>,
    host: Arc<Host>,
    class: Keep,
    args: Keep,
    kwargs: Option<Keep>,
    event_loop: Keep,
    name: String,
    settings: Settings,
}

impl Seed {
    /// Spawns it, tells the asker, and at the actor's end whoever waits for that.
    async fn grow(self, parent: SupervisorRef, asker: Completer, end: Completer) {
        let Self { realm, host, class, args, kwargs, event_loop, name, settings } = self;
        let record = Arc::new(Record::new(parent.clone(), name.clone()));
        host.expect(&record);
        let placement = host.placement();
        let overflow = settings.overflow;
        let make_context = context_maker(&realm, &record, overflow);
        let recipe = Recipe { class, args, kwargs, event_loop, host, record: record.clone(), make_context };
        let mut child = Child::fallible(name, move || PyActor::new(&recipe))
            .restart(settings.restart)
            .mailbox(settings.mailbox, overflow)
            .shutdown(settings.shutdown)
            .stuck_after(settings.stuck_after)
            .placement(placement);
        if let Some(backoff) = settings.backoff {
            child = child.backoff(backoff);
        }
        let address = match parent.spawn(child).await {
            Ok(address) => address,
            Err(error) => {
                end.complete(Outcome::Unit);
                return asker.complete(failed(&record, error));
            }
        };
        let is_unwanted = asker.is_called_off();
        let stopped = address.stopped();
        let reference = Made { address, record: record.clone(), realm, overflow };
        asker.complete(Outcome::value(move |py| reference.into_python(py)));
        if is_unwanted {
            // Whoever called the spawn off has no reference to stop it by.
            parent.stop_child(&record.path).await;
        }
        stopped.await;
        end.complete(Outcome::Unit);
    }
}

/// A reference that is not Python's yet.
struct Made {
    address: ironcliw::Address<PyActor>,
    record: Arc<Record>,
    realm: Arc<Realm>,
    overflow: Overflow,
}

impl Made {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Self { address, record, realm, overflow } = self;
        Ok(Bound::new(py, ActorRef { address, record, realm, overflow })?.into_any().unbind())
    }
}

fn context_maker(realm: &Arc<Realm>, record: &Arc<Record>, overflow: Overflow) -> ContextMaker {
    let (realm, record) = (realm.clone(), record.clone());
    Box::new(move |py| {
        // By its path, for the actor is being made: nobody has its address yet.
        let path = record.path.clone();
        let address = realm.handle.find::<PyActor>(&path);
        let address = address.ok_or_else(|| to_py_err(ironcliw::Error::ActorStopped { path }))?;
        let restarts = address.observe().restarts;
        let reference = ActorRef { address, record: record.clone(), realm: realm.clone(), overflow };
        let event_loop = current_loop(py)?.unbind();
        let context = ActorContext::new(Py::new(py, reference)?, event_loop, realm.clone(), restarts);
        Py::new(py, context)
    })
}

/// A call that ends with `work`, which is driven by the runtime's clock thread.
pub(super) fn on_clock<'py>(
    py: Python<'py>,
    name: &'static str,
    handle: &ironcliw::Handle,
    work: impl Future<Output = Outcome> + Send + 'static,
) -> PyResult<Bound<'py, Call>> {
    bridge::submit(py, name, |completer| {
        handle.spawn_task(async move { completer.complete(work.await) });
        Ok(())
    })
}
