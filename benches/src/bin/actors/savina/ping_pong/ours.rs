//! Ping-pong in ours.

use ironcliw::{Actor, Address, Child, Context, Handler};

use super::super::stage::on_ours;
use super::*;

struct Ping {
    pong: Address<Pong>,
    game: Game,
}

struct Pong;

impl Actor for Ping {}
impl Actor for Pong {}

struct Ball(Address<Ping>);
tells!(Ball);

impl Handler<Start> for Ping {
    async fn handle(&mut self, Start(done): Start, ctx: &mut Context<Self>) {
        self.game.done = done;
        self.pong.tell(Ball(ctx.address())).await.expect(RUNS);
    }
}

impl Handler<Back> for Ping {
    async fn handle(&mut self, Back: Back, ctx: &mut Context<Self>) {
        if self.game.goes_on() {
            self.pong.tell(Ball(ctx.address())).await.expect(RUNS);
        }
    }
}

impl Handler<Ball> for Pong {
    async fn handle(&mut self, Ball(from): Ball, _: &mut Context<Self>) {
        from.tell(Back).await.expect(RUNS);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_ours(threads, async |runtime, done| {
        let pong = runtime.spawn(Child::new("pong", || Pong)).await.expect(RUNS);
        let ping = Child::new("ping", move || Ping { pong: pong.clone(), game: Game::default() });
        let ping = runtime.spawn(ping).await.expect(RUNS);
        ping.tell(Start(done)).await.expect(RUNS);
    })
}
