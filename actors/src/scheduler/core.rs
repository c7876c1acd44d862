//! A pool's heart: the queue, the slots, and the threads of the moment. `README.md` argues why nothing is lost.
//!
//! A *slot* is the right to run one job; a crew of `n` threads has `n`. A slot is either free, or held by a *server*
//! (`server.rs`), or lent to a scope. Invariants, all under one lock that is held for
//! a few instructions and never while user code runs:
//!
//! - I1: a job is in the queue or was picked, and is picked once: picking takes it out under the lock;
//! - I2: whoever gives a slot up looks into the queue under the same lock, so while a job waits either no slot is free or a
//!   server is on its way;
//! - I3: a server or scope whose crew is not the pool's any more gives its slot up without effect: the new crew has slots of
//!   its own;
//! - I4: the crew leaves a closed pool when the queue is empty and all its slots are free.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ironcliw::Handle;
use parking_lot::Mutex;

use super::counts::{Counts, End};
use super::crew::{Crew, Making, is_home};
use super::levels::Levels;
use super::server::Slot;
use super::spec::check_threads;
use super::work::{Entry, Turn};
use super::{CancelToken, PoolStats, Priority};
use crate::{Error, Result};

/// A full queue looks for what is dead in it once in so many refusals as it has entries, divided by this: a refusal pays
/// for a look at eight entries.
const SWEEP_SHARE: usize = 8;

pub(crate) struct Core {
    pub(crate) name: String,
    /// As errors name it: `scheduler`, or `scheduler/NAME`.
    pub(crate) path: Arc<str>,
    pub(crate) counts: Arc<Counts>,
    /// Keeps the time of deadlines.
    pub(crate) clock: Handle,
    /// Ends when the pool is closed; async jobs, which may sleep for ever, listen to it.
    pub(crate) closing: CancelToken,
    capacity: usize,
    making: Making,
    state: Mutex<State>,
}

struct State {
    levels: Levels<Entry>,
    /// `None` once the pool is closed and has run what it had.
    crew: Option<Arc<Crew>>,
    free: usize,
    is_closed: bool,
    /// Refusals since a look for the dead found none, times [`SWEEP_SHARE`].
    sweep_credit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivenUp {
    Yes,
    JobWaits,
}

/// What becomes of the jobs that wait when their pool is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// They are run, and then the threads end.
    Run,
    /// They are answered with [`ironcliw::Error::ActorStopped`].
    Refuse,
}

impl Core {
    pub(crate) fn start(
        name: String,
        path: String,
        threads: usize,
        capacity: usize,
        making: Making,
        clock: Handle,
    ) -> Result<Arc<Self>> {
        check_threads(threads)?;
        let counts = Arc::new(Counts::new());
        let crew = Crew::start(threads, &making, &counts)?;
        counts.threads_are(threads);
        let state = State {
            levels: Levels::default(),
            crew: Some(crew),
            free: threads,
            is_closed: false,
            sweep_credit: usize::MAX,
        };
        let (path, closing, state) = (path.into(), CancelToken::new(), Mutex::new(state));
        Ok(Arc::new(Self { name, path, counts, clock, closing, capacity, making, state }))
    }

    /// Takes all of `entries` in, or none and says why.
    pub(crate) fn admit<I>(self: &Arc<Self>, entries: I) -> Result<(), (Error, I)>
    where
        I: ExactSizeIterator<Item = Entry>,
    {
        let mut dead = Vec::new();
        let outcome = self.admit_under_lock(entries, &mut dead);
        self.settle(dead);
        let (crew, servers) = outcome?;
        (0..servers).for_each(|_| self.send_server(&crew));
        Ok(())
    }

