//! How long a request at the limit waits for idle blocks that another thread has in its hands.

use super::sync::{nap, pause};
use std::time::{Duration, Instant};

/// How often it lets other threads go first before it sleeps a little between its looks.
const YIELDS: u32 = 100;
/// How often one that was granted looks again.
const LOOKS: u32 = 8;
/// Where a model of threads has no clock.
const TURNS_MAX: u32 = 1100;

/// What is left of it.
#[derive(Debug)]
pub(super) struct Patience {
    turns: u32,
    looks: u32,
    until: Option<Instant>,
    /// Whether to look into the threads' caches: not again after one did not come out of its own.
    pub(super) visits: bool,
}

impl Patience {
    /// All of it, for one request: enough for a thread that was taken off its core.
    pub(super) const LONGEST: Duration = Duration::from_millis(100);

    pub(super) fn new() -> Self {
        Self { turns: 0, looks: 0, until: None, visits: true }
    }

    /// Lets other threads go first. False when it has done so often.
    pub(super) fn looks_again(&mut self) -> bool {
        self.looks += 1;
        let again = self.looks < LOOKS;
        if again {
            pause(false);
        }
        again
    }

    /// Waits a little. False when it has waited for long enough.
    pub(super) fn wait(&mut self) -> bool {
        let is_over = if cfg!(any(ironcliw_loom, ironcliw_shuttle)) {
            self.turns >= TURNS_MAX
        } else {
            let now = Instant::now();
            now >= *self.until.get_or_insert(now + Self::LONGEST)
        };
        if is_over {
            return false;
        }
        if self.turns < YIELDS {
            pause(false)
        } else {
            nap()
        }
        self.turns = self.turns.saturating_add(1);
        true
    }
}
