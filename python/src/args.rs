//! Arguments from Python, checked where the call is made.

use std::time::Duration;

use ironcliw_actors::Error;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::errors::to_py_err;

/// Bytes of an argument that a message repeats.
const SHOWN_MAX: usize = 100;

/// An `InvalidInput` with this message.
pub(crate) fn invalid(message: impl Into<String>) -> PyErr {
    to_py_err(Error::invalid(message))
}

/// A whole number in a range; one outside of it, however large, is `InvalidInput`.
pub(crate) fn count(object: &Bound<'_, PyAny>, name: &str, at_least: usize) -> PyResult<usize> {
    let value: Result<usize, PyErr> = object.extract();
    match value {
        Ok(value) if value >= at_least => Ok(value),
        Ok(value) => Err(invalid(format!("{name} must be at least {at_least}, not {value}"))),
        Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => {
            let is_negative = object.lt(0).unwrap_or(false);
            let wanted = if is_negative { format!("at least {at_least}") } else { format!("below 2**{}", usize::BITS) };
            Err(invalid(format!("{name} must be {wanted}, not {}", shown(object))))
        }
        Err(error) => Err(not_an_int(object, name, error)),
    }
}

/// The error of something that is no int; what its `__index__` raised passes through.
pub(crate) fn not_an_int(object: &Bound<'_, PyAny>, name: &str, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyTypeError>(object.py()) {
        return error;
    }
    let kind = object.get_type().qualname();
    kind.map_or_else(|error| error, |kind| PyTypeError::new_err(format!("{name} must be an int, not {kind}")))
}

/// How an argument reads in a message.
pub(crate) fn shown(object: &Bound<'_, PyAny>) -> String {
    let kind = || object.get_type().qualname().map_or_else(|_| "value".to_owned(), |kind| kind.to_string());
    match object.repr().map(|text| text.to_string()) {
        Ok(text) if text.len() <= SHOWN_MAX => text,
        Ok(_) => format!("a very long {}", kind()),
        // Python itself refuses to write an int of thousands of digits.
        Err(_) if object.is_exact_instance_of::<PyInt>() => format!("a very long {}", kind()),
        Err(_) => format!("a {} that cannot be shown", kind()),
    }
}

/// The same where it may be left out.
pub(crate) fn optional_count(
    object: Option<&Bound<'_, PyAny>>,
    name: &str,
    at_least: usize,
) -> PyResult<Option<usize>> {
    object.map(|object| count(object, name, at_least)).transpose()
}

/// A time to wait, in seconds.
pub(crate) fn timeout(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let Some(seconds) = seconds else { return Ok(None) };
    if seconds.is_nan() || seconds <= 0.0 {
        return Err(invalid(format!("timeout must be a positive number of seconds, not {seconds}")));
    }
    // Too long to be counted is as long as it gets.
    Ok(Duration::try_from_secs_f64(seconds).ok())
}

/// A length of time in seconds, zero included.
pub(crate) fn span(seconds: f64, name: &str) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| invalid(format!("{name} must be a number of seconds, zero or more, not {seconds}")))
}

/// A finite number.
pub(crate) fn finite(value: f64, name: &str) -> PyResult<f32> {
    let narrow = value as f32;
    if narrow.is_finite() { Ok(narrow) } else { Err(invalid(format!("{name} must be a finite number, not {value}"))) }
}
