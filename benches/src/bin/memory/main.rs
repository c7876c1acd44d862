//! Memory: the buffer pool beside the system's malloc, mimalloc, and pools of objects of one size. Prints a table and
//! writes `target/bench/memory.json`.
//!
//! ```text
//! cargo run --release -p ironcliw-bench --bin memory -- [--rounds 7] [--seconds 0.1] [--only rotation] [--list]
//! ```
//!
//! Start with `system.rs`, what every system must do; `work.rs` is what is done to it, `rows.rs` what is asked of ours.

mod rows;
mod system;
mod tracking;
mod work;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ironcliw_bench::{Options, machine, measure, print, write};

/// What the table cannot say, and why.
const NOTES: &str = "
Every buffer's first byte is written. `ironcliw` leases memory to be overwritten, as the rows of the others do; what the
default, zeroed memory, costs stands beside it. malloc is the system's own; the object pools hold boxes of one size, have
no limit, no accounts and no other sizes. Across threads: two threads, each pinned to a core; `one line each` writes a
cache line on either side and does nothing else, which is the least that a pool can cost that writes down both ends of a
lease.";

fn main() -> ExitCode {
    let options = Options { rounds: 7, time: Duration::from_millis(100), only: String::new(), list: false };
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
    let mut outcomes = Vec::new();
    for row in rows {
        let outcome = measure(row, &options);
        print(&outcome);
        outcomes.push(outcome);
    }
    println!("{NOTES}");
    match write("memory", &outcomes) {
        Ok(path) => println!("\nwritten to {} after {:.0} s", path.display(), began.elapsed().as_secs_f64()),
        Err(error) => {
            eprintln!("the report could not be written: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
