//! The table that a bench prints and the JSON that it leaves in `target/bench/`.

use std::path::PathBuf;
use std::{fs, io};

use serde_json::{Value, json};

use crate::rounds::{Better, Goal, Outcome, Spread};

/// A goal, judged.
struct Judged {
    peer: &'static str,
    peer_median: f64,
    ratio: f64,
    must: f64,
}

impl Judged {
    fn met(&self) -> bool {
        self.ratio >= self.must
    }
}

fn judge(outcome: &Outcome) -> Vec<Judged> {
    let ours = outcome.spreads[0].median;
    let median =
        |system| outcome.row.cells.iter().position(|cell| cell.system == system).map(|at| &outcome.spreads[at]);
    let judged = |goal: &Goal| match *goal {
        Goal::Against(peer, must) => {
            let peer_median = median(peer)?.median;
            Some(Judged { peer, peer_median, ratio: ratio(outcome.row.better, ours, peer_median), must })
        }
        Goal::Limit(limit) => Some(Judged { peer: "limit", peer_median: limit, ratio: limit / ours, must: 1.0 }),
    };
    outcome.row.goals.iter().filter_map(judged).collect()
}

/// Above one, ours is better.
fn ratio(better: Better, ours: f64, peer: f64) -> f64 {
    match better {
        Better::Higher => ours / peer,
        Better::Lower => peer / ours,
    }
}

/// Three digits that say something, whatever the size.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Prints one row: a line for each system, ours first, and a line for a limit.
pub fn print(outcome: &Outcome) {
    let goals = judge(outcome);
    let row = &outcome.row;
    let direction = if row.better == Better::Higher { "higher is better" } else { "lower is better" };
    println!("\n{}, {} ({direction})", row.name, row.unit);
    println!("  {:<18} {:>9} {:>9} {:>9} {:>8} {:>6}", "system", "median", "min", "max", "ratio", "must");
    let ours = outcome.spreads[0].median;
    for (place, (cell, spread)) in row.cells.iter().zip(&outcome.spreads).enumerate() {
        let Spread { median, min, max } = *spread;
        let values = format!("{:>9} {:>9} {:>9}", digits(median), digits(min), digits(max));
        let ratio = if place == 0 { String::new() } else { format!("{:.2}", ratio(row.better, ours, median)) };
        let goal = goals.iter().find(|goal| goal.peer == cell.system);
        println!("  {:<18} {values} {ratio:>8} {}", cell.system, verdict(goal));
    }
    if let Some(limit) = goals.iter().find(|goal| goal.peer == "limit") {
        let (value, ratio) = (digits(limit.peer_median), format!("{:.2}", limit.ratio));
        println!("  {:<18} {value:>9} {:>19} {ratio:>8} {}", "limit", "", verdict(Some(limit)));
    }
}

fn verdict(goal: Option<&Judged>) -> String {
    goal.map_or_else(String::new, |goal| format!("{:>6.2} {}", goal.must, if goal.met() { "met" } else { "NOT met" }))
}

/// What the figures were measured on.
pub fn machine() -> Value {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = told.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cpu = model.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    json!({"cpu": cpu, "cores": ironcliw::allowed_cores().len(), "system": std::env::consts::OS})
}

/// Writes `target/bench/<area>.json` below the current folder and returns its path.
///
/// # Errors
/// Those of the file system.
pub fn write(area: &str, outcomes: &[Outcome]) -> io::Result<PathBuf> {
    let rows = outcomes.iter().flat_map(|Outcome { row, spreads }| {
        row.cells.iter().zip(spreads).map(|(cell, Spread { median, min, max })| {
            json!({"name": row.name, "system": cell.system, "median": median, "min": min, "max": max, "unit": row.unit})
        })
    });
    let goals = outcomes.iter().flat_map(|outcome| {
        judge(outcome).into_iter().map(|Judged { peer, peer_median, ratio, must }| {
            let (name, ours) = (format!("{}/{peer}", outcome.row.name), outcome.spreads[0].median);
            json!({"name": name, "ours": ours, "peer": peer, "peer_median": peer_median, "ratio": ratio, "must": must})
        })
    });
    let report = json!({"machine": machine(), "rows": rows.collect::<Vec<_>>(), "goals": goals.collect::<Vec<_>>()});
    let path = PathBuf::from(format!("target/bench/{area}.json"));
    fs::create_dir_all("target/bench")?;
    fs::write(&path, format!("{report:#}\n"))?;
    Ok(path)
}
