//! Thread-ring in ractor.

use ::ractor::{Actor, ActorProcessingErr, ActorRef};

use super::super::stage::on_tokio;
use super::*;

enum ToHop {
    Link(Link<ActorRef<ToHop>>),
    Token(Token),
}

struct Hop(usize);

impl Actor for Hop {
    type Msg = ToHop;
    type State = Option<ActorRef<ToHop>>;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<ToHop>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        Ok(None)
    }

    async fn handle(
        &self,
        _: ActorRef<ToHop>,
        message: ToHop,
        next: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToHop::Link(Link(other)) => *next = Some(other),
            ToHop::Token(token) => {
                if let Some(token) = token.hand_on(self.0) {
                    next.as_ref().expect(RUNS).cast(ToHop::Token(token))?;
                }
            }
        }
        Ok(())
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let mut ring = Vec::with_capacity(ACTORS);
        for number in 0..ACTORS {
            ring.push(Actor::spawn(None, Hop(number), ()).await.expect(RUNS).0);
        }
        for (hop, link) in links(&ring) {
            hop.cast(ToHop::Link(link)).expect(RUNS);
        }
        ring[0].cast(ToHop::Token(Token::new(done))).expect(RUNS);
    })
}
