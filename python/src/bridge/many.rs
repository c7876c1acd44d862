//! One call for many requests: it ends with the list of their values, or with the first error.
//!
//! Each request has a [`Completer`] of its own, as if it had a call of its own, so whoever takes one takes the other. There
//! is one Python object, one callback and one turn of the event loop for all of them. The error that comes first ends the
//! call at once; the requests that have not begun are then skipped, as those of a cancelled call are.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::AcqRel;
use std::task::Waker;

use ironcliw_actors::{Interrupt, Signal};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::node::Completer;
use super::outcome::Outcome;
use super::{Call, pending};

/// What the call's value is.
#[derive(Clone, Copy)]
enum Value {
    /// The list of the requests' values.
    List,
    /// `None`: the requests have none either.
    Nothing,
}

/// What the requests share.
struct All {
    value: Value,
    /// Taken by the last value or by the first error.
    whole: Mutex<Option<Completer>>,
    /// In the order of the requests; each is written by its own [`Part`].
    outcomes: Box<[Mutex<Option<Outcome>>]>,
    missing: AtomicUsize,
}

/// One request's end.
pub(super) struct Part {
    all: Arc<All>,
    index: usize,
}

impl Part {
    pub(super) fn complete(self, outcome: Outcome) {
        let all = &self.all;
        if let Outcome::Error(_) = outcome {
            all.finish(|| outcome);
            return;
        }
        // Nobody will read the values of a call that is over.
        *all.outcomes[self.index].lock() = (!all.is_set()).then_some(outcome);
        // Each has stored its outcome before it counts itself, and the last one sees them all.
        if all.missing.fetch_sub(1, AcqRel) == 1 {
            all.succeed();
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.all.is_set()
    }

    /// As [`Completer::is_called_off`]; a failure of one of the others counts as a word.
    pub(super) fn is_called_off(&self) -> bool {
        self.all.whole.lock().as_ref().is_none_or(Completer::is_called_off)
    }

    pub(super) fn interrupt(&self) -> Interrupt {
        Interrupt::by(self.all.clone())
    }

    pub(super) fn watch(&self, waker: &Waker) {
        if let Some(whole) = &*self.all.whole.lock() {
            whole.watch(waker);
        }
    }

    pub(super) fn name(&self) -> Option<&'static str> {
        self.all.whole.lock().as_ref().and_then(Completer::name)
    }
}

/// To the work: nobody waits for the values any more, or one of the others has failed.
impl Signal for All {
    fn is_set(&self) -> bool {
        self.whole.lock().as_ref().is_none_or(Completer::is_cancelled)
    }
}

impl All {
    fn succeed(self: &Arc<Self>) {
        let values = Arc::clone(self);
        self.finish(|| match values.value {
            Value::List => Outcome::value(move |py| values.list(py)),
            Value::Nothing => Outcome::Unit,
        });
    }

    fn finish(&self, outcome: impl FnOnce() -> Outcome) {
        let whole = self.whole.lock().take();
        if let Some(whole) = whole {
            whole.complete(outcome());
        }
    }

    fn list(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let values = PyList::empty(py);
        for outcome in &self.outcomes {
            let outcome = outcome.lock().take().unwrap_or(Outcome::Unit);
            values.append(outcome.into_python(py)?)?;
        }
        Ok(values.into_any().unbind())
    }
}

/// A call in flight for `count` requests, and the handles that answer them, in order.
///
/// A handle that is dropped answers `ActorStopped`, and the call with it. Without requests the call is answered already.
pub(crate) fn many<'py>(py: Python<'py>, name: &'static str, count: usize) -> PyResult<(Bound<'py, Call>, Parts)> {
    begin(py, name, count, Value::List)
}

/// The same where nobody wants the values: the call's is `None`.
pub(super) fn joint<'py>(py: Python<'py>, name: &'static str, count: usize) -> PyResult<(Bound<'py, Call>, Parts)> {
    begin(py, name, count, Value::Nothing)
}

fn begin<'py>(py: Python<'py>, name: &'static str, count: usize, value: Value) -> PyResult<(Bound<'py, Call>, Parts)> {
    let (call, completer) = pending(py, name)?;
    let outcomes = (0..count).map(|_| Mutex::new(None)).collect();
    let all = Arc::new(All { value, whole: Mutex::new(Some(completer)), outcomes, missing: count.into() });
    if count == 0 {
        all.succeed();
    }
    Ok((call, Parts { all, next: 0 }))
}

/// The handles of the requests. Those that are never taken answer as if they were dropped.
pub(crate) struct Parts {
    all: Arc<All>,
    next: usize,
}

impl Iterator for Parts {
    type Item = Completer;

    fn next(&mut self) -> Option<Completer> {
        let index = self.next;
        if index == self.all.outcomes.len() {
            return None;
        }
        self.next += 1;
        Some(Completer::part(Part { all: Arc::clone(&self.all), index }))
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
