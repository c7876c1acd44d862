//! What this extension was built as, for `ironcliw doctor`.

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The features of this crate, and whether each is in.
const FEATURES: [(&str, bool); 6] = [
    ("python-bindings", cfg!(feature = "python-bindings")),
    ("simd-accel", cfg!(feature = "simd-accel")),
    ("quantized-ops", cfg!(feature = "quantized-ops")),
    ("mimalloc", cfg!(feature = "mimalloc")),
    ("endpoint", cfg!(feature = "endpoint")),
    ("trace-messages", cfg!(feature = "trace-messages")),
];

/// `ironcliw.types.BuildInfo`.
#[pyfunction]
#[pyo3(name = "_build_info")]
pub(crate) fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let features: Vec<_> = FEATURES.into_iter().filter_map(|(name, is_in)| is_in.then_some(name)).collect();
    let memory = ironcliw_actors::pool::SystemMemory::detect();
    let dict = PyDict::new(py);
    dict.set_item("rustc", env!("IRONCLIW_RUSTC"))?;
    dict.set_item("target", env!("IRONCLIW_TARGET"))?;
    dict.set_item("profile", env!("IRONCLIW_PROFILE"))?;
    dict.set_item("assertions", cfg!(debug_assertions))?;
    dict.set_item("features", features)?;
    dict.set_item("allocator", crate::allocator::NAME)?;
    dict.set_item("abi3", cfg!(feature = "abi3"))?;
    dict.set_item("memory_limit", memory.map(|memory| memory.limit()))?;
    Ok(dict)
}
