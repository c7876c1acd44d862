//! What a system must be able to do to be measured: hold a counter behind a mailbox, and answer.

use std::future::Future;
use std::thread;

use crate::cores;
use crate::hosts::on_tokio;

/// The actor of every row: its work is to add a message's number.
#[derive(Debug, Default)]
pub struct Counter {
    total: u64,
}

impl Counter {
    /// Returns the sum so far: what says that every message has arrived.
    #[inline]
    pub fn add(&mut self, number: u64) -> u64 {
        self.total = self.total.wrapping_add(number);
        self.total
    }
}

/// Messages a mailbox holds, where its system can bound it.
pub const CAPACITY: usize = 1024;

/// A sender's way to a counter.
pub trait Mailbox: Clone + Send + Sync + 'static {
    /// Sends a number; waits for room where the system does.
    fn tell(&self, number: u64) -> impl Future<Output = ()> + Send;

    /// Sends a number and waits for the sum.
    fn ask(&self, number: u64) -> impl Future<Output = u64> + Send;

    /// Sends the number one so many times, at once where the system can.
    fn tell_ones(&self, count: u64) -> impl Future<Output = ()> + Send {
        async move {
            for _ in 0..count {
                self.tell(1).await;
            }
        }
    }
}

/// An actor on a thread of its own, which ends with `guard`.
pub struct Hosted<M> {
    pub mailbox: M,
    pub guard: Box<dyn Send>,
}

/// What it takes to have very many actors.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// From the first start until the first and the last actor have answered, for each.
    pub nanoseconds: f64,
    /// Of the live heap, for each, its address included. Zero if it was not counted.
    pub bytes: f64,
}

/// One way to run a counter.
pub trait System: 'static {
    const NAME: &'static str;
    type Mailbox: Mailbox;

    /// A counter on a thread that is pinned to [`cores::actors`].
    fn across() -> Hosted<Self::Mailbox>;

    /// Runs a client on a thread of its own, which is pinned to [`cores::clients`], for a counter on
    /// another: by default a plain thread with tokio's runtime for one.
    fn apart<T, F>(client: impl FnOnce(Self::Mailbox) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let Hosted { mailbox, guard } = Self::across();
        let client = thread::spawn(move || {
            cores::pin_to_clients();
            on_tokio(async { client(mailbox).await })
        });
        let result = client.join().expect("a client panicked");
        drop(guard);
        result
    }

    /// Runs a client as a task of the thread that the counter lives on, and that is pinned in the same way.
    fn together<T, F>(client: impl FnOnce(Self::Mailbox) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static;

    /// Starts `size` idle counters on one thread, with the system's own default mailbox.
    fn crowd(size: usize, count_bytes: bool) -> Crowd;
}
