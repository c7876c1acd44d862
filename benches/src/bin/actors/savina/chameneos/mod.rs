//! Chameneos: creatures come to a mall, which makes pairs of them; both of a pair change colour and come again. What it costs
//! to go through one actor that everybody needs.

mod actix;
mod kameo;
mod ours;
mod ractor;
mod xtra;

use super::stage::{Done, Outcome, Threads};
use super::{Program, RUNS, tells};

/// Creatures.
const CREATURES: usize = 100;

/// Meetings of two.
const MEETINGS: u64 = 100_000;

pub fn program() -> Program {
    Program {
        name: "savina chameneos",
        // Everyone counts its own.
        result: 2 * MEETINGS,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Color {
    Blue,
    Red,
    Yellow,
    Faded,
}

impl Color {
    fn of(number: usize) -> Self {
        [Self::Blue, Self::Red, Self::Yellow][number % 3]
    }

    /// What both of a pair become.
    fn complement(self, other: Self) -> Self {
        match (self, other) {
            (Self::Faded, _) | (_, Self::Faded) => Self::Faded,
            (one, same) if one == same => one,
            (Self::Blue, Self::Red) | (Self::Red, Self::Blue) => Self::Yellow,
            (Self::Blue, Self::Yellow) | (Self::Yellow, Self::Blue) => Self::Red,
            _ => Self::Blue,
        }
    }
}

/// To the mall: one of this colour comes.
struct Come<A>(Color, A);
/// To the one who waits: this one has come.
struct Meet<A>(Color, A);
/// From the one who waited to the one who came: what both have become.
struct Change(Color);
/// To who comes after the last meeting.
struct Fade;
/// From who has faded: its meetings.
struct Count(u64);
tells!(Change, Fade, Count);

struct Mall<A> {
    meetings_left: u64,
    waiting: Option<A>,
    faded: usize,
    meetings: u64,
    done: Done,
}

enum Fate<A> {
    Waits,
    /// The one who waited, and the one who came.
    Meets(A, A),
    Fades(A),
}

impl<A> Mall<A> {
    fn new(done: Done) -> Self {
        Self { meetings_left: MEETINGS, waiting: None, faded: 0, meetings: 0, done }
    }

    fn welcome(&mut self, who: A) -> Fate<A> {
        if self.meetings_left == 0 {
            return Fate::Fades(who);
        }
        match self.waiting.take() {
            Some(waiting) => {
                self.meetings_left -= 1;
                Fate::Meets(waiting, who)
            }
            None => {
                self.waiting = Some(who);
                Fate::Waits
            }
        }
    }

    fn count(&mut self, meetings: u64) {
        self.faded += 1;
        self.meetings += meetings;
        if self.faded == CREATURES {
            self.done.tell(self.meetings);
        }
    }
}

struct Creature {
    color: Color,
    meetings: u64,
}

impl Creature {
    fn new(number: usize) -> Self {
        Self { color: Color::of(number), meetings: 0 }
    }

    fn meet(&mut self, other: Color) -> Color {
        self.become_one(self.color.complement(other))
    }

    fn become_one(&mut self, color: Color) -> Color {
        self.meetings += 1;
        self.color = color;
        color
    }

    fn fade(&mut self) -> Count {
        self.color = Color::Faded;
        Count(self.meetings)
    }
}
