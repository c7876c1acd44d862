//! A pool of workers behind a router: jobs go to whoever has the least to do, and one that crashes its worker costs that job
//! alone.
//!
//! `cargo run --example worker_pool` prints what became of the jobs; what the runtime logs, such as the panic, goes to
//! stderr. Which worker gets how many of the burst differs from run to run, the sums do not.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use ironcliw::{
    Actor, Backoff, Child, Context, Error, Group, Handler, Message, Placement, Router, Runtime, Supervisor,
};

/// Counts primes: something that keeps its thread busy, so each worker has one of its own. The number of its jobs is behind
/// an `Arc`, so it outlives a crash of the actor.
struct Worker {
    jobs: Arc<AtomicU64>,
}
impl Actor for Worker {}

/// How many primes there are below a number.
struct Primes(u32);
impl Message for Primes {
    type Reply = usize;
}

impl Handler<Primes> for Worker {
    async fn handle(&mut self, Primes(below): Primes, _: &mut Context<Self>) -> usize {
        assert!(below > 0, "there is nothing below 0");
        self.jobs.fetch_add(1, Ordering::Relaxed);
        (2..below).filter(|n| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0)).count()
    }
}

const WORKERS: usize = 3;

/// Jobs that come one at a time, then jobs that come all at once.
const CALM: u64 = 12;
const BURST: u64 = 60;

fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().init();
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let supervisor = runtime.supervise(Supervisor::new("pool")).await?;
        let pool = Group::new(Router::LeastLoaded);
        let backoff = Backoff { min: Duration::from_millis(20), jitter: false, ..Backoff::default() };
        let jobs: [Arc<AtomicU64>; WORKERS] = Default::default();
        for (n, jobs) in jobs.iter().cloned().enumerate() {
            let worker = Child::new(format!("worker-{n}"), move || Worker { jobs: jobs.clone() });
            pool.add(supervisor.spawn(worker.placement(Placement::Dedicated).backoff(backoff)).await?);
        }
        let done = || jobs.each_ref().map(|jobs| jobs.load(Ordering::Relaxed));

        for _ in 0..CALM {
            assert_eq!(pool.ask(Primes(5_000)).await?, 669);
        }
        println!("one at a time, {CALM} jobs went round:");
        print_pool(&runtime, &done());
        assert_eq!(done(), [CALM / WORKERS as u64; WORKERS], "idle workers take turns");

        println!("\n{BURST} at once, behind one that crashes its worker:");
        let poison = pool.ask(Primes(0)).into_future();
        let burst = join_all((0..BURST).map(|_| pool.ask(Primes(5_000)).into_future()));
        let (poison, burst) = tokio::join!(poison, burst);
        let refused = poison.expect_err("a worker panics with it");
        assert!(matches!(refused.error, Error::ActorPanicked { .. }));
        println!("  its sender was told: {refused}");
        let answers = burst.into_iter().filter(|answer| matches!(answer, Ok(669))).count();
        assert_eq!(answers as u64, BURST, "the jobs that waited behind it were kept");
        println!("  all {answers} others were answered");
        print_pool(&runtime, &done());
        assert_eq!(done().iter().sum::<u64>(), CALM + BURST);
        assert_eq!(runtime.snapshot().restarts, 1, "one worker was started again, the others never noticed");
        Ok::<_, Error>(())
    })?;
    runtime.shutdown(Duration::from_secs(5))
}

fn print_pool(runtime: &Runtime, jobs: &[u64]) {
    println!("  {:<18} {:<8} {:>5} {:>9}", "worker", "state", "jobs", "restarts");
    for (worker, jobs) in runtime.snapshot().actors.iter().zip(jobs) {
        let state = worker.state.to_string();
        println!("  {:<18} {state:<8} {jobs:>5} {:>9}", worker.path, worker.restarts);
    }
}
