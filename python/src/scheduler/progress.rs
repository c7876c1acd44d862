//! How a job's progress reaches the program.
//!
//! A job may report in its innermost loop; the program is told at most once in an interval, always the newest, and the last
//! report before the call's result. Where the call belongs to an event loop, the callback is called on that loop's
//! thread: at most one handle is scheduled there at a time, whatever the job does. Otherwise, and for a bar, the job's own
//! thread calls it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::job::Core;
use crate::bridge::{self, Keep};

/// Between two callbacks of one call: a person sees no more, and a loop is not held up.
const INTERVAL: Duration = Duration::from_millis(50);

pub(super) struct Progress(Mutex<State>);

struct State {
    /// Reported, and not told yet.
    latest: Option<(Keep, Keep)>,
    listener: Option<Arc<Listener>>,
    /// The loop holds a handle of ours, which looks for what is new.
    is_scheduled: bool,
    last_told: Option<Instant>,
}

struct Listener {
    callback: Keep,
    /// Whose thread calls it, in which context; without one the job's own does.
    home: Option<(Keep, Keep)>,
}

impl Progress {
    /// For `callback(done, total)`, on the thread of `event_loop` if there is one.
    pub(super) fn new(callback: &Bound<'_, PyAny>, event_loop: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let home = match event_loop {
            Some(event_loop) => Some((Keep::new(event_loop), Keep::new(&copy_context(callback.py())?))),
            None => None,
        };
        let listener = Some(Arc::new(Listener { callback: Keep::new(callback), home }));
        Ok(Self(Mutex::new(State { latest: None, listener, is_scheduled: false, last_told: None })))
    }

    /// The job: so much is done.
    pub(super) fn report(core: &Arc<Core>, done: Bound<'_, PyAny>, total: Option<Bound<'_, PyAny>>) {
        let py = done.py();
        let Some(progress) = &core.progress else { return };
        let total = total.unwrap_or_else(|| py.None().into_bound(py));
        let news = Some((Keep::new(&done), Keep::new(&total)));
        let mut state = progress.0.lock();
        let former = std::mem::replace(&mut state.latest, news);
        let Some(listener) = state.listener.clone() else { return };
        let is_due = match &listener.home {
            Some(_) => !std::mem::replace(&mut state.is_scheduled, true),
            None => state.last_told.is_none_or(|last| last.elapsed() >= INTERVAL),
        };
        drop(state);
        drop(former);
        if !is_due {
            return;
        }
        match &listener.home {
            Some((event_loop, _)) => {
                if !schedule(core, event_loop, "call_soon_threadsafe", None, py) {
                    progress.end();
                }
            }
            None => drop(progress.tell(core, py)),
        }
    }

    /// The job's thread, before the call is answered.
    pub(super) fn settle(core: &Arc<Core>, py: Python<'_>) {
        let Some(progress) = &core.progress else { return };
        let (listener, is_told) = {
            let state = progress.0.lock();
            (state.listener.clone(), state.latest.is_none())
        };
        let Some(listener) = listener else { return };
        if listener.home.is_some() {
            // What is not told yet is so by whoever takes the result, or by the loop's handle.
            if is_told {
                progress.end();
            }
            return;
        }
        // Complaints of such a listener do not come here.
        let _ = progress.tell(core, py);
        progress.end();
        // A bar's; a plain function has none.
        if let Some(close) = listener.callback.bind(py).and_then(|callback| callback.getattr(intern!(py, "close")).ok())
            && let Err(error) = close.call0()
        {
            error.write_unraisable(py, None);
        }
    }

    /// Whoever takes the result: on the loop's thread the last report is told first. Elsewhere the loop's handle does it.
    pub(super) fn flush(core: &Arc<Core>, py: Python<'_>) -> PyResult<()> {
        let Some(progress) = &core.progress else { return Ok(()) };
        let listener = progress.0.lock().listener.clone();
        let Some((event_loop, _)) = listener.as_ref().and_then(|listener| listener.home.as_ref()) else {
            return Ok(());
        };
        let is_here = bridge::running_loop(py)?
            .is_some_and(|running| event_loop.bind(py).is_some_and(|event_loop| event_loop.is(&running)));
        if is_here {
            let told = progress.tell(core, py);
            progress.end();
            told?;
        }
        Ok(())
    }

    /// Nobody is told any more. What was held for it goes.
    fn end(&self) {
        let mut state = self.0.lock();
        let gone = (state.latest.take(), state.listener.take());
        drop(state);
        drop(gone);
    }

    /// Calls the callback with what is new; whether there was anything. An error is an interrupt for the loop's run.
    fn tell(&self, core: &Core, py: Python<'_>) -> PyResult<bool> {
        let (news, listener) = {
            let mut state = self.0.lock();
            state.last_told = Some(Instant::now());
            let news = state.latest.take();
            state.is_scheduled &= news.is_some();
            (news, state.listener.clone())
        };
        let (Some((done, total)), Some(listener)) = (news, listener) else { return Ok(false) };
        if !core.is_heard() {
            self.end();
            return Ok(false);
        }
        let (Some(done), Some(total)) = (done.into_inner(py), total.into_inner(py)) else { return Ok(false) };
        let Some(callback) = listener.callback.bind(py) else { return Ok(false) };
        let context = listener.home.as_ref().and_then(|(_, context)| context.bind(py));
        let told = match context {
            Some(context) => context.call_method1(intern!(py, "run"), (callback, done, total)),
            None => callback.call1((done, total)),
        };
        if let Err(error) = told {
            complain(py, &listener, error)?;
        }
        Ok(true)
    }
}

