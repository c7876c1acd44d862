//! A job: what a Python function that runs on the scheduler can ask and say, and how it is entered.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use ironcliw_actors::scheduler::{DEFAULT_POOL, Priority};
use pyo3::exceptions::asyncio::CancelledError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::door;
use super::progress::Progress;
use crate::bridge::{Completer, Failure, Outcome};
use crate::errors::to_py_err;
use crate::send::{self, Shared};

thread_local! {
    /// The job whose function this thread runs, the innermost one.
    static CURRENT: RefCell<Option<Arc<Core>>> = const { RefCell::new(None) };
}

/// What a call asked for.
pub(super) struct Terms {
    pub(super) name: Option<String>,
    pub(super) pool: String,
    pub(super) priority: Priority,
    pub(super) timeout: Option<Duration>,
}

impl Terms {
    /// The name that was asked for, or the function's.
    pub(super) fn name_or(&self, function: &Bound<'_, PyAny>) -> String {
        let of_function = || function.getattr("__name__").and_then(|name| name.extract());
        self.name.clone().unwrap_or_else(|| of_function().unwrap_or_else(|_: PyErr| "job".to_owned()))
    }
}

/// One call of `run` or `map`, shared by its pieces, its `Job` objects and its progress.
pub(super) struct Core {
    terms: Terms,
    /// None for the idle job, which is what there is outside of any.
    answer: Option<Shared>,
    deadline: Option<Instant>,
    /// The function itself has ended the call, rather than its deadline or a cancellation.
    is_finished: AtomicBool,
    pub(super) progress: Option<Progress>,
}

impl Core {
    pub(super) fn new(terms: Terms, completer: Completer, progress: Option<Progress>) -> Arc<Self> {
        // A deadline beyond the clock's end is none.
        let deadline = terms.timeout.and_then(|after| Instant::now().checked_add(after));
        let answer = Some(Shared::new(completer));
        Arc::new(Self { terms, answer, deadline, is_finished: AtomicBool::new(false), progress })
    }

    fn idle() -> Arc<Self> {
        let terms = Terms { name: None, pool: DEFAULT_POOL.to_owned(), priority: Priority::Normal, timeout: None };
        let is_finished = AtomicBool::new(false);
        Arc::new(Self { terms, answer: None, deadline: None, is_finished, progress: None })
    }

    /// Has the call end with `DeadlineExceeded` in time, whatever the job does.
    pub(super) fn keep_time(&self, runtime: &ironcliw::Handle) {
        if let (Some(after), Some(answer)) = (self.terms.timeout, &self.answer) {
            send::expire(runtime, "scheduler", answer, after);
        }
    }

    /// Nobody wants a result: the call was cancelled, has failed or has expired, or the interpreter exits. A call that
    /// was merely dropped is wanted for what it does.
    pub(super) fn is_cancelled(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.is_called_off() || self.has_expired() || door::is_closed())
    }

    /// Whether the function has ended, or nobody wants it to.
    pub(super) fn has_ended(&self) -> bool {
        self.is_finished.load(Acquire) || self.is_cancelled()
    }

    fn has_expired(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Whether the program may still hear of the progress: until the call ends, and what was said before its function did.
    pub(super) fn is_heard(&self) -> bool {
        self.is_finished.load(Acquire) || !self.is_cancelled()
    }

    /// Answers the call with what its function came to. The progress is settled first.
    pub(super) fn finish(self: &Arc<Self>, outcome: Outcome) {
        let Some(answer) = &self.answer else { return };
        if self.progress.is_none() {
            return answer.complete(outcome);
        }
        if !self.is_cancelled() {
            self.is_finished.store(true, Release);
        }
        let core = Arc::clone(self);
        // Whoever takes the result hears the last progress before.
        answer.complete(Outcome::value(move |py| {
            Progress::flush(&core, py)?;
            outcome.into_python(py)
        }));
    }

    /// Ends a call that has no result.
    pub(super) fn fail(self: &Arc<Self>, error: impl Into<Failure>) {
        self.finish(Outcome::Error(error.into()));
    }
}

/// The thread runs this job until it is dropped.
pub(super) struct Entered(Option<Arc<Core>>);

impl Entered {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(CURRENT.replace(Some(Arc::clone(core))))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// The job that this thread runs.
///
/// Outside of one it is an idle job, which is never cancelled and whose progress nobody hears: a function that asks may
/// be called directly as well.
#[pyfunction]
pub(crate) fn current_job() -> Job {
    Job(CURRENT.with_borrow(Clone::clone).unwrap_or_else(Core::idle))
}

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct Job(Arc<Core>);

#[pymethods]
impl Job {
    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.terms.name.as_deref()
    }

    #[getter]
    fn pool(&self) -> &str {
        &self.0.terms.pool
    }

    #[getter]
    fn priority(&self) -> &'static str {
        self.0.terms.priority.as_str()
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    #[getter]
    fn remaining(&self) -> Option<f64> {
        self.0.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()).as_secs_f64())
    }

    fn check(&self) -> PyResult<()> {
        if !self.0.is_cancelled() {
            return Ok(());
        }
        match self.0.terms.timeout.filter(|_| self.0.has_expired()) {
            Some(after) => Err(to_py_err(ironcliw::Error::DeadlineExceeded { path: "scheduler".to_owned(), after })),
            None => Err(CancelledError::new_err("the job was cancelled")),
        }
    }

    #[pyo3(signature = (done, total=None))]
    fn progress(&self, done: Bound<'_, PyAny>, total: Option<Bound<'_, PyAny>>) {
        Progress::report(&self.0, done, total);
    }

    fn __repr__(&self) -> String {
        let terms = &self.0.terms;
        let name = terms.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
        let state = match (&self.0.answer, self.0.is_cancelled()) {
            (None, _) => "idle",
            (Some(_), true) => "cancelled",
            (Some(_), false) => "wanted",
        };
        format!("<ironcliw.Job{name} in {}, {} priority, {state}>", terms.pool, terms.priority.as_str())
    }
}

/// Calls `arguments[0](*arguments[1:])` as this job, in the caller's context.
pub(super) fn call_in<'py>(
    core: &Arc<Core>,
    context_run: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let _entered = Entered::new(core);
    context_run.call1(arguments)
}
