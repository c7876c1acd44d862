//! `ironcliw._native`: the Python face of Ironcliw.

#![cfg(feature = "python-bindings")]

mod bridge;
mod errors;

/// The native module.
#[pyo3::pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::bridge::register(module)
    }
}
