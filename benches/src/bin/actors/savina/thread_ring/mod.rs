//! Thread-ring: actors in a circle hand one token on, until it has made its hops. What it costs to go from actor to actor.

mod actix;
mod kameo;
mod ours;
mod ractor;
mod xtra;

use super::stage::{Done, Outcome, Threads};
use super::{Program, RUNS, tells};

/// Actors in the ring.
const ACTORS: usize = 100;

/// Times the token is handed on.
const HOPS: usize = 300_030;

pub fn program() -> Program {
    Program {
        name: "savina thread-ring",
        // The number of the actor that the token ends with.
        result: (HOPS % ACTORS) as u64,
        threads: Threads::ONE,
        runs: [
            ("ironcliw", ours::run),
            ("actix", actix::run),
            ("kameo", kameo::run),
            ("ractor", ractor::run),
            ("xtra", xtra::run),
        ],
    }
}

struct Token {
    hops_left: usize,
    done: Done,
}
tells!(Token);

impl Token {
    fn new(done: Done) -> Self {
        Self { hops_left: HOPS, done }
    }

    /// The token as it goes to the next one; `None` if it ends here.
    fn hand_on(mut self, number: usize) -> Option<Self> {
        if self.hops_left == 0 {
            self.done.tell(number as u64);
            return None;
        }
        self.hops_left -= 1;
        Some(self)
    }
}

/// Tells an actor who comes after it.
struct Link<A>(A);

/// Each of these with the one after it.
fn links<A: Clone>(ring: &[A]) -> impl Iterator<Item = (&A, Link<A>)> {
    ring.iter().zip(ring.iter().cycle().skip(1).cloned().map(Link))
}
