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
    handled: AtomicU64,
    /// The time its polls have taken.
    busy: Busy,
    /// What an actor that idles has none of: made at the first use.
    rare: OnceLock<Box<Rare>>,
    state: AtomicU8,
    /// It holds its thread for longer than it may.
    is_stuck: AtomicBool,
    /// It has ended for good, and everybody who had asked has heard.
    is_over: AtomicBool,
    /// A handler is at work.
    #[cfg(feature = "testkit")]
    has_message_in_hand: AtomicBool,
}

#[derive(Default)]
struct Rare {
    skipped: AtomicU64,
    failures: AtomicU64,
    restarts: AtomicU64,
    dead_letters: AtomicU64,
    /// Times that it came to be stuck.
    stuck: AtomicU64,
    last_exit: Mutex<Option<ExitReason>>,
    /// Those who wait for its end.
    mourners: Notify,
    activity: Activity,
}

impl Info {
    pub(crate) fn new(path: String, kind: fn() -> &'static str) -> Self {
        Self {
            path: path.into_boxed_str(),
            kind,
            handled: AtomicU64::new(0),
            busy: Busy::new(),
            rare: OnceLock::new(),
            state: AtomicU8::new(ActorState::Starting as u8),
            is_stuck: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            #[cfg(feature = "testkit")]
            has_message_in_hand: AtomicBool::new(false),
        }
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// One of the rare counts.
    fn count_of(&self, count: impl FnOnce(&Rare) -> &AtomicU64) -> u64 {
        self.rare.get().map_or(0, |rare| count(rare).load(Ordering::Relaxed))
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
            self.rare().stuck.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn stuck(&self) -> u64 {
        self.count_of(|rare| &rare.stuck)
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
    pub(crate) fn count_handled(&self, messages: u64) {
        self.handled.store(self.handled.load(Ordering::Relaxed) + messages, Ordering::Relaxed);
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
        self.rare().skipped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_restart(&self) {
        self.rare().restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_dead_letters(&self, n: u64) {
        if n > 0 {
            self.rare().dead_letters.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub(crate) fn record_exit(&self, reason: &ExitReason) {
        if reason.is_failure() {
            self.rare().failures.fetch_add(1, Ordering::Relaxed);
        }
        *self.rare().last_exit.lock() = Some(reason.clone());
        #[cfg(feature = "testkit")]
        self.set_message_in_hand(false);
    }

    /// There is no more to come of it.
    pub(crate) fn announce_end(&self) {
        self.is_over.store(true, Ordering::Release);
        // Made if need be, for whoever begins to wait now makes it as well, and one of the two finds what the other has done.
        self.rare().mourners.notify_waiters();
    }

    /// Waits for the end, and tells why the last incarnation ended.
    pub(crate) async fn end(&self) -> ExitReason {
        // Hears what is announced from here on; what was announced before shows in the flag.
        let announced = self.rare().mourners.notified();
        if !self.is_over.load(Ordering::Acquire) {
            announced.await;
        }
        self.last_reason()
    }

    /// Why the last incarnation ended. One that was left no time to say is one that was told.
    pub(crate) fn last_reason(&self) -> ExitReason {
        self.rare.get().and_then(|rare| rare.last_exit.lock().clone()).unwrap_or(ExitReason::Shutdown)
    }

    /// Written by the actor's own thread.
    pub(crate) fn busy(&self) -> &Busy {
        &self.busy
    }

    pub(crate) fn activity(&self) -> Option<&Activity> {
        self.rare.get().map(|rare| &rare.activity)
    }

    /// The same, made if there was none.
    pub(crate) fn activity_made(&self) -> &Activity {
        &self.rare().activity
    }

    pub(crate) fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    pub(crate) fn skipped(&self) -> u64 {
        self.count_of(|rare| &rare.skipped)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.count_of(|rare| &rare.failures)
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.count_of(|rare| &rare.restarts)
    }

    pub(crate) fn dead_letters(&self) -> u64 {
        self.count_of(|rare| &rare.dead_letters)
    }

    pub(crate) fn last_exit(&self) -> Option<String> {
        self.rare.get().and_then(|rare| rare.last_exit.lock().as_ref().map(ToString::to_string))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_actor_is_known_by_little() {
        assert!(size_of::<Info>() <= 64, "{}", size_of::<Info>());
        let info = Info::new("idle".to_owned(), || "Idle");
        info.count_dead_letters(0);
        assert!(info.rare.get().is_none());
        assert_eq!((info.progress(), info.restarts(), info.last_exit()), (0, 0, None));
    }
}
