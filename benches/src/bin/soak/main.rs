//! The pool for minutes: four threads replace buffers of mixed sizes while what is live goes up and down. After each
//! trim, what is resident is compared with what is live; in the end, with what it was in the beginning.
//!
//! ```text
//! cargo run --release -p ironcliw-bench --bin soak -- [--seconds 300] [--threads 4] [--every 5]
//! ```
//!
//! The allocator is mimalloc; with `MIMALLOC_ARENA_EAGER_COMMIT=0` it asks for no huge pages, as in the wheel. `load.rs`
//! is what the threads do.

mod load;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironcliw_actors::pool::{Pool, PoolConfig};
use serde_json::{Value, json};

use crate::load::Load;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// More than is ever live, so that no request is refused.
const LIMIT_BYTES: usize = 3 << 30;
/// What is live goes between these, there and back in [`PERIOD`].
const LIVE_BYTES_LEAST: usize = 64 << 20;
const LIVE_BYTES_MOST: usize = 1 << 30;
/// Not a multiple of the time between two trims, so that they come at every height.
const PERIOD: Duration = Duration::from_secs(23);
/// Resident by live bytes, after each trim.
const RATIO_MOST: f64 = 1.25;
/// What is resident and not live in the last third may be this much more than in the first: a tenth, and what a few
/// caches are worth.
const GROWTH_MOST: f64 = 1.1;
const GROWTH_BYTES_MOST: f64 = 8e6;

struct Options {
    seconds: f64,
    threads: usize,
    every: f64,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { seconds: 300.0, threads: 4, every: 5.0 };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let wrong = || format!("{name} takes a positive number, not {value:?}");
            let seconds = || value.parse().ok().filter(|s: &f64| *s > 0.0 && s.is_finite()).ok_or_else(wrong);
            match name.as_str() {
                "--seconds" => options.seconds = seconds()?,
                "--every" => options.every = seconds()?,
                "--threads" => {
                    options.threads = value.parse().ok().filter(|n| (1..=256).contains(n)).ok_or_else(wrong)?
                }
                _ => return Err(format!("there is no option {name}: there are --seconds S, --threads N, --every S")),
            }
        }
        Ok(options)
    }
}

/// What was found after a trim, in bytes.
struct Sample {
    second: f64,
    live: f64,
    /// As the pool counts it: whole blocks, leased and idle.
    blocks: f64,
    resident: f64,
}

impl Sample {
    fn ratio(&self) -> f64 {
        self.resident / self.live
    }

    fn to_json(&self) -> Value {
        json!({"second": self.second, "live": self.live, "blocks": self.blocks, "resident": self.resident})
    }
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    let Some(at_start) = resident() else {
        eprintln!("this system does not say what is resident");
        return ExitCode::from(2);
    };
    let pool = Pool::new(PoolConfig::limited(LIMIT_BYTES)).expect("the limit is not too small");
    let load = Arc::new(Load::new(options.threads));
    let threads: Vec<_> = (0..options.threads)
        .map(|number| {
            let (load, pool) = (load.clone(), pool.clone());
            std::thread::spawn(move || load.run(&pool, number as u64))
        })
        .collect();
    println!("{:>8} {:>10} {:>10} {:>10} {:>7}", "second", "live MB", "blocks", "resident", "ratio");
    let (began, mut samples) = (Instant::now(), Vec::new());
    while began.elapsed().as_secs_f64() < options.seconds {
        let until = Instant::now() + Duration::from_secs_f64(options.every);
        while Instant::now() < until {
            load.aim(wanted(began.elapsed()) / options.threads);
            std::thread::sleep(Duration::from_millis(20));
        }
        let sample = load.while_paused(|live| {
            pool.trim(0);
            // Small blocks came from the allocator, which would keep them for a second or more.
            // SAFETY: it takes no pointer, and any thread may call it.
            unsafe { libmimalloc_sys::mi_collect(true) };
            let stats = pool.stats();
            let resident = resident().unwrap_or(f64::NAN) - at_start;
            let blocks = (stats.live_bytes + stats.cached_bytes) as f64;
            Sample { second: began.elapsed().as_secs_f64(), live: live as f64, blocks, resident }
        });
        let [live, blocks, resident] = [sample.live, sample.blocks, sample.resident].map(|bytes| bytes / 1e6);
        println!("{:>8.0} {live:>10.0} {blocks:>10.0} {resident:>10.0} {:>7.3}", sample.second, sample.ratio());
        samples.push(sample);
    }
    load.end();
    let replaced: u64 = threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum();
    let seconds = began.elapsed().as_secs_f64();
    println!("\n{replaced} buffers in {seconds:.0} s");
    judge(&samples)
}

/// A triangle over time.
fn wanted(elapsed: Duration) -> usize {
    let phase = (elapsed.as_secs_f64() / PERIOD.as_secs_f64()).fract();
    let height = 1.0 - (2.0 * phase - 1.0).abs();
    LIVE_BYTES_LEAST + ((LIVE_BYTES_MOST - LIVE_BYTES_LEAST) as f64 * height) as usize
}

/// Says what became of the promises, leaves the samples in `target/bench/soak.json`, and fails if one is broken.
fn judge(samples: &[Sample]) -> ExitCode {
    let ratio = samples.iter().map(Sample::ratio).fold(0.0, f64::max);
    let third = samples.len().div_ceil(3);
    // Of live bytes, so that a third with more high points than the other does not look like growth.
    let surplus = |samples: &[Sample]| {
        let mut shares: Vec<f64> = samples.iter().map(|one| (one.resident - one.live) / one.live).collect();
        shares.sort_by(f64::total_cmp);
        shares.get(shares.len() / 2).copied().unwrap_or_default() * LIVE_BYTES_MOST as f64
    };
    let (first, last) = (surplus(&samples[..third]), surplus(&samples[samples.len() - third..]));
    let grows = last > first.max(0.0) * GROWTH_MOST + GROWTH_BYTES_MOST;
    let close = ratio <= RATIO_MOST;
    let verdict = |kept| if kept { "kept" } else { "NOT kept" };
    println!("resident by live bytes after a trim, at most {ratio:.3} of {RATIO_MOST}: {}", verdict(close));
    println!(
        "no growth: {:.0} MB beside 1 GiB live at first, {:.0} MB at last: {}",
        first / 1e6,
        last / 1e6,
        verdict(!grows)
    );
    let report = json!({
        "machine": ironcliw_bench::machine(),
        "ratio_max": ratio,
        "surplus_first": first,
        "surplus_last": last,
        "samples": samples.iter().map(Sample::to_json).collect::<Vec<_>>(),
    });
    let written = std::fs::create_dir_all("target/bench")
        .and_then(|()| std::fs::write("target/bench/soak.json", format!("{report:#}\n")));
    if let Err(error) = written {
        eprintln!("the report could not be written: {error}");
        return ExitCode::FAILURE;
    }
    if close && !grows { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Bytes of this process in memory, where Linux tells.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(value.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}
