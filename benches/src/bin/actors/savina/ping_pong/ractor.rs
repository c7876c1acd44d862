//! Ping-pong in ractor.

use ::ractor::{Actor, ActorProcessingErr, ActorRef};

use super::super::stage::on_tokio;
use super::*;

enum ToPing {
    Start(Start),
    Back(Back),
}

struct Ball(ActorRef<ToPing>);

struct Ping;
struct Pong;

impl Actor for Ping {
    type Msg = ToPing;
    type State = (ActorRef<Ball>, Game);
    type Arguments = ActorRef<Ball>;

    async fn pre_start(&self, _: ActorRef<ToPing>, pong: ActorRef<Ball>) -> Result<Self::State, ActorProcessingErr> {
        Ok((pong, Game::default()))
    }

    async fn handle(
        &self,
        myself: ActorRef<ToPing>,
        message: ToPing,
        (pong, game): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let goes_on = match message {
            ToPing::Start(Start(done)) => {
                game.done = done;
                true
            }
            ToPing::Back(Back) => game.goes_on(),
        };
        if goes_on {
            pong.cast(Ball(myself))?;
        }
        Ok(())
    }
}

impl Actor for Pong {
    type Msg = Ball;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Ball>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Ball>, Ball(from): Ball, (): &mut ()) -> Result<(), ActorProcessingErr> {
        Ok(from.cast(ToPing::Back(Back))?)
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let (pong, _) = Actor::spawn(None, Pong, ()).await.expect(RUNS);
        let (ping, _) = Actor::spawn(None, Ping, pong).await.expect(RUNS);
        ping.cast(ToPing::Start(Start(done))).expect(RUNS);
    })
}
