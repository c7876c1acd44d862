//! `rt.pool.snapshot()`: what the pool holds and who, handed to `ironcliw.memory` as a JSON document.
//!
//! Taking it is fast; writing the document reads the program's symbols if there are stacks, which is slow the first time.
//! So it is written when somebody looks.

use ironcliw_actors::snapshot::PoolSnapshot;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bridge;
use crate::errors::classes::Error;
use crate::runtime::Inner;

/// A snapshot that was taken and not written yet.
#[pyclass(frozen, module = "ironcliw._native")]
pub(crate) struct TakenSnapshot(PoolSnapshot);

#[pymethods]
impl TakenSnapshot {
    fn to_json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let written = py.detach(|| serde_json::to_vec(&self.0));
        written.map(|json| PyBytes::new(py, &json)).map_err(|error| Error::new_err(error.to_string()))
    }

    fn __repr__(&self) -> String {
        format!("<ironcliw._native.TakenSnapshot of {} leases>", self.0.leases.len())
    }
}

/// An `ironcliw.PoolSnapshot` of this moment. A closed runtime shows what is still held of it.
pub(crate) fn take<'py>(py: Python<'py>, inner: &Inner) -> PyResult<Bound<'py, PyAny>> {
    inner.here()?;
    bridge::settle(py);
    let taken = py.detach(|| {
        let (_, events) = inner.handle().events_after(0);
        inner.subsystems.observer.snapshot(&events)
    });
    py.import("ironcliw.memory")?.getattr("PoolSnapshot")?.call1((TakenSnapshot(taken),))
}
