//! Chameneos in actix.

use ::actix::{Actor, Addr, AsyncContext, Context, Handler};

use super::super::stage::on_actix;
use super::*;

type Come = super::Come<Addr<Creature>>;
type Meet = super::Meet<Addr<Creature>>;
type Mall = super::Mall<Addr<Creature>>;
tells!(Come, Meet);

struct Creature(super::Creature, Addr<Mall>);

impl Actor for Creature {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.come(ctx);
    }
}

impl Actor for Mall {
    type Context = Context<Self>;
}

impl Handler<Come> for Mall {
    type Result = ();

    fn handle(&mut self, super::Come(color, who): Come, _: &mut Context<Self>) {
        match self.welcome(who) {
            Fate::Waits => {}
            Fate::Meets(waiting, who) => waiting.do_send(super::Meet(color, who)),
            Fate::Fades(who) => who.do_send(Fade),
        }
    }
}

impl Handler<Count> for Mall {
    type Result = ();

    fn handle(&mut self, Count(meetings): Count, _: &mut Context<Self>) {
        self.count(meetings);
    }
}

impl Creature {
    fn come(&self, ctx: &Context<Self>) {
        self.1.do_send(super::Come(self.0.color, ctx.address()));
    }
}

impl Handler<Meet> for Creature {
    type Result = ();

    fn handle(&mut self, super::Meet(color, who): Meet, ctx: &mut Context<Self>) {
        who.do_send(Change(self.0.meet(color)));
        self.come(ctx);
    }
}

impl Handler<Change> for Creature {
    type Result = ();

    fn handle(&mut self, Change(color): Change, ctx: &mut Context<Self>) {
        self.0.become_one(color);
        self.come(ctx);
    }
}

impl Handler<Fade> for Creature {
    type Result = ();

    fn handle(&mut self, Fade: Fade, _: &mut Context<Self>) {
        self.1.do_send(self.0.fade());
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_actix(threads, async |arbiters, done| {
        let mall = arbiters.start(0, Mall::new(done));
        let creature = |number| arbiters.start(number, Creature(super::Creature::new(number), mall.clone()));
        (0..CREATURES).map(creature).collect::<Vec<_>>()
    })
}
