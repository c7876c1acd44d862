//! The watchdog: a task on the runtime's own thread that sees which actors hold their thread for longer than they may, says
//! so, and has those replaced that allow it.
//!
//! It reads the [pulse](crate::pulse) of every thread that has an actor with a limit, four times within the shortest limit.
//! An actor is stuck when, for as long as its limit, each look has found the same poll of it and no further message done. A
//! handler that waits is not polled, and so is never found.
//!
//! Replacing is its supervisor's work, as after any loss of a thread (`Cell::give_up`): the incarnation's lease ends, whoever
//! waits for the message in hand hears, and [`Handle::lose_thread`] tells the supervisors of all others that live there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{error, info, warn};

use crate::Handle;
use crate::arbiters::Arbiter;
use crate::cell::Cell;
use crate::child::Patience;
use crate::observe::What;
use crate::pulse::Beat;

/// Looks within a limit: a stuck actor is found when at most half as much again has passed, for the first look cannot know when
/// the poll began, nor the second when its message did.
const LOOKS: u32 = 4;

/// No more looks than these, however short a limit is: what is held for less is a matter of scheduling.
const PAUSE_MIN: Duration = Duration::from_millis(2);

/// Threads that may be lost at a time before stuck actors are marked and no longer replaced. Each keeps its stack, its actors'
/// memory and maybe a core: an actor that gets stuck whenever it starts must not collect them.
const LOST_MAX: usize = 16;

/// How starting actors reach the watchdog.
#[derive(Default)]
pub(crate) struct Watchdog {
    shorter: Notify,
}

/// A thread that was found in the same poll before.
struct Suspect {
    thread: Arc<Arbiter>,
    held: Beat,
    /// For how long, as far as the watchdog itself ran.
    time: Duration,
    /// Who that is: looked for at the second look.
    cell: Option<Arc<dyn Cell>>,
    progress: u64,
    marked: bool,
}

/// Looks at the runtime's threads for as long as there is a runtime.
pub(crate) async fn keep(runtime: Handle) {
    let mut suspects: Vec<Suspect> = Vec::new();
    let mut last = Instant::now();
    loop {
        let threads = runtime.threads().watched();
        let shortest = threads.iter().filter_map(|thread| thread.pulse().shortest_limit()).min();
        let pause = shortest.map(|limit| (limit / LOOKS).max(PAUSE_MIN));
        let shorter = runtime.watchdog().shorter.notified();
        match pause {
            None => shorter.await,
            // A limit that is shorter than the others was: it is looked at from here on.
            Some(pause) => drop(tokio::time::timeout(pause, shorter).await),
        }
        // A process that was stopped, or a machine that was, proves nothing: one pause counts as two at the most.
        let passed = last.elapsed().min(pause.unwrap_or_default() * 2);
        last = Instant::now();
        suspects = look(&runtime, suspects, passed);
    }
}

/// One look at every thread; who is suspect after it.
fn look(runtime: &Handle, mut before: Vec<Suspect>, passed: Duration) -> Vec<Suspect> {
    let mut now = Vec::new();
    for thread in runtime.threads().watched() {
        let Some(held) = thread.pulse().look() else { continue };
        let known = before.iter().position(|suspect| suspect.held == held && Arc::ptr_eq(&suspect.thread, &thread));
        now.push(match known.map(|at| before.swap_remove(at)) {
            Some(mut suspect) => {
                suspect.look(runtime, passed);
                suspect
            }
            None => Suspect { thread, held, time: Duration::ZERO, cell: None, progress: 0, marked: false },
        });
    }
    before.into_iter().for_each(|mut suspect| suspect.unmark(runtime));
    now
}

impl Suspect {
    fn look(&mut self, runtime: &Handle, passed: Duration) {
        let Some(cell) = self.cell.clone() else {
            self.cell = runtime.tenant(self.held);
            self.progress = self.cell.as_ref().map_or(0, |cell| cell.info().progress());
            return;
        };
        let patience = cell.patience();
        let Some(limit) = patience.limit() else { return };
        let progress = cell.info().progress();
        if progress != self.progress {
            // The same poll, and another message.
            (self.progress, self.time) = (progress, Duration::ZERO);
            return self.unmark(runtime);
        }
        self.time += passed;
        if self.time < limit {
            return;
        }
        if !std::mem::replace(&mut self.marked, true) {
            mark(runtime, &*cell, &self.thread, limit);
        }
        if patience.replace_stuck {
            self.replace(runtime, &*cell);
        }
    }

    /// Asks for it at every look, until the thread is no longer among those looked at.
    fn replace(&self, runtime: &Handle, cell: &dyn Cell) {
        let path = cell.info().path();
        // A runtime that closes has bounds of its own.
        if !runtime.is_ready() {
            return;
        }
        if runtime.threads().lost() >= LOST_MAX {
            return warn!(path, "a stuck actor is not replaced: {LOST_MAX} threads are lost already");
        }
        if let Some(parent) = runtime.parent(path) {
            parent.replace(path, &self.thread, self.held);
        }
    }

    /// The poll is over, or the thread was given up.
    fn unmark(&mut self, runtime: &Handle) {
        let Some(cell) = self.cell.as_ref().filter(|_| std::mem::take(&mut self.marked)) else { return };
        cell.info().set_stuck(false);
        if self.thread.is_alive() {
            let path = cell.info().path();
            info!(path, "a stuck actor has come back");
            runtime.events().push(cell.info(), What::Unstuck);
        }
    }
}

fn mark(runtime: &Handle, cell: &dyn Cell, thread: &Arbiter, limit: Duration) {
    let (path, thread, limit_s) = (cell.info().path(), thread.name(), limit.as_secs_f64());
    cell.info().set_stuck(true);
    error!(path, thread, limit_s, "an actor is stuck: it holds its thread for longer than it may");
    runtime.events().push(cell.info(), What::Stuck { limit_s });
}

impl Handle {
    /// An actor with this patience is to be started on `thread`.
    pub(crate) fn watch(&self, thread: &Arbiter, patience: Patience) {
        if let Some(limit) = patience.limit()
            && thread.pulse().limit(limit)
        {
            self.watchdog().shorter.notify_one();
        }
    }

    /// Gives a thread up, for what the actor at `path` does there or another that is found doing it, and has everybody else
    /// who lives there started elsewhere.
    pub(crate) fn lose_thread(&self, thread: &Arc<Arbiter>, path: &str) {
        let culprit = thread.pulse().look().and_then(|held| self.tenant(held));
        let path = culprit.as_ref().map_or(path, |cell| cell.info().path());
        if !self.threads().lose(thread, path) {
            return;
        }
        for cell in self.registry().cells() {
            if cell.thread().is_some_and(|home| Arc::ptr_eq(&home, thread))
                && let Some(parent) = self.parent(cell.info().path())
            {
                parent.displace(cell.info().path(), thread);
            }
        }
    }

    fn tenant(&self, held: Beat) -> Option<Arc<dyn Cell>> {
        self.registry().cells().into_iter().find(|cell| cell.tenant() == Some(held.tenant))
    }

    /// The supervisor of the child at `path`.
    fn parent(&self, path: &str) -> Option<Arc<dyn Cell>> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.registry().at(parent),
            None => self.root().ok().map(|root| Arc::new(root) as Arc<dyn Cell>),
        }
    }
}
