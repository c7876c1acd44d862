//! Big in xtra.

use ::xtra::{Actor, Address, Context, Handler, Mailbox};

use super::super::stage::{on_tokio, xtra_tell, xtra_tell_first};
use super::*;

type Link = super::Link<Address<Node>, Address<Sink>>;
struct Node(super::Node<Address<Node>, Address<Sink>>);
struct Sink(Sum);

impl Actor for Node {
    type Stop = ();

    async fn stopped(self) {}
}

impl Actor for Sink {
    type Stop = ();

    async fn stopped(self) {}
}

impl Handler<Link> for Node {
    type Return = ();

    async fn handle(&mut self, link: Link, _: &mut Context<Self>) {
        self.0.link = Some(link);
    }
}

impl Handler<Start> for Node {
    type Return = ();

    async fn handle(&mut self, Start: Start, _: &mut Context<Self>) {
        let number = self.0.number;
        xtra_tell(self.0.anyone(), Ping(number)).await;
    }
}

impl Handler<Ping> for Node {
    type Return = ();

    async fn handle(&mut self, Ping(from): Ping, _: &mut Context<Self>) {
        xtra_tell(self.0.neighbour(from), Pong).await;
    }
}

impl Handler<Pong> for Node {
    type Return = ();

    async fn handle(&mut self, Pong: Pong, _: &mut Context<Self>) {
        if self.0.goes_on() {
            let number = self.0.number;
            xtra_tell(self.0.anyone(), Ping(number)).await;
        } else {
            xtra_tell(self.0.sink(), Finished(self.0.pongs)).await;
        }
    }
}

impl Handler<Finished> for Sink {
    type Return = ();

    async fn handle(&mut self, Finished(pings): Finished, _: &mut Context<Self>) {
        self.0.add(pings);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let sink = ::xtra::spawn_tokio(Sink(Sum::new(done)), Mailbox::unbounded());
        let node = |number| ::xtra::spawn_tokio(Node(super::Node::new(number)), Mailbox::unbounded());
        let all: Arc<[_]> = (0..ACTORS).map(node).collect();
        for node in all.iter() {
            xtra_tell_first(node, Link::new(&all, &sink)).await;
        }
        for node in all.iter() {
            xtra_tell(node, Start).await;
        }
    })
}
