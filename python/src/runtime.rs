//! `Runtime`: threads, actors and the five subsystems behind one Python object.

use std::sync::Arc;
use std::time::Duration;

use ironcliw_actors::leak::TrackerConfig;
use ironcliw_actors::ping::Ping;
use ironcliw_actors::pool::{Reservation, Watermarks};
use ironcliw_actors::{Config, Subsystems};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping, PyTuple};

use crate::actors;
use crate::args::{self, invalid};
use crate::bridge::{self, Call, Completer, Failure, Outcome};
use crate::errors::{self, to_py_err};
use crate::process::Process;
use crate::{images, inference, leaks, logs, pool, scheduler, send, snapshot};

/// The least memory a runtime is of any use with.
const MEMORY_LIMIT_MIN: usize = 64;

/// Of the computing threads: the event loop, which they serve, goes first. Figures: docs/performance.md, "Niceness".
const DEFAULT_NICENESS: i32 = 10;

/// Seconds that a thread without work looks for more. An event loop that was answered is often asleep, and its next call
/// comes once the system has woken it: 50 µs where docs/performance.md was measured. Waiting that long, and a bit, is what
/// keeps a conversation of short calls awake on both sides.
const DEFAULT_SPIN: f64 = 75e-6;

/// Longer would be no moment any more: a thread that spins does not see that it should end.
const SPIN_MAX: Duration = Duration::from_millis(100);

/// Seconds after which memory that was of no use goes back to the system.
const PURGE_AFTER: f64 = 10.0;

/// Of one call; each takes the memory of an answer while they are under way.
const PINGS_MAX: usize = 1 << 24;

/// How far closing has come.
enum Closing {
    NotBegun,
    /// Those who wait for it.
    Begun(Vec<Completer>),
    Done(Option<ironcliw::Error>),
}

/// What the Python objects of one runtime share.
pub(crate) struct Inner {
    runtime: ironcliw::Runtime,
    pub(crate) subsystems: Subsystems,
    #[cfg(feature = "endpoint")]
    endpoint: Option<ironcliw::endpoint::Endpoint>,
    pub(crate) realm: Arc<actors::Realm>,
    closing: Mutex<Closing>,
    /// The process that made it: a forked child inherits the object and none of the threads.
    process: Process,
}

impl Inner {
    pub(crate) fn handle(&self) -> &ironcliw::Handle {
        self.runtime.handle()
    }

    /// The subsystems, unless the runtime was closed or belongs to another process.
    pub(crate) fn open(&self) -> PyResult<&Subsystems> {
        self.here()?;
        if self.is_closed() { Err(to_py_err(ironcliw::Error::RuntimeClosed)) } else { Ok(&self.subsystems) }
    }

    /// Whether this is the process that made it. In a forked child what is not kept whole for it (locks of the leak tracker
    /// and of the actors) may be held by threads that are not there: it is left alone.
    pub(crate) fn here(&self) -> PyResult<()> {
        if self.process.is_current() {
            return Ok(());
        }
        let message = "this runtime was made before the process forked: its threads are the parent's; make another one";
        Err(errors::classes::RuntimeClosed::new_err(message))
    }

    pub(crate) fn is_closed(&self) -> bool {
        !matches!(*self.closing.lock(), Closing::NotBegun)
    }

    pub(crate) fn is_usable_here(&self) -> bool {
        self.process.is_current() && !self.is_closed()
    }

    pub(crate) fn closing_word(&self) -> &'static str {
        if matches!(*self.closing.lock(), Closing::Done(_)) { "closed" } else { "closing" }
    }

    fn finish(&self, outcome: Result<(), ironcliw::Error>) {
        let error = outcome.err();
        let waiting = std::mem::replace(&mut *self.closing.lock(), Closing::Done(error.clone()));
        if let Closing::Begun(waiting) = waiting {
            waiting.into_iter().for_each(|completer| completer.complete(closed(error.clone())));
        }
    }
}

fn closed(error: Option<ironcliw::Error>) -> Outcome {
    error.map_or(Outcome::Unit, |error| Outcome::Error(Failure::from(error)))
}

#[pyclass(frozen, module = "ironcliw", weakref)]
pub(crate) struct Runtime {
    /// Taken out by the drop only.
    inner: std::mem::ManuallyDrop<Arc<Inner>>,
}

