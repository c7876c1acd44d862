//! The keywords of `spawn` and of `supervisor`, checked.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ironcliw::{Backoff, Overflow, Restart};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::args::{self, invalid};

/// The keywords of `spawn` that describe the child.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) restart: Restart,
    pub(super) backoff: Option<Backoff>,
    pub(super) mailbox: usize,
    pub(super) overflow: Overflow,
    pub(super) shutdown: Duration,
    pub(super) stuck_after: Option<Duration>,
}

/// Names are part of a path.
pub(super) fn checked_name(name: &Bound<'_, PyAny>) -> PyResult<String> {
    let text: String = name.extract().map_err(|_| PyTypeError::new_err("name must be a str"))?;
    if text.is_empty() || text.len() > 100 || text.contains(|c: char| c == '/' || c.is_control()) {
        let rule = "a name has 1 to 100 bytes, no '/' and no control characters";
        return Err(invalid(format!("{rule}, not {text:?}")));
    }
    Ok(text)
}

/// A name for one that has none: its class's, and a number.
pub(super) fn name_of(class: &Bound<'_, PyType>) -> PyResult<String> {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let class: String = class.name()?.to_string().to_lowercase().chars().take(24).collect();
    Ok(format!("{class}-{}", NUMBERS.fetch_add(1, Relaxed)))
}

pub(super) fn settings<'py>(take: &impl Fn(&str) -> PyResult<Option<Bound<'py, PyAny>>>) -> PyResult<Settings> {
    let given = |name: &str| Ok::<_, PyErr>(take(name)?.filter(|found| !found.is_none()));
    let text = |name: &str| given(name)?.map(|found| found.extract::<String>()).transpose();
    let restart = text("restart")?.map_or(Ok(Restart::Permanent), |word| restart(&word))?;
    let overflow = match text("overflow")?.as_deref() {
        None | Some("block") => Overflow::Block,
        Some("reject") => Overflow::Reject,
        Some("drop_newest") => Overflow::DropNewest,
        Some("drop_oldest") => Overflow::DropOldest,
        Some(other) => {
            let known = "\"block\", \"reject\", \"drop_newest\" or \"drop_oldest\"";
            return Err(invalid(format!("overflow is {known}, not {other:?}")));
        }
    };
    let mailbox = args::optional_count(given("mailbox")?.as_ref(), "mailbox", 1)?;
    let backoff = given("backoff")?.map(|found| backoff(&found)).transpose()?;
    let shutdown = given("shutdown")?.map(|found| seconds(&found, "shutdown")).transpose()?;
    let stuck_after = match take("stuck_after")? {
        None => Some(Duration::from_secs(30)),
        Some(found) if found.is_none() => None,
        Some(found) => Some(seconds(&found, "stuck_after")?),
    };
    Ok(Settings {
        restart,
        backoff,
        mailbox: mailbox.unwrap_or(ironcliw::DEFAULT_MAILBOX),
        overflow,
        shutdown: shutdown.unwrap_or(Duration::from_secs(5)),
        stuck_after,
    })
}

pub(super) fn restart(word: &str) -> PyResult<Restart> {
    match word {
        "permanent" => Ok(Restart::Permanent),
        "transient" => Ok(Restart::Transient),
        "temporary" => Ok(Restart::Temporary),
        other => Err(invalid(format!("restart is \"permanent\", \"transient\" or \"temporary\", not {other:?}"))),
    }
}

/// A time from 0 on.
pub(super) fn seconds(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Duration> {
    let value: f64 = value.extract()?;
    Duration::try_from_secs_f64(value)
        .map_err(|_| invalid(format!("{name} must be a number of seconds from 0 on, not {value}")))
}

/// A pair of times, or an `ironcliw.Backoff`.
fn backoff(value: &Bound<'_, PyAny>) -> PyResult<Backoff> {
    let given = Backoff::default();
    let given = if let Ok(pair) = value.cast::<PyTuple>() {
        if pair.len() != 2 {
            return Err(invalid("backoff as a tuple is (min, max), in seconds"));
        }
        Backoff {
            min: seconds(&pair.get_item(0)?, "backoff's min")?,
            max: seconds(&pair.get_item(1)?, "backoff's max")?,
            ..given
        }
    } else {
        let factor: f64 = value.getattr("factor")?.extract()?;
        if !factor.is_finite() || factor < 1.0 {
            return Err(invalid(format!("backoff's factor must be 1 or more, not {factor}")));
        }
        Backoff {
            min: seconds(&value.getattr("min")?, "backoff's min")?,
            max: seconds(&value.getattr("max")?, "backoff's max")?,
            factor,
            jitter: value.getattr("jitter")?.extract()?,
            reset_after: seconds(&value.getattr("reset_after")?, "backoff's reset_after")?,
        }
    };
    if given.min > given.max {
        return Err(invalid("backoff's min must not be longer than its max"));
    }
    Ok(given)
}
