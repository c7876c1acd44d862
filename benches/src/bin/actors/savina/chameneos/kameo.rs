//! Chameneos in kameo.

use ::kameo::actor::{Actor, ActorRef, Spawn};
use ::kameo::error::Infallible;
use ::kameo::mailbox::unbounded;
use ::kameo::message::{Context, Message};

use super::super::stage::on_tokio;
use super::*;

type Come = super::Come<ActorRef<Creature>>;
type Meet = super::Meet<ActorRef<Creature>>;

#[derive(::kameo::Actor)]
struct Mall(super::Mall<ActorRef<Creature>>);

struct Creature(super::Creature, ActorRef<Mall>);

impl Actor for Creature {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(creature: Self, address: ActorRef<Self>) -> Result<Self, Infallible> {
        creature.come(&address);
        Ok(creature)
    }
}

impl Message<Come> for Mall {
    type Reply = ();

    async fn handle(&mut self, super::Come(color, who): Come, _: &mut Context<Self, ()>) {
        match self.0.welcome(who) {
            Fate::Waits => {}
            Fate::Meets(waiting, who) => waiting.tell(super::Meet(color, who)).try_send().expect(RUNS),
            Fate::Fades(who) => who.tell(Fade).try_send().expect(RUNS),
        }
    }
}

impl Message<Count> for Mall {
    type Reply = ();

    async fn handle(&mut self, Count(meetings): Count, _: &mut Context<Self, ()>) {
        self.0.count(meetings);
    }
}

impl Creature {
    fn come(&self, address: &ActorRef<Self>) {
        self.1.tell(super::Come(self.0.color, address.clone())).try_send().expect(RUNS);
    }
}

impl Message<Meet> for Creature {
    type Reply = ();

    async fn handle(&mut self, super::Meet(color, who): Meet, ctx: &mut Context<Self, ()>) {
        who.tell(Change(self.0.meet(color))).try_send().expect(RUNS);
        self.come(ctx.actor_ref());
    }
}

impl Message<Change> for Creature {
    type Reply = ();

    async fn handle(&mut self, Change(color): Change, ctx: &mut Context<Self, ()>) {
        self.0.become_one(color);
        self.come(ctx.actor_ref());
    }
}

impl Message<Fade> for Creature {
    type Reply = ();

    async fn handle(&mut self, Fade: Fade, _: &mut Context<Self, ()>) {
        self.1.tell(self.0.fade()).try_send().expect(RUNS);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let mall = Mall::spawn_with_mailbox(Mall(super::Mall::new(done)), unbounded());
        let creature =
            |number| Creature::spawn_with_mailbox(Creature(super::Creature::new(number), mall.clone()), unbounded());
        (0..CREATURES).map(creature).collect::<Vec<_>>()
    })
}
