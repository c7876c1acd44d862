//! Thread-ring in xtra.

use ::xtra::{Actor, Address, Context, Handler, Mailbox};

use super::super::stage::{on_tokio, xtra_tell, xtra_tell_first};
use super::*;

struct Hop {
    number: usize,
    next: Option<Address<Hop>>,
}

impl Actor for Hop {
    type Stop = ();

    async fn stopped(self) {}
}

impl Handler<Link<Address<Self>>> for Hop {
    type Return = ();

    async fn handle(&mut self, Link(next): Link<Address<Self>>, _: &mut Context<Self>) {
        self.next = Some(next);
    }
}

impl Handler<Token> for Hop {
    type Return = ();

    async fn handle(&mut self, token: Token, _: &mut Context<Self>) {
        if let Some(token) = token.hand_on(self.number) {
            xtra_tell(self.next.as_ref().expect(RUNS), token).await;
        }
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let hop = |number| ::xtra::spawn_tokio(Hop { number, next: None }, Mailbox::unbounded());
        let ring: Vec<_> = (0..ACTORS).map(hop).collect();
        for (hop, link) in links(&ring) {
            xtra_tell_first(hop, link).await;
        }
        xtra_tell(&ring[0], Token::new(done)).await;
    })
}
