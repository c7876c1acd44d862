//! The Rust actor that a Python actor is.

use std::panic::resume_unwind;
use std::sync::Arc;

use ironcliw::{Actor, Context, Handler, StartError};
use ironcliw_actors::pool::PressureChanged;
use pyo3::exceptions::{PyException, PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::context::ActorContext;
use super::current;
use super::handing;
use super::host::Host;
use super::message::{Body, PyMessage, PyReply};
use super::record::{Record, in_full};
use super::running::{Ended, Running};
use crate::bridge::Keep;
use crate::errors::classes;

/// Makes the contexts of an actor's incarnations.
pub(super) type ContextMaker = Box<dyn Fn(Python<'_>) -> PyResult<Py<ActorContext>> + Send + Sync>;

/// What every incarnation is made of.
pub(super) struct Recipe {
    pub(super) class: Keep,
    pub(super) args: Keep,
    pub(super) kwargs: Option<Keep>,
    pub(super) event_loop: Keep,
    pub(super) host: Arc<Host>,
    pub(super) record: Arc<Record>,
    /// Makes the incarnation's context.
    pub(super) make_context: ContextMaker,
}

/// One incarnation of an actor that is written in Python. It lives on its loop's thread.
pub(crate) struct PyActor {
    instance: Py<PyAny>,
    on_message: Py<PyAny>,
    context: Py<ActorContext>,
    event_loop: Py<PyAny>,
    host: Arc<Host>,
    record: Arc<Record>,
}

impl PyActor {
    /// Makes the instance. Its context is there before `__init__`.
    pub(super) fn new(recipe: &Recipe) -> Result<Self, StartError> {
        let made = Python::attach(|py| {
            Self::make(py, recipe).map_err(|error| {
                if is_interrupt(py, &error) {
                    recipe.host.interrupt(error.clone_ref(py));
                }
                recipe.record.fail(py, &error);
                in_full(py, &error)
            })
        });
        made.map_err(Into::into)
    }

    fn make(py: Python<'_>, recipe: &Recipe) -> PyResult<Self> {
        let gone = || classes::Error::new_err("the actor's class is gone");
        let class = recipe.class.bind(py).ok_or_else(gone)?;
        let args = recipe.args.bind(py).ok_or_else(gone)?.cast::<PyTuple>()?;
        let kwargs = recipe.kwargs.as_ref().and_then(|kwargs| kwargs.bind(py)).map(|kwargs| kwargs.cast::<PyDict>());
        let kwargs = kwargs.transpose()?;
        let context = (recipe.make_context)(py)?;
        let _entered = current::enter(&recipe.record);
        let with_class: Vec<_> = std::iter::once(class.clone()).chain(args.iter()).collect();
        let instance = class.call_method(intern!(py, "__new__"), PyTuple::new(py, with_class)?, kwargs)?;
        instance.setattr(intern!(py, "context"), &context)?;
        instance.call_method(intern!(py, "__init__"), args, kwargs)?;
        let on_message = instance.getattr(intern!(py, "on_message"))?.unbind();
        let event_loop = recipe.event_loop.bind(py).ok_or_else(gone)?.clone().unbind();
        Ok(Self {
            instance: instance.unbind(),
            on_message,
            context,
            event_loop,
            host: recipe.host.clone(),
            record: recipe.record.clone(),
        })
    }

    /// Begins a hook. `None` where there is nothing to wait for.
    fn hook(&self, name: &str, reason: Option<Option<Py<PyAny>>>) -> Running {
        Python::attach(|py| {
            let args = match reason {
                Some(reason) => PyTuple::new(py, [reason]),
                None => Ok(PyTuple::empty(py)),
            };
            match (args, self.instance.bind(py).getattr(name)) {
                (Ok(args), Ok(method)) => {
                    let _entered = current::enter(&self.record);
                    Running::begin(&method, &args, None, self.event_loop.bind(py), (&self.host, &self.record), None)
                }
                (Err(error), _) | (_, Err(error)) => Running::raised(error),
            }
        })
    }

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), PyErr> {
        if ctx.restarts() > 0 {
            let reason = Python::attach(|py| self.record.take_last_error(py).map(Bound::unbind));
            if let Ended::Raised(error) = self.hook("on_restart", Some(reason)).await {
                return Err(error);
            }
        }
        match self.hook("on_start", None).await {
            Ended::Raised(error) => Err(error),
            Ended::Value(_) | Ended::CalledOff => Ok(()),
        }
    }

    /// Begins to handle a message.
    fn begin(&self, message: PyMessage) -> Running {
        Python::attach(|py| {
            if let Some(error) = self.record.meet_fault(py) {
                return Running::raised(error);
            }
            let PyMessage { body, context, asker } = message;
            let body = match body {
                Body::Object(body) => body.into_inner(py).map(|body| body.into_bound(py)),
                Body::Native(convert) => match convert(py) {
                    Ok(body) => Some(body.into_bound(py)),
                    Err(error) => return Running::raised(error),
                },
                Body::Crash => return Running::raised(classes::Error::new_err("a crash was asked for")),
            };
            let args = match PyTuple::new(py, [body]) {
                Ok(args) => args,
                Err(error) => return Running::raised(error),
            };
            let context = context.as_ref().and_then(|context| context.bind(py));
            let (method, event_loop) = (self.on_message.bind(py), self.event_loop.bind(py));
            let _entered = current::enter(&self.record);
            Running::begin(method, &args, context, event_loop, (&self.host, &self.record), asker)
        })
    }

    /// The handler is done.
    fn end(&self, ended: Ended, ctx: &mut Context<Self>) -> PyReply {
        if self.context.get().is_stopping() {
            ctx.stop();
        }
        match ended {
            Ended::Value(value) => Python::attach(|py| {
                if self.record.has_leased() {
                    handing::hand_over(value.bind(py));
                }
                PyReply(Keep::new(value.bind(py)))
            }),
            Ended::CalledOff => Python::attach(PyReply::none),
            Ended::Raised(error) => self.crash(&error),
        }
    }

    /// An exception is a crash: supervision hears of it as of a panic, with the traceback for its reason.
    ///
    /// What ends a program ends the loop's run as well, as it does in any other callback.
    fn crash(&self, error: &PyErr) -> ! {
        let reason = Python::attach(|py| {
            if is_interrupt(py, error) {
                self.host.interrupt(error.clone_ref(py));
            }
            self.record.fail(py, error);
            in_full(py, error)
        });
        // No panic hook: the interpreter's words are the message, and the place is in them.
        resume_unwind(Box::new(reason))
    }
}

fn is_interrupt(py: Python<'_>, error: &PyErr) -> bool {
    !error.is_instance_of::<PyException>(py)
        && (error.is_instance_of::<PyKeyboardInterrupt>(py) || error.is_instance_of::<PySystemExit>(py))
}

impl Actor for PyActor {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        let started = self.start(ctx).await;
        if self.context.get().is_stopping() {
            ctx.stop();
        }
        started.map_err(|error| {
            Python::attach(|py| {
                if is_interrupt(py, &error) {
                    self.host.interrupt(error.clone_ref(py));
                }
                self.record.fail(py, &error);
                in_full(py, &error).into()
            })
        })
    }

    async fn stopped(&mut self, _: &mut Context<Self>) {
        if let Ended::Raised(error) = self.hook("on_stop", None).await {
            self.crash(&error);
        }
    }
}

impl Drop for PyActor {
    /// Timers end with their incarnation.
    fn drop(&mut self) {
        Python::try_attach(|py| self.context.get().end(py));
    }
}

impl Handler<PyMessage> for PyActor {
    async fn handle(&mut self, message: PyMessage, ctx: &mut Context<Self>) -> PyReply {
        let ended = self.begin(message).await;
        self.end(ended, ctx)
    }
}

/// Published by the pool's actor, which knows this one as a recipient: Rust tells Python.
impl Handler<PressureChanged> for PyActor {
    async fn handle(&mut self, PressureChanged(level): PressureChanged, ctx: &mut Context<Self>) {
        let message = PyMessage::native(move |py| {
            let class = py.import("ironcliw.actor")?.getattr("MemoryPressure")?;
            Ok(class.call1((level.as_str(),))?.unbind())
        });
        let ended = self.begin(message).await;
        self.end(ended, ctx);
    }
}
