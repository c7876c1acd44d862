//! Counting in ours.

use ironcliw::{Actor, Address, Child, Context, Handler, Overflow};

use super::super::stage::on_ours;
use super::*;

/// Messages on their way: the producer waits where there are more.
const CAPACITY: usize = 1024;

struct Producer(Address<Counter>);
struct Counter(u64);

impl Actor for Producer {}
impl Actor for Counter {}

impl Handler<Start> for Producer {
    async fn handle(&mut self, Start(done): Start, _: &mut Context<Self>) {
        for _ in 0..MESSAGES {
            self.0.tell(Increment).await.expect(RUNS);
        }
        self.0.tell(Retrieve(done)).await.expect(RUNS);
    }
}

impl Handler<Increment> for Counter {
    async fn handle(&mut self, Increment: Increment, _: &mut Context<Self>) {
        self.0 += 1;
    }
}

impl Handler<Retrieve> for Counter {
    async fn handle(&mut self, Retrieve(mut done): Retrieve, _: &mut Context<Self>) {
        done.tell(self.0);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_ours(threads, async |runtime, done| {
        let counter = Child::new("counter", || Counter(0)).mailbox(CAPACITY, Overflow::Block);
        let counter = runtime.spawn(counter).await.expect(RUNS);
        let producer = Child::new("producer", move || Producer(counter.clone()));
        runtime.spawn(producer).await.expect(RUNS).tell(Start(done)).await.expect(RUNS);
    })
}
