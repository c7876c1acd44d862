//! Ping-pong in kameo.

use ::kameo::actor::{ActorRef, Spawn};
use ::kameo::mailbox::unbounded;
use ::kameo::message::{Context, Message};

use super::super::stage::on_tokio;
use super::*;

#[derive(::kameo::Actor)]
struct Ping {
    pong: ActorRef<Pong>,
    game: Game,
}

#[derive(::kameo::Actor)]
struct Pong;

struct Ball(ActorRef<Ping>);

impl Message<Start> for Ping {
    type Reply = ();

    async fn handle(&mut self, Start(done): Start, ctx: &mut Context<Self, ()>) {
        self.game.done = done;
        self.pong.tell(Ball(ctx.actor_ref().clone())).try_send().expect(RUNS);
    }
}

impl Message<Back> for Ping {
    type Reply = ();

    async fn handle(&mut self, Back: Back, ctx: &mut Context<Self, ()>) {
        if self.game.goes_on() {
            self.pong.tell(Ball(ctx.actor_ref().clone())).try_send().expect(RUNS);
        }
    }
}

impl Message<Ball> for Pong {
    type Reply = ();

    async fn handle(&mut self, Ball(from): Ball, _: &mut Context<Self, ()>) {
        from.tell(Back).try_send().expect(RUNS);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let pong = Pong::spawn_with_mailbox(Pong, unbounded());
        let ping = Ping::spawn_with_mailbox(Ping { pong, game: Game::default() }, unbounded());
        ping.tell(Start(done)).try_send().expect(RUNS);
        ping
    })
}
