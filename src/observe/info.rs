//! What is known of one actor, kept by the threads that do the work and read by anybody.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use super::activity::Activity;
use super::busy::Busy;
use crate::ExitReason;

/// Where an actor is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ActorState {
    /// An incarnation is being made.
    Starting = 0,
    /// It takes messages from its mailbox.
    Running = 1,
    /// The last incarnation ended; the next one waits for its backoff or for its siblings.
    Restarting = 2,
    /// It finishes what is queued, then ends.
    Stopping = 3,
    /// It has ended for good.
    Stopped = 4,
    /// It holds its thread for longer than it may ([`Child::stuck_after`](crate::Child::stuck_after)).
    Stuck = 5,
}

impl fmt::Display for ActorState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Stuck => "stuck",
        })
    }
}

pub(crate) struct Info {
    path: Box<str>,
    /// A function, for it is half as long as what it returns.
    kind: fn() -> &'static str,
    state: AtomicU8,
    handled: AtomicU64,
    skipped: AtomicU64,
    failures: AtomicU64,
    restarts: AtomicU64,
    dead_letters: AtomicU64,
    /// It holds its thread for longer than it may.
    is_stuck: AtomicBool,
    /// Times that came to be.
    stuck: AtomicU64,
    /// Boxed, as most have none.
    last_exit: Mutex<Option<Box<ExitReason>>>,
    /// The time its polls have taken.
    busy: Busy,
    activity: OnceLock<Box<Activity>>,
    /// It has ended for good, and everybody who had asked has heard.
    is_over: AtomicBool,
    /// Those who wait for that.
    mourners: Notify,
    /// A handler is at work.
    #[cfg(feature = "testkit")]
    has_message_in_hand: AtomicBool,
}

impl Info {
    pub(crate) fn new(path: String, kind: fn() -> &'static str) -> Self {
        Self {
            path: path.into_boxed_str(),
            kind,
            state: AtomicU8::new(ActorState::Starting as u8),
            handled: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            restarts: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            is_stuck: AtomicBool::new(false),
            stuck: AtomicU64::new(0),
            last_exit: Mutex::new(None),
            busy: Busy::new(),
            activity: OnceLock::new(),
            is_over: AtomicBool::new(false),
            mourners: Notify::const_new(),
            #[cfg(feature = "testkit")]
            has_message_in_hand: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn kind(&self) -> &'static str {
        (self.kind)()
    }

    pub(crate) fn state(&self) -> ActorState {
        match self.state.load(Ordering::Acquire) {
            0 => ActorState::Starting,
            1 => ActorState::Running,
            2 => ActorState::Restarting,
            3 => ActorState::Stopping,
            _ => ActorState::Stopped,
        }
    }

    /// As observers see it: an actor that is stuck does nothing else.
    pub(crate) fn seen_state(&self) -> ActorState {
        match self.state() {
            ActorState::Stopped => ActorState::Stopped,
            _ if self.is_stuck.load(Ordering::Relaxed) => ActorState::Stuck,
            state => state,
        }
    }

    /// Marks it, or takes the mark away. A new mark is counted.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        if !self.is_stuck.swap(stuck, Ordering::Relaxed) && stuck {
            self.stuck.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn stuck(&self) -> u64 {
        self.stuck.load(Ordering::Relaxed)
    }

    /// What moves with every message that it is done with.
    pub(crate) fn progress(&self) -> u64 {
        self.handled().wrapping_add(self.skipped())
    }

    /// Stopped is final: later changes are ignored, so a thread that returns late cannot revive an actor.
    pub(crate) fn set_state(&self, state: ActorState) {
        let _ = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
            (now != ActorState::Stopped as u8).then_some(state as u8)
        });
    }

    /// Changes the state only from `from`: what a supervisor has said in the meantime stands.
    pub(crate) fn advance(&self, from: ActorState, to: ActorState) {
        let _ = self.state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The actor is ending or has ended for good.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.state(), ActorState::Stopping | ActorState::Stopped)
    }

    /// Called by the actor's own thread alone, so it need not be one operation.
    pub(crate) fn count_handled(&self) {
        self.handled.store(self.handled.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        #[cfg(feature = "testkit")]
        self.set_message_in_hand(false);
    }

    #[cfg(feature = "testkit")]
    pub(crate) fn set_message_in_hand(&self, is_in_hand: bool) {
        self.has_message_in_hand.store(is_in_hand, Ordering::Relaxed);
    }

    #[cfg(feature = "testkit")]
    pub(crate) fn has_message_in_hand(&self) -> bool {
        self.has_message_in_hand.load(Ordering::Relaxed)
    }

    pub(crate) fn count_skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_dead_letters(&self, n: u64) {
        self.dead_letters.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn record_exit(&self, reason: &ExitReason) {
        if reason.is_failure() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        *self.last_exit.lock() = Some(Box::new(reason.clone()));
        #[cfg(feature = "testkit")]
        self.set_message_in_hand(false);
    }

    /// There is no more to come of it.
    pub(crate) fn announce_end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.mourners.notify_waiters();
    }

    /// Waits for the end, and tells why the last incarnation ended.
    pub(crate) async fn end(&self) -> ExitReason {
        // Hears what is announced from here on; what was announced before shows in the flag.
        let announced = self.mourners.notified();
        if !self.is_over.load(Ordering::Acquire) {
            announced.await;
        }
        self.last_reason()
    }

    /// Why the last incarnation ended. One that was left no time to say is one that was told.
    pub(crate) fn last_reason(&self) -> ExitReason {
        self.last_exit.lock().as_deref().cloned().unwrap_or(ExitReason::Shutdown)
    }

    /// Written by the actor's own thread.
    pub(crate) fn busy(&self) -> &Busy {
        &self.busy
    }

    pub(crate) fn activity(&self) -> Option<&Activity> {
        self.activity.get().map(Box::as_ref)
    }

    /// The same, made if there was none.
    pub(crate) fn activity_made(&self) -> &Activity {
        self.activity.get_or_init(Box::default)
    }

    pub(crate) fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(crate) fn dead_letters(&self) -> u64 {
        self.dead_letters.load(Ordering::Relaxed)
    }

    pub(crate) fn last_exit(&self) -> Option<String> {
        self.last_exit.lock().as_ref().map(ToString::to_string)
    }
}
