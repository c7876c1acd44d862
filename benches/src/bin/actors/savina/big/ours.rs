//! Big in ours.

use futures_util::future::try_join_all;
use ironcliw::{Actor, Address, Child, Context, Handler, Overflow};

use super::super::stage::on_ours;
use super::*;

/// There is one ping of each actor on its way at most, and one answer.
const CAPACITY: usize = 2 * ACTORS;

type Link = super::Link<Address<Node>, Address<Sink>>;
struct Node(super::Node<Address<Node>, Address<Sink>>);
#[derive(Default)]
struct Sink(Option<Sum>);

impl Actor for Node {}
impl Actor for Sink {}

/// The sum to be kept: a factory could be called again.
struct Keep(Sum);
tells!(Link, Keep);

impl Handler<Link> for Node {
    async fn handle(&mut self, link: Link, _: &mut Context<Self>) {
        self.0.link = Some(link);
    }
}

impl Handler<Start> for Node {
    async fn handle(&mut self, Start: Start, _: &mut Context<Self>) {
        let number = self.0.number;
        self.0.anyone().tell(Ping(number)).await.expect(RUNS);
    }
}

impl Handler<Ping> for Node {
    async fn handle(&mut self, Ping(from): Ping, _: &mut Context<Self>) {
        self.0.neighbour(from).tell(Pong).await.expect(RUNS);
    }
}

impl Handler<Pong> for Node {
    async fn handle(&mut self, Pong: Pong, _: &mut Context<Self>) {
        if self.0.goes_on() {
            let number = self.0.number;
            self.0.anyone().tell(Ping(number)).await.expect(RUNS);
        } else {
            self.0.sink().tell(Finished(self.0.pongs)).await.expect(RUNS);
        }
    }
}

impl Handler<Keep> for Sink {
    async fn handle(&mut self, Keep(sum): Keep, _: &mut Context<Self>) {
        self.0 = Some(sum);
    }
}

impl Handler<Finished> for Sink {
    async fn handle(&mut self, Finished(pings): Finished, _: &mut Context<Self>) {
        self.0.as_mut().expect(RUNS).add(pings);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_ours(threads, async |runtime, done| {
        let sink = runtime.spawn(Child::new("sink", Sink::default)).await.expect(RUNS);
        sink.tell(Keep(Sum::new(done))).await.expect(RUNS);
        let node = |number: usize| {
            let child = Child::new(format!("node-{number}"), move || Node(super::Node::new(number)));
            runtime.spawn(child.mailbox(CAPACITY, Overflow::Block))
        };
        let all: Arc<[_]> = try_join_all((0..ACTORS).map(node)).await.expect(RUNS).into();
        for node in all.iter() {
            node.tell(Link::new(&all, &sink)).await.expect(RUNS);
        }
        for node in all.iter() {
            node.tell(Start).await.expect(RUNS);
        }
    })
}
