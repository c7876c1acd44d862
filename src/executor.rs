//! The task on each arbiter that runs actors, and decides when their thread may wait, spin or must see to its timers.
//!
//! An arbiter is actix's: a thread with a single-threaded tokio runtime. Waking a task of such a runtime from another thread
//! costs a write to the kernel, and letting the thread wait costs a context switch; both are far dearer than handling a
//! message. So actors are tasks of a [`LocalSet`] that is polled by one task of the runtime, the [`Executor`], whose waker is
//! a [`Bell`]: whoever rings it while the executor runs, or spins, sets a flag and is done.
//!
//! ```text
//!            rung                        spun in vain
//!   RUNNING ─────▶ RUNG      RUNNING ──────────────────▶ PARKED ── rung: the runtime's own wake ─▶ RUNG
//!      ▲             │
//!      └─────────────┘ the executor polls its tasks again
//! ```
//!
//! No ring is lost: the executor makes the state `RUNNING` *before* it polls its tasks, and leaves with `PARKED` only by a
//! compare-and-swap from `RUNNING`, so a ring in between keeps it there.
//!
//! The runtime itself must get its turn, or timers and sockets would starve: after [`ROUND`] the executor steps back until the
//! runtime has looked at them (`tokio::task::yield_now` is what waits for that).

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use crate::arbiters::allowed_cores;
use crate::clock;
use crate::observe::Busy;
use crate::sync::{AtomicU8, Ordering};

/// How long actors may go on before their thread's timers and sockets get a turn.
pub(crate) const ROUND: Duration = Duration::from_micros(200);

/// Spins in vain before spinning pauses: a thread that is asked now and then does not burn its core for nothing.
const CREDIT: u32 = 8;

/// Waits before it is tried again, for an eighth of the time: at first, and at most after each time in vain has doubled it.
const PROBE_FIRST: u32 = 32;
const PROBE_LAST: u32 = 4096;

const RUNNING: u8 = 0;
const RUNG: u8 = 1;
const PARKED: u8 = 2;

thread_local! {
    /// When the runtime last had its turn.
    static ROUND_BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Whether this thread may look for work that has not come yet.
    static MAY_SPIN: Cell<bool> = const { Cell::new(false) };
    /// A task waits for the runtime's turn.
    static WAITS_FOR_DRIVER: Cell<bool> = const { Cell::new(false) };
}

/// Threads of this process that spin now.
static SPINNING: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Tells one thread from another; never zero.
#[inline]
pub(crate) fn token() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    // A thread that is being torn down is nobody's home.
    HERE.try_with(|here| std::ptr::from_ref(here).addr()).unwrap_or(1)
}

/// Whether tasks of this thread may look for a moment for work that has not come yet.
pub(crate) fn may_spin() -> bool {
    MAY_SPIN.get()
}

/// Ends an actor's turn at `now`: the other tasks of its thread go first, and its timers too where they have waited for
/// long. The caller returns `Pending`.
pub(crate) fn end_turn(cx: &mut Context<'_>, now: Instant) {
    let began = ROUND_BEGAN.get();
    if began.is_some_and(|began| now.duration_since(began) < ROUND) {
        return cx.waker().wake_by_ref();
    }
    WAITS_FOR_DRIVER.set(true);
    wait_for_driver(cx);
}

