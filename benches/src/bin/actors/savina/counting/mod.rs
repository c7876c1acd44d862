//! Counting: one actor sends ones, another adds them up and is asked for the sum. What a message costs in a stream.

mod actix;
mod kameo;
mod ours;
mod ractor;
mod xtra;

use super::stage::{Done, Outcome, Threads};
use super::{Program, RUNS, tells};

/// Messages that count.
const MESSAGES: u64 = 500_000;

pub fn program() -> Program {
    Program {
        name: "savina counting",
        result: MESSAGES,
        threads: Threads::ANY,
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
struct Increment;
/// Asks for the sum, which is the program's result.
struct Retrieve(Done);
tells!(Start, Increment, Retrieve);
