//! The pool under mixed sizes for minutes: whether what is resident stays near what is leased, and does not grow.
//!
//! Four threads lease and return buffers of log-uniform sizes from 64 bytes to 16 MiB, each filled when it is leased, one in
//! four returned by another thread. What is leased together moves between 64 MiB and 1 GiB. Every second all stand still, the
//! pool is trimmed, and the process's resident bytes are compared with those of the leased blocks.
//!
//! ```text
//! cargo run --release -p ironcliw-bench --bin soak -- [--seconds 300]
//! ```

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use ironcliw_actors::pool::{Buffer, Owner, Pool, PoolConfig};

const THREADS: usize = 4;
const LIVE_MIN: f64 = (64 << 20) as f64;
const LIVE_MAX: f64 = (1 << 30) as f64;
const SIZES_LOG2: (f64, f64) = (6.0, 24.0);
/// What is leased goes from its least to its most and back in this time.
const CYCLE: Duration = Duration::from_secs(20);
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Resident by leased bytes, at most.
const RATIO_MAX: f64 = 1.25;
/// By how many bytes more may be resident beyond what is leased at the end than at the beginning.
const GROWTH_MAX: f64 = (16 << 20) as f64;

fn main() -> ExitCode {
    let seconds = match parse(std::env::args().skip(1)) {
        Ok(seconds) => seconds,
        Err(wrong) => {
            eprintln!("{wrong}; soak [--seconds 300]");
            return ExitCode::FAILURE;
        }
    };
    if resident().is_none() {
        eprintln!("the system does not tell how many bytes are resident: /proc/self/statm");
        return ExitCode::FAILURE;
    }
    let soak = Soak::new();
    let looks = soak.run(Duration::from_secs(seconds));
    soak.judge(&looks)
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<u64, String> {
    match (args.next().as_deref(), args.next()) {
        (None, _) => Ok(300),
        (Some("--seconds"), Some(seconds)) => seconds.parse().map_err(|_| format!("{seconds:?} are no seconds")),
        (Some(other), _) => Err(format!("{other:?} is not understood")),
    }
}

fn resident() -> Option<usize> {
    const PAGE_BYTES: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse::<usize>().ok().map(|pages| pages * PAGE_BYTES)
}

/// What is there after a trim.
struct Look {
    resident: f64,
    /// Bytes of leased blocks.
    leased: f64,
}

struct Soak {
    pool: Pool,
    /// Held to read while a thread leases and returns, and to write while nobody may.
    going: RwLock<()>,
    stop: AtomicBool,
    target: AtomicUsize,
    leased: AtomicUsize,
    passed_on: Mutex<Vec<Buffer>>,
    leases: AtomicU64,
    /// Of buffers of more than 192 bytes: what was asked for, and their blocks.
    asked_bytes: AtomicU64,
    block_bytes: AtomicU64,
}

impl Soak {
    fn new() -> Self {
        Self {
            pool: Pool::new(PoolConfig::limited(4 << 30)).expect("the limit is not too small"),
            going: RwLock::new(()),
            stop: AtomicBool::new(false),
            target: AtomicUsize::new(LIVE_MIN as usize),
            leased: AtomicUsize::new(0),
            passed_on: Mutex::new(Vec::new()),
            leases: AtomicU64::new(0),
            asked_bytes: AtomicU64::new(0),
            block_bytes: AtomicU64::new(0),
        }
    }

    fn run(&self, time: Duration) -> Vec<Look> {
        let began = Instant::now();
        let mut looks = Vec::new();
        thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || self.work(thread as u64 + 1));
            }
            while began.elapsed() < time {
                let next = Instant::now() + LOOK_PERIOD;
                while Instant::now() < next {
                    self.aim(began.elapsed());
                    thread::sleep(Duration::from_millis(20));
                }
                let look = self.look();
                if looks.len() % 10 == 0 {
                    let Look { resident, leased } = look;
                    let mib = |bytes: f64| bytes / f64::from(1 << 20);
                    println!(
                        "{:4.0} s: {:6.1} MiB leased, {:6.1} MiB resident, {:.3}",
                        began.elapsed().as_secs_f64(),
                        mib(leased),
                        mib(resident),
                        resident / leased
                    );
                }
                looks.push(look);
            }
            self.stop.store(true, Relaxed);
        });
        looks
    }

    /// Where what is leased is to go: up and down, evenly on a logarithmic scale.
    fn aim(&self, elapsed: Duration) {
        let phase = elapsed.as_secs_f64() / CYCLE.as_secs_f64() * std::f64::consts::TAU;
        let share = (1.0 - phase.cos()) / 2.0;
        self.target.store((LIVE_MIN * (LIVE_MAX / LIVE_MIN).powf(share)) as usize, Relaxed);
    }

    fn look(&self) -> Look {
        let _nobody_else = self.going.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.pool.trim(0);
        let resident = resident().unwrap_or(0);
        Look { resident: resident as f64, leased: self.pool.stats().live_bytes as f64 }
    }

    fn work(&self, seed: u64) {
        let owner = Owner::named("soak");
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut held: Vec<Buffer> = Vec::new();
        while !self.stop.load(Relaxed) {
            {
                let _going = self.going.read().unwrap_or_else(|poisoned| poisoned.into_inner());
                for _ in 0..16 {
                    self.step(owner, &mut random, &mut held);
                }
            }
            // The one who waits to look must get its turn.
            thread::yield_now();
        }
    }

    fn step(&self, owner: Owner, random: &mut Random, held: &mut Vec<Buffer>) {
        if self.leased.load(Relaxed) < self.target.load(Relaxed) {
            let (least, most) = SIZES_LOG2;
            let len = (least + (most - least) * random.share()).exp2() as usize;
            let mut buffer = self.pool.allocate_for_overwrite(len, owner).expect("the limit is far away");
            buffer.fill(len as u8);
            self.leased.fetch_add(buffer.block_bytes(), Relaxed);
            self.leases.fetch_add(1, Relaxed);
            if len > 192 {
                self.asked_bytes.fetch_add(len as u64, Relaxed);
                self.block_bytes.fetch_add(buffer.block_bytes() as u64, Relaxed);
            }
            if random.share() < 0.25 { self.lock_passed_on().push(buffer) } else { held.push(buffer) }
        } else {
            let passed_on = random.share() < 0.25;
            let returned = match held.len() {
                len if len > 0 && !passed_on => Some(held.swap_remove((random.share() * len as f64) as usize)),
                _ => {
                    let mut all = self.lock_passed_on();
                    let at = (random.share() * all.len() as f64) as usize;
                    (!all.is_empty()).then(|| all.swap_remove(at))
                }
            };
            let Some(buffer) = returned else { return };
            let rest =
                |leased: usize| leased.checked_sub(buffer.block_bytes()).filter(|&rest| rest >= LIVE_MIN as usize);
            if self.leased.fetch_update(Relaxed, Relaxed, rest).is_err() {
                // Less than the least would be left.
                held.push(buffer);
            }
        }
    }

    fn lock_passed_on(&self) -> std::sync::MutexGuard<'_, Vec<Buffer>> {
        self.passed_on.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn judge(&self, looks: &[Look]) -> ExitCode {
        let ratio = |look: &Look| look.resident / look.leased;
        // From when there is as much as there is to be.
        let looks = &looks[looks.iter().position(|look| look.leased >= LIVE_MIN).unwrap_or(0)..];
        let worst = looks.iter().map(ratio).fold(0.0, f64::max);
        let beyond = |looks: &[Look]| {
            looks.iter().map(|look| look.resident - look.leased).sum::<f64>() / looks.len().max(1) as f64
        };
        let quarter = looks.len() / 4;
        let growth = beyond(&looks[looks.len() - quarter..]) - beyond(&looks[..quarter]);
        let (asked, blocks) = (self.asked_bytes.load(Relaxed) as f64, self.block_bytes.load(Relaxed) as f64);
        let waste = 100.0 * (1.0 - asked / blocks);
        println!("{} leases, {} looks", self.leases.load(Relaxed), looks.len());
        println!("resident by leased bytes after a trim: {worst:.3} at worst (at most {RATIO_MAX})");
        println!(
            "growth of what is resident beyond that, last quarter against first: {:.1} MiB",
            growth / f64::from(1 << 20)
        );
        println!("of the blocks' bytes, {waste:.1} % were not asked for (at most 25 %)");
        if worst <= RATIO_MAX && growth <= GROWTH_MAX && waste <= 25.0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// xorshift64*: good enough for sizes.
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}
