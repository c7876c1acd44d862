//! actix, with sync handlers, its cheapest. A full mailbox is tried again: `do_send` would go past its bound.

use std::future::Future;

use actix::dev::SendError;
use actix::{Actor, Addr, Context, Handler, Message};

use crate::crowd::weigh;
use crate::hosts::{host, on_actix, on_actors_thread};
use crate::system::{CAPACITY, Counter, Crowd, Hosted, Mailbox, System};

/// Tries that a sender spins for, then tries for which it lets other tasks go first, then other threads as well.
const SPINS: u32 = 64;
const YIELDS: u32 = 256;

#[derive(Default)]
pub struct CounterActor {
    counter: Counter,
    capacity: Option<usize>,
}

impl Actor for CounterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Some(capacity) = self.capacity {
            ctx.set_mailbox_capacity(capacity);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tell(u64);

#[derive(Message)]
#[rtype(result = "u64")]
struct Ask(u64);

impl Handler<Tell> for CounterActor {
    type Result = ();

    fn handle(&mut self, Tell(number): Tell, _: &mut Context<Self>) {
        self.counter.add(number);
    }
}

impl Handler<Ask> for CounterActor {
    type Result = u64;

    fn handle(&mut self, Ask(number): Ask, _: &mut Context<Self>) -> u64 {
        self.counter.add(number)
    }
}

#[derive(Clone)]
pub struct Address(Addr<CounterActor>);

impl Mailbox for Address {
    async fn tell(&self, number: u64) {
        let mut tries = 0;
        let mut message = Tell(number);
        while let Err(refused) = self.0.try_send(message) {
            message = match refused {
                SendError::Full(message) => message,
                SendError::Closed(_) => panic!("the actor runs"),
            };
            tries += 1;
            if tries < SPINS {
                std::hint::spin_loop();
                continue;
            }
            tokio::task::yield_now().await;
            if tries > YIELDS {
                std::thread::yield_now();
            }
        }
    }

    async fn ask(&self, number: u64) -> u64 {
        self.0.send(Ask(number)).await.expect("the actor answers")
    }
}

fn start() -> Address {
    Address(CounterActor { counter: Counter::default(), capacity: Some(CAPACITY) }.start())
}

pub struct Actix;

impl System for Actix {
    const NAME: &'static str = "actix";
    type Mailbox = Address;

    fn across() -> Hosted<Address> {
        host(|serve| on_actix(async move { serve(start()).await }))
    }

    fn together<T, F>(client: impl FnOnce(Address) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        on_actors_thread(|| on_actix(async { client(start()).await }))
    }

    fn crowd(size: usize, count_bytes: bool) -> Crowd {
        on_actors_thread(move || {
            on_actix(async move {
                let start = async || {
                    let mut all = Vec::with_capacity(size);
                    all.resize_with(size, || Address(CounterActor::default().start()));
                    all
                };
                weigh(size, count_bytes, start).await.0
            })
        })
    }
}
