//! `ironcliw.ActorRef`: how Python sends to an actor written in Python.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::task::{Context as TaskContext, Waker};
use std::time::Duration;

use ironcliw::{Address, Error, Overflow, Recipient, SendError};
use ironcliw_actors::pool::PressureChanged;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::actor::PyActor;
use super::answer::{AnswerSink, Many, PartSink, Refusal};
use super::handing::Buffers;
use super::message::PyMessage;
use super::record::Record;
use super::{Realm, spawn};
use crate::args;
use crate::bridge::{self, Call, Failure, Outcome};
use crate::send::{Shared, expire};

#[pyclass(module = "ironcliw", frozen, weakref)]
pub(crate) struct ActorRef {
    pub(super) address: Address<PyActor>,
    pub(super) record: Arc<Record>,
    pub(super) realm: Arc<Realm>,
    /// What a full mailbox does.
    pub(super) overflow: Overflow,
}

/// The sender's context variables, as they are now.
fn current_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    COPY.import(py, "contextvars", "copy_context")?.call0()
}

/// A message from Python, on its way.
fn travelling(message: &Bound<'_, PyAny>) -> PyResult<PyMessage> {
    Ok(PyMessage::new(message, Some(&current_context(message.py())?)))
}

impl ActorRef {
    pub(super) fn path(&self) -> &str {
        &self.record.path
    }

    pub(super) fn name(&self) -> &str {
        &self.record.name
    }

    /// For the Rust actor that publishes memory pressure.
    pub(crate) fn pressure_recipient(&self) -> Recipient<PressureChanged> {
        self.address.recipient()
    }

    /// Asks with a message that is made for the asker.
    fn ask_with<'py>(
        &self,
        py: Python<'py>,
        name: &'static str,
        message: PyMessage,
        buffers: &Buffers<'py>,
        timeout: Option<Duration>,
    ) -> PyResult<Bound<'py, Call>> {
        self.realm.check()?;
        bridge::submit(py, name, |completer| {
            let to = Shared::new(completer);
            if let Some(after) = timeout {
                expire(&self.realm.handle, self.path(), &to, after);
            }
            let message = message.of(&to);
            let sink = AnswerSink { to: to.clone(), record: self.record.clone() };
            self.address.ask_into(message, timeout, Box::new(sink));
            // Who answers needs the GIL: what has an answer already was refused.
            if !to.is_closed() {
                buffers.sent_to(self.path());
            }
            Ok(())
        })
    }

    /// Those of an iterable.
    fn messages<'py>(messages: &Bound<'py, PyAny>) -> PyResult<(Vec<PyMessage>, Vec<Buffers<'py>>)> {
        // All of them first: if one cannot be had, none is on its way.
        let messages: Vec<_> = messages.try_iter()?.collect::<PyResult<_>>()?;
        // A context is entered by one at a time; the messages of one actor are, but its tasks may overlap with the next one's
        // start: each has a copy.
        messages.iter().map(|each| Ok((travelling(each)?, Buffers::to_send(each)))).collect()
    }

    /// Sends `messages` in order, whose buffers are `buffers`; `answer` makes the call's value of how many were sent.
    fn tell_all<'py>(
        &self,
        py: Python<'py>,
        name: &'static str,
        messages: impl Iterator<Item = PyMessage> + Send + 'static,
        buffers: &[Buffers<'py>],
        answer: impl FnOnce(usize) -> Outcome + Send + 'static,
    ) -> PyResult<Bound<'py, Call>> {
        let mut messages = messages.peekable();
        let mut sent = 0;
        while let Some(message) = messages.next() {
            match self.address.try_tell(message) {
                Ok(()) => {
                    buffers[sent].sent_to(self.path());
                    sent += 1;
                }
                Err(SendError { error: Error::MailboxFull { .. }, message: Some(message) })
                    if self.overflow == Overflow::Block =>
                {
                    let call = self.tell_when_there_is_room(py, name, message, messages, sent, answer)?;
                    // What waits in line is no longer the sender's.
                    buffers[sent..].iter().for_each(|buffers| buffers.sent_to(self.path()));
                    return Ok(call);
                }
                Err(refused) => {
                    return bridge::ready(py, name, Refusal::of(&self.record, refused.error).into_outcome());
                }
            }
        }
        bridge::ready(py, name, answer(sent))
    }

    /// Gets in line at once, so that what is sent later comes later, and leaves the waiting to the runtime's own thread.
    fn tell_when_there_is_room<'py>(
        &self,
        py: Python<'py>,
        name: &'static str,
        first: PyMessage,
        rest: impl Iterator<Item = PyMessage> + Send + 'static,
        sent: usize,
        answer: impl FnOnce(usize) -> Outcome + Send + 'static,
    ) -> PyResult<Bound<'py, Call>> {
        let (call, completer) = bridge::pending(py, name)?;
        let (address, record) = (self.address.clone(), self.record.clone());
        let mut sending = Box::pin(async move {
            let mut sent = sent;
            for message in std::iter::once(first).chain(rest) {
                if let Err(refused) = address.tell(message).await {
                    return completer.complete(Refusal::of(&record, refused.error).into_outcome());
                }
                sent += 1;
            }
            completer.complete(answer(sent));
        });
        if sending.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending() {
            self.realm.handle.spawn_task(sending);
        }
        Ok(call)
    }
}

#[pymethods]
impl ActorRef {
    #[getter(path)]
    fn get_path(&self) -> &str {
        self.path()
    }

    #[getter(name)]
    fn get_name(&self) -> &str {
        self.name()
    }

