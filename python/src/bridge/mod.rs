//! The await bridge: how a result that a worker thread made reaches Python.
//!
//! A native call makes a pair with [`submit`] (or [`pending`]): a [`Call`], which Python awaits, and a
//! [`Completer`], which travels with the message to a worker. The worker hands in an [`Outcome`] from any
//! thread and never takes the GIL; Python turns it into an object on the thread that asks for it.
//!
//! Invariants, argued in `README.md` beside this file:
//!
//! - Every call is answered: a [`Completer`] dropped without an outcome answers with `ActorStopped`.
//! - A worker touches no Python object. What it still holds for Python ([`Keep`]) it hands back.
//! - Completions are resumed in the order in which they were made, on their loop's thread.
//! - A burst of completions wakes its loop once.
//!
//! Start reading at [`node`], the state both sides share; then [`queue`] and [`loops`], the way back to the
//! event loop; then [`call`], what Python sees.

mod call;
mod drain;
mod forward;
mod loan;
mod loops;
mod many;
mod node;
mod outcome;
mod queue;
mod release;
mod sleep;
mod spin;
#[cfg(unix)]
mod wake;

use pyo3::prelude::*;

pub(crate) use call::Call;
pub(crate) use drain::Resident;
pub(crate) use loan::{Loan, Terms};
pub(crate) use loops::{Home, home_of, running};
pub(crate) use many::{Parts, many};
pub(crate) use node::Completer;
pub(crate) use outcome::{Failure, Outcome};
pub(crate) use release::Keep;
pub(crate) use spin::allow as allow_spin;

/// A call in flight and the handle that answers it. `name` is what `repr` and the errors show
/// (`"images.decode"`).
///
/// The call belongs to the event loop that runs on this thread, if one does.
pub(crate) fn pending<'py>(py: Python<'py>, name: &'static str) -> PyResult<(Bound<'py, Call>, Completer)> {
    release::drain(py);
    let (node, completer) = node::pair(name);
    let running = loops::running(py)?;
    let call = call::coroutine::new(py, Call::new(node, running.map(Bound::unbind)))?;
    Ok((call, completer))
}

/// Makes a call in flight and passes its completer to `start`, which sends the message.
///
/// An error of `start` is raised by the call itself, not by its await: that is where bad arguments belong.
pub(crate) fn submit<'py>(
    py: Python<'py>,
    name: &'static str,
    start: impl FnOnce(Completer) -> PyResult<()>,
) -> PyResult<Bound<'py, Call>> {
    let (call, completer) = pending(py, name)?;
    start(completer)?;
    Ok(call)
}

/// The event loop that runs on this thread.
pub(crate) fn running_loop(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    loops::running(py)
}

/// Lets go of what workers have left for a thread of Python's: before somebody counts.
pub(crate) fn settle(py: Python<'_>) {
    release::drain(py);
}

/// A call that is answered already: awaiting it does not go through the event loop.
pub(crate) fn ready<'py>(py: Python<'py>, name: &'static str, outcome: Outcome) -> PyResult<Bound<'py, Call>> {
    let (call, completer) = pending(py, name)?;
    completer.complete(outcome);
    Ok(call)
}

/// Prepares the bridge when the native module is imported: adds [`Call`] and sees to it that no thread of ours
/// enters Python once the interpreter has begun to exit.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Call>()?;
    forward::register(module.py())
}
