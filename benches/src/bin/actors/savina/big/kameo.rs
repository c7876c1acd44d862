//! Big in kameo.

use ::kameo::actor::{ActorRef, Spawn};
use ::kameo::mailbox::unbounded;
use ::kameo::message::{Context, Message};

use super::super::stage::on_tokio;
use super::*;

type Link = super::Link<ActorRef<Node>, ActorRef<Sink>>;
#[derive(::kameo::Actor)]
struct Node(super::Node<ActorRef<Node>, ActorRef<Sink>>);
#[derive(::kameo::Actor)]
struct Sink(Sum);

impl Message<Link> for Node {
    type Reply = ();

    async fn handle(&mut self, link: Link, _: &mut Context<Self, ()>) {
        self.0.link = Some(link);
    }
}

impl Message<Start> for Node {
    type Reply = ();

    async fn handle(&mut self, Start: Start, _: &mut Context<Self, ()>) {
        let number = self.0.number;
        self.0.anyone().tell(Ping(number)).try_send().expect(RUNS);
    }
}

impl Message<Ping> for Node {
    type Reply = ();

    async fn handle(&mut self, Ping(from): Ping, _: &mut Context<Self, ()>) {
        self.0.neighbour(from).tell(Pong).try_send().expect(RUNS);
    }
}

impl Message<Pong> for Node {
    type Reply = ();

    async fn handle(&mut self, Pong: Pong, _: &mut Context<Self, ()>) {
        if self.0.goes_on() {
            let number = self.0.number;
            self.0.anyone().tell(Ping(number)).try_send().expect(RUNS);
        } else {
            self.0.sink().tell(Finished(self.0.pongs)).try_send().expect(RUNS);
        }
    }
}

impl Message<Finished> for Sink {
    type Reply = ();

    async fn handle(&mut self, Finished(pings): Finished, _: &mut Context<Self, ()>) {
        self.0.add(pings);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let sink = Sink::spawn_with_mailbox(Sink(Sum::new(done)), unbounded());
        let node = |number| Node::spawn_with_mailbox(Node(super::Node::new(number)), unbounded());
        let all: Arc<[_]> = (0..ACTORS).map(node).collect();
        for node in all.iter() {
            node.tell(Link::new(&all, &sink)).try_send().expect(RUNS);
        }
        for node in all.iter() {
            node.tell(Start).try_send().expect(RUNS);
        }
    })
}
