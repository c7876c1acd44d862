//! `rt.pool.measure()`: statistics of a block of a program.

use ironcliw_actors::pool::{self, Measured};
use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::args::invalid;

enum State {
    Made(pool::Pool),
    Open(pool::Measure),
    Over(Measured),
}

#[pyclass(frozen, module = "ironcliw")]
pub(crate) struct Measure {
    owner: Option<String>,
    state: Mutex<State>,
}

impl Measure {
    pub(crate) fn new(pool: pool::Pool, owner: Option<String>) -> Self {
        Self { owner, state: Mutex::new(State::Made(pool)) }
    }

    fn figures(&self) -> Measured {
        match &*self.state.lock() {
            State::Made(_) => Measured::default(),
            State::Open(measure) => measure.figures(),
            State::Over(figures) => *figures,
        }
    }
}

#[pymethods]
impl Measure {
    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        let mut state = slf.state.lock();
        let State::Made(pool) = &*state else {
            return Err(invalid("a measurement is entered once: ask for another one"));
        };
        let open = pool.measure(slf.owner.as_deref());
        *state = State::Open(open);
        drop(state);
        Ok(slf)
    }

    #[pyo3(signature = (exc_type, exc, tb, /))]
    fn __exit__(
        &self,
        exc_type: Option<Bound<'_, PyAny>>,
        exc: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) {
        let _ = (exc_type, exc, tb);
        let mut state = self.state.lock();
        if let State::Open(measure) = &*state {
            let figures = measure.figures();
            *state = State::Over(figures);
        }
    }

    #[getter]
    fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    #[getter]
    fn allocations(&self) -> u64 {
        self.figures().allocations
    }

    #[getter]
    fn allocated_bytes(&self) -> u64 {
        self.figures().allocated_bytes
    }

    #[getter]
    fn fresh(&self) -> u64 {
        self.figures().fresh
    }

    #[getter]
    fn recycled(&self) -> u64 {
        self.figures().recycled()
    }

    #[getter]
    fn failures(&self) -> u64 {
        self.figures().failures
    }

    #[getter]
    fn releases(&self) -> u64 {
        self.figures().releases
    }

    #[getter]
    fn released_bytes(&self) -> u64 {
        self.figures().released_bytes
    }

    #[getter]
    fn live_bytes(&self) -> u64 {
        self.figures().live_bytes()
    }

    #[getter]
    fn live_count(&self) -> u64 {
        self.figures().live_count()
    }

    #[getter]
    fn peak_bytes(&self) -> u64 {
        self.figures().peak_bytes()
    }

    #[getter]
    fn peak_count(&self) -> u64 {
        self.figures().peak_count()
    }

    #[getter]
    fn peak_live_bytes(&self) -> u64 {
        self.figures().peak_live_bytes
    }

    #[getter]
    fn peak_live_count(&self) -> u64 {
        self.figures().peak_live_count
    }

    fn __repr__(&self) -> String {
        let figures = self.figures();
        format!(
            "<ironcliw.Measure of {}: {} allocations, {} bytes, {} from the system, at most {} bytes at a time>",
            self.owner.as_deref().unwrap_or("all"),
            figures.allocations,
            figures.allocated_bytes,
            figures.fresh,
            figures.peak_bytes()
        )
    }
}
