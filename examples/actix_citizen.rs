//! An actor that was written for actix, unchanged, under this runtime's supervision.
//!
//! `cargo run --example actix_citizen` tells the story on stdout; what the runtime logs goes to stderr.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use ironcliw::{ActixChild, Backoff, Restart, Runtime};

/// Counts words. Its counts are its own and end with it; the number of its checks is behind an `Arc`, and goes on.
struct Words {
    counts: HashMap<String, u64>,
    checks: Arc<AtomicU64>,
}

impl Actor for Words {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        println!("  started");
        ctx.run_interval(Duration::from_millis(5), |words, _| {
            words.checks.fetch_add(1, Ordering::Relaxed);
        });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        println!("  stopped, with {} words", self.counts.len());
    }
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Count(&'static str);

impl Handler<Count> for Words {
    type Result = u64;

    fn handle(&mut self, Count(word): Count, _: &mut Context<Self>) -> u64 {
        assert!(word.chars().all(char::is_alphabetic), "{word:?} is not a word");
        let count = self.counts.entry(word.to_owned()).or_default();
        *count += 1;
        *count
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = Runtime::new()?;
    let checks = Arc::new(AtomicU64::new(0));
    let kept = checks.clone();
    let words = ActixChild::new("words", move || Words { counts: HashMap::new(), checks: kept.clone() })
        .restart(Restart::Permanent)
        .backoff(Backoff { min: Duration::from_millis(20), ..Backoff::default() });

    println!("an actix actor is spawned, and its address is actix's own:");
    let words: actix::Addr<Words> = runtime.block_on(runtime.spawn_actix(words))?;
    runtime.block_on(async {
        println!("  tide: {:?}", words.send(Count("tide")).await);
        println!("one message makes it panic, with two more behind it:");
        let (bad, first, second) = (words.send(Count("7th")), words.send(Count("tide")), words.send(Count("tide")));
        println!("  7th: {:?}", bad.await);
        println!("  tide: {:?}, then {:?}, from a new actor behind the same address", first.await, second.await);
    });
    for actor in runtime.snapshot().actors {
        println!("the snapshot: {} is {}, restarts {}, {:?}", actor.path, actor.state, actor.restarts, actor.last_exit);
    }
    println!("the runtime ends, and what is queued is handled first:");
    words.do_send(Count("ebb"));
    runtime.shutdown(Duration::from_secs(5))?;
    println!("  its address is connected: {}", words.connected());
    Ok(())
}
