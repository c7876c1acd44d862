//! Who takes jobs from the queue: a *server*, a closure that was handed to rayon with a slot and serves until nothing waits.
//!
//! rayon lets a thread that waits for the parts of its job take something else up meanwhile, on top of the same stack. A
//! server that comes up so serves one job and passes its slot on: the job below waits for one other at most each time, and a
//! stack holds no more jobs than there are slots.
//!
//! Between two jobs a server helps jobs that already run with their parts, so that these end rather than more are begun;
//! unless something urgent waits. Its slot is idle while it helps. If meanwhile another server comes up, that one passes its
//! slot on and this one goes on with its own; if a scope does, which has a slot of its own and may stay, the idle one is
//! passed on.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Priority;
use super::core::{Core, GivenUp};
use super::crew::Crew;

/// Parts that a server helps with before it begins another job. A bound, because a job may make parts for ever; large,
/// because a part is small beside a job.
const HELP_MAX: usize = 64;

thread_local! {
    /// Servers on this thread's stack.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The slot of the server on this thread that helps.
    static IDLE: RefCell<Option<Slot>> = const { RefCell::new(None) };
    /// Another server came up on this thread since that one began to help.
    static IS_CALLED: Cell<bool> = const { Cell::new(false) };
}

/// The right to run one job. Dropped, it goes to the next job that waits, or becomes free.
pub(crate) struct Slot {
    core: Arc<Core>,
    crew: Arc<Crew>,
    is_held: bool,
}

impl Slot {
    pub(super) fn new(core: Arc<Core>, crew: Arc<Crew>) -> Self {
        Self { core, crew, is_held: true }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(super) fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    /// For one that the core has taken back, or whose crew is not the pool's any more.
    pub(super) fn forget(mut self) {
        self.is_held = false;
    }

    /// Hands rayon a server with this slot.
    pub(super) fn send(self) {
        let crew = self.crew.clone();
        let from = crew.threads.current_thread_index();
        crew.threads.spawn(move || {
            // One that lies on a thread's own deque can leave it only by theft.
            if from.is_some() && from != self.crew.threads.current_thread_index() {
                self.core.counts.stolen_jobs.fetch_add(1, Ordering::Relaxed);
            }
            serve(self);
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_held && self.core.give_up(&self.crew) == GivenUp::JobWaits {
            Self::new(self.core.clone(), self.crew.clone()).send();
        }
    }
}

/// Takes jobs until none waits. Never panics: rayon would end the process.
fn serve(slot: Slot) {
    if IDLE.with_borrow(Option::is_some) && !IS_CALLED.replace(true) {
        return drop(slot);
    }
    let is_alone = DEPTH.replace(DEPTH.get() + 1) == 0;
    let core = slot.core.clone();
    let mut held = Some(slot);
    while let Some(slot) = held.take() {
        let Some((entry, turn)) = core.next(slot) else { break };
        held = entry.work.run(turn);
        if !is_alone {
            break;
        }
        held = held.and_then(|slot| help(&core, slot));
    }
    DEPTH.set(DEPTH.get() - 1);
}

/// Helps with the parts of running jobs. Gives the slot back, unless it was passed on.
fn help(core: &Core, slot: Slot) -> Option<Slot> {
    let urgent = &core.counts.queued[Priority::High as usize];
    IS_CALLED.set(false);
    IDLE.set(Some(slot));
    for _ in 0..HELP_MAX {
        let goes_on = urgent.load(Ordering::Relaxed) == 0 && rayon::yield_now() == Some(rayon::Yield::Executed);
        if !goes_on || IS_CALLED.get() || IDLE.with_borrow(Option::is_none) {
            break;
        }
    }
    IDLE.take()
}

/// For a scope that begins on this thread: should a server below help, its slot is for others to use.
pub(super) fn pass_idle_slot_on() {
    drop(IDLE.take());
}
