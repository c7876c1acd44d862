//! The threads that actors live on: actix arbiters, pinned and named, and the thread of the runtime's own clock.
//!
//! The allowed cores are read once, before any thread is pinned: a pinned thread sees only its own core. Pinning is asked
//! for and then checked, and what was found is what snapshots report.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use actix::System;
use core_affinity::CoreId;
use parking_lot::Mutex;
use tokio::runtime::Handle as Timers;

use crate::executor::{Newcomer, Spawner, executor};
use crate::observe::ArbiterSnapshot;
use crate::pulse::Pulse;
use crate::{Error, clock};

/// The cores this process may use, by the system's numbers, read when it was first asked for.
///
/// Call it on a thread that is not pinned. Where the system does not tell, as many cores are assumed as it has.
pub fn allowed_cores() -> &'static [usize] {
    static CORES: OnceLock<Vec<usize>> = OnceLock::new();
    CORES.get_or_init(|| {
        let told = core_affinity::get_core_ids().unwrap_or_default();
        let cores: Vec<usize> = told.into_iter().map(|core| core.id).collect();
        if cores.is_empty() { (0..thread::available_parallelism().map_or(1, usize::from)).collect() } else { cores }
    })
}

/// Tells the threads of one runtime from those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RuntimeId(u64);

impl RuntimeId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether the current thread is one of this runtime's: it cannot wait for the runtime's end.
    pub(crate) fn owns_this_thread(self) -> bool {
        MEMBER.try_with(|member| member.borrow().as_ref().is_some_and(|member| member.of == self)).unwrap_or(false)
    }
}

/// Lives in its thread's local storage, and so ends with the thread.
struct Member {
    of: RuntimeId,
    _runs: Arc<()>,
}

thread_local! {
    static MEMBER: RefCell<Option<Member>> = const { RefCell::new(None) };
}

fn join_runtime(of: RuntimeId, runs: Arc<()>) {
    MEMBER.with(|member| *member.borrow_mut() = Some(Member { of, _runs: runs }));
}

/// What a thread is to be like.
#[derive(Debug, Clone)]
pub(crate) struct ThreadSpec {
    pub(crate) name: String,
    pub(crate) core: Option<usize>,
    pub(crate) niceness: Option<i32>,
}

/// What a thread turned out to be like.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    core: Option<usize>,
    niceness: Option<i32>,
}

/// Applies a spec to the current thread and tells what came of it.
fn settle_in(spec: &ThreadSpec) -> Found {
    let core = spec.core.filter(|&core| pin_current_thread(core));
    Found { core, niceness: spec.niceness.filter(|&niceness| set_thread_niceness(niceness)) }
}

/// Pins the current thread to a core, by the system's number, and tells whether it is.
///
/// Where the allowed set can be read back it must be that core alone; macOS takes a hint and cannot be asked.
pub fn pin_current_thread(core: usize) -> bool {
    let id = CoreId { id: core };
    core_affinity::set_for_current(id)
        && (!cfg!(target_os = "linux") || core_affinity::get_core_ids().is_none_or(|now| now == [id]))
}

/// Sets the current thread's niceness and tells whether it is set. Linux only; elsewhere it does nothing.
#[cfg(target_os = "linux")]
pub fn set_thread_niceness(niceness: i32) -> bool {
    // On Linux niceness is a thread's own, whatever POSIX says: see setpriority(2), "C library/kernel differences".
    rustix::process::setpriority_process(Some(rustix::thread::gettid()), niceness).is_ok()
}

/// Sets the current thread's niceness and tells whether it is set. Linux only; elsewhere it does nothing.
#[cfg(not(target_os = "linux"))]
pub fn set_thread_niceness(_niceness: i32) -> bool {
    false
}

/// Gives the current thread a name that debuggers and `top` show. Linux only.
#[cfg(target_os = "linux")]
fn name_thread(name: &str) {
    // The kernel keeps 15 bytes.
    let short: String = name.chars().filter(char::is_ascii).take(15).collect();
    if let Ok(short) = std::ffi::CString::new(short) {
        let _ = rustix::thread::set_name(&short);
    }
}

#[cfg(not(target_os = "linux"))]
fn name_thread(_name: &str) {}

/// An arbiter: a thread that runs actors. It ends when it is told to, or when the last owner of this drops it.
pub(crate) struct Arbiter {
    spec: ThreadSpec,
    found: Found,
    home: Home,
    spawner: Spawner,
    /// A handler did not come back from here.
    is_lost: AtomicBool,
    /// Actors that live here. Changed under the lock of the runtime's threads.
    tenants: AtomicUsize,
    /// Whom it polls.
    pulse: Arc<Pulse>,
}

/// What runs an arbiter's tasks.
enum Home {
    /// A thread of actix's.
    Thread {
        handle: actix::ArbiterHandle,
        thread: Mutex<Option<actix::Arbiter>>,
        /// Dangles once the thread has ended.
        runs: Weak<()>,
    },
    /// A thread that is somebody else's: see `event_loop.rs`.
    Guest(Arc<Stay>),
    /// A task on the test kit's one thread.
    #[cfg(feature = "testkit")]
    Task { task: tokio::task::AbortHandle, is_told: AtomicBool },
}

