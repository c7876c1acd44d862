//! Big: each of many actors pings one of the others, drawn at random, as soon as the one before has answered. What it costs
//! to have many senders to many mailboxes.

mod actix;
mod kameo;
mod ours;
mod ractor;
mod xtra;

use std::sync::Arc;

use super::stage::{Done, Outcome, Threads};
use super::{Dice, Program, RUNS, tells};

/// Actors that ping each other.
const ACTORS: usize = 120;

/// Pings of each.
const PINGS: u64 = 1_000;

pub fn program() -> Program {
    Program {
        name: "savina big",
        result: ACTORS as u64 * PINGS,
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

/// What every actor learns before the first of them starts: all of them, and who is told of the end.
struct Link<A, S> {
    all: Arc<[A]>,
    sink: S,
}

impl<A, S: Clone> Link<A, S> {
    fn new(all: &Arc<[A]>, sink: &S) -> Self {
        Self { all: all.clone(), sink: sink.clone() }
    }
}

struct Start;
/// From the actor with this number.
struct Ping(usize);
struct Pong;
/// The pings of an actor that has sent all of its own.
struct Finished(u64);
tells!(Start, Ping, Pong, Finished);

struct Node<A, S> {
    number: usize,
    dice: Dice,
    pongs: u64,
    link: Option<Link<A, S>>,
}

impl<A, S> Node<A, S> {
    fn new(number: usize) -> Self {
        Self { number, dice: Dice::new(number), pongs: 0, link: None }
    }

    /// One of all, drawn at random.
    fn anyone(&mut self) -> &A {
        let all = &self.link.as_ref().expect(RUNS).all;
        &all[self.dice.below(all.len())]
    }

    fn neighbour(&self, number: usize) -> &A {
        &self.link.as_ref().expect(RUNS).all[number]
    }

    fn sink(&self) -> &S {
        &self.link.as_ref().expect(RUNS).sink
    }

    /// Counts an answer, and says whether there is another ping to be sent.
    fn goes_on(&mut self) -> bool {
        self.pongs += 1;
        self.pongs < PINGS
    }
}

/// Waits for all.
struct Sum {
    finished: usize,
    pings: u64,
    done: Done,
}

impl Sum {
    fn new(done: Done) -> Self {
        Self { finished: 0, pings: 0, done }
    }

    fn add(&mut self, pings: u64) {
        self.finished += 1;
        self.pings += pings;
        if self.finished == ACTORS {
            self.done.tell(self.pings);
        }
    }
}
