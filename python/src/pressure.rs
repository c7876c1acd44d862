//! `async for level in rt.pool.pressure()`: the levels of memory pressure as they change.
//!
//! An iterator listens from the moment it is made. Who awaits its next level is answered at once if the level is another than
//! the one that was taken last, else by the next change, on the thread of the pool's actor and without the GIL. A level
//! counts as taken when a Python thread takes it out of its call: one that was on its way as its await was cancelled is
//! told again. Nothing runs for an iterator, so there is nothing to end but the subscription, which goes with it.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use ironcliw_actors::pool::{Pool, Pressure, PressureStats, PressureSubscription};
use parking_lot::Mutex;
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::bridge::{self, Call, Completer, Outcome};
use crate::process::Process;
use crate::runtime::Inner;

/// What an iterator and its callback share.
struct Feed(Mutex<State>);

struct State {
    level: Pressure,
    /// What Python has got last.
    taken: Option<Pressure>,
    waiting: Vec<Completer>,
    is_over: bool,
}

impl Feed {
    /// A feed and what keeps it going.
    fn subscribe(pool: &Pool) -> (Arc<Self>, PressureSubscription) {
        let state = State { level: pool.pressure().get(), taken: None, waiting: Vec::new(), is_over: false };
        let feed = Arc::new(Self(Mutex::new(state)));
        let listener = Listener(feed.clone());
        let subscription = pool.on_pressure(move |change| listener.0.change(change.level));
        // Changes are published before they are told: what changed before the subscription is seen here.
        feed.change(pool.pressure().get());
        (feed, subscription)
    }

    fn change(self: &Arc<Self>, level: Pressure) {
        let mut state = self.0.lock();
        state.level = level;
        if state.taken == Some(level) {
            return;
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|completer| completer.complete(self.next()));
    }

    fn end(&self) {
        let mut state = self.0.lock();
        state.is_over = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|completer| completer.complete(over()));
    }

    /// Answers now or with the next change.
    fn ask(self: &Arc<Self>, completer: Completer) {
        let mut state = self.0.lock();
        // Those who gave up: so there are never more than wait.
        state.waiting.retain(|completer| !completer.is_cancelled());
        let outcome = match *state {
            State { is_over: true, .. } => over(),
            State { level, taken, .. } if taken != Some(level) => self.next(),
            _ => return state.waiting.push(completer),
        };
        drop(state);
        completer.complete(outcome);
    }

    /// The level of the moment at which it is taken.
    fn next(self: &Arc<Self>) -> Outcome {
        let feed = Arc::clone(self);
        Outcome::value(move |py| {
            let level = {
                let mut state = feed.0.lock();
                state.taken = Some(state.level);
                state.level
            };
            Ok(level.as_str().into_pyobject(py)?.into_any().unbind())
        })
    }
}

fn over() -> Outcome {
    Outcome::value(|_| Err(PyStopAsyncIteration::new_err(())))
}

/// Dropped when there are no more changes.
struct Listener(Arc<Feed>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[pyclass(frozen, module = "ironcliw._native", name = "_PressureLevels")]
pub(crate) struct Pressures {
    inner: Arc<Inner>,
    feed: Arc<Feed>,
    /// Taken out by the drop only.
    subscription: ManuallyDrop<PressureSubscription>,
    made_in: Process,
}

impl Pressures {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        let (feed, subscription) = Feed::subscribe(&inner.subsystems.pool);
        let subscription = ManuallyDrop::new(subscription);
        Self { inner: Arc::clone(inner), feed, subscription, made_in: Process::current() }
    }
}

/// In a forked child the lock of the subscriptions may be held for ever: what was inherited is left alone.
impl Drop for Pressures {
    fn drop(&mut self) {
        if self.made_in.is_current() {
            // SAFETY: this is the drop, and nothing uses `subscription` after it.
            unsafe { ManuallyDrop::drop(&mut self.subscription) };
        }
    }
}

#[pymethods]
impl Pressures {
    fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Call>> {
        if !self.made_in.is_current() {
            self.inner.open()?;
        }
        let (call, completer) = bridge::pending(py, "pool.pressure")?;
        self.feed.ask(completer);
        Ok(call)
    }

    fn __repr__(&self) -> String {
        if !self.made_in.is_current() {
            return "<ironcliw pressure levels of another process>".to_owned();
        }
        let state = self.feed.0.lock();
        let over = if state.is_over { ", over" } else { "" };
        format!("<ironcliw pressure levels, now {}{over}>", state.level)
    }
}

pub(crate) fn stats<'py>(py: Python<'py>, stats: &PressureStats) -> PyResult<Bound<'py, PyDict>> {
    let by_cause = PyDict::new(py);
    for (cause, level) in &stats.by_cause {
        by_cause.set_item(cause.as_str(), level.as_str())?;
    }
    let rises = PyDict::new(py);
    for (level, count) in &stats.rises {
        rises.set_item(level.as_str(), count)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("level", stats.level.as_str())?;
    dict.set_item("cause", stats.cause.map(|cause| cause.as_str()))?;
    dict.set_item("by_cause", by_cause)?;
    dict.set_item("rises", rises)?;
    dict.set_item("returned_bytes", stats.returned_bytes)?;
    dict.set_item("refusing", stats.refusing)?;
    dict.set_item("refused", stats.refused)?;
    Ok(dict)
}
