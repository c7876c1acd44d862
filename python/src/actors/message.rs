//! What travels to a Python actor, and what it answers. Both may be dropped on any thread.

use ironcliw::Message;
use pyo3::prelude::*;

use crate::bridge::{Keep, Outcome};
use crate::send::Shared;

/// What a native sender's message becomes on the loop's thread.
type Convert = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// What is said.
pub(super) enum Body {
    /// Any Python object.
    Object(Keep),
    /// Rust data that becomes one where it is handled: its sender needs no GIL.
    Native(Convert),
    /// A crash on demand, for tests.
    Crash,
}

/// A message to a Python actor.
///
/// A Rust actor sends one to an `Address<PyActor>`, or to a `Recipient<PyMessage>` made of it, as to any actor:
/// `address.ask(PyMessage::native(move |py| …))`.
pub(crate) struct PyMessage {
    pub(super) body: Body,
    /// The sender's context variables.
    pub(super) context: Option<Keep>,
    /// Who waits in Python, and may stop waiting while the message is in hand.
    pub(super) asker: Option<Shared>,
}

impl Message for PyMessage {
    type Reply = PyReply;
}

impl PyMessage {
    /// From Python, with a copy of its context variables.
    pub(super) fn new(body: &Bound<'_, PyAny>, context: Option<&Bound<'_, PyAny>>) -> Self {
        Self { body: Body::Object(Keep::new(body)), context: context.map(Keep::new), asker: None }
    }

    /// From Rust: `convert` is called on the loop's thread when the message is handled.
    pub(crate) fn native(convert: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static) -> Self {
        Self { body: Body::Native(Box::new(convert)), context: None, asker: None }
    }

    pub(super) fn crash() -> Self {
        Self { body: Body::Crash, context: None, asker: None }
    }

    pub(super) fn of(mut self, asker: &Shared) -> Self {
        self.asker = Some(asker.clone());
        self
    }
}

/// What a handler returned.
pub(crate) struct PyReply(pub(super) Keep);

impl PyReply {
    pub(super) fn none(py: Python<'_>) -> Self {
        Self(Keep::new(py.None().bind(py)))
    }

    /// As the outcome of a call.
    pub(super) fn into_outcome(self) -> Outcome {
        let Self(value) = self;
        Outcome::value(move |py| Ok(value.into_inner(py).unwrap_or_else(|| py.None())))
    }
}