    fn admit_under_lock<I>(&self, entries: I, dead: &mut Vec<Entry>) -> Result<(Arc<Crew>, usize), (Error, I)>
    where
        I: ExactSizeIterator<Item = Entry>,
    {
        let mut state = self.state.lock();
        let crew = match &state.crew {
            Some(crew) if !state.is_closed => crew.clone(),
            _ => return Err((self.stopped(), entries)),
        };
        let count = entries.len();
        if state.levels.len() + count > self.capacity {
            state.sweep_if_due(dead);
        }
        if state.levels.len() + count > self.capacity {
            self.publish_depth(&state.levels);
            self.counts.rejected.fetch_add(count as u64, Ordering::Relaxed);
            return Err((Error::QueueFull { pool: self.name.clone(), capacity: self.capacity }, entries));
        }
        self.counts.submitted.fetch_add(count as u64, Ordering::Relaxed);
        entries.for_each(|entry| state.levels.push(entry.priority, entry));
        self.publish_depth(&state.levels);
        let servers = state.free.min(count);
        state.free -= servers;
        Ok((crew, servers))
    }

    /// Queues an async job that woke up. It is never refused for want of room: how many are alive is bounded instead.
    pub(crate) fn requeue(self: &Arc<Self>, entry: Entry) {
        let mut state = self.state.lock();
        let Some(crew) = state.crew.clone() else {
            drop(state);
            return entry.settle(self, self.stopped());
        };
        state.levels.push(entry.priority, entry);
        self.publish_depth(&state.levels);
        let is_free = state.free > 0;
        state.free -= usize::from(is_free);
        drop(state);
        if is_free {
            self.send_server(&crew);
        }
    }

    /// For a slot that was taken from the free ones.
    fn send_server(self: &Arc<Self>, crew: &Arc<Crew>) {
        Slot::new(self.clone(), crew.clone()).send();
    }

    /// The next job, with the slot to run it. Without one the slot is given up, under the same lock (I2).
    pub(super) fn next(&self, slot: Slot) -> Option<(Entry, Turn)> {
        let (now, mut dead) = (Instant::now(), Vec::new());
        let picked = {
            let mut state = self.state.lock();
            if !state.is_crew(slot.crew()) {
                None
            } else {
                let picked = state.levels.pick(|entry| entry.is_dead_at(now), &mut dead);
                self.publish_depth(&state.levels);
                if let Some(entry) = &picked {
                    self.counts.started.fetch_add(entry.is_new.into(), Ordering::Relaxed);
                    self.counts.begin(entry.queued, now);
                } else {
                    self.free_slot(&mut state);
                }
                picked
            }
        };
        self.settle(dead);
        let Some(entry) = picked else {
            // The crew goes with it, outside of the lock.
            slot.forget();
            return None;
        };
        let turn = Turn::new(slot, entry.token.clone(), now);
        Some((entry, turn))
    }

    /// Gives a slot up, or answers that a job waits for it and it is kept (I2).
    pub(super) fn give_up(&self, crew: &Arc<Crew>) -> GivenUp {
        let mut state = self.state.lock();
        if !state.is_crew(crew) {
            return GivenUp::Yes;
        }
        if !state.levels.is_empty() {
            return GivenUp::JobWaits;
        }
        self.free_slot(&mut state);
        GivenUp::Yes
    }

    fn free_slot(&self, state: &mut State) {
        state.free += 1;
        self.leave_if_done(state);
    }

    /// I4. Whoever calls this keeps the crew until the lock is released.
    fn leave_if_done(&self, state: &mut State) {
        let is_idle = state.crew.as_ref().is_none_or(|crew| state.free == crew.len);
        if state.is_closed && is_idle && state.levels.is_empty() {
            state.crew = None;
            self.counts.threads_are(0);
        }
    }