impl Home {
    fn stop(&self) {
        match self {
            Self::Thread { handle, .. } => drop(handle.stop()),
            Self::Guest(stay) => stay.tell_to_end(),
            #[cfg(feature = "testkit")]
            Self::Task { task, is_told } => {
                is_told.store(true, Ordering::Relaxed);
                task.abort();
            }
        }
    }

    fn is_alive(&self) -> bool {
        match self {
            Self::Thread { handle, .. } => handle.alive(),
            Self::Guest(stay) => !stay.is_told(),
            #[cfg(feature = "testkit")]
            Self::Task { task, is_told } => !is_told.load(Ordering::Relaxed) && !task.is_finished(),
        }
    }
}

impl Drop for Arbiter {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Arbiter {
    fn new(spec: ThreadSpec, found: Found, home: Home, spawner: Spawner) -> Self {
        let (is_lost, tenants, pulse) = (AtomicBool::new(false), AtomicUsize::new(0), Arc::default());
        Self { spec, found, home, spawner, is_lost, tenants, pulse }
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(crate) fn pinned_core(&self) -> Option<usize> {
        self.found.core
    }

    pub(crate) fn observe(&self) -> ArbiterSnapshot {
        ArbiterSnapshot {
            name: self.spec.name.clone(),
            wanted_core: self.spec.core,
            pinned_core: self.found.core,
            niceness: self.found.niceness,
            busy_s: clock::seconds(self.spawner.busy().sum_ns()),
            busy_ratio: 0.0,
        }
    }

    /// Ends the thread once its present task yields. Nothing waits for it.
    pub(crate) fn stop(&self) {
        self.home.stop();
    }

    /// Whether an actor may still be started here.
    pub(crate) fn is_alive(&self) -> bool {
        self.home.is_alive() && !self.is_lost.load(Ordering::Relaxed)
    }

    /// Whether the thread is somebody else's, who ends it.
    pub(crate) fn is_guest(&self) -> bool {
        matches!(self.home, Home::Guest(_))
    }

    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// One more actor is to live here.
    pub(crate) fn move_in(&self) {
        self.tenants.fetch_add(1, Ordering::Relaxed);
    }

    /// One actor fewer; whether it was the last.
    pub(crate) fn move_out(&self) -> bool {
        self.tenants.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Gives the thread up: should it ever come back, it ends. Whether that is news.
    pub(crate) fn lose(&self) -> bool {
        let is_news = !self.is_lost.swap(true, Ordering::Relaxed);
        self.stop();
        is_news
    }

    /// Whether the thread exists, if only to end.
    pub(crate) fn runs(&self) -> bool {
        match &self.home {
            Home::Thread { runs, .. } => runs.strong_count() > 0,
            Home::Guest(stay) => !stay.is_over(),
            #[cfg(feature = "testkit")]
            Home::Task { task, .. } => !task.is_finished(),
        }
    }

    /// Waits for the thread's end until `limit`, and says whether it came.
    pub(crate) fn join(&self, limit: Instant) -> bool {
        let thread = match &self.home {
            Home::Thread { thread, .. } => thread,
            // Its owner's to end; what has not come back from there is among the lost.
            Home::Guest(_) => return true,
            // It ends when the caller lets it.
            #[cfg(feature = "testkit")]
            Home::Task { .. } => return true,
        };
        let ended = wait_until(limit, || !self.runs());
        if ended && let Some(thread) = thread.lock().take() {
            // A thread that panicked outside any handler has nothing left to say.
            let _ = thread.join();
        }
        ended
    }

    /// Runs a task here. Dropped if the thread is gone.
    #[cfg(feature = "bench-internals")]
    pub(crate) fn spawn(&self, newcomer: Newcomer) {
        self.spawner.spawn(vec![newcomer]);
    }

    /// Calls `make` among actix's own tasks, where it may spawn others. Dropped if the thread is gone.
    pub(crate) fn spawn_actix(&self, make: impl FnOnce() + Send + 'static) {
        match &self.home {
            Home::Thread { handle, .. } => drop(handle.spawn_fn(make)),
            Home::Guest(_) => self.spawner.spawn(vec![Box::pin(async move { make() })]),
            #[cfg(feature = "testkit")]
            Home::Task { .. } => self.spawner.spawn(vec![Box::pin(async move { make() })]),
        }
    }
}

/// How the owner of a thread that is not ours, and those who know it as an arbiter, tell each other of its end.
pub(crate) struct Stay {
    told: AtomicBool,
    over: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Stay {
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { told: AtomicBool::new(false), over: AtomicBool::new(false), wake: Box::new(wake) }
    }

    /// Has the owner look.
    pub(crate) fn rouse(&self) {
        (self.wake)();
    }

    /// No further actor is to live there.
    pub(crate) fn tell_to_end(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            self.rouse();
        }
    }

    pub(crate) fn is_told(&self) -> bool {
        self.told.load(Ordering::Acquire)
    }

    /// Nothing is polled there any more.
    pub(crate) fn end(&self) {
        self.told.store(true, Ordering::Release);
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// An arbiter that is no thread of ours, with its executor's end.
pub(crate) fn guest(name: String, stay: Arc<Stay>, spawner: Spawner) -> Arbiter {
    let spec = ThreadSpec { name, core: None, niceness: None };
    Arbiter::new(spec, Found::default(), Home::Guest(stay), spawner)
}

/// Starts that a supervisor has decided on and that go to their threads together: one call for many actors.
#[derive(Default)]
pub(crate) struct HandOver {
    starts: Vec<(Arc<Arbiter>, Vec<Newcomer>)>,
    count: usize,
    /// How many went to one thread the last time: as much room is made at once.
    last: usize,
}

/// Starts that are handed over at once: a thread begins with the first while its supervisor is at the next.
const HAND_OVER: usize = 256;

impl HandOver {
    /// Adds a start. Dropped before it is handed over, or with its thread, it does not happen.
    pub(crate) fn add(&mut self, arbiter: Arc<Arbiter>, start: Newcomer) {
        match self.starts.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &arbiter)) {
            Some((_, starts)) => starts.push(start),
            None => {
                let mut starts = Vec::with_capacity(self.last.max(1));
                starts.push(start);
                self.starts.push((arbiter, starts));
            }
        }
        self.count += 1;
        if self.count == HAND_OVER {
            self.finish();
        }
    }

    pub(crate) fn finish(&mut self) {
        self.count = 0;
        self.last = self.starts.iter().map(|(_, starts)| starts.len()).max().unwrap_or(0);
        self.starts.drain(..).for_each(|(arbiter, starts)| arbiter.spawner.spawn(starts));
    }
}

/// The thread that makes arbiters, runs supervisors and keeps the clock. It is not pinned and computes nothing.
pub(crate) struct SystemThread {
    system: System,
    timers: Timers,
    thread: thread::JoinHandle<()>,
}

impl SystemThread {
    pub(crate) fn start(of: RuntimeId) -> Result<Self, Error> {
        let (ready, started) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("ironcliw-system".to_owned())
            .spawn(move || {
                join_runtime(of, Arc::default());
                let runner = System::new();
                let timers = runner.block_on(async { Timers::current() });
                let _ = ready.send((System::current(), timers));
                let _ = runner.run();
            })
            .map_err(|error| Error::Setup { reason: error.to_string() })?;
        let (system, timers) =
            started.recv().map_err(|_| Error::Setup { reason: "its system thread ended at once".to_owned() })?;
        Ok(Self { system, timers, thread })
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    /// Ends the thread and, through actix, its arbiters; waits for the thread alone, until `limit`.
    pub(crate) fn stop(self, limit: Instant) {
        self.system.stop();
        if wait_until(limit, || self.thread.is_finished()) {
            let _ = self.thread.join();
        }
    }

    /// The same without waiting, for owners that cannot.
    pub(crate) fn stop_detached(self) {
        self.system.stop();
    }
}

/// A thread's end wakes nobody, so it is looked for: at first every few microseconds, for it usually comes at once.
fn wait_until(limit: Instant, done: impl Fn() -> bool) -> bool {
    let mut pause = Duration::from_micros(10);
    while !done() {
        if Instant::now() >= limit {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(1));
    }
    true
}

/// Makes an arbiter. Must be called on the system thread, where actix knows what it belongs to.
pub(crate) fn open(of: RuntimeId, spec: ThreadSpec, spin: Duration) -> Result<Arbiter, Error> {
    if System::try_current().is_none() {
        return Err(Error::RuntimeClosed);
    }
    let (tell, told) = mpsc::sync_channel(1);
    let (alive, on_thread) = (Arc::new(()), spec.clone());
    let runs = Arc::downgrade(&alive);
    let made = actix::Arbiter::try_with_tokio_rt(move || {
        join_runtime(of, alive);
        name_thread(&on_thread.name);
        let _ = tell.send(settle_in(&on_thread));
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    });
    let arbiter = made.map_err(|error| Error::Setup { reason: error.to_string() })?;
    let found = told.recv().unwrap_or_default();
    let (handle, thread) = (arbiter.handle(), Mutex::new(Some(arbiter)));
    let (spawner, begin) = executor(spin);
    handle.spawn_fn(begin);
    Ok(Arbiter::new(spec, found, Home::Thread { handle, thread, runs }, spawner))
}

/// Makes one that is no thread but a task of the test kit's, on whose runtime this must be called.
#[cfg(feature = "testkit")]
pub(crate) fn open_in_place(spec: ThreadSpec) -> Arbiter {
    let (spawner, task) = crate::executor::in_place();
    Arbiter::new(spec, Found::default(), Home::Task { task, is_told: AtomicBool::new(false) }, spawner)
}
