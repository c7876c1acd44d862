//! The clients: what is sent, for how long, and how it is known that all of it has arrived.
//!
//! Every message carries the number one, so a counter's sum is the number of messages it has handled.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::hosts::on_tokio;
use crate::system::{Hosted, Mailbox, System};

/// Tells between two looks at the clock; on one thread the client then lets the actor go on.
pub const BURST: u64 = 64;

/// Messages of a batch.
pub const BATCH: u64 = 32;

/// Asks in flight in the pipelined row.
pub const IN_FLIGHT: u64 = 64;

/// Messages a second, in millions.
pub fn millions(messages: u64, time: Duration) -> f64 {
    messages as f64 / time.as_secs_f64() / 1e6
}

/// What one producer did, by its own clock: the thread that waits for all of them has no core to itself.
pub struct Share {
    pub sent: u64,
    pub began: Instant,
    /// When the last of its messages had been handled.
    pub ended: Instant,
}

impl Share {
    /// All messages, and the time from the first producer's begin to the last one's end.
    pub fn together(shares: impl Iterator<Item = Self>) -> (u64, Duration) {
        let shares: Vec<_> = shares.collect();
        let began = shares.iter().map(|share| share.began).min().expect("there is a producer");
        let ended = shares.iter().map(|share| share.ended).max().expect("there is a producer");
        (shares.iter().map(|share| share.sent).sum(), ended - began)
    }
}

/// Tells from `producers` threads, which are the scheduler's to place. The clock stops when the last message of the last
/// producer has been handled.
pub fn tell_from_many<S: System>(producers: usize, time: Duration) -> f64 {
    let Hosted { mailbox, guard } = S::across();
    let begin = Arc::new(Barrier::new(producers + 1));
    let threads: Vec<_> = (0..producers)
        .map(|_| {
            let (mailbox, begin) = (mailbox.clone(), begin.clone());
            thread::spawn(move || {
                on_tokio(async move {
                    begin.wait();
                    let began = Instant::now();
                    let sent = tell_until(&mailbox, began + time, Manner::One).await;
                    Share { sent, began, ended: Instant::now() }
                })
            })
        })
        .collect();
    begin.wait();
    let shares = threads.into_iter().map(|thread| thread.join().expect("a producer panicked"));
    let (sent, took) = Share::together(shares);
    let handled = on_tokio(async move { mailbox.ask(0).await });
    drop(guard);
    assert_eq!(handled, sent, "{} lost messages", S::NAME);
    millions(sent, took)
}

/// How a client tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// One message after the other.
    One,
    /// The same, letting the other tasks of its thread go on after each burst.
    Polite,
    /// In batches.
    Batch,
}

/// Tells from another thread.
pub fn tell_apart<S: System>(time: Duration) -> f64 {
    S::apart(move |mailbox| tell_alone(S::NAME, mailbox, time, Manner::One))
}

/// Tells from another thread, in batches of [`BATCH`].
pub fn tell_batches<S: System>(time: Duration) -> f64 {
    S::apart(move |mailbox| tell_alone(S::NAME, mailbox, time, Manner::Batch))
}

/// Tells from a task of the actor's own thread.
pub fn tell_together<S: System>(time: Duration) -> f64 {
    S::together(move |mailbox| tell_alone(S::NAME, mailbox, time, Manner::Polite))
}

/// The same, for an actor of ours that nobody supervises.
pub fn tell_unsupervised(time: Duration) -> f64 {
    let name = crate::systems::Unsupervised::NAME;
    crate::systems::Unsupervised::together(move |mailbox| tell_alone(name, mailbox, time, Manner::Polite))
}

/// The only client's messages a second, in millions. The clock stops when the last one has been handled.
async fn tell_alone(system: &str, mailbox: impl Mailbox, time: Duration, manner: Manner) -> f64 {
    let began = Instant::now();
    let sent = tell_until(&mailbox, began + time, manner).await;
    let took = began.elapsed();
    assert_eq!(mailbox.ask(0).await, sent, "{system} lost messages");
    millions(sent, took)
}

/// Returns the number of messages once the last of them has been handled.
async fn tell_until(mailbox: &impl Mailbox, end: Instant, manner: Manner) -> u64 {
    let mut sent = 0;
    while Instant::now() < end {
        if manner == Manner::Batch {
            for _ in 0..BURST / BATCH {
                mailbox.tell_ones(BATCH).await;
            }
        } else {
            for _ in 0..BURST {
                mailbox.tell(1).await;
            }
        }
        sent += BURST;
        if manner == Manner::Polite {
            tokio::task::yield_now().await;
        }
    }
    mailbox.ask(0).await;
    sent
}

/// The median time of an ask from another thread, in nanoseconds.
pub fn ask_apart<S: System>(time: Duration) -> f64 {
    S::apart(move |mailbox| ask_until(S::NAME, mailbox, time))
}

/// The median time of an ask from a task of the actor's own thread, in nanoseconds.
pub fn ask_together<S: System>(time: Duration) -> f64 {
    S::together(move |mailbox| ask_until(S::NAME, mailbox, time))
}

async fn ask_until(system: &str, mailbox: impl Mailbox, time: Duration) -> f64 {
    let end = Instant::now() + time;
    let mut times = Vec::new();
    let mut before = Instant::now();
    while before < end {
        let handled = mailbox.ask(1).await;
        let after = Instant::now();
        times.push(u32::try_from((after - before).as_nanos()).unwrap_or(u32::MAX));
        assert_eq!(handled, times.len() as u64, "{system} lost asks");
        before = after;
    }
    median(times)
}

/// The middle one, in nanoseconds.
pub fn median(mut nanoseconds: Vec<u32>) -> f64 {
    let middle = nanoseconds.len() / 2;
    f64::from(*nanoseconds.select_nth_unstable(middle).1)
}

/// Asks from another thread, [`IN_FLIGHT`] at a time.
pub fn ask_pipelined<S: System>(time: Duration) -> f64 {
    S::apart(move |mailbox| async move {
        let began = Instant::now();
        let end = began + time;
        let mut asked = IN_FLIGHT;
        let mut flying: FuturesUnordered<_> = (0..IN_FLIGHT).map(|_| mailbox.ask(1)).collect();
        let (mut answered, mut open) = (0, true);
        while flying.next().await.is_some() {
            answered += 1;
            if answered % IN_FLIGHT == 0 {
                open = Instant::now() < end;
            }
            if open {
                flying.push(mailbox.ask(1));
                asked += 1;
            }
        }
        let took = began.elapsed();
        assert_eq!((answered, mailbox.ask(0).await), (asked, asked), "{} lost asks", S::NAME);
        millions(answered, took)
    })
}
