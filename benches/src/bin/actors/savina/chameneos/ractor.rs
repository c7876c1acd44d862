//! Chameneos in ractor.

use ::ractor::{Actor, ActorProcessingErr, ActorRef};

use super::super::stage::on_tokio;
use super::*;

type Come = super::Come<ActorRef<ToCreature>>;
type Meet = super::Meet<ActorRef<ToCreature>>;

enum ToMall {
    Come(Come),
    Count(Count),
}

enum ToCreature {
    Meet(Meet),
    Change(Change),
    Fade,
}

struct Mall;
struct Creature(ActorRef<ToMall>);

impl Actor for Mall {
    type Msg = ToMall;
    type State = super::Mall<ActorRef<ToCreature>>;
    type Arguments = Done;

    async fn pre_start(&self, _: ActorRef<ToMall>, done: Done) -> Result<Self::State, ActorProcessingErr> {
        Ok(super::Mall::new(done))
    }

    async fn handle(
        &self,
        _: ActorRef<ToMall>,
        message: ToMall,
        mall: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToMall::Come(super::Come(color, who)) => match mall.welcome(who) {
                Fate::Waits => {}
                Fate::Meets(waiting, who) => waiting.cast(ToCreature::Meet(super::Meet(color, who)))?,
                Fate::Fades(who) => who.cast(ToCreature::Fade)?,
            },
            ToMall::Count(Count(meetings)) => mall.count(meetings),
        }
        Ok(())
    }
}

impl Actor for Creature {
    type Msg = ToCreature;
    type State = super::Creature;
    type Arguments = usize;

    async fn pre_start(
        &self,
        myself: ActorRef<ToCreature>,
        number: usize,
    ) -> Result<super::Creature, ActorProcessingErr> {
        let creature = super::Creature::new(number);
        self.0.cast(ToMall::Come(super::Come(creature.color, myself)))?;
        Ok(creature)
    }

    async fn handle(
        &self,
        myself: ActorRef<ToCreature>,
        message: ToCreature,
        creature: &mut super::Creature,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToCreature::Meet(super::Meet(color, who)) => who.cast(ToCreature::Change(Change(creature.meet(color))))?,
            ToCreature::Change(Change(color)) => drop(creature.become_one(color)),
            ToCreature::Fade => return Ok(self.0.cast(ToMall::Count(creature.fade()))?),
        }
        Ok(self.0.cast(ToMall::Come(super::Come(creature.color, myself)))?)
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let (mall, _) = Actor::spawn(None, Mall, done).await.expect(RUNS);
        for number in 0..CREATURES {
            Actor::spawn(None, Creature(mall.clone()), number).await.expect(RUNS);
        }
    })
}
