//! From Rust's errors to the exceptions of `ironcliw.errors`.
//!
//! The classes are Python's own (`python/ironcliw/errors.py`), imported once, when the first is raised.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

/// The classes of `ironcliw.errors`, for `new_err` and for `except`-like tests.
pub(crate) mod classes {
    use pyo3::import_exception;

    import_exception!(ironcliw.errors, Error);
    import_exception!(ironcliw.errors, MailboxFull);
    import_exception!(ironcliw.errors, DeadlineExceeded);
    import_exception!(ironcliw.errors, ActorPanicked);
    import_exception!(ironcliw.errors, ActorStopped);
    import_exception!(ironcliw.errors, ActorRestarting);
    import_exception!(ironcliw.errors, StartFailed);
    import_exception!(ironcliw.errors, PoolExhausted);
    import_exception!(ironcliw.errors, BufferReleased);
    import_exception!(ironcliw.errors, ForeignBuffer);
    import_exception!(ironcliw.errors, OutOfBounds);
    import_exception!(ironcliw.errors, InvalidInput);
    import_exception!(ironcliw.errors, ModelError);
    import_exception!(ironcliw.errors, DecodeError);
    import_exception!(ironcliw.errors, RuntimeClosed);
}

/// The exception for an error of the subsystems or of the runtime. Needs no GIL: the class is looked up when
/// the exception is raised.
pub(crate) fn to_py_err(error: impl Into<ironcliw_actors::Error>) -> PyErr {
    use ironcliw_actors::Error;

    let error = error.into();
    let message = error.to_string();
    match error {
        Error::InvalidInput(_) | Error::PoolExists { .. } | Error::NoSuchPool { .. } => {
            classes::InvalidInput::new_err(message)
        }
        Error::QueueFull { .. } => classes::MailboxFull::new_err(message),
        Error::Decode { .. } => classes::DecodeError::new_err(message),
        Error::Model(_) => classes::ModelError::new_err(message),
        Error::PoolExhausted { .. } | Error::MemoryPressure { .. } => classes::PoolExhausted::new_err(message),
        Error::BufferReleased { .. } => classes::BufferReleased::new_err(message),
        Error::ForeignBuffer { .. } => classes::ForeignBuffer::new_err(message),
        Error::OutOfBounds { .. } => classes::OutOfBounds::new_err(message),
        Error::Runtime(error) => runtime_error(&error, message),
        _ => classes::Error::new_err(message),
    }
}

fn runtime_error(error: &ironcliw::Error, message: String) -> PyErr {
    use ironcliw::Error;

    match error {
        Error::MailboxFull { .. } => classes::MailboxFull::new_err(message),
        Error::DeadlineExceeded { .. } => classes::DeadlineExceeded::new_err(message),
        Error::ActorPanicked { .. } => classes::ActorPanicked::new_err(message),
        Error::ActorStopped { .. } => classes::ActorStopped::new_err(message),
        Error::ActorRestarting { .. } => classes::ActorRestarting::new_err(message),
        Error::StartFailed { .. } => classes::StartFailed::new_err(message),
        Error::RuntimeClosed => classes::RuntimeClosed::new_err(message),
        // A name is the caller's choice.
        Error::NameTaken { .. } | Error::UnfitChild { .. } => classes::InvalidInput::new_err(message),
        _ => classes::Error::new_err(message),
    }
}

/// Runs a native entry point, so that a bug of ours reaches Python as an `ironcliw.Error`.
///
/// pyo3 would raise its `PanicException`, a `BaseException` that ends an event loop.
pub(crate) fn guard<T>(entry: &str, run: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    // What `run` had borrowed is dropped by the unwinding; what it shares is behind locks that do not poison.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        let reason = panic_message(&*payload);
        Err(classes::Error::new_err(format!("{entry} panicked: {reason}")))
    })
}

/// What a panic said.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
