//! Counting in actix.

use ::actix::{Actor, Addr, Context, Handler};

use super::super::stage::on_actix;
use super::*;

struct Producer(Addr<Counter>);
struct Counter(u64);

impl Actor for Producer {
    type Context = Context<Self>;
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Start> for Producer {
    type Result = ();

    fn handle(&mut self, Start(done): Start, _: &mut Context<Self>) {
        for _ in 0..MESSAGES {
            self.0.do_send(Increment);
        }
        self.0.do_send(Retrieve(done));
    }
}

impl Handler<Increment> for Counter {
    type Result = ();

    fn handle(&mut self, Increment: Increment, _: &mut Context<Self>) {
        self.0 += 1;
    }
}

impl Handler<Retrieve> for Counter {
    type Result = ();

    fn handle(&mut self, Retrieve(mut done): Retrieve, _: &mut Context<Self>) {
        done.tell(self.0);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_actix(threads, async |arbiters, done| {
        let counter = arbiters.start(0, Counter(0));
        let producer = arbiters.start(1, Producer(counter));
        producer.do_send(Start(done));
        producer
    })
}
