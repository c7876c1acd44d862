//! Waiting for an actor's answers.

use pyo3::exceptions::PyRuntimeError;
use pyo3::{PyErr, PyResult};
use tokio::sync::oneshot::Receiver;

/// The actor ended, which it does only after its last sender.
pub(crate) fn gone() -> PyErr {
    PyRuntimeError::new_err("the actor has gone")
}

/// One after the other; they are all under way.
pub(crate) async fn all(answers: Vec<Receiver<u64>>) -> PyResult<Vec<u64>> {
    let mut numbers = Vec::with_capacity(answers.len());
    for answer in answers {
        numbers.push(answer.await.map_err(|_| gone())?);
    }
    Ok(numbers)
}
