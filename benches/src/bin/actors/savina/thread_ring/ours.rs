//! Thread-ring in ours.

use futures_util::future::try_join_all;
use ironcliw::{Actor, Address, Child, Context, Handler};

use super::super::stage::on_ours;
use super::*;

struct Hop {
    number: usize,
    next: Option<Address<Hop>>,
}

impl Actor for Hop {}
tells!(Link<Address<Hop>>);

impl Handler<Link<Address<Self>>> for Hop {
    async fn handle(&mut self, Link(next): Link<Address<Self>>, _: &mut Context<Self>) {
        self.next = Some(next);
    }
}

impl Handler<Token> for Hop {
    async fn handle(&mut self, token: Token, _: &mut Context<Self>) {
        if let Some(token) = token.hand_on(self.number) {
            self.next.as_ref().expect(RUNS).tell(token).await.expect(RUNS);
        }
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_ours(threads, async |runtime, done| {
        let hop =
            |number: usize| runtime.spawn(Child::new(format!("hop-{number}"), move || Hop { number, next: None }));
        let ring = try_join_all((0..ACTORS).map(hop)).await.expect(RUNS);
        for (hop, link) in links(&ring) {
            hop.tell(link).await.expect(RUNS);
        }
        ring[0].tell(Token::new(done)).await.expect(RUNS);
    })
}
