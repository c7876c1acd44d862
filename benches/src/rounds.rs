//! Rows of systems that do the same work, measured in interleaved rounds.
//!
//! Every round measures each system of a row once, and begins with another one than the round before, so that whatever
//! else the machine does meets all of them. A round before the first is thrown away: it faults pages in and warms caches.

use std::time::Duration;

/// What to measure, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rounds that count.
    pub rounds: usize,
    /// One measurement of one system.
    pub time: Duration,
    /// Rows whose name contains this; an empty one is in every name.
    pub only: String,
    /// Whether to say what the rows are, and measure none.
    pub list: bool,
}

impl Options {
    /// Reads `--rounds N`, `--seconds S`, `--only TEXT` and `--list` from the command line.
    ///
    /// # Errors
    /// What is wrong with it, for the user.
    pub fn parse(mut arguments: impl Iterator<Item = String>, mut options: Self) -> Result<Self, String> {
        while let Some(name) = arguments.next() {
            if name == "--list" {
                options.list = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let wrong = |expected: &str| format!("{name} takes {expected}, not {value:?}");
            match name.as_str() {
                "--rounds" => {
                    let rounds = value.parse().ok().filter(|&rounds: &usize| rounds > 0);
                    options.rounds = rounds.ok_or_else(|| wrong("a number of rounds"))?;
                }
                "--seconds" => {
                    let seconds = value.parse().ok().filter(|&seconds: &f64| seconds > 0.0);
                    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                    options.time = time.ok_or_else(|| wrong("a positive number of seconds"))?;
                }
                "--only" => options.only = value,
                _ => {
                    let options = "--rounds N, --seconds S, --only TEXT and --list";
                    return Err(format!("there is no option {name}: there are {options}"));
                }
            }
        }
        Ok(options)
    }
}

/// Which of two values wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Rates.
    Higher,
    /// Times and sizes.
    Lower,
}

/// One system's way to do a row's work.
pub struct Cell {
    /// The system.
    pub system: &'static str,
    /// Measures for about as long as it is told and returns the value in the row's unit.
    pub measure: Box<dyn FnMut(Duration) -> f64>,
}

/// What ours must reach.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// At least this ratio to that system's median; where lower is better the ratio is theirs to ours.
    Against(&'static str, f64),
    /// At most this many of the row's unit.
    Limit(f64),
}

/// The same work, done by each system; the first is ours.
pub struct Row {
    /// What is measured.
    pub name: &'static str,
    /// Of every value.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// At most this many rounds, where one takes longer than it is told.
    pub most_rounds: usize,
    /// Whether a round is thrown away first.
    pub warms_up: bool,
    /// The systems.
    pub cells: Vec<Cell>,
    /// What ours must reach.
    pub goals: Vec<Goal>,
}

/// The values of one system over the rounds.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least one.
    pub min: f64,
    /// The greatest one.
    pub max: f64,
}

impl Spread {
    /// # Panics
    /// If there are no values.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Self { median, min: values[0], max: values[values.len() - 1] }
    }
}

/// A row and what was measured, a spread for each of its systems.
pub struct Outcome {
    /// The row.
    pub row: Row,
    /// In the order of the row's cells.
    pub spreads: Vec<Spread>,
}

/// Measures one row.
pub fn measure(mut row: Row, options: &Options) -> Outcome {
    let rounds = options.rounds.min(row.most_rounds);
    let systems = row.cells.len();
    let mut values = vec![Vec::with_capacity(rounds); systems];
    if row.warms_up {
        for cell in &mut row.cells {
            (cell.measure)(options.time / 2);
        }
    }
    for round in 0..rounds {
        for turn in 0..systems {
            let which = (round + turn) % systems;
            values[which].push((row.cells[which].measure)(options.time));
        }
    }
    Outcome { row, spreads: values.into_iter().map(Spread::of).collect() }
}
