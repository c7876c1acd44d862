//! Seven programs of the Savina suite (Imam and Sarkar, "Savina - An Actor Benchmark Suite", AGERE 2014), each written
//! once per framework, in the way that framework is used best.
//!
//! A program is a folder: its `mod.rs` says what it does and how big it is, and has what the frameworks share. Its time goes
//! from the first spawn to its result, which is checked; threads are made before, and actors ended after.
//! `stage.rs` is where programs run. Mailboxes of ours are bounded, as always; the peers' are not, for that is what they
//! are fastest with.
//!
//! Where only one actor has anything to do at a time, all are on one thread. Other programs gain by a second thread or lose by
//! it, and not the same ones in every framework: so each framework tries both before the first round, and goes on with what
//! suits it better.

mod bank;
mod big;
mod chameneos;
mod counting;
mod fork_join;
mod ping_pong;
mod stage;
mod thread_ring;

use std::time::Duration;

use ironcliw_bench::{Better, Cell, Goal, Row};

use stage::{Outcome, Threads};

/// Messages that nobody answers. Of the frameworks, ours and actix want to be told.
macro_rules! tells {
    ($($message:ty),*) => {$(
        impl ::ironcliw::Message for $message {
            type Reply = ();
        }
        impl ::actix::Message for $message {
            type Result = ();
        }
    )*};
}
use tells;

/// What to say if an actor should have ended before its program.
const RUNS: &str = "the actor runs until its program ends";

/// Runs a program once.
type Run = fn(Threads) -> Outcome;

struct Program {
    name: &'static str,
    /// What it must come to.
    result: u64,
    /// Numbers of threads to choose from.
    threads: &'static [Threads],
    /// A framework and its version of the program, ours first.
    runs: [(&'static str, Run); 5],
}

/// Runs with each number of threads, of which the fastest is what counts.
const TRIES: usize = 2;

impl Program {
    fn row(self) -> Row {
        let Self { name, result, threads, runs } = self;
        let goals = runs[1..].iter().map(|&(peer, _)| Goal::Against(peer, 1.0)).collect();
        let cells = runs.into_iter().map(|(system, run)| {
            let once = move |threads| {
                let outcome = run(threads);
                assert_eq!(outcome.result, result, "{name} in {system} came to a wrong result");
                outcome.time
            };
            let mut best = None;
            let measure = move |_time: Duration| {
                let threads = *best.get_or_insert_with(|| fastest(threads, once));
                once(threads).as_secs_f64() * 1e3
            };
            Cell { system, measure: Box::new(measure) }
        });
        let cells = cells.collect();
        Row { name, unit: "ms", better: Better::Lower, most_rounds: usize::MAX, warms_up: true, cells, goals }
    }
}

fn fastest(choice: &[Threads], once: impl Fn(Threads) -> Duration) -> Threads {
    match *choice {
        [only] => only,
        _ => {
            let best = |threads: &Threads| (0..TRIES).map(|_| once(*threads)).min();
            choice.iter().copied().min_by_key(best).expect("there is something to choose from")
        }
    }
}

/// A row a program.
pub fn rows() -> impl Iterator<Item = Row> {
    let programs = [
        ping_pong::program(),
        counting::program(),
        thread_ring::program(),
        fork_join::program(),
        big::program(),
        chameneos::program(),
        bank::program(),
    ];
    programs.into_iter().map(Program::row)
}

/// Random numbers, the same in every run and framework.
struct Dice(u64);

impl Dice {
    fn new(seed: usize) -> Self {
        // A state of zero would stay zero.
        Self(seed as u64 + 1)
    }

    /// A number below `end`, by a xorshift generator (Marsaglia, "Xorshift RNGs", 2003).
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high half: the low bits are the less random ones.
        (self.0 >> 32) as usize % end
    }
}
