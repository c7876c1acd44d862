//! Fork-join: work is dealt to actors in turn, and each is then asked how much it has done. What it costs to keep many busy.

mod actix;
mod kameo;
mod ours;
mod ractor;
mod xtra;

use super::stage::{Outcome, Threads};
use super::{Program, RUNS, tells};

/// Actors that work.
const WORKERS: usize = 60;

/// Pieces of work for each.
const PIECES: u64 = 5_000;

pub fn program() -> Program {
    Program {
        name: "savina fork-join",
        result: WORKERS as u64 * PIECES,
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

struct Work;
tells!(Work);

/// Asks how much has been done.
struct Join;

#[derive(Default)]
struct Worker {
    done: u64,
}

impl Worker {
    /// A little arithmetic, as the suite has it.
    fn work(&mut self) {
        let sine = std::hint::black_box(37.2_f64).sin();
        std::hint::black_box(sine * sine);
        self.done += 1;
    }
}
