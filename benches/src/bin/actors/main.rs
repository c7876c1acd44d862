//! Messages, asks and actors: ours beside actix, kameo, ractor and xtra, beside kanal and tokio's mpsc as mailboxes, and
//! beside crossbeam-channel between plain threads as the ceiling. Prints a table and writes `target/bench/actors.json`.
//!
//! ```text
//! cargo run --release -p ironcliw-bench --bin actors -- [--rounds 7] [--seconds 0.2] [--only savina] [--list]
//! ```
//!
//! Start with `system.rs`, what every system must do; `work.rs` is what is done to it, `rows.rs` what is asked of ours.

mod cores;
mod crowd;
mod hosts;
mod rows;
mod savina;
mod system;
mod systems;
mod work;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ironcliw_bench::{Counting, Options, machine, measure, print, write};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the table cannot say, and why.
const NOTES: &str = "
Mailboxes hold 1024 messages, those of the idle actors what each system takes by default; ractor's are unbounded. In the
Savina programs ours are bounded and the peers' are not.
Across threads: two threads, each pinned to a core; four producers are not pinned.
xtra keeps no order among messages of one priority; all others keep a sender's order.";

fn main() -> ExitCode {
    let options = Options { rounds: 7, time: Duration::from_millis(200), only: String::new(), list: false };
    let options = match Options::parse(std::env::args().skip(1), options) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::FAILURE;
        }
    };
    // Read before any thread is pinned.
    ironcliw::allowed_cores();
    let mut rows = rows::all();
    rows.retain(|row| row.name.contains(&options.only));
    if options.list {
        rows.iter().for_each(|row| println!("{}", row.name));
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    println!("{} rounds of {:?} for each system, interleaved; {}", options.rounds, options.time, machine());
    let (mut outcomes, total) = (Vec::new(), rows.len());
    for (place, row) in (1..).zip(rows) {
        eprintln!("row {place} of {total}: {}, after {:.0} s", row.name, began.elapsed().as_secs_f64());
        let outcome = measure(row, &options);
        print(&outcome);
        outcomes.push(outcome);
    }
    println!("{NOTES}");
    match write("actors", &outcomes) {
        Ok(path) => println!("\nwritten to {} after {:.0} s", path.display(), began.elapsed().as_secs_f64()),
        Err(error) => {
            eprintln!("the report could not be written: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
