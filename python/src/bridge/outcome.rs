//! What a worker hands in: plain Rust data, turned into a Python object by whoever asks for it.

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;

use crate::errors;

/// A result that becomes a Python object on the thread that takes it, which holds the GIL.
///
/// A value that nobody asks for is dropped on any thread, with or without the GIL: hold Python objects in a
/// [`Keep`](super::Keep) only.
pub(crate) trait IntoPython: Send {
    /// Converts, once. A panic in here becomes an `ironcliw.Error`.
    fn into_python(self: Box<Self>, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

impl<F> IntoPython for F
where
    F: FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send,
{
    fn into_python(self: Box<Self>, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self(py)
    }
}

/// Why a call has no value.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error of a subsystem or of the runtime, raised as the member of `ironcliw.errors` it maps to.
    Native(ironcliw_actors::Error),
    /// An exception of user code, raised as it is. Made on a thread that held the GIL.
    Python(PyErr),
}

impl<E: Into<ironcliw_actors::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Native(error.into())
    }
}

/// How a call ends.
pub(crate) enum Outcome {
    /// `None`.
    Unit,
    /// An `int`.
    U64(u64),
    /// Anything else, converted lazily.
    Value(Box<dyn IntoPython + Send>),
    /// An exception.
    Error(Failure),
}

impl Outcome {
    /// A value made by `convert` on the thread that takes the result.
    pub(crate) fn value(convert: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send + 'static) -> Self {
        Self::Value(Box::new(convert))
    }

    /// The outcome of a fallible step, with its value converted by `convert`.
    pub(crate) fn from_result<T, E: Into<Failure>>(result: Result<T, E>, convert: impl FnOnce(T) -> Self) -> Self {
        match result {
            Ok(value) => convert(value),
            Err(error) => Self::Error(error.into()),
        }
    }

    /// The Python object, or the exception to raise.
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Unit => Ok(py.None()),
            Self::U64(number) => Ok(number.into_pyobject(py)?.into_any().unbind()),
            Self::Value(value) => errors::guard("a result's conversion", || value.into_python(py)),
            Self::Error(Failure::Native(error)) => Err(errors::to_py_err(error)),
            Self::Error(Failure::Python(error)) => Err(error),
        }
        .map_err(|error| not_stop_iteration(py, error))
    }
}

/// A `StopIteration` out of an awaitable would be taken for its result, so it is wrapped, as asyncio does.
fn not_stop_iteration(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let wrapped = PyRuntimeError::new_err("the call raised StopIteration");
    wrapped.set_cause(py, Some(error));
    wrapped
}
