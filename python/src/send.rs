//! From a Python call to an actor's message and back: the reply goes into the call's completer.

use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use ironcliw::{Actor, Address, Expire, Handler, Message, ReplySink};
use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::bridge::{self, Call, Completer, Failure, Outcome};

/// Messages of one call that are under way at a time: enough for sender and actor to run side by side.
const PART: usize = 2048;

/// A completer that either the answer or the deadline takes.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Answer>);

struct Answer {
    completer: Mutex<Option<Completer>>,
    /// Who was asked and how long one waits, for the error that says so.
    terms: OnceLock<(Box<str>, Duration)>,
}

impl Answer {
    fn complete(&self, outcome: Outcome) {
        let completer = self.completer.lock().take();
        if let Some(completer) = completer {
            completer.complete(outcome);
        }
    }
}

impl Expire for Answer {
    fn expire(&self) {
        if let Some((path, after)) = self.terms.get() {
            let error = ironcliw::Error::DeadlineExceeded { path: path.as_ref().to_owned(), after: *after };
            self.complete(Outcome::Error(Failure::from(error)));
        }
    }
}

impl Shared {
    pub(crate) fn new(completer: Completer) -> Self {
        Self(Arc::new(Answer { completer: Mutex::new(Some(completer)), terms: OnceLock::new() }))
    }

    pub(crate) fn complete(&self, outcome: Outcome) {
        self.0.complete(outcome);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.completer.lock().as_ref().is_none_or(Completer::is_cancelled)
    }

    /// Has `waker` woken when the call ends: by its deadline, or because it was cancelled.
    pub(crate) fn watch(&self, waker: &Waker) {
        if let Some(completer) = &*self.0.completer.lock() {
            completer.watch(waker);
        }
    }

    /// Answered already, or cancelled in so many words.
    pub(crate) fn is_called_off(&self) -> bool {
        self.0.completer.lock().as_ref().is_none_or(Completer::is_called_off)
    }
}

/// Turns an actor's answer into a call's outcome.
struct Sink<F> {
    completer: Completer,
    convert: F,
}

impl<R, F> ReplySink<R> for Sink<F>
where
    F: FnOnce(R) -> Outcome + Send,
{
    fn send(self: Box<Self>, answer: Result<R, ironcliw::Error>) {
        let Self { completer, convert } = *self;
        completer.complete(Outcome::from_result(answer, convert));
    }

    fn is_closed(&self) -> bool {
        self.completer.is_cancelled()
    }
}

/// The same for a call with a deadline.
struct SharedSink<F> {
    shared: Shared,
    convert: F,
}

impl<R, F> ReplySink<R> for SharedSink<F>
where
    F: FnOnce(R) -> Outcome + Send,
{
    fn send(self: Box<Self>, answer: Result<R, ironcliw::Error>) {
        let Self { shared, convert } = *self;
        shared.complete(Outcome::from_result(answer, convert));
    }

    fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }
}

/// Asks an actor; the call ends with `convert`'s outcome, or with `DeadlineExceeded` after `timeout`.
pub(crate) fn ask<'py, A, M>(
    py: Python<'py>,
    name: &'static str,
    runtime: &ironcliw::Handle,
    address: &Address<A>,
    message: M,
    timeout: Option<Duration>,
    convert: impl FnOnce(M::Reply) -> Outcome + Send + 'static,
) -> PyResult<Bound<'py, Call>>
where
    A: Actor + Handler<M>,
    M: Message,
{
    bridge::submit(py, name, |completer| {
        match timeout {
            None => address.ask_into(message, None, Box::new(Sink { completer, convert })),
            Some(after) => {
                let shared = Shared::new(completer);
                expire(runtime, address.path(), &shared, after);
                address.ask_into(message, Some(after), Box::new(SharedSink { shared, convert }));
            }
        }
        Ok(())
    })
}

/// Asks an actor many things at once; the call ends with `convert`'s outcome of all the answers in the order of the messages,
/// with the first error among them, or with `DeadlineExceeded` after `timeout`. Once nobody waits for it, what has not been
/// sent is left.
pub(crate) fn ask_many<'py, A, M>(
    py: Python<'py>,
    name: &'static str,
    runtime: &ironcliw::Handle,
    address: Address<A>,
    messages: impl Iterator<Item = M> + Send + 'static,
    timeout: Option<Duration>,
    convert: impl FnOnce(Vec<M::Reply>) -> Outcome + Send + 'static,
) -> PyResult<Bound<'py, Call>>
where
    A: Actor + Handler<M>,
    M: Message,
{
    bridge::submit(py, name, |completer| {
        let shared = Shared::new(completer);
        if let Some(after) = timeout {
            expire(runtime, address.path(), &shared, after);
        }
        runtime.spawn_task(async move {
            let mut messages = messages.peekable();
            let mut received = Vec::with_capacity(messages.size_hint().0);
            while messages.peek().is_some() && !shared.is_closed() {
                let part: Vec<M> = messages.by_ref().take(PART).collect();
                for answer in address.ask_many(part).await {
                    match answer {
                        Ok(answer) => received.push(answer),
                        Err(error) => return shared.complete(Outcome::Error(Failure::from(error))),
                    }
                }
            }
            shared.complete(convert(received));
        });
        Ok(())
    })
}

/// Ends the call with `DeadlineExceeded` if nothing else has by then.
pub(crate) fn expire(runtime: &ironcliw::Handle, path: &str, shared: &Shared, after: Duration) {
    if shared.0.terms.set((path.into(), after)).is_ok() {
        runtime.expire_later(after, &shared.0);
    }
}

/// A sink for the answer of a call that something else, such as a deadline, may answer as well.
pub(crate) fn shared_sink<R: 'static>(
    shared: Shared,
    convert: impl FnOnce(R) -> Outcome + Send + 'static,
) -> Box<dyn ReplySink<R>> {
    Box::new(SharedSink { shared, convert })
}

/// A sink for an answer that is a call's outcome already.
pub(crate) fn sink<R: 'static>(
    completer: Completer,
    convert: impl FnOnce(R) -> Outcome + Send + 'static,
) -> Box<dyn ReplySink<R>> {
    Box::new(Sink { completer, convert })
}
