//! ractor, whose mailboxes are unbounded only: nothing holds its senders back.

use ractor::{ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::hosts::OnTokio;
use crate::system::{Counter, Mailbox};

pub enum Request {
    Tell(u64),
    Ask(u64, RpcReplyPort<u64>),
}

struct CounterActor;

impl ractor::Actor for CounterActor {
    type Msg = Request;
    type State = Counter;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Request>, (): ()) -> Result<Counter, ActorProcessingErr> {
        Ok(Counter::default())
    }

    async fn handle(
        &self,
        _: ActorRef<Request>,
        request: Request,
        state: &mut Counter,
    ) -> Result<(), ActorProcessingErr> {
        match request {
            Request::Tell(number) => {
                state.add(number);
            }
            Request::Ask(number, reply) => reply.send(state.add(number))?,
        }
        Ok(())
    }
}

#[derive(Clone)]
pub struct Address(ActorRef<Request>);

impl Mailbox for Address {
    async fn tell(&self, number: u64) {
        self.0.cast(Request::Tell(number)).expect("the actor runs");
    }

    async fn ask(&self, number: u64) -> u64 {
        let answer = self.0.call(|reply| Request::Ask(number, reply), None).await;
        answer.expect("the actor runs").expect("the actor answers")
    }
}

pub struct Ractor;

impl OnTokio for Ractor {
    const NAME: &'static str = "ractor";
    type Mailbox = Address;

    async fn start() -> Address {
        let (actor, _) = ractor::Actor::spawn(None, CounterActor, ()).await.expect("the actor starts");
        Address(actor)
    }

    async fn start_idle() -> Address {
        Self::start().await
    }
}
