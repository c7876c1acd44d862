//! Ping-pong: two actors, one ball. What a message costs when there is nothing else to do.

mod actix;
mod kameo;
mod ours;
mod ractor;
mod xtra;

use super::stage::{Done, Outcome, Threads};
use super::{Program, RUNS, tells};

/// Times the ball goes there and back.
const PINGS: u64 = 200_000;

pub fn program() -> Program {
    Program {
        name: "savina ping-pong",
        result: PINGS,
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

struct Start(Done);
struct Back;
tells!(Start, Back);

/// What `Ping` knows beside its partner.
#[derive(Default)]
struct Game {
    pongs: u64,
    done: Done,
}

impl Game {
    /// Counts a ball that came back, and says whether there is another one.
    fn goes_on(&mut self) -> bool {
        self.pongs += 1;
        let goes_on = self.pongs < PINGS;
        if !goes_on {
            self.done.tell(self.pongs);
        }
        goes_on
    }
}
