//! What `rt.scheduler.stats()` answers.

use ironcliw_actors::Subsystems;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::classes::Error;
use crate::snapshot::to_python;

/// The default pool in short and every pool in full, as `ironcliw.types.SchedulerStats` has it.
pub(crate) fn stats<'py>(py: Python<'py>, subsystems: &Subsystems) -> PyResult<Bound<'py, PyDict>> {
    let stats =
        serde_json::to_value(subsystems.scheduler.stats()).map_err(|error| Error::new_err(error.to_string()))?;
    Ok(to_python(py, &stats)?.cast_into::<PyDict>()?)
}
