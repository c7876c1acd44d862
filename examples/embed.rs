//! An embedder's own actors: an ask, a crash, a restart that loses no queued message, a supervised group, a look at the tree.
//!
//! `cargo run --example embed` tells the story on stdout; what the runtime logs, such as the panics, goes to stderr.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ironcliw::{
    Actor, Address, Backoff, Child, Context, Error, Handler, Message, Runtime, Snapshot, StartError, Strategy,
    Supervisor,
};

/// An account that takes deposits one at a time. Its balance is behind an `Arc`, so it outlives a crash of the actor.
struct Account {
    balance: Arc<AtomicI64>,
}

impl Actor for Account {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        announce(ctx);
        Ok(())
    }
}

fn announce<A: Actor>(ctx: &Context<A>) {
    println!("  {} started, restarts so far: {}", ctx.path(), ctx.restarts());
}

struct Deposit(i64);
impl Message for Deposit {
    type Reply = i64;
}

impl Handler<Deposit> for Account {
    async fn handle(&mut self, Deposit(amount): Deposit, _: &mut Context<Self>) -> i64 {
        if amount <= 0 {
            panic!("a deposit of {amount} is a bug in its sender");
        }
        self.balance.fetch_add(amount, Ordering::Relaxed) + amount
    }
}

/// Two actors of which the second needs the first: a connection, and a cache of what was read over it.
struct Connection;
impl Actor for Connection {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        announce(ctx);
        Ok(())
    }
}

struct Read(u32);
impl Message for Read {
    type Reply = String;
}

impl Handler<Read> for Connection {
    async fn handle(&mut self, Read(key): Read, _: &mut Context<Self>) -> String {
        if key == 13 {
            panic!("the connection broke");
        }
        format!("row {key}")
    }
}

struct Cache {
    over: Address<Connection>,
    rows: HashMap<u32, String>,
}
impl Actor for Cache {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        announce(ctx);
        Ok(())
    }
}

impl Handler<Read> for Cache {
    async fn handle(&mut self, Read(key): Read, _: &mut Context<Self>) -> String {
        if let Some(row) = self.rows.get(&key) {
            return format!("{row} (cached)");
        }
        match self.over.ask(Read(key)).await {
            Ok(row) => self.rows.entry(key).insert_entry(row).get().clone(),
            Err(refused) => format!("nothing: {refused}"),
        }
    }
}

fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().init();
    let runtime = Runtime::builder().workers(2).build()?;
    runtime.block_on(async {
        crash_and_restart(&runtime).await?;
        rest_for_one(&runtime).await
    })?;

    println!("\nThe whole tree, read without disturbing it:");
    print_tree(&runtime.snapshot());

    runtime.shutdown(Duration::from_secs(5))?;
    println!("\nShut down: every actor drained and stopped.");
    Ok(())
}

async fn crash_and_restart(runtime: &Runtime) -> Result<(), Error> {
    println!("An actor of our own:");
    let balance = Arc::new(AtomicI64::new(0));
    let kept = balance.clone();
    let quick = Backoff { min: Duration::from_millis(20), ..Backoff::default() };
    let account =
        runtime.spawn(Child::new("account", move || Account { balance: kept.clone() }).backoff(quick)).await?;
    let answer = account.ask(Deposit(10)).deadline(Duration::from_secs(1)).await?;
    println!("  asked to deposit 10, it answered {answer}");

    println!("\nA deposit that makes it panic, with five good ones behind it in the queue:");
    let (bad, good) = (account.ask(Deposit(-1)), account.clone());
    let behind = async {
        for _ in 0..5 {
            good.tell(Deposit(1)).await?;
        }
        Ok::<_, Error>(())
    };
    let (outcome, queued) = tokio::join!(bad.into_future(), behind);
    queued?;
    if let Err(refused) = outcome {
        println!("  its sender was told: {refused}");
    }
    let total = account.ask(Deposit(5)).await?;
    println!("  the next incarnation took the five and one more of 5: {total}");
    assert_eq!(total, 20, "queued messages survive a restart");
    Ok(())
}

async fn rest_for_one(runtime: &Runtime) -> Result<(), Error> {
    println!("\nA group in which the cache is started again with the connection it stands on:");
    let storage = runtime
        .supervise(Supervisor::new("storage").strategy(Strategy::RestForOne).restarts(5, Duration::from_secs(10)))
        .await?;
    let connection = storage.spawn(Child::new("connection", || Connection).backoff(Backoff::NONE)).await?;
    let over = connection.clone();
    let cache = storage.spawn(Child::new("cache", move || Cache { over: over.clone(), rows: HashMap::new() })).await?;
    println!("  read 7 through the cache:  {}", cache.ask(Read(7)).await?);
    println!("  read 7 again:              {}", cache.ask(Read(7)).await?);
    println!("  read 13, which breaks it:  {}", cache.ask(Read(13)).await?);
    // Answered by the next incarnation, which is not started before the cache has been stopped.
    connection.ask(Read(1)).await?;
    println!("  read 7 once more:          {}, from a new cache over the new connection", cache.ask(Read(7)).await?);
    Ok(())
}

fn print_tree(snapshot: &Snapshot) {
    println!("  {} for {:.2} s, {} restarts", snapshot.state, snapshot.uptime_s, snapshot.restarts);
    let supervisors = snapshot.supervisors.iter().map(|one| {
        let about = format!("{}, {} of {} restarts left", one.strategy, one.budget_left, one.max_restarts);
        (one.path.as_str(), about)
    });
    let actors = snapshot.actors.iter().map(|one| {
        let about = format!("{}, handled {}, restarts {}, waiting {}", one.state, one.handled, one.restarts, one.depth);
        (one.path.as_str(), about)
    });
    let mut nodes: Vec<_> = supervisors.chain(actors).collect();
    nodes.sort();
    for (path, about) in nodes {
        let depth = if path.is_empty() { 0 } else { 1 + path.matches('/').count() };
        let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("(root)");
        println!("  {:indent$}{name:<width$}  {about}", "", indent = 2 * depth, width = 18 - 2 * depth);
    }
}
