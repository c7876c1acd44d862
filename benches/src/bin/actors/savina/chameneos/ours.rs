//! Chameneos in ours.

use futures_util::future::try_join_all;
use ironcliw::{Actor, Address, Child, Context, Handler, Overflow};

use super::super::stage::on_ours;
use super::*;

/// Each creature has one message on its way at most.
const CAPACITY: usize = 2 * CREATURES;

type Come = super::Come<Address<Creature>>;
type Meet = super::Meet<Address<Creature>>;

struct Creature(super::Creature, Address<Mall>);
#[derive(Default)]
struct Mall(Option<super::Mall<Address<Creature>>>);

impl Actor for Creature {}
impl Actor for Mall {}

/// Opens the mall: a factory could be called again.
struct Open(Done);
/// A creature's first way to the mall.
struct Begin;
tells!(Come, Meet, Open, Begin);

impl Handler<Open> for Mall {
    async fn handle(&mut self, Open(done): Open, _: &mut Context<Self>) {
        self.0 = Some(super::Mall::new(done));
    }
}

impl Handler<Come> for Mall {
    async fn handle(&mut self, super::Come(color, who): Come, _: &mut Context<Self>) {
        match self.0.as_mut().expect(RUNS).welcome(who) {
            Fate::Waits => {}
            Fate::Meets(waiting, who) => waiting.tell(super::Meet(color, who)).await.expect(RUNS),
            Fate::Fades(who) => who.tell(Fade).await.expect(RUNS),
        }
    }
}

impl Handler<Count> for Mall {
    async fn handle(&mut self, Count(meetings): Count, _: &mut Context<Self>) {
        self.0.as_mut().expect(RUNS).count(meetings);
    }
}

impl Creature {
    async fn come(&self, ctx: &Context<Self>) {
        self.1.tell(super::Come(self.0.color, ctx.address())).await.expect(RUNS);
    }
}

impl Handler<Begin> for Creature {
    async fn handle(&mut self, Begin: Begin, ctx: &mut Context<Self>) {
        self.come(ctx).await;
    }
}

impl Handler<Meet> for Creature {
    async fn handle(&mut self, super::Meet(color, who): Meet, ctx: &mut Context<Self>) {
        who.tell(Change(self.0.meet(color))).await.expect(RUNS);
        self.come(ctx).await;
    }
}

impl Handler<Change> for Creature {
    async fn handle(&mut self, Change(color): Change, ctx: &mut Context<Self>) {
        self.0.become_one(color);
        self.come(ctx).await;
    }
}

impl Handler<Fade> for Creature {
    async fn handle(&mut self, Fade: Fade, _: &mut Context<Self>) {
        self.1.tell(self.0.fade()).await.expect(RUNS);
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_ours(threads, async |runtime, done| {
        let mall = Child::new("mall", Mall::default).mailbox(CAPACITY, Overflow::Block);
        let mall = runtime.spawn(mall).await.expect(RUNS);
        mall.tell(Open(done)).await.expect(RUNS);
        let creature = |number: usize| {
            let mall = mall.clone();
            let make = move || Creature(super::Creature::new(number), mall.clone());
            runtime.spawn(Child::new(format!("creature-{number}"), make))
        };
        for creature in try_join_all((0..CREATURES).map(creature)).await.expect(RUNS) {
            creature.tell(Begin).await.expect(RUNS);
        }
    })
}