/// In a forked child the threads are missing and locks may be held for ever: what was inherited is left alone.
impl Drop for Runtime {
    fn drop(&mut self) {
        if self.inner.process.is_current() {
            // SAFETY: this is the drop, and nothing uses `inner` after it.
            unsafe { std::mem::ManuallyDrop::drop(&mut self.inner) };
        }
    }
}

impl Runtime {
    /// Where its Python actors belong, for as long as it is open.
    fn realm<'a>(this: &'a Bound<'_, Self>) -> PyResult<&'a Arc<actors::Realm>> {
        let inner = &this.get().inner;
        inner.open()?;
        inner.realm.know(this.as_any())?;
        Ok(&inner.realm)
    }

    /// Begins to close, or joins a closing that has begun.
    fn begin_closing<'py>(&self, py: Python<'py>, bound: Duration) -> PyResult<Bound<'py, Call>> {
        if !self.inner.process.is_current() {
            return bridge::ready(py, "close", Outcome::Unit);
        }
        let (call, completer) = bridge::pending(py, "close")?;
        let mut closing = self.inner.closing.lock();
        match &mut *closing {
            Closing::Done(error) => completer.complete(closed(error.clone())),
            Closing::Begun(waiting) => waiting.push(completer),
            Closing::NotBegun => {
                *closing = Closing::Begun(vec![completer]);
                drop(closing);
                let inner = Arc::clone(&self.inner);
                let close = move || {
                    let outcome = inner.runtime.shutdown(bound);
                    #[cfg(feature = "endpoint")]
                    if let Some(endpoint) = &inner.endpoint {
                        endpoint.close();
                    }
                    inner.finish(outcome);
                };
                // Draining waits for actors, so it has a thread of its own.
                let thread = std::thread::Builder::new().name("ironcliw-close".to_owned()).spawn(close);
                if let Err(error) = thread {
                    self.inner.finish(Err(ironcliw::Error::Setup { reason: error.to_string() }));
                }
            }
        }
        Ok(call)
    }
}

