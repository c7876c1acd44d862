//! What is kept of an event on its way to Python: plain data, made on the thread where it happened.

use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{forward, levels};

/// A field's value, in Python's terms.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Bool(bool),
    Int(i64),
    Natural(u64),
    Float(f64),
    Text(String),
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.others.push((field.name(), Value::Text(format!("{value:?}"))));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.others.push((field.name(), Value::Text(value.to_owned())));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), Value::Bool(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), Value::Int(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), Value::Natural(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.others.push((field.name(), Value::Float(value)));
    }
}

/// One event.
pub(super) struct Record {
    target: &'static str,
    level: i32,
    file: &'static str,
    line: u32,
    fields: Fields,
    thread: String,
    thread_id: u64,
    /// Seconds since 1970.
    created: f64,
}

impl Record {
    fn new(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self {
            target: metadata.target(),
            level: levels::number(*metadata.level()),
            file: metadata.file().unwrap_or(""),
            line: metadata.line().unwrap_or(0),
            fields,
            thread,
            thread_id: thread_id(),
            created,
        }
    }

    /// The arguments of `ironcliw._logs.handle`.
    pub(super) fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let fields = PyDict::new(py);
        for (name, value) in self.fields.others {
            // A raw identifier's mark is Rust's and no part of the name.
            let name = name.trim_start_matches("r#");
            match value {
                Value::Bool(value) => fields.set_item(name, value)?,
                Value::Int(value) => fields.set_item(name, value)?,
                Value::Natural(value) => fields.set_item(name, value)?,
                Value::Float(value) => fields.set_item(name, value)?,
                Value::Text(value) => fields.set_item(name, value)?,
            }
        }
        let logger = levels::logger_of(self.target);
        let (place, thread) = ((self.file, self.line), (self.thread, self.thread_id));
        let record = (logger, self.level, self.fields.message, fields, place, self.target, thread, self.created);
        Ok(record.into_pyobject(py)?.into_any())
    }
}

#[cfg(target_os = "linux")]
fn thread_id() -> u64 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs().into()
}

#[cfg(not(target_os = "linux"))]
fn thread_id() -> u64 {
    0
}

/// The layer. Its filter is [`levels::Cached`].
pub(super) struct ToPython;

impl<S: Subscriber> Layer<S> for ToPython {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        forward::send(|| Record::new(event));
    }
}
