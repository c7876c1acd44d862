//! The whole tree at one glance.

use serde::Serialize;

use super::events::SupervisionEvent;
use super::histogram::Summary;
use super::info::ActorState;
use super::waits::Wait;

/// One actor, as its threads last left it.
#[derive(Debug, Clone, Serialize)]
pub struct ActorSnapshot {
    /// As `memory/pool`.
    pub path: String,
    /// The name of its Rust type.
    pub kind: &'static str,
    /// Where it is in its life.
    pub state: ActorState,
    /// Messages that wait.
    pub depth: usize,
    /// Messages that may wait.
    pub capacity: usize,
    /// The most that ever waited.
    pub high_water: usize,
    /// Messages handled to the end, counted by turns: an answer may come a little before its message is in the count.
    pub handled: u64,
    /// Messages not handled because nobody waited for them any more.
    pub skipped: u64,
    /// Times it held its thread for longer than it may.
    pub stuck: u64,
    /// Incarnations that ended in a failure.
    pub failures: u64,
    /// Times it was started again.
    pub restarts: u64,
    /// Messages answered with `ActorStopped` or pushed out by the overflow policy.
    pub dead_letters: u64,
    /// Why the last incarnation ended, if one has.
    pub last_exit: Option<String>,
    /// Seconds that its thread has spent on it: in its handlers and hooks while they do not wait, and in between.
    pub busy_s: f64,
    /// The same as a share of the time since it was last looked at, or since a look some seconds ago: 1 is all of it.
    pub busy_ratio: f64,
    /// How long its handlers take from begin to end, their waits included; of at least one message in 64.
    pub handler: Summary,
    /// How long messages wait in its mailbox before their handler begins; of at least one in 64 while there is no backlog.
    pub mailbox_wait: Summary,
    /// The thread it lives on.
    pub arbiter: String,
    /// The core that thread was found to be pinned to.
    pub core: Option<usize>,
}

/// One supervisor.
#[derive(Debug, Clone, Serialize)]
pub struct SupervisorSnapshot {
    /// As `memory`; the root is not listed by its own name but as the empty path.
    pub path: String,
    /// `one_for_one`, `one_for_all` or `rest_for_one`.
    pub strategy: &'static str,
    /// Where it is in its life.
    pub state: ActorState,
    /// Starts of its children that were not their first.
    pub restarts: u64,
    /// Restarts it bears in a window.
    pub max_restarts: u32,
    /// The window, in seconds.
    pub within_s: f64,
    /// Restarts left in the window that ends now.
    pub budget_left: u32,
    /// It has given up.
    pub exhausted: bool,
    /// `never`, `any_significant` or `all_significant`.
    pub auto_shutdown: &'static str,
    /// Its children, those that are down included.
    pub children: usize,
    /// Those of them that wait to be started again.
    pub waiting: Vec<WaitSnapshot>,
}

/// A child that waits to be started again.
#[derive(Debug, Clone, Serialize)]
pub struct WaitSnapshot {
    /// The child's path.
    pub path: String,
    /// How long it waits in all, in seconds.
    pub delay_s: f64,
    /// What is left of that, in seconds.
    pub left_s: f64,
}

/// One thread.
#[derive(Debug, Clone, Serialize)]
pub struct ArbiterSnapshot {
    /// The thread's name.
    pub name: String,
    /// The core it was to be pinned to.
    pub wanted_core: Option<usize>,
    /// The core it was found to be pinned to after asking.
    pub pinned_core: Option<usize>,
    /// Its niceness, where it is not the process's own.
    pub niceness: Option<i32>,
    /// Seconds that it has run actors.
    pub busy_s: f64,
    /// The same as a share of the time, as an actor's.
    pub busy_ratio: f64,
}

/// The runtime at one glance. Parts are read one after the other, not in one instant.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// `running`, `failed`, `closing` or `closed`.
    pub state: &'static str,
    /// Seconds since the runtime was built.
    pub uptime_s: f64,
    /// The cores the process was allowed to use when the runtime was built, by the system's numbers.
    pub cores: Vec<usize>,
    /// Starts, of actors that exist or have existed, that were not their first.
    pub restarts: u64,
    /// Messages that were not handled and not skipped, likewise.
    pub dead_letters: u64,
    /// Every actor, in the order of its spawning.
    pub actors: Vec<ActorSnapshot>,
    /// Every supervisor, likewise.
    pub supervisors: Vec<SupervisorSnapshot>,
    /// Every thread that runs actors.
    pub arbiters: Vec<ArbiterSnapshot>,
    /// Threads that were given up because a handler did not come back, and that have not ended since.
    pub lost_threads: usize,
    /// Actors whose handlers wait for another actor's answer.
    pub waits: Vec<Wait>,
    /// Those of them that wait in a circle: each has asked the next, and the last the first.
    pub deadlocks: Vec<Vec<String>>,
    /// Deadlocks that were met since the runtime was built, each once.
    pub deadlocks_seen: u64,
    /// The last supervision events, oldest first.
    pub events: Vec<SupervisionEvent>,
}
