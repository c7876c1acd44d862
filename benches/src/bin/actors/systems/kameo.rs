//! kameo, with its bounded mailbox and async handlers.

use kameo::actor::{ActorRef, Spawn};
use kameo::mailbox;
use kameo::message::{Context, Message};

use crate::hosts::OnTokio;
use crate::system::{CAPACITY, Counter, Mailbox};

#[derive(kameo::Actor)]
pub struct CounterActor(Counter);

pub struct Tell(u64);
pub struct Ask(u64);

impl Message<Tell> for CounterActor {
    type Reply = ();

    async fn handle(&mut self, Tell(number): Tell, _: &mut Context<Self, ()>) {
        self.0.add(number);
    }
}

impl Message<Ask> for CounterActor {
    type Reply = u64;

    async fn handle(&mut self, Ask(number): Ask, _: &mut Context<Self, u64>) -> u64 {
        self.0.add(number)
    }
}

#[derive(Clone)]
pub struct Address(ActorRef<CounterActor>);

impl Mailbox for Address {
    async fn tell(&self, number: u64) {
        self.0.tell(Tell(number)).send().await.expect("the actor runs");
    }

    async fn ask(&self, number: u64) -> u64 {
        self.0.ask(Ask(number)).send().await.expect("the actor answers")
    }
}

pub struct Kameo;

impl OnTokio for Kameo {
    const NAME: &'static str = "kameo";
    type Mailbox = Address;

    async fn start() -> Address {
        Address(CounterActor::spawn_with_mailbox(CounterActor(Counter::default()), mailbox::bounded(CAPACITY)))
    }

    async fn start_idle() -> Address {
        Address(CounterActor::spawn(CounterActor(Counter::default())))
    }
}
