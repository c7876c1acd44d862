//! `rt.scheduler.map`: one function over many items, and one call for all the results.
//!
//! The items are cut into pieces, each a job: something urgent waits for a piece and not for the whole, and a thread takes the
//! GIL once a piece. The results' list is made by the caller and filled in place under the GIL; nobody sees it before it is
//! full. The first exception, by time, answers the call, which calls the other pieces off.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use ironcliw_actors::Error;
use ironcliw_actors::scheduler::Pool;
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::door::Visit;
use super::job::{Core, call_in};
use super::progress::{Progress, copy_context};
use crate::bridge::{Failure, Keep, Outcome};

/// Pieces for each thread unless told: enough to even out, few enough to be cheap.
const PIECES_PER_THREAD: usize = 4;

/// What the pieces of one map share.
struct Map {
    core: Arc<Core>,
    /// The function and the items. Let go by the piece that ends the call, so that they are free when the await returns.
    input: Mutex<Option<(Keep, Keep)>>,
    results: Keep,
    len: usize,
    pieces_left: AtomicUsize,
    items_done: AtomicUsize,
}

/// How a piece ended.
enum Ended {
    /// And with it the whole map, if it was the last.
    Done {
        is_last: bool,
    },
    Failed(PyErr),
    CalledOff,
}

impl Map {
    /// Runs the items from `begin` to `end`, unless the call ends before.
    fn run(&self, py: Python<'_>, context_run: &Bound<'_, PyAny>, begin: usize, end: usize) -> Ended {
        let ended = match self.try_run(py, context_run, begin, end) {
            Ok(true) => Ended::Done { is_last: self.pieces_left.fetch_sub(1, AcqRel) == 1 },
            Ok(false) => Ended::CalledOff,
            Err(error) => Ended::Failed(error),
        };
        if !matches!(ended, Ended::Done { is_last: false }) {
            let input = self.input.lock().take();
            if let Some((function, items)) = input {
                drop((function.into_inner(py), items.into_inner(py)));
            }
            Progress::settle(&self.core, py);
        }
        ended
    }

    fn try_run(&self, py: Python<'_>, context_run: &Bound<'_, PyAny>, begin: usize, end: usize) -> PyResult<bool> {
        let input = self
            .input
            .lock()
            .as_ref()
            .and_then(|(function, items)| Some((function.bind(py)?.clone(), items.bind(py)?.clone())));
        let (Some((function, items)), Some(results)) = (input, self.results.bind(py)) else { return Ok(false) };
        let (items, results) = (items.cast_into::<PyList>()?, results.cast::<PyList>()?);
        for index in begin..end {
            if self.core.is_cancelled() {
                return Ok(false);
            }
            let arguments = PyTuple::new(py, [&function, &items.get_item(index)?])?;
            results.set_item(index, call_in(&self.core, context_run, &arguments)?)?;
            let done = self.items_done.fetch_add(1, Relaxed) + 1;
            if self.core.progress.is_some() {
                let (done, total) = (done.into_pyobject(py)?.into_any(), self.len.into_pyobject(py)?.into_any());
                Progress::report(&self.core, done, Some(total));
            }
        }
        Ok(true)
    }

    fn tell(self: &Arc<Self>, ended: Result<Ended, Error>) {
        match ended {
            Ok(Ended::Done { is_last: true }) => {
                let map = Arc::clone(self);
                self.core.finish(Outcome::value(move |py| Ok(map.results(py))));
            }
            Ok(Ended::Done { is_last: false }) => {}
            Ok(Ended::Failed(error)) => self.core.fail(Failure::Python(error)),
            // Somebody else has answered, or nobody listens.
            Ok(Ended::CalledOff) => {}
            Err(error) => self.core.fail(error),
        }
    }

    fn results(&self, py: Python<'_>) -> Py<PyAny> {
        self.results.bind(py).map_or_else(|| py.None(), |results| results.clone().unbind())
    }
}

/// Submits the pieces; `core`'s call ends with the list of results.
pub(super) fn submit(
    core: Arc<Core>,
    pool: &Pool,
    function: &Bound<'_, PyAny>,
    items: &Bound<'_, PyList>,
    chunk: Option<usize>,
) -> PyResult<()> {
    let (py, len) = (items.py(), items.len());
    let chunk = chunk.unwrap_or_else(|| len.div_ceil(pool.threads().max(1) * PIECES_PER_THREAD)).max(1);
    let results = PyList::new(py, (0..len).map(|_| py.None()))?;
    let map = Arc::new(Map {
        core,
        input: Mutex::new(Some((Keep::new(function), Keep::new(items.as_any())))),
        results: Keep::new(results.as_any()),
        len,
        pieces_left: AtomicUsize::new(len.div_ceil(chunk)),
        items_done: AtomicUsize::new(0),
    });
    if pool.is_current_thread() {
        // As for `run`: here and now.
        let context_run = copy_context(py)?.getattr("run")?;
        map.pieces_left.store(1, Relaxed);
        let ended = map.run(py, &context_run, 0, len);
        map.tell(Ok(ended));
        return Ok(());
    }
    for begin in (0..len).step_by(chunk) {
        let end = len.min(begin + chunk);
        // A context is entered by one thread at a time, so each piece has a copy.
        let context_run = Keep::new(&copy_context(py)?.getattr("run")?);
        let (asked, run, tell) = (Arc::clone(&map), Arc::clone(&map), Arc::clone(&map));
        let job = move || {
            let Some(_visit) = Visit::begin() else { return Ended::CalledOff };
            Python::attach(|py| {
                let Some(context_run) = context_run.into_inner(py) else { return Ended::CalledOff };
                run.run(py, context_run.bind(py), begin, end)
            })
        };
        pool.submit_if(move || !asked.core.is_cancelled(), job, move |ended| tell.tell(ended));
    }
    Ok(())
}
