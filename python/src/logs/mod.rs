//! Where the log goes: to Python's `logging`, and, if `IRONCLIW_LOG` asks for it, to standard error as well.
//!
//! ```text
//!  any thread                         one thread, made with the first runtime        Python
//!  tracing event ─▶ level? ─▶ Record ─▶ bounded queue ─▶ the GIL, once a burst ─▶ logger.handle(record)
//!                     ▲ cached, per callsite                                          │
//!                     └────────────── levels, whenever logging's change ◀─────────────┘
//! ```
//!
//! No thread but the forwarding one takes the GIL. An event that no logger wants costs what tracing asks for it: one load.
//! `levels.rs` is the cache, `record.rs` what is kept of an event, `forward.rs` the queue and the thread;
//! `python/ironcliw/_logs.py` is the Python half.
//!
//! `IRONCLIW_LOG` is a filter as `tracing-subscriber` reads them: `warn`, or `ironcliw=debug`.

mod forward;
mod levels;
mod record;

use pyo3::prelude::*;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub(crate) use forward::{register, start};

/// Puts our layers in front of tracing. Nothing goes to Python before [`start`].
pub(crate) fn install() {
    let to_stderr = EnvFilter::try_from_env("IRONCLIW_LOG")
        .ok()
        .map(|filter| tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter));
    let to_python = record::ToPython.with_filter(levels::Cached);
    // Somebody else's subscriber stays.
    let _ = tracing_subscriber::registry().with(to_stderr).with(to_python).try_init();
}

/// What `python/ironcliw/_logs.py` tells: the level from which on each logger, `ironcliw` first, takes records.
#[pyfunction]
#[pyo3(name = "_set_log_levels")]
pub(crate) fn set_log_levels(levels: Vec<(String, i32)>) {
    levels::set(levels);
}