/// Wakes the task once the runtime has looked at its timers and sockets.
fn wait_for_driver(cx: &mut Context<'_>) {
    // Its first poll leaves the waker with the runtime, which keeps it when the future is dropped.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Whether the executor runs, has been rung since it last began to poll its tasks, or waits.
struct State(AtomicU8);

impl State {
    fn new() -> Self {
        Self(AtomicU8::new(RUNNING))
    }

    /// Before the executor polls its tasks: whoever rings from here on keeps it up.
    fn begin_round(&self) {
        // Not a mere store: it must come after every ring that it wipes out, for the work that was rung for to be seen.
        self.0.swap(RUNNING, Ordering::AcqRel);
    }

    fn is_rung(&self) -> bool {
        self.0.load(Ordering::Acquire) == RUNG
    }

    /// Whether the executor may wait: nobody has rung since the round began.
    fn park(&self) -> bool {
        self.0.compare_exchange(RUNNING, PARKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Rings; whether the executor waits, and the caller is the one to wake it.
    fn ring(&self) -> bool {
        self.0.swap(RUNG, Ordering::AcqRel) == PARKED
    }
}

/// What wakes the executor.
struct Bell {
    state: State,
    /// The executor's task, as its runtime knows it.
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.ring() {
            self.task.wake();
        }
    }
}

/// Something to be done on an executor's thread.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// Hands work over to an executor. What is left when it ends is dropped.
#[derive(Clone)]
pub(crate) struct Spawner {
    to: UnboundedSender<Vec<Work>>,
    busy: Arc<Busy>,
}

impl Spawner {
    /// Does all of this on the executor's thread, in order, where it may spawn local tasks.
    pub(crate) fn run(&self, work: Vec<Work>) {
        // Refused, it is dropped.
        let _ = self.to.send(work);
    }

    /// The time that its executor has spent on its tasks.
    pub(crate) fn busy(&self) -> &Busy {
        &self.busy
    }
}

/// Makes an executor's two ends.
pub(crate) fn executor(spin: Duration) -> (Spawner, impl FnOnce() + Send) {
    let (to, work) = unbounded_channel();
    let busy = Arc::<Busy>::default();
    let spawner = Spawner { to, busy: busy.clone() };
    let begin = move || {
        let executor = AssertLocal(Executor::new(work, spin, busy));
        drop(tokio::spawn(executor));
    };
    (spawner, begin)
}

/// Says that a task stays on its thread, where tokio asks for one that may travel.
struct AssertLocal(Executor);

// SAFETY: it is made, spawned, polled and dropped by the one thread of a `current_thread` runtime: such a runtime runs and
// drops its tasks on the thread that drives it, and an arbiter drops its runtime on its own thread.
unsafe impl Send for AssertLocal {}

impl Future for AssertLocal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.turn(cx);
        Poll::Pending
    }
}

/// The test kit's executor: one task of the current runtime, which neither spins nor reads a clock. Each turn of an actor
/// ends it, so that everything else on the thread goes next.
#[cfg(feature = "testkit")]
pub(crate) fn in_place() -> (Spawner, tokio::task::AbortHandle) {
    let (to, work) = unbounded_channel();
    let task = tokio::spawn(InPlace(take_in(work)));
    (Spawner { to, busy: Arc::default() }, task.abort_handle())
}

#[cfg(feature = "testkit")]
struct InPlace(LocalSet);

// SAFETY: it is made, polled and dropped by the one thread of the test kit's `current_thread` runtime, which stays where it
// was made: `TestRuntime` is not `Send`.
#[cfg(feature = "testkit")]
unsafe impl Send for InPlace {}

#[cfg(feature = "testkit")]
impl Future for InPlace {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let _ = Pin::new(&mut self.0).poll(cx);
        Poll::Pending
    }
}

/// Tasks, the first of which takes work in.
fn take_in(mut work: UnboundedReceiver<Vec<Work>>) -> LocalSet {
    let tasks = LocalSet::new();
    tasks.spawn_local(async move {
        while let Some(work) = work.recv().await {
            work.into_iter().for_each(|work| work());
        }
    });
    tasks
}

struct Executor {
    tasks: LocalSet,
    bell: Arc<Bell>,
    waker: Waker,
    spin: Duration,
    busy: Arc<Busy>,
    credit: u32,
    /// Waits since the last try, and before the next.
    waits: u32,
    probe: u32,
}