#[pymethods]
impl Runtime {
    #[new]
    #[pyo3(signature = (*, workers=None, image_workers=None, scheduler_threads=None, pin=true,
        niceness=DEFAULT_NICENESS, spin=DEFAULT_SPIN, memory_limit=None, memory_watermarks=None,
        purge_after=Some(PURGE_AFTER), memory_reservations=None, leak_level="simple",
        leak_age=leaks::Ages::default(), leak_growth=leaks::Growth::default(), endpoint=None),
        text_signature = "(*, workers=None, image_workers=None, scheduler_threads=None, pin=True, niceness=10, \
            spin=7.5e-05, memory_limit=None, memory_watermarks=(0.8, 0.7), purge_after=10.0, \
            memory_reservations=None, leak_level='simple', leak_age=300.0, leak_growth=(6, 10.0), endpoint=None)")]
    #[allow(clippy::too_many_arguments)] // Python's keywords; in Rust they are a builder and a `Config`.
    fn new(
        py: Python<'_>,
        workers: Option<&Bound<'_, PyAny>>,
        image_workers: Option<&Bound<'_, PyAny>>,
        scheduler_threads: Option<&Bound<'_, PyAny>>,
        pin: bool,
        niceness: i32,
        spin: f64,
        memory_limit: Option<&Bound<'_, PyAny>>,
        memory_watermarks: Option<(f64, f64)>,
        purge_after: Option<f64>,
        memory_reservations: Option<&Bound<'_, PyMapping>>,
        leak_level: &str,
        leak_age: leaks::Ages,
        leak_growth: leaks::Growth,
        endpoint: Option<&str>,
    ) -> PyResult<Self> {
        let mut builder = ironcliw::Runtime::builder().pin(pin);
        if let Some(workers) = args::optional_count(workers, "workers", 1)? {
            builder = builder.workers(workers);
        }
        if !(0..=19).contains(&niceness) {
            return Err(invalid(format!("niceness is 0 to 19, not {niceness}")));
        }
        // 0 is what threads have unless told, and asking for it could undo the process's own.
        let niceness = (niceness > 0).then_some(niceness);
        if let Some(niceness) = niceness {
            builder = builder.niceness(niceness);
        }
        let spin = args::span(spin, "spin")?;
        if spin > SPIN_MAX {
            return Err(invalid(format!(
                "spin must be at most {} seconds, not {}",
                SPIN_MAX.as_secs_f64(),
                spin.as_secs_f64()
            )));
        }
        builder = builder.spin(spin);
        bridge::allow_spin(!spin.is_zero());
        let mut config = Config { pin, niceness, leak_level: leaks::parse_level(leak_level)?, ..Config::default() };
        config.leaks = TrackerConfig { ages: leak_age.0, growth: leak_growth.0 };
        if let Some(count) = args::optional_count(image_workers, "image_workers", 1)? {
            config.image_workers = count;
        }
        if let Some(count) = args::optional_count(scheduler_threads, "scheduler_threads", 1)? {
            config.scheduler_threads = count;
        }
        config.memory_limit = args::optional_count(memory_limit, "memory_limit", MEMORY_LIMIT_MIN)?;
        if let Some((high, low)) = memory_watermarks {
            config.memory_watermarks = Watermarks::new(high, low).map_err(to_py_err)?;
        }
        config.purge_after = purge_after.map(|seconds| args::span(seconds, "purge_after")).transpose()?;
        if let Some(reservations) = memory_reservations {
            config.memory_reservations = reserved(reservations)?;
        }
        logs::start(py)?;
        let inner = py.detach(|| build(builder, config, endpoint)).map_err(to_py_err)?;
        Ok(Self { inner: std::mem::ManuallyDrop::new(Arc::new(inner)) })
    }

    #[getter]
    fn pool(&self) -> pool::Pool {
        pool::Pool(Arc::clone(&self.inner))
    }

    #[getter]
    fn leaks(&self) -> leaks::Leaks {
        leaks::Leaks(Arc::clone(&self.inner))
    }

    #[getter]
    fn images(&self) -> images::Images {
        images::Images::new(Arc::clone(&self.inner))
    }

    #[getter]
    fn inference(&self) -> inference::Inference {
        inference::Inference(Arc::clone(&self.inner))
    }

    #[getter]
    fn scheduler(&self) -> scheduler::Scheduler {
        scheduler::Scheduler(Arc::clone(&self.inner))
    }

    #[getter]
    fn closed(&self) -> bool {
        self.inner.is_closed()
    }

    #[getter]
    fn endpoint_url(&self) -> Option<&str> {
        #[cfg(feature = "endpoint")]
        return self.inner.endpoint.as_ref().map(|endpoint| endpoint.url());
        #[cfg(not(feature = "endpoint"))]
        None
    }

    #[pyo3(signature = (*, timeout=None))]
    fn ping<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, Call>> {
        let timeout = args::timeout(timeout)?;
        let subsystems = self.inner.open()?;
        send::ask(py, "ping", self.inner.handle(), &subsystems.ping, Ping, timeout, Outcome::U64)
    }

    #[pyo3(signature = (n, *, timeout=None))]
    fn ping_many<'py>(
        &self,
        py: Python<'py>,
        n: &Bound<'py, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, Call>> {
        let count = args::count(n, "n", 0)?;
        if count > PINGS_MAX {
            return Err(invalid(format!("n must be at most {PINGS_MAX}, not {count}")));
        }
        let timeout = args::timeout(timeout)?;
        let ping = self.inner.open()?.ping.clone();
        send::ask_many(
            py,
            "ping_many",
            self.inner.handle(),
            ping,
            std::iter::repeat_n(Ping, count),
            timeout,
            |answers| Outcome::value(move |py| Ok(PyList::new(py, answers)?.into_any().unbind())),
        )
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        snapshot::take(py, &self.inner)
    }

    fn status(&self) -> &'static str {
        snapshot::status(&self.inner)
    }

    #[pyo3(signature = (timeout=10.0))]
    fn close<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Bound<'py, Call>> {
        let bound = args::timeout(Some(timeout))?.unwrap_or(Duration::MAX);
        self.begin_closing(py, bound)
    }

    #[pyo3(signature = (cls, /, *args, **options))]
    fn spawn<'py>(
        slf: &Bound<'py, Self>,
        cls: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Call>> {
        let realm = Self::realm(slf)?;
        actors::spawn(realm, None, cls, args, options)
    }

    #[pyo3(signature = (name, *, strategy="one_for_one", max_restarts=None, within=None, restart="temporary",
        supervisor=None),
        text_signature = "(self, name, *, strategy='one_for_one', max_restarts=5, within=10.0, \
            restart='temporary', supervisor=None)")]
    #[allow(clippy::too_many_arguments)] // Python's keywords.
    fn supervisor(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyAny>,
        strategy: &str,
        max_restarts: Option<&Bound<'_, PyAny>>,
        within: Option<&Bound<'_, PyAny>>,
        restart: &str,
        supervisor: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<actors::Supervisor> {
        let realm = Self::realm(slf)?;
        let parent = actors::Parent::of(supervisor)?;
        actors::new_group(realm, parent, name, strategy, max_restarts, within, restart)
    }

    fn supervision_events<'py>(
        slf: &Bound<'py, Self>,
        to: &Bound<'py, actors::ActorRef>,
    ) -> PyResult<Bound<'py, Call>> {
        actors::feed(Self::realm(slf)?, to)
    }

    fn _crash<'py>(&self, py: Python<'py>, path: &str) -> PyResult<Bound<'py, Call>> {
        let subsystems = self.inner.open()?;
        if let Some(call) = actors::crash(py, &self.inner.realm, path)? {
            return Ok(call);
        }
        let of = path.to_owned();
        bridge::submit(py, "crash", |completer| {
            // An image worker may have met its crash with a job in hand; to the caller that is the same.
            let panicked = move |()| {
                let reason = "a crash was asked for".to_owned();
                Outcome::Error(Failure::from(ironcliw::Error::ActorPanicked { path: of, reason }))
            };
            subsystems.crash(path, send::sink(completer, panicked)).map_err(to_py_err)
        })
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.inner.open()?;
        Ok(slf)
    }

    #[pyo3(signature = (exc_type, exc, tb, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: Option<Bound<'_, PyAny>>,
        exc: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = (exc_type, exc, tb);
        self.begin_closing(py, DEFAULT_CLOSE)?.call_method0("result")?;
        Ok(())
    }

    fn __aenter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Call>> {
        slf.get().inner.open()?;
        let runtime = bridge::Keep::new(slf.as_any());
        let itself = move |py: Python<'_>| Ok(runtime.into_inner(py).unwrap_or_else(|| py.None()));
        bridge::ready(slf.py(), "open", Outcome::value(itself))
    }

    #[pyo3(signature = (exc_type, exc, tb, /))]
    fn __aexit__<'py>(
        &self,
        py: Python<'py>,
        exc_type: Option<Bound<'py, PyAny>>,
        exc: Option<Bound<'py, PyAny>>,
        tb: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Call>> {
        let _ = (exc_type, exc, tb);
        self.begin_closing(py, DEFAULT_CLOSE)
    }

    fn __repr__(&self) -> String {
        let snapshot = self.inner.handle().snapshot();
        format!(
            "<ironcliw.Runtime {}: {} actors on {} cores, {} restarts>",
            snapshot::status(&self.inner),
            snapshot.actors.len(),
            snapshot.cores.len(),
            snapshot.restarts
        )
    }
}

