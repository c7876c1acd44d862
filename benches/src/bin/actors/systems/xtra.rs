//! xtra, with its bounded mailbox and async handlers.
//!
//! Its queue is a heap: messages of one priority are handled in any order. A tell has a higher one than an ask, so that an
//! ask says what has become of the tells before it.

use xtra::{Actor, Context, Handler};

use crate::hosts::OnTokio;
use crate::system::{CAPACITY, Counter, Mailbox};

pub struct CounterActor(Counter);

impl Actor for CounterActor {
    type Stop = ();

    async fn stopped(self) {}
}

pub struct Tell(u64);
pub struct Ask(u64);

impl Handler<Tell> for CounterActor {
    type Return = ();

    async fn handle(&mut self, Tell(number): Tell, _: &mut Context<Self>) {
        self.0.add(number);
    }
}

impl Handler<Ask> for CounterActor {
    type Return = u64;

    async fn handle(&mut self, Ask(number): Ask, _: &mut Context<Self>) -> u64 {
        self.0.add(number)
    }
}

#[derive(Clone)]
pub struct Address(xtra::Address<CounterActor>);

impl Mailbox for Address {
    async fn tell(&self, number: u64) {
        // Awaited, a detached send is queued; what it returns is the answer, which nobody wants.
        drop(self.0.send(Tell(number)).priority(1).detach().await.expect("the actor runs"));
    }

    async fn ask(&self, number: u64) -> u64 {
        self.0.send(Ask(number)).await.expect("the actor answers")
    }
}

pub struct Xtra;

impl OnTokio for Xtra {
    const NAME: &'static str = "xtra";
    type Mailbox = Address;

    async fn start() -> Address {
        Address(xtra::spawn_tokio(CounterActor(Counter::default()), xtra::Mailbox::bounded(CAPACITY)))
    }

    async fn start_idle() -> Address {
        // xtra has no default: this is what its own examples use.
        Address(xtra::spawn_tokio(CounterActor(Counter::default()), xtra::Mailbox::unbounded()))
    }
}