    /// Another number of threads, at once. What waits is left to the new ones; what runs ends where it is.
    pub(crate) fn resize(self: &Arc<Self>, threads: usize) -> Result<()> {
        check_threads(threads)?;
        if self.threads() == threads {
            return Ok(());
        }
        let crew = Crew::start(threads, &self.making, &self.counts)?;
        let (servers, _old) = {
            let mut state = self.state.lock();
            if state.is_closed {
                return Err(self.stopped());
            }
            let servers = state.levels.len().min(threads);
            state.free = threads - servers;
            self.counts.threads_are(threads);
            (servers, state.crew.replace(crew.clone()))
        };
        self.counts.resizes.fetch_add(1, Ordering::Relaxed);
        (0..servers).for_each(|_| self.send_server(&crew));
        Ok(())
    }

    /// Takes nothing more in. Does not wait for what remains.
    pub(crate) fn close(self: &Arc<Self>, remaining: Remaining) {
        // Async jobs wake up and end on the pool's threads, while they are there.
        self.closing.cancel();
        let (refused, _crew) = {
            let mut state = self.state.lock();
            state.is_closed = true;
            let refused = if remaining == Remaining::Refuse { state.levels.drain() } else { Vec::new() };
            self.publish_depth(&state.levels);
            let crew = state.crew.clone();
            self.leave_if_done(&mut state);
            (refused, crew)
        };
        refused.into_iter().for_each(|entry| entry.settle(self, self.stopped()));
    }

    fn settle(&self, dead: Vec<Entry>) {
        for entry in dead {
            let why = entry.token.error().unwrap_or(Error::Cancelled);
            entry.settle(self, why);
        }
    }

    fn publish_depth(&self, levels: &Levels<Entry>) {
        for level in Priority::ALL {
            self.counts.queued[level as usize].store(levels.depth(level), Ordering::Relaxed);
        }
    }

    pub(crate) fn stopped(&self) -> Error {
        ironcliw::Error::ActorStopped { path: self.path.to_string() }.into()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Threads; none once it was closed.
    pub(crate) fn threads(&self) -> usize {
        let state = self.state.lock();
        state.crew.as_ref().filter(|_| !state.is_closed).map_or(0, |crew| crew.len)
    }

    pub(crate) fn is_current_thread(&self) -> bool {
        is_home(&self.counts)
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let counts = &self.counts;
        let workers = self.state.lock().crew.as_ref().map_or_else(Vec::new, |crew| crew.workers.clone());
        // The ends are read first, so that no job is seen ended before it was seen taken in.
        let ended = |end| counts.ended(end);
        let (completed, panicked) = (ended(End::Completed), ended(End::Panicked));
        let (cancelled, expired, refused) = (ended(End::Cancelled), ended(End::Expired), ended(End::Refused));
        let (running, started) = (counts.running(), counts.started.load(Ordering::Acquire));
        let (busy, utilisation) = counts.busy();
        PoolStats {
            name: self.name.clone(),
            submitted: counts.submitted.load(Ordering::Acquire),
            rejected: counts.rejected.load(Ordering::Relaxed),
            started,
            completed,
            panicked,
            cancelled,
            expired,
            refused,
            running,
            async_alive: counts.async_alive.load(Ordering::Relaxed),
            queued: counts.queued(),
            queue_capacity: self.capacity,
            threads: self.threads(),
            resizes: counts.resizes.load(Ordering::Relaxed),
            uptime_s: counts.uptime().as_secs_f64(),
            busy_s: busy.as_secs_f64(),
            utilisation,
            wait: counts.wait.read(),
            run: counts.run.read(),
            steals: counts.steals(),
            workers,
        }
    }
}

impl State {
    fn is_crew(&self, crew: &Arc<Crew>) -> bool {
        self.crew.as_ref().is_some_and(|ours| Arc::ptr_eq(ours, crew))
    }

    fn sweep_if_due(&mut self, dead: &mut Vec<Entry>) {
        self.sweep_credit = self.sweep_credit.saturating_add(SWEEP_SHARE);
        if self.sweep_credit >= self.levels.len() {
            let now = Instant::now();
            self.levels.sweep(|entry| entry.is_dead_at(now), dead);
            if dead.is_empty() {
                self.sweep_credit = 0;
            }
        }
    }
}