/// What the end of a context gives the actors.
const DEFAULT_CLOSE: Duration = Duration::from_secs(10);

fn reserved(mapping: &Bound<'_, PyMapping>) -> PyResult<Vec<Reservation>> {
    let read = |item: Bound<'_, PyAny>| {
        let (name, bytes): (String, Bound<'_, PyAny>) = item.extract()?;
        Ok(Reservation::new(name, args::count(&bytes, "a reservation", 0)?))
    };
    mapping.items()?.iter().map(read).collect()
}

fn build(builder: ironcliw::Builder, config: Config, endpoint: Option<&str>) -> ironcliw_actors::Result<Inner> {
    #[cfg(not(feature = "endpoint"))]
    if endpoint.is_some() {
        return Err(ironcliw_actors::Error::invalid("this build has no endpoint: it was made without that feature"));
    }
    #[cfg(feature = "endpoint")]
    if let Some(address) = endpoint {
        ironcliw::endpoint::check_address(address)
            .map_err(|error| ironcliw_actors::Error::invalid(error.to_string()))?;
    }
    let runtime = builder.build()?;
    let subsystems = runtime.block_on(Subsystems::start(runtime.handle(), config))?;
    runtime.handle().register("allocator", Arc::new(crate::allocator::Figures));
    #[cfg(feature = "endpoint")]
    let endpoint = endpoint.map(|address| ironcliw::endpoint::serve(runtime.handle(), address)).transpose()?;
    Ok(Inner {
        realm: actors::Realm::new(runtime.handle().clone()),
        runtime,
        subsystems,
        #[cfg(feature = "endpoint")]
        endpoint,
        closing: Mutex::new(Closing::NotBegun),
        process: Process::current(),
    })
}
