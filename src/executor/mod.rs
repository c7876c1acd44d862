//! The task on each arbiter that runs actors, and decides when their thread may wait, spin or must see to its timers.
//!
//! An arbiter is actix's: a thread with a single-threaded tokio runtime. Waking a task of such a runtime from another thread
//! costs a write to the kernel, and letting the thread wait costs a context switch; both are far dearer than handling a
//! message, and so is what a task costs that may be woken, polled and awaited by anybody. So actors are tasks of one task
//! of the runtime, the [`Executor`]:
//!
//! | file | what it is |
//! | --- | --- |
//! | `place.rs` | where a task stands, the queue of those that want to be polled, and their wakers |
//! | `bell.rs` | what calls the thread when a task was woken from another one |
//! | `guest.rs` | the executor of a thread that somebody else drives, such as one of Python's event loops |
//! | `in_place.rs` | the test kit's executor, which shares a thread with others |
//!
//! What a handler spawns by `tokio::task::spawn_local` runs as well: a `LocalSet` stands in one of the places.
//!
//! The runtime itself must get its turn, or timers and sockets would starve: after [`ROUND`] the executor steps back until the
//! runtime has looked at them (`tokio::task::yield_now` is what waits for that). It also does so when tokio's budget for one
//! task is used up (`tokio::task::coop`), which all the actors of a thread share.

mod bell;
mod guest;
#[cfg(feature = "testkit")]
mod in_place;
#[cfg(all(test, ironcliw_loom))]
mod loom_tests;
mod place;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalEnterGuard, LocalSet, coop};

use crate::arbiters::allowed_cores;
use crate::observe::Busy;
use crate::sync::Ordering;
use crate::ticks;

pub(crate) use guest::{Guest, guest};
#[cfg(feature = "testkit")]
pub(crate) use in_place::in_place;
pub(crate) use place::Place;

use place::RunQueue;

/// How long actors may go on before their thread's timers and sockets get a turn.
pub(crate) const ROUND: Duration = Duration::from_micros(200);

/// Spins in vain before spinning pauses: a thread that is asked now and then does not burn its core for nothing.
const CREDIT: u32 = 8;

/// Waits before it is tried again: at first, and at most after each time in vain has doubled it. Each try is as long as the
/// others, for who has just been answered may be asleep: his next message comes when he has been woken, and not before.
const PROBE_FIRST: u32 = 32;
const PROBE_LAST: u32 = 256;

/// Polls before it looks who was called from other threads.
const POLLS: u32 = 16;

thread_local! {
    /// Whether this thread may look for work that has not come yet.
    static MAY_SPIN: Cell<bool> = const { Cell::new(false) };
}

/// Threads of this process that spin now.
static SPINNING: AtomicUsize = AtomicUsize::new(0);

/// Whether tasks of this thread may look for a moment for work that has not come yet.
pub(crate) fn may_spin() -> bool {
    MAY_SPIN.get()
}

/// Has this polled on the current thread, where an executor is in its turn: in the handlers and hooks of actors, and in what
/// they spawn. `None` if that is about to end.
///
/// # Panics
/// Anywhere else.
pub(crate) fn adopt(task: place::Task) -> Option<&'static Place> {
    RunQueue::here().expect("this is called on an actor's thread").adopt(task)
}

/// A task that an executor is to take in. It stays on that executor's thread from its first poll on.
pub(crate) type Newcomer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Hands tasks over to an executor. Those that are left when it ends are dropped.
#[derive(Clone)]
pub(crate) struct Spawner {
    to: UnboundedSender<Vec<Newcomer>>,
    busy: Arc<Busy>,
}

impl Spawner {
    /// Has these polled on the executor's thread, in order.
    pub(crate) fn spawn(&self, newcomers: Vec<Newcomer>) {
        // Refused, they are dropped.
        let _ = self.to.send(newcomers);
    }

    /// The time that its executor has spent on its tasks.
    pub(crate) fn busy(&self) -> &Busy {
        &self.busy
    }
}

