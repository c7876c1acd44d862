//! `rt.pool.snapshot()`: what the pool holds and who, handed to `ironcliw.memory` as a JSON document.
//!
//! Taking it is fast; writing the document reads the program's symbols if there are stacks, which is slow the first time.
//! So it is written when somebody looks.

use std::collections::HashMap;

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
    let mut taken = py.detach(|| {
        let (_, events) = inner.handle().events_after(0);
        inner.subsystems.observer.snapshot(&events)
    });
    // The system knows Python's threads as `python` before 3.14, and by no more than 15 bytes after.
    let names = thread_names(py).unwrap_or_default();
    for thread in &mut taken.threads {
        if let Some(name) = thread.id.and_then(|id| names.get(&id)) {
            thread.name = Some(name.clone());
        }
    }
    py.import("ironcliw.memory")?.getattr("PoolSnapshot")?.call1((TakenSnapshot(taken),))
}

/// What `threading` calls its threads, by the system's numbers, but for names that are no Unicode. An error where something else
/// stands in its place.
fn thread_names(py: Python<'_>) -> PyResult<HashMap<u64, String>> {
    let threads = py.import("threading")?.call_method0("enumerate")?;
    let mut names = HashMap::new();
    for thread in threads.try_iter()? {
        let thread = thread?;
        let id: Option<u64> = thread.getattr("native_id")?.extract()?;
        if let (Some(id), Ok(name)) = (id, thread.getattr("name")?.extract()) {
            names.insert(id, name);
        }
    }
    Ok(names)
}
