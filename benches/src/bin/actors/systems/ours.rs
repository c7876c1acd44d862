//! Ours: every actor supervised, observed, with async handlers, as anybody gets it.

use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ironcliw::{Actor, Child, Context, Handler, Message, Overflow, Placement, Runtime, Supervisor};

use crate::cores;
use crate::crowd::weigh;
use crate::system::{CAPACITY, Counter, Crowd, Hosted, Mailbox, System};

/// How long the actors of one measurement may take to stop.
const BOUND: Duration = Duration::from_secs(120);

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

    async fn tell_ones(&self, count: u64) {
        self.0.tell_many((0..count).map(|_| Tell(1))).await.expect("the actor runs");
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
    async fn handle(&mut self, Drive(client): Drive<T>, ctx: &mut Context<Self>) -> T {
        let (end, ended) = tokio::sync::oneshot::channel();
        ctx.spawn(async move { drop(end.send(client.await)) });
        ended.await.expect("a client panicked")
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

fn runtime(spins: bool) -> Guard {
    let builder = Runtime::builder().workers(1);
    let builder = if spins { builder } else { builder.spin(Duration::ZERO) };
    Guard(builder.build().expect("a runtime can be made"))
}

/// Runs a client as a task of an actor's thread, for a counter where it is placed, and stops both. Placed nowhere, the
/// counter lives on the client's thread and has no supervisor.
fn drive<T, F>(
    guard: Guard,
    counter_at: Option<Placement>,
    client_at: Placement,
    client: impl FnOnce(Address) -> F + Send + 'static,
) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    guard.0.block_on(async {
        let driver = Child::new("driver", || Driver).placement(client_at);
        let driver = guard.0.spawn(driver).await.expect("the actor starts");
        let counter = match counter_at {
            Some(place) => guard.0.spawn(counter(place)).await.expect("the actor starts"),
            None => guard.0.spawn_unsupervised(counter(Placement::Any), &driver),
        };
        driver.ask(Drive(Box::pin(client(Address(counter))))).await.expect("the client ends")
    })
}

/// The same mailbox and handlers with no supervision.
pub struct Unsupervised;

impl Unsupervised {
    pub const NAME: &'static str = "unsupervised";

    pub fn together<T, F>(client: impl FnOnce(Address) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        drive(runtime(true), None, Placement::Any, client)
    }
}

/// As it comes, or without its spinning.
pub struct Ours<const SPINS: bool = true>;

impl<const SPINS: bool> System for Ours<SPINS> {
    const NAME: &'static str = "ironcliw";
    type Mailbox = Address;

    fn across() -> Hosted<Address> {
        let guard = runtime(SPINS);
        let counter = guard.0.block_on(guard.0.spawn(counter(Placement::Core(cores::actors()))));
        Hosted { mailbox: Address(counter.expect("the actor starts")), guard: Box::new(guard) }
    }

    fn apart<T, F>(client: impl FnOnce(Address) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (counter, driver) = (Placement::Core(cores::actors()), Placement::Core(cores::clients()));
        drive(runtime(SPINS), Some(counter), driver, client)
    }

    fn together<T, F>(client: impl FnOnce(Address) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        // There is one worker, so both live on its thread.
        drive(runtime(SPINS), Some(Placement::Any), Placement::Any, client)
    }

    fn crowd(size: usize, count_bytes: bool) -> Crowd {
        let guard = runtime(SPINS);
        guard.0.block_on(async {
            let start = async || {
                let crowd = guard.0.supervise(Supervisor::new("crowd")).await.expect("the supervisor starts");
                let children = (0..size).map(|number| Child::new(number.to_string(), Counter::default));
                let all = crowd.spawn_many(children).await.expect("the actors start");
                all.into_iter().map(Address).collect()
            };
            weigh(size, count_bytes, start).await.0
        })
    }
}
