//! A pool of workers behind a router: jobs go to whoever has the least to do, and one that crashes its worker costs that job
//! alone.
//!
//! `cargo run --example worker_pool` prints what became of the jobs; what the runtime logs, such as the panic, goes to
//! stderr. Which worker gets how many of the burst differs from run to run, the sums do not.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::join_all;
use ironcliw::{
    Actor, Backoff, Child, Context, Error, Group, Handler, Message, Placement, Router, Runtime, Supervisor,
};

/// Counts primes: something that keeps its thread busy, so each worker has one of its own.
struct Worker;
impl Actor for Worker {}

/// How many primes there are below a number.
struct Primes(u32);
impl Message for Primes {
    type Reply = usize;
}

impl Handler<Primes> for Worker {
    async fn handle(&mut self, Primes(below): Primes, _: &mut Context<Self>) -> usize {
        assert!(below > 0, "there is nothing below 0");
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
        for n in 0..WORKERS {
            let worker = Child::new(format!("worker-{n}"), || Worker).placement(Placement::Dedicated).backoff(backoff);
            pool.add(supervisor.spawn(worker).await?);
        }

        for _ in 0..CALM {
            assert_eq!(pool.ask(Primes(10_000)).await?, 1229);
        }
        println!("one at a time, {CALM} jobs went round:");
        print_pool(&runtime);
        for worker in runtime.snapshot().actors {
            assert_eq!(worker.handled, CALM / WORKERS as u64, "idle workers take turns");
        }

        println!("\n{BURST} at once, behind one that crashes its worker:");
        let poison = pool.ask(Primes(0)).into_future();
        let burst = join_all((0..BURST).map(|_| pool.ask(Primes(10_000)).into_future()));
        let (poison, burst) = tokio::join!(poison, burst);
        let refused = poison.expect_err("a worker panics with it");
        assert!(matches!(refused.error, Error::ActorPanicked { .. }));
        println!("  its sender was told: {refused}");
        let answers = burst.into_iter().filter(|answer| matches!(answer, Ok(1229))).count();
        assert_eq!(answers as u64, BURST, "the jobs that waited behind it were kept");
        println!("  all {answers} others were answered");
        print_pool(&runtime);
        let snapshot = runtime.snapshot();
        assert_eq!(snapshot.restarts, 1, "one worker was started again, the others never noticed");
        Ok::<_, Error>(())
    })?;
    runtime.shutdown(Duration::from_secs(5))
}

fn print_pool(runtime: &Runtime) {
    println!("  {:<14} {:<8} {:>5} {:>9}", "worker", "state", "jobs", "restarts");
    for worker in runtime.snapshot().actors {
        let state = worker.state.to_string();
        println!("  {:<14} {state:<8} {:>5} {:>9}", worker.path, worker.handled, worker.restarts);
    }
}
