//! Thread-ring in kameo.

use ::kameo::actor::{ActorRef, Spawn};
use ::kameo::mailbox::unbounded;
use ::kameo::message::{Context, Message};

use super::super::stage::on_tokio;
use super::*;

#[derive(::kameo::Actor)]
struct Hop {
    number: usize,
    next: Option<ActorRef<Hop>>,
}

impl Message<Link<ActorRef<Self>>> for Hop {
    type Reply = ();

    async fn handle(&mut self, Link(next): Link<ActorRef<Self>>, _: &mut Context<Self, ()>) {
        self.next = Some(next);
    }
}

impl Message<Token> for Hop {
    type Reply = ();

    async fn handle(&mut self, token: Token, _: &mut Context<Self, ()>) {
        if let Some(token) = token.hand_on(self.number) {
            self.next.as_ref().expect(RUNS).tell(token).try_send().expect(RUNS);
        }
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let hop = |number| Hop::spawn_with_mailbox(Hop { number, next: None }, unbounded());
        let ring: Vec<_> = (0..ACTORS).map(hop).collect();
        for (hop, link) in links(&ring) {
            hop.tell(link).try_send().expect(RUNS);
        }
        ring[0].tell(Token::new(done)).try_send().expect(RUNS);
    })
}