    #[getter]
    fn is_alive(&self) -> bool {
        self.address.is_alive()
    }

    #[pyo3(signature = (message, /, *, timeout=None))]
    fn ask<'py>(&self, message: &Bound<'py, PyAny>, timeout: Option<f64>) -> PyResult<Bound<'py, Call>> {
        let timeout = args::timeout(timeout)?;
        self.realm.check()?;
        let buffers = Buffers::to_send(message);
        self.ask_with(message.py(), "ask", travelling(message)?, &buffers, timeout)
    }

    #[pyo3(signature = (message, /))]
    fn tell<'py>(&self, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Call>> {
        self.realm.check()?;
        let (py, buffers) = (message.py(), Buffers::to_send(message));
        self.tell_all(py, "tell", std::iter::once(travelling(message)?), &[buffers], |_| Outcome::Unit)
    }

    #[pyo3(signature = (messages, /, *, timeout=None, return_exceptions=false))]
    fn ask_many<'py>(
        &self,
        messages: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        return_exceptions: bool,
    ) -> PyResult<Bound<'py, Call>> {
        let py = messages.py();
        let timeout = args::timeout(timeout)?;
        self.realm.check()?;
        let (messages, buffers) = Self::messages(messages)?;
        bridge::submit(py, "ask_many", |completer| {
            let to = Shared::new(completer);
            if let Some(after) = timeout {
                expire(&self.realm.handle, self.path(), &to, after);
            }
            let many = Many::new(to, self.record.clone(), messages.len(), return_exceptions);
            for (index, (message, buffers)) in messages.into_iter().zip(buffers).enumerate() {
                let sink = PartSink { of: many.clone(), index };
                self.address.ask_into(message.of(&many.to), timeout, Box::new(sink));
                if !many.has_answer(index) {
                    buffers.sent_to(self.path());
                }
            }
            Ok(())
        })
    }

    #[pyo3(signature = (messages, /))]
    fn tell_many<'py>(&self, messages: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Call>> {
        let py = messages.py();
        self.realm.check()?;
        let (messages, buffers) = Self::messages(messages)?;
        self.tell_all(py, "tell_many", messages.into_iter(), &buffers, |sent| Outcome::U64(sent as u64))
    }

    fn stop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Call>> {
        self.realm.check()?;
        let (address, record) = (self.address.clone(), self.record.clone());
        spawn::on_clock(py, "stop", &self.realm.handle, async move {
            // Of one that has stopped, another may have the path by now: that one is not meant.
            if address.is_alive() {
                record.parent.stop_child(&record.path).await;
            }
            address.stopped().await;
            Outcome::Unit
        })
    }

    fn stopped<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Call>> {
        self.realm.check()?;
        let stopped = self.address.stopped();
        spawn::on_clock(py, "stopped", &self.realm.handle, async move {
            let reason = stopped.await.to_string();
            Outcome::value(move |py| Ok(reason.into_pyobject(py)?.into_any().unbind()))
        })
    }

    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let seen = self.address.observe();
        let status = PyDict::new(py);
        status.set_item("path", &seen.path)?;
        status.set_item("state", seen.state.to_string())?;
        status.set_item("restarts", seen.restarts)?;
        status.set_item("failures", seen.failures)?;
        status.set_item("queued", seen.depth)?;
        status.set_item("capacity", seen.capacity)?;
        status.set_item("high_water", seen.high_water)?;
        status.set_item("handled", seen.handled)?;
        status.set_item("skipped", seen.skipped)?;
        status.set_item("stuck", seen.stuck)?;
        status.set_item("dead_letters", seen.dead_letters)?;
        status.set_item("last_exit", seen.last_exit)?;
        Ok(status)
    }

    /// For `ironcliw.testing`.
    fn _crash<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Call>> {
        self.ask_with(py, "crash", PyMessage::crash(), &Buffers::none(), None)
    }

    /// For `ironcliw.testing`.
    fn _fail_on(&self, nth: u64, error: &Bound<'_, PyAny>) -> PyResult<()> {
        if !error.is_instance_of::<pyo3::exceptions::PyBaseException>() {
            return Err(PyTypeError::new_err("what is raised must be an exception"));
        }
        self.record.plan_fault(nth.max(1), error);
        Ok(())
    }

    fn __richcmp__(&self, other: &Bound<'_, PyAny>, operator: CompareOp) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let is_same = other.cast::<Self>().ok().map(|other| self.address == other.get().address);
        Ok(match (is_same, operator) {
            (Some(is_same), CompareOp::Eq) => is_same.into_pyobject(py)?.to_owned().into_any().unbind(),
            (Some(is_same), CompareOp::Ne) => (!is_same).into_pyobject(py)?.to_owned().into_any().unbind(),
            _ => py.NotImplemented(),
        })
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.address.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let seen = self.address.observe();
        format!("<ironcliw.ActorRef {} {}>", seen.path, seen.state)
    }
}

/// A failure, in a call that has no other.
pub(super) fn failed(record: &Record, error: Error) -> Outcome {
    match Refusal::of(record, error) {
        Refusal::Other(error) => Outcome::Error(Failure::from(error)),
        refusal => refusal.into_outcome(),
    }
}

/// The same for one whose record is not at hand.
pub(super) fn crash_at(py: Python<'_>, address: Address<PyActor>) -> PyResult<Bound<'_, Call>> {
    bridge::submit(py, "crash", |completer| {
        address.ask_into(PyMessage::crash(), None, crate::send::sink(completer, |_| Outcome::Unit));
        Ok(())
    })
}