impl Executor {
    fn new(work: UnboundedReceiver<Vec<Work>>, spin: Duration, busy: Arc<Busy>) -> Self {
        let tasks = take_in(work);
        let bell = Arc::new(Bell { state: State::new(), task: AtomicWaker::new() });
        let waker = Waker::from(bell.clone());
        // Where there is but one core, whoever spins keeps everybody else from running.
        let spin = if allowed_cores().len() > 1 { spin } else { Duration::ZERO };
        MAY_SPIN.set(!spin.is_zero());
        Self { tasks, bell, waker, spin, busy, credit: CREDIT, waits: 0, probe: PROBE_FIRST }
    }

    fn turn(&mut self, cx: &mut Context<'_>) {
        self.bell.task.register(cx.waker());
        let began = clock::read();
        ROUND_BEGAN.set(Some(began));
        self.busy.begin(began);
        loop {
            self.bell.state.begin_round();
            let before = clock::last();
            // It is done when it has no tasks, and may be polled again when it has.
            let _ = Pin::new(&mut self.tasks).poll(&mut Context::from_waker(&self.waker));
            // The last actor has just read the clock, if there was one.
            let now = if clock::last() == before { clock::read() } else { clock::last() };
            let must_step_back = WAITS_FOR_DRIVER.take()
                || ROUND_BEGAN.get().is_some_and(|began| now.saturating_duration_since(began) > ROUND);
            let has_work = self.bell.state.is_rung();
            if has_work && !must_step_back {
                continue;
            }
            self.busy.end(now);
            if must_step_back {
                if has_work {
                    wait_for_driver(cx);
                    return;
                }
            } else if self.spin_for_a_ring(now) {
                self.busy.begin(clock::read());
                continue;
            }
            if self.bell.state.park() {
                return;
            }
            self.busy.begin(clock::last());
        }
    }

    /// Waits for a ring for a moment from `now` on, where that has been worth it.
    fn spin_for_a_ring(&mut self, now: Instant) -> bool {
        let spin = if self.credit > 0 {
            self.spin
        } else {
            self.waits += 1;
            if self.waits < self.probe {
                return false;
            }
            self.waits = 0;
            self.spin / 8
        };
        if spin.is_zero() {
            return false;
        }
        // One a core: two that talk to each other both spin for a moment whenever one has spoken.
        let most = allowed_cores().len();
        let rung = SPINNING.fetch_add(1, Ordering::Relaxed) < most && self.bell.is_rung_within(spin, now);
        SPINNING.fetch_sub(1, Ordering::Relaxed);
        if rung {
            (self.credit, self.probe) = ((self.credit + 2).min(CREDIT), PROBE_FIRST);
        } else if self.credit > 0 {
            self.credit -= 1;
        } else {
            self.probe = (self.probe * 2).min(PROBE_LAST);
        }
        rung
    }
}

impl Bell {
    fn is_rung_within(&self, spin: Duration, began: Instant) -> bool {
        loop {
            for _ in 0..32 {
                if self.state.is_rung() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if began.elapsed() > spin {
                return false;
            }
        }
    }
}

#[cfg(all(test, ironcliw_loom))]
mod loom_tests {
    use std::sync::Arc;

    use loom::sync::Notify;
    use loom::thread;

    use super::State;
    use crate::sync::Mutex;

    /// Two wakers leave a task and ring; the executor polls, looks and waits. Should it wait for ever, loom says so.
    #[test]
    fn no_ring_is_lost_between_a_look_and_a_wait() {
        loom::model(|| {
            let bell = Arc::new((State::new(), Mutex::new(Vec::new()), Notify::new()));
            let wakers: Vec<_> = (0..2)
                .map(|task| {
                    let bell = bell.clone();
                    thread::spawn(move || {
                        let (state, tasks, executor) = &*bell;
                        tasks.lock().push(task);
                        if state.ring() {
                            executor.notify();
                        }
                    })
                })
                .collect();
            let (state, tasks, executor) = &*bell;
            let mut polled = 0;
            while polled < 2 {
                state.begin_round();
                polled += std::mem::take(&mut *tasks.lock()).len();
                if polled < 2 && !state.is_rung() && state.park() {
                    executor.wait();
                }
            }
            wakers.into_iter().for_each(|waker| waker.join().expect("no waker panics"));
        });
    }
}
