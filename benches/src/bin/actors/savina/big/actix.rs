//! Big in actix.

use ::actix::{Actor, Addr, Context, Handler};

use super::super::stage::on_actix;
use super::*;

type Link = super::Link<Addr<Node>, Addr<Sink>>;
struct Node(super::Node<Addr<Node>, Addr<Sink>>);
struct Sink(Sum);
tells!(Link);

impl Actor for Node {
    type Context = Context<Self>;
}

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<Link> for Node {
    type Result = ();

    fn handle(&mut self, link: Link, _: &mut Context<Self>) {
        self.0.link = Some(link);
    }
}

impl Handler<Start> for Node {
    type Result = ();

    fn handle(&mut self, Start: Start, _: &mut Context<Self>) {
        let number = self.0.number;
        self.0.anyone().do_send(Ping(number));
    }
}

impl Handler<Ping> for Node {
    type Result = ();

    fn handle(&mut self, Ping(from): Ping, _: &mut Context<Self>) {
        self.0.neighbour(from).do_send(Pong);
    }
}

impl Handler<Pong> for Node {
    type Result = ();

    fn handle(&mut self, Pong: Pong, _: &mut Context<Self>) {
        if self.0.goes_on() {
            let number = self.0.number;
            self.0.anyone().do_send(Ping(number));
        } else {
            self.0.sink().do_send(Finished(self.0.pongs));
        }
    }
}

impl Handler<Finished> for Sink {
    type Result = ();

    fn handle(&mut self, Finished(pings): Finished, _: &mut Context<Self>) {
        self.0.add(pings);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_actix(threads, async |arbiters, done| {
        let sink = arbiters.start(0, Sink(Sum::new(done)));
        let all: Arc<[_]> = (0..ACTORS).map(|number| arbiters.start(number, Node(super::Node::new(number)))).collect();
        for node in all.iter() {
            node.do_send(Link::new(&all, &sink));
        }
        for node in all.iter() {
            node.do_send(Start);
        }
    })
}
