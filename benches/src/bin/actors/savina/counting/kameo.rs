//! Counting in kameo.

use ::kameo::actor::{ActorRef, Spawn};
use ::kameo::mailbox::unbounded;
use ::kameo::message::{Context, Message};

use super::super::stage::on_tokio;
use super::*;

#[derive(::kameo::Actor)]
struct Producer(ActorRef<Counter>);

#[derive(::kameo::Actor)]
struct Counter(u64);

impl Message<Start> for Producer {
    type Reply = ();

    async fn handle(&mut self, Start(done): Start, _: &mut Context<Self, ()>) {
        for _ in 0..MESSAGES {
            self.0.tell(Increment).try_send().expect(RUNS);
        }
        self.0.tell(Retrieve(done)).try_send().expect(RUNS);
    }
}

impl Message<Increment> for Counter {
    type Reply = ();

    async fn handle(&mut self, Increment: Increment, _: &mut Context<Self, ()>) {
        self.0 += 1;
    }
}

impl Message<Retrieve> for Counter {
    type Reply = ();

    async fn handle(&mut self, Retrieve(mut done): Retrieve, _: &mut Context<Self, ()>) {
        done.tell(self.0);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let counter = Counter::spawn_with_mailbox(Counter(0), unbounded());
        let producer = Producer::spawn_with_mailbox(Producer(counter), unbounded());
        producer.tell(Start(done)).try_send().expect(RUNS);
        producer
    })
}
