//! Counting in ractor.

use ::ractor::{Actor, ActorProcessingErr, ActorRef};

use super::super::stage::on_tokio;
use super::*;

enum ToCounter {
    Increment(Increment),
    Retrieve(Retrieve),
}

struct Producer;
struct Counter;

impl Actor for Producer {
    type Msg = Start;
    type State = ActorRef<ToCounter>;
    type Arguments = ActorRef<ToCounter>;

    async fn pre_start(
        &self,
        _: ActorRef<Start>,
        counter: ActorRef<ToCounter>,
    ) -> Result<ActorRef<ToCounter>, ActorProcessingErr> {
        Ok(counter)
    }

    async fn handle(
        &self,
        _: ActorRef<Start>,
        Start(done): Start,
        counter: &mut ActorRef<ToCounter>,
    ) -> Result<(), ActorProcessingErr> {
        for _ in 0..MESSAGES {
            counter.cast(ToCounter::Increment(Increment))?;
        }
        Ok(counter.cast(ToCounter::Retrieve(Retrieve(done)))?)
    }
}

impl Actor for Counter {
    type Msg = ToCounter;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<ToCounter>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<ToCounter>,
        message: ToCounter,
        count: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ToCounter::Increment(Increment) => *count += 1,
            ToCounter::Retrieve(Retrieve(mut done)) => done.tell(*count),
        }
        Ok(())
    }
}

pub fn run(threads: Threads) -> Outcome {
    on_tokio(threads, async |done| {
        let (counter, _) = Actor::spawn(None, Counter, ()).await.expect(RUNS);
        let (producer, _) = Actor::spawn(None, Producer, counter).await.expect(RUNS);
        producer.cast(Start(done)).expect(RUNS);
    })
}
