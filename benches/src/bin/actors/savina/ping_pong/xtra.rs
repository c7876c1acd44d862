//! Ping-pong in xtra.

use ::xtra::{Actor, Address, Context, Handler, Mailbox, WeakAddress};

use super::super::stage::{on_tokio, xtra_tell};
use super::*;

struct Ping {
    pong: Address<Pong>,
    game: Game,
}

struct Pong;

impl Actor for Ping {
    type Stop = ();

    async fn stopped(self) {}
}

impl Actor for Pong {
    type Stop = ();

    async fn stopped(self) {}
}

struct Ball(WeakAddress<Ping>);

impl Handler<Start> for Ping {
    type Return = ();

    async fn handle(&mut self, Start(done): Start, ctx: &mut Context<Self>) {
        self.game.done = done;
        xtra_tell(&self.pong, Ball(ctx.mailbox().address())).await;
    }
}

impl Handler<Back> for Ping {
    type Return = ();

    async fn handle(&mut self, Back: Back, ctx: &mut Context<Self>) {
        if self.game.goes_on() {
            xtra_tell(&self.pong, Ball(ctx.mailbox().address())).await;
        }
    }
}

impl Handler<Ball> for Pong {
    type Return = ();

    async fn handle(&mut self, Ball(from): Ball, _: &mut Context<Self>) {
        xtra_tell(&from, Back).await;
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let pong = ::xtra::spawn_tokio(Pong, Mailbox::unbounded());
        let ping = ::xtra::spawn_tokio(Ping { pong, game: Game::default() }, Mailbox::unbounded());
        xtra_tell(&ping, Start(done)).await;
        ping
    })
}
