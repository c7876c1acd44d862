//! Ping-pong in actix.

use ::actix::{Actor, Addr, AsyncContext, Context, Handler};

use super::super::stage::on_actix;
use super::*;

struct Ping {
    pong: Addr<Pong>,
    game: Game,
}

struct Pong;

impl Actor for Ping {
    type Context = Context<Self>;
}

impl Actor for Pong {
    type Context = Context<Self>;
}

struct Ball(Addr<Ping>);
tells!(Ball);

impl Handler<Start> for Ping {
    type Result = ();

    fn handle(&mut self, Start(done): Start, ctx: &mut Context<Self>) {
        self.game.done = done;
        self.pong.do_send(Ball(ctx.address()));
    }
}

impl Handler<Back> for Ping {
    type Result = ();

    fn handle(&mut self, Back: Back, ctx: &mut Context<Self>) {
        if self.game.goes_on() {
            self.pong.do_send(Ball(ctx.address()));
        }
    }
}

impl Handler<Ball> for Pong {
    type Result = ();

    fn handle(&mut self, Ball(from): Ball, _: &mut Context<Self>) {
        from.do_send(Back);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_actix(threads, async |arbiters, done| {
        let pong = arbiters.start(0, Pong);
        let ping = arbiters.start(1, Ping { pong, game: Game::default() });
        ping.do_send(Start(done));
        ping
    })
}