/// An error of the callback is the loop's to handle, as that of any other callback; it does not fail the job.
fn complain(py: Python<'_>, listener: &Listener, error: PyErr) -> PyResult<()> {
    let callback = listener.callback.bind(py).map(Bound::as_any);
    let Some(event_loop) = listener.home.as_ref().and_then(|(event_loop, _)| event_loop.bind(py)) else {
        error.write_unraisable(py, callback);
        return Ok(());
    };
    if error.is_instance_of::<PyKeyboardInterrupt>(py) || error.is_instance_of::<PySystemExit>(py) {
        return Err(error);
    }
    let tell = || {
        let context = PyDict::new(py);
        context.set_item("message", "Exception in a progress callback")?;
        context.set_item("exception", error.clone_ref(py).into_value(py))?;
        event_loop.call_method1(intern!(py, "call_exception_handler"), (context,))
    };
    if tell().is_err() {
        error.write_unraisable(py, callback);
    }
    Ok(())
}

/// Has the loop look for what is new. False if it is closed.
fn schedule(core: &Arc<Core>, event_loop: &Keep, method: &str, after: Option<Duration>, py: Python<'_>) -> bool {
    let Some(event_loop) = event_loop.bind(py) else { return false };
    let Ok(look) = Bound::new(py, Look(Arc::clone(core))) else { return false };
    match after {
        None => event_loop.call_method1(method, (look,)),
        Some(after) => event_loop.call_method1(method, (after.as_secs_f64(), look)),
    }
    .is_ok()
}

/// A copy of the context that the caller is in.
pub(super) fn copy_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static COPY: pyo3::sync::PyOnceLock<Py<PyAny>> = pyo3::sync::PyOnceLock::new();
    COPY.import(py, "contextvars", "copy_context")?.call0()
}

/// What the loop calls: tells what is new, and comes back after the interval until nothing is.
#[pyclass(frozen, module = "ironcliw._native", name = "_Look")]
struct Look(Arc<Core>);

#[pymethods]
impl Look {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let Some(progress) = &self.0.progress else { return Ok(()) };
        let told = progress.tell(&self.0, py);
        if self.0.has_ended() {
            progress.end();
        }
        if !told? {
            return Ok(());
        }
        let listener = progress.0.lock().listener.clone();
        let again = listener
            .as_ref()
            .and_then(|listener| listener.home.as_ref())
            .is_some_and(|(event_loop, _)| schedule(&self.0, event_loop, "call_later", Some(INTERVAL), py));
        if !again {
            progress.end();
        }
        Ok(())
    }
}
