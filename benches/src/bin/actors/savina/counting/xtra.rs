//! Counting in xtra.

use ::xtra::{Actor, Address, Context, Handler, Mailbox};

use super::super::stage::{on_tokio, xtra_tell, xtra_tell_first};
use super::*;

struct Producer(Address<Counter>);
struct Counter(u64);

impl Actor for Producer {
    type Stop = ();

    async fn stopped(self) {}
}

impl Actor for Counter {
    type Stop = ();

    async fn stopped(self) {}
}

impl Handler<Start> for Producer {
    type Return = ();

    async fn handle(&mut self, Start(done): Start, _: &mut Context<Self>) {
        for _ in 0..MESSAGES {
            xtra_tell_first(&self.0, Increment).await;
        }
        xtra_tell(&self.0, Retrieve(done)).await;
    }
}

impl Handler<Increment> for Counter {
    type Return = ();

    async fn handle(&mut self, Increment: Increment, _: &mut Context<Self>) {
        self.0 += 1;
    }
}

impl Handler<Retrieve> for Counter {
    type Return = ();

    async fn handle(&mut self, Retrieve(mut done): Retrieve, _: &mut Context<Self>) {
        done.tell(self.0);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let counter = ::xtra::spawn_tokio(Counter(0), Mailbox::unbounded());
        let producer = ::xtra::spawn_tokio(Producer(counter), Mailbox::unbounded());
        xtra_tell(&producer, Start(done)).await;
        producer
    })
}
