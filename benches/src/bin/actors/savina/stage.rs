//! Where programs run: on one thread or on two, each pinned to a core, in every framework.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter, ArbiterHandle, Context};
use ironcliw::Runtime;
use tokio::sync::oneshot;

use crate::cores;
use crate::hosts::{self, on_actors_thread, single_thread};

/// How many threads a program's actors share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    One,
    Two,
}

impl Threads {
    /// For programs in which only one actor has anything to do at a time.
    pub const ONE: &[Self] = &[Self::One];
    /// For the others.
    pub const ANY: &[Self] = &[Self::One, Self::Two];

    fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// What a program came to, and how long it took.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    pub result: u64,
    pub time: Duration,
}

/// Held by the actor that knows the result, which tells it once.
#[derive(Debug, Default)]
pub struct Done(Option<oneshot::Sender<u64>>);

impl Done {
    pub fn tell(&mut self, result: u64) {
        let stage = self.0.take().expect("a program has one result");
        stage.send(result).expect("the stage waits for the result");
    }
}

/// Starts the clock and then the program, and waits for its result. What the program returns is kept until then: addresses,
/// where actors end with the last of them.
async fn time<F: Future>(program: impl FnOnce(Done) -> F) -> Outcome {
    let (done, result) = oneshot::channel();
    let began = Instant::now();
    let _kept = program(Done(Some(done))).await;
    let result = result.await.expect("the program has a result");
    Outcome { result, time: began.elapsed() }
}

/// Ours: the runtime spreads actors over its workers.
pub fn on_ours(threads: Threads, program: impl AsyncFnOnce(&Runtime, Done)) -> Outcome {
    /// For a stop after everything has been handled.
    const BOUND: Duration = Duration::from_secs(5);
    let runtime = Runtime::builder().workers(threads.count()).build().expect("a runtime can be made");
    let outcome = runtime.block_on(time(|done| program(&runtime, done)));
    runtime.shutdown(BOUND).expect("the actors stop");
    outcome
}

/// The arbiters that a program's actors are dealt to, each in turn.
#[derive(Clone)]
pub struct Arbiters(Vec<ArbiterHandle>);

impl Arbiters {
    /// Starts an actor, which has this number among those of its program.
    pub fn start<A: Actor<Context = Context<A>> + Send>(&self, number: usize, actor: A) -> Addr<A> {
        A::start_in_arbiter(&self.0[number % self.0.len()], |_| actor)
    }
}

/// actix: the program starts on the system's arbiter, which is the only one or the first.
pub fn on_actix<F>(threads: Threads, program: impl FnOnce(Arbiters, Done) -> F + Send + 'static) -> Outcome
where
    F: Future + 'static,
{
    on_actors_thread(move || {
        hosts::on_actix(async move {
            let second = (threads == Threads::Two).then(|| {
                Arbiter::with_tokio_rt(|| {
                    cores::pin_to_clients();
                    single_thread()
                })
            });
            let arbiters = [Some(Arbiter::current()), second.as_ref().map(Arbiter::handle)];
            let outcome = time(|done| program(Arbiters(arbiters.into_iter().flatten().collect()), done)).await;
            if let Some(second) = second {
                second.stop();
                second.join().expect("an arbiter panicked");
            }
            outcome
        })
    })
}

/// Frameworks whose actors are tasks of tokio's: two threads are those of its work-stealing runtime.
pub fn on_tokio<F>(threads: Threads, program: impl FnOnce(Done) -> F + Send + 'static) -> Outcome
where
    F: Future<Output: Send> + Send + 'static,
{
    if threads == Threads::One {
        return on_actors_thread(|| hosts::on_tokio(time(program)));
    }
    let begun = AtomicUsize::new(0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.count())
        .on_thread_start(move || match begun.fetch_add(1, Ordering::Relaxed) {
            0 => cores::pin_to_actors(),
            _ => cores::pin_to_clients(),
        })
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async { tokio::spawn(time(program)).await.expect("a program panicked") })
}

/// Sends without wanting the answer. Awaited, a detached send is queued; what it returns is the answer.
pub async fn xtra_tell<A, M, Rc>(to: &xtra::Address<A, Rc>, message: M)
where
    A: xtra::Handler<M, Return = ()>,
    M: Send + 'static,
    Rc: xtra::refcount::RefCounter,
{
    drop(to.send(message).detach().await.expect(super::RUNS));
}

/// The same, to be handled before all that [`xtra_tell`] has sent: xtra keeps no order among messages of one priority.
pub async fn xtra_tell_first<A, M>(to: &xtra::Address<A>, message: M)
where
    A: xtra::Handler<M, Return = ()>,
    M: Send + 'static,
{
    drop(to.send(message).priority(1).detach().await.expect(super::RUNS));
}
