//! Thread-ring in actix.

use ::actix::{Actor, Addr, Context, Handler};

use super::super::stage::on_actix;
use super::*;

struct Hop {
    number: usize,
    next: Option<Addr<Hop>>,
}

impl Actor for Hop {
    type Context = Context<Self>;
}

tells!(Link<Addr<Hop>>);

impl Handler<Link<Addr<Self>>> for Hop {
    type Result = ();

    fn handle(&mut self, Link(next): Link<Addr<Self>>, _: &mut Context<Self>) {
        self.next = Some(next);
    }
}

impl Handler<Token> for Hop {
    type Result = ();

    fn handle(&mut self, token: Token, _: &mut Context<Self>) {
        if let Some(token) = token.hand_on(self.number) {
            self.next.as_ref().expect(RUNS).do_send(token);
        }
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_actix(threads, async |arbiters, done| {
        let hop = |number| arbiters.start(number, Hop { number, next: None });
        let ring: Vec<_> = (0..ACTORS).map(hop).collect();
        for (hop, link) in links(&ring) {
            hop.do_send(link);
        }
        ring[0].do_send(Token::new(done));
    })
}
