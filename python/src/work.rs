//! Work for the image workers and the models: on memory of the caller's, or on a copy of it that is taken first.
//!
//! A copy is taken on the scheduler's threads, without the GIL, as the very first step and with high priority, and the work
//! is sent on from there. So the call returns at once whatever the size, and its `copied()` tells when the caller may write
//! again. Small inputs are copied at once, which is quicker than to wake a thread.

use std::time::Duration;

use ironcliw::{Actor, Address, Handler, Message};
use ironcliw_actors::image::Job;
use ironcliw_actors::inference::Tensor;
use ironcliw_actors::pool::{Owner, Pool};
use ironcliw_actors::scheduler::Priority;
use ironcliw_actors::{Error, Interrupt};
use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::args::invalid;
use crate::bridge::{self, Call, Completer, Failure, Outcome, Parts};
use crate::lending::Lending;
use crate::runtime::Inner;
use crate::send::{self, Shared};

/// The owner of the copies.
const OWNER: &str = "python";

/// Copying this takes some 5 µs; handing it to another thread takes more.
const INLINE_COPY_MAX: usize = 64 << 10;

/// What work is done on.
pub(crate) trait Input: Send + Sized + 'static {
    /// The same in memory of the pool; what was borrowed is let go.
    fn detached(self, pool: &Pool, owner: Owner) -> ironcliw_actors::Result<Self>;
}

impl Input for Job {
    fn detached(self, pool: &Pool, owner: Owner) -> ironcliw_actors::Result<Self> {
        Self::detached(self, pool, owner)
    }
}

impl Input for Tensor {
    fn detached(self, pool: &Pool, owner: Owner) -> ironcliw_actors::Result<Self> {
        self.copied(pool, owner)
    }
}

/// Work on its way to an actor.
pub(crate) struct Work<'a, A: Actor, I, F, G> {
    /// What `repr` and the errors show.
    pub(crate) name: &'static str,
    /// If it is one request of a call for many.
    pub(crate) of: Option<&'a Many>,
    pub(crate) to: &'a Address<A>,
    pub(crate) lending: Lending,
    pub(crate) input: I,
    pub(crate) timeout: Option<Duration>,
    /// Makes the message.
    pub(crate) message: F,
    /// Makes the outcome of the answer.
    pub(crate) convert: G,
}

impl<A, I, F, G, M> Work<'_, A, I, F, G>
where
    A: Actor + Handler<M>,
    I: Input,
    M: Message,
    F: FnOnce(I, Interrupt) -> M + Send + 'static,
    G: FnOnce(M::Reply) -> Outcome + Send + 'static,
{
    /// Sends it. The call ends with `convert`'s outcome, or with `DeadlineExceeded` after `timeout`; when it is cancelled,
    /// or its time is up, the work stops.
    pub(crate) fn submit<'py>(self, py: Python<'py>, inner: &Inner) -> PyResult<Bound<'py, Call>> {
        let Self { name, of, to, lending, mut input, timeout, message, convert } = self;
        // The caller has looked whether the runtime is open: it asked it for `to`.
        let subsystems = &inner.subsystems;
        let (terms, mut copies) = (lending.terms(), lending.copies);
        // A job of the scheduler that waits for another one may wait for its own thread.
        if copies && (lending.bytes <= INLINE_COPY_MAX || subsystems.scheduler.is_current_thread()) {
            match input.detached(&subsystems.pool, Owner::named(OWNER)) {
                Ok(copy) => input = copy,
                Err(error) => {
                    let (call, completer) = begin(py, name, of)?;
                    completer.complete(Outcome::Error(Failure::from(error)));
                    return Ok(call);
                }
            }
            copies = false;
        }
        drop(lending);
        let (call, completer) = begin(py, name, of)?;
        call.get().has_borrowed(terms);
        let interrupt = completer.interrupt();
        let asker = Asker::new(completer, timeout, inner, to.path());
        if !copies {
            asker.ask(to, message(input, interrupt), timeout, convert);
            return Ok(call);
        }
        let (pool, wanted) = (subsystems.pool.clone(), interrupt.clone());
        let copy = move || wanted.check().and_then(|()| input.detached(&pool, Owner::named(OWNER)));
        let to = to.clone();
        let send = move |copied: Result<Result<I, Error>, Error>| match copied.flatten() {
            Ok(input) => asker.ask(&to, message(input, interrupt), timeout, convert),
            Err(error) => asker.refuse(error),
        };
        subsystems.scheduler.default_pool().priority(Priority::High).submit(copy, send);
        Ok(call)
    }
}

/// A call for many requests that are being made.
pub(crate) struct Many {
    call: Py<Call>,
    parts: Mutex<Parts>,
}

impl Many {
    pub(crate) fn begin<'py>(py: Python<'py>, name: &'static str, count: usize) -> PyResult<(Bound<'py, Call>, Self)> {
        let (call, parts) = bridge::many(py, name, count)?;
        Ok((call.clone(), Self { call: call.unbind(), parts: Mutex::new(parts) }))
    }
}

/// The call that the work is for, and the handle that answers its part.
fn begin<'py>(py: Python<'py>, name: &'static str, of: Option<&Many>) -> PyResult<(Bound<'py, Call>, Completer)> {
    let Some(many) = of else { return bridge::pending(py, name) };
    let part = many.parts.lock().next();
    let part = part.ok_or_else(|| invalid("there are more requests than the call is for"))?;
    Ok((many.call.bind(py).clone(), part))
}

/// Whoever is to be answered.
enum Asker {
    /// By the actor only.
    Alone(Completer),
    /// By the actor or the deadline.
    Timed(Shared),
}

impl Asker {
    fn new(completer: Completer, timeout: Option<Duration>, inner: &Inner, path: &str) -> Self {
        let Some(after) = timeout else { return Self::Alone(completer) };
        let shared = Shared::new(completer);
        send::expire(inner.handle(), path, &shared, after);
        Self::Timed(shared)
    }

    fn ask<A, M>(
        self,
        to: &Address<A>,
        message: M,
        timeout: Option<Duration>,
        convert: impl FnOnce(M::Reply) -> Outcome + Send + 'static,
    ) where
        A: Actor + Handler<M>,
        M: Message,
    {
        match self {
            Self::Alone(completer) => to.ask_into(message, None, send::sink(completer, convert)),
            Self::Timed(shared) => to.ask_into(message, timeout, send::shared_sink(shared, convert)),
        }
    }

    fn refuse(self, error: Error) {
        let outcome = Outcome::Error(Failure::from(error));
        match self {
            Self::Alone(completer) => completer.complete(outcome),
            Self::Timed(shared) => shared.complete(outcome),
        }
    }
}
