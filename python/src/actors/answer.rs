//! The way back: an actor's answer, or why there is none, as the outcome of a call or of a part of one.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::AcqRel;

use ironcliw::{Error, ReplySink};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::message::PyReply;
use super::record::{Record, because, in_a_line};
use crate::bridge::{Failure, Keep, Outcome};
use crate::errors::{classes, to_py_err};
use crate::send::Shared;

/// Why there is no answer, with what only this side knows: the exception that the actor raised, or that its loop has closed.
pub(super) enum Refusal {
    Crashed { path: String, cause: Arc<Keep> },
    NotStarted { path: String, cause: Arc<Keep> },
    Homeless { path: String },
    Other(Error),
}

impl Refusal {
    pub(super) fn of(record: &Record, error: Error) -> Self {
        match (error, record.last_error()) {
            (Error::ActorPanicked { path, .. }, Some(cause)) => Self::Crashed { path, cause },
            (Error::StartFailed { path, .. }, Some(cause)) => Self::NotStarted { path, cause },
            (Error::ActorStopped { path } | Error::ActorRestarting { path }, _) if record.is_homeless() => {
                Self::Homeless { path }
            }
            (error, _) => Self::Other(error),
        }
    }

    pub(super) fn into_py_err(self, py: Python<'_>) -> PyErr {
        let raised = |cause: &Keep, make: &dyn Fn(String) -> PyErr| match cause.bind(py) {
            Some(cause) => because(py, make(in_a_line(cause)), cause),
            None => make("an exception".to_owned()),
        };
        match self {
            Self::Crashed { path, cause } => {
                raised(&cause, &|line| classes::ActorPanicked::new_err(format!("{path} crashed: {line}")))
            }
            Self::NotStarted { path, cause } => {
                raised(&cause, &|line| classes::StartFailed::new_err(format!("{path} did not start: {line}")))
            }
            Self::Homeless { path } => {
                classes::ActorStopped::new_err(format!("{path} has stopped: its event loop is closed"))
            }
            Self::Other(error) => to_py_err(error),
        }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Self::Other(error) => Outcome::Error(Failure::from(error)),
            refusal => Outcome::value(move |py| Err(refusal.into_py_err(py))),
        }
    }
}

/// For one question.
pub(super) struct AnswerSink {
    pub(super) to: Shared,
    pub(super) record: Arc<Record>,
}

impl ReplySink<PyReply> for AnswerSink {
    fn send(self: Box<Self>, answer: Result<PyReply, Error>) {
        self.to.complete(match answer {
            Ok(reply) => reply.into_outcome(),
            Err(error) => Refusal::of(&self.record, error).into_outcome(),
        });
    }

    fn is_closed(&self) -> bool {
        self.to.is_closed()
    }
}

/// What the questions of one `ask_many` share.
pub(super) struct Many {
    pub(super) to: Shared,
    record: Arc<Record>,
    answers: Mutex<Vec<Option<Result<PyReply, Refusal>>>>,
    left: AtomicUsize,
    /// Failures are answers as well; else the first of them ends the call.
    keeps_failures: bool,
}

impl Many {
    pub(super) fn new(to: Shared, record: Arc<Record>, count: usize, keeps_failures: bool) -> Arc<Self> {
        let answers = Mutex::new(std::iter::repeat_with(|| None).take(count).collect());
        let many = Arc::new(Self { to, record, answers, left: AtomicUsize::new(count), keeps_failures });
        if count == 0 {
            many.finish();
        }
        many
    }

    /// Whether the question of this number has been answered, or all have.
    pub(super) fn has_answer(&self, index: usize) -> bool {
        self.to.is_closed() || self.answers.lock().get(index).is_none_or(Option::is_some)
    }

    fn finish(&self) {
        let answers = std::mem::take(&mut *self.answers.lock());
        self.to.complete(Outcome::value(move |py| {
            let list = PyList::empty(py);
            for answer in answers.into_iter().flatten() {
                match answer {
                    Ok(reply) => list.append(reply.0.into_inner(py))?,
                    Err(refusal) => list.append(refusal.into_py_err(py).into_value(py))?,
                }
            }
            Ok(list.into_any().unbind())
        }));
    }
}

/// For one question of many.
pub(super) struct PartSink {
    pub(super) of: Arc<Many>,
    pub(super) index: usize,
}

impl ReplySink<PyReply> for PartSink {
    fn send(self: Box<Self>, answer: Result<PyReply, Error>) {
        let many = &self.of;
        let answer = answer.map_err(|error| Refusal::of(&many.record, error));
        match answer {
            Err(refusal) if !many.keeps_failures => return many.to.complete(refusal.into_outcome()),
            answer => {
                if let Some(place) = many.answers.lock().get_mut(self.index) {
                    *place = Some(answer);
                }
            }
        }
        if many.left.fetch_sub(1, AcqRel) == 1 {
            many.finish();
        }
    }

    fn is_closed(&self) -> bool {
        self.of.to.is_closed()
    }
}
