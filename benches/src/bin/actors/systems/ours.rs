//! Ours: every actor supervised, observed, with async handlers, as anybody gets it.

use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use ironcliw::{Actor, Child, Context, Handler, Message, Overflow, Placement, Runtime, Supervisor};

use crate::cores;
use crate::crowd::weigh;
use crate::system::{CAPACITY, Counter, Crowd, Hosted, Mailbox, System};

/// How long the actors of one measurement may take to stop.
const BOUND: Duration = Duration::from_secs(30);

/// Spawns that wait for their answer at the same time: each is started by its supervisor, on another thread.
const SPAWNS: usize = 1024;

/// Idle actors of one supervisor, which compares a new child's name with each sibling's: under a single supervisor the
/// time to spawn all of them would grow with the square of their number.
const GROUP: usize = 250;

impl Actor for Counter {}

pub struct Tell(u64);

impl Message for Tell {
    type Reply = ();
}

impl Handler<Tell> for Counter {
    async fn handle(&mut self, Tell(number): Tell, _: &mut Context<Self>) {
        self.add(number);
    }
}

pub struct Ask(u64);

impl Message for Ask {
    type Reply = u64;
}

impl Handler<Ask> for Counter {
    async fn handle(&mut self, Ask(number): Ask, _: &mut Context<Self>) -> u64 {
        self.add(number)
    }
}

#[derive(Clone)]
pub struct Address(ironcliw::Address<Counter>);

impl Mailbox for Address {
    async fn tell(&self, number: u64) {
        self.0.tell(Tell(number)).await.expect("the actor runs");
    }

    async fn ask(&self, number: u64) -> u64 {
        self.0.ask(Ask(number)).await.expect("the actor answers")
    }
}

/// Runs a client as a task of its own thread.
struct Driver;

impl Actor for Driver {}

struct Drive<T>(BoxFuture<'static, T>);

impl<T: Send + 'static> Message for Drive<T> {
    type Reply = T;
}

impl<T: Send + 'static> Handler<Drive<T>> for Driver {
    async fn handle(&mut self, Drive(client): Drive<T>, _: &mut Context<Self>) -> T {
        tokio::task::spawn_local(client).await.expect("a client panicked")
    }
}

/// Stopped with the last measurement that needs it.
struct Guard(Runtime);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.shutdown(BOUND).expect("the actors stop");
    }
}

fn counter(placement: Placement) -> Child<Counter> {
    Child::new("counter", Counter::default).mailbox(CAPACITY, Overflow::Block).placement(placement)
}

fn runtime() -> Guard {
    Guard(Runtime::builder().workers(1).build().expect("a runtime can be made"))
}

pub struct Ours;

impl System for Ours {
    const NAME: &'static str = "ironcliw";
    type Mailbox = Address;

    fn across() -> Hosted<Address> {
        let guard = runtime();
        let counter = guard.0.block_on(guard.0.spawn(counter(Placement::Core(cores::actors()))));
        Hosted { mailbox: Address(counter.expect("the actor starts")), guard: Box::new(guard) }
    }

    fn together<T, F>(client: impl FnOnce(Address) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let guard = runtime();
        guard.0.block_on(async {
            // There is one worker, so both live on its thread.
            let counter = guard.0.spawn(counter(Placement::Any)).await.expect("the actor starts");
            let driver = guard.0.spawn(Child::new("driver", || Driver)).await.expect("the actor starts");
            driver.ask(Drive(Box::pin(client(Address(counter))))).await.expect("the client ends")
        })
    }

    fn crowd(size: usize, count_bytes: bool) -> Crowd {
        let guard = runtime();
        guard.0.block_on(async {
            let start = async || {
                let mut all = Vec::with_capacity(size);
                let mut groups = Vec::new();
                for group in 0..size.div_ceil(GROUP) {
                    let group = Supervisor::new(format!("crowd{group}"));
                    groups.push(guard.0.supervise(group).await.expect("the supervisor starts"));
                }
                let spawn = async |number: usize| {
                    let child = Child::new(number.to_string(), Counter::default);
                    Address(groups[number / GROUP].spawn(child).await.expect("the actor starts"))
                };
                let mut starting = Box::pin(stream::iter(0..size).map(spawn).buffer_unordered(SPAWNS));
                while let Some(address) = starting.next().await {
                    all.push(address);
                }
                drop(starting);
                all
            };
            weigh(size, count_bytes, start).await.0
        })
    }
}