/// Makes an executor's two ends.
pub(crate) fn executor(spin: Duration) -> (Spawner, impl FnOnce() + Send) {
    let (to, newcomers) = unbounded_channel();
    let busy = Arc::<Busy>::default();
    let spawner = Spawner { to, busy: busy.clone() };
    let begin = move || {
        let executor = AssertLocal(Executor::new(newcomers, spin, busy));
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

/// A queue with what every executor has in it: the task that takes newcomers in, and the set of what handlers spawn.
struct Crew {
    queue: &'static RunQueue,
    locals: Rc<RefCell<LocalSet>>,
}

impl Crew {
    fn new(mut newcomers: UnboundedReceiver<Vec<Newcomer>>) -> Self {
        let crew = Self { queue: RunQueue::acquire(), locals: Rc::default() };
        let (queue, locals) = (crew.queue, crew.locals.clone());
        let _turn = crew.enter();
        queue.adopt(Box::pin(async move {
            while let Some(newcomers) = newcomers.recv().await {
                for newcomer in newcomers {
                    let _ = queue.adopt(newcomer);
                }
            }
        }));
        queue.adopt(Box::pin(poll_fn(move |cx| {
            // It is done when it has no tasks, and may be polled again when it has.
            let _ = Pin::new(&mut *locals.borrow_mut()).poll(cx);
            Poll::Pending
        })));
        crew
    }

    /// Until what is returned is dropped, handlers run here and may spawn.
    fn enter(&self) -> (LocalEnterGuard, place::Entered) {
        // SAFETY: it was acquired by `new`, and whoever has the crew stays on one thread.
        (self.locals.borrow().enter(), unsafe { self.queue.enter() })
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let turn = self.enter();
        self.queue.end();
        drop(turn);
        self.queue.release();
    }
}

struct Executor {
    crew: Crew,
    spin: Duration,
    busy: Arc<Busy>,
    credit: u32,
    /// Waits since the last try, and before the next.
    waits: u32,
    probe: u32,
}

impl Executor {
    fn new(newcomers: UnboundedReceiver<Vec<Newcomer>>, spin: Duration, busy: Arc<Busy>) -> Self {
        // Where there is but one core, whoever spins keeps everybody else from running.
        let spin = if allowed_cores().len() > 1 { spin } else { Duration::ZERO };
        MAY_SPIN.set(!spin.is_zero());
        Self { crew: Crew::new(newcomers), spin, busy, credit: CREDIT, waits: 0, probe: PROBE_FIRST }
    }

    /// Polls tasks until there is nothing to do, or the runtime is to have its turn.
    fn turn(&mut self, cx: &mut Context<'_>) {
        let _turn = self.crew.enter();
        let queue = self.crew.queue;
        queue.bell.attend(cx.waker());
        let began = ticks::read();
        let must_step_back_at = began + ticks::of(ROUND);
        self.busy.begin(began);
        loop {
            queue.bell.begin_round();
            queue.take_in_called();
            let must_step_back = poll_some(queue, must_step_back_at);
            let has_work = !queue.is_empty() || queue.bell.is_rung();
            if has_work && !must_step_back {
                continue;
            }
            self.busy.end(ticks::last());
            if must_step_back {
                // Also without work: what it waits for may be the driver's, and else it spins when it comes back.
                wait_for_driver(cx);
                return;
            }
            if self.spin_for_a_ring() {
                self.busy.begin(ticks::read());
                continue;
            }
            if queue.bell.park() {
                return;
            }
            self.busy.begin(ticks::last());
        }
    }

    /// Waits for a ring for a moment, where that has been worth it.
    fn spin_for_a_ring(&mut self) -> bool {
        let spin = if self.credit > 0 {
            self.spin
        } else {
            self.waits += 1;
            if self.waits < self.probe {
                return false;
            }
            self.waits = 0;
            self.spin
        };
        if spin.is_zero() {
            return false;
        }
        // One a core: two that talk to each other both spin for a moment whenever one has spoken.
        let most = allowed_cores().len();
        let rung = SPINNING.fetch_add(1, Ordering::Relaxed) < most && self.is_rung_within(spin);
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

    fn is_rung_within(&self, spin: Duration) -> bool {
        let until = ticks::last() + ticks::of(spin);
        loop {
            for _ in 0..32 {
                if self.crew.queue.bell.is_rung() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if ticks::now() > until {
                return false;
            }
        }
    }
}

/// Polls tasks until there are none, or somebody may have been called from another thread. Whether the runtime is to have its
/// turn: it is time, or tokio's budget is used up.
#[inline]
fn poll_some(queue: &'static RunQueue, must_step_back_at: u64) -> bool {
    for _ in 0..POLLS {
        let before = ticks::last();
        if !queue.poll_first() {
            return false;
        }
        // An actor has just read the counter; other tasks do not.
        let now = if ticks::last() == before { ticks::read() } else { ticks::last() };
        if now > must_step_back_at || !coop::has_budget_remaining() {
            return true;
        }
    }
    false
}

/// Wakes the task once the runtime has looked at its timers and sockets.
fn wait_for_driver(cx: &mut Context<'_>) {
    // Its first poll leaves the waker with the runtime, which keeps it when the future is dropped.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}
