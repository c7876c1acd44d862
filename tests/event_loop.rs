//! Actors on a thread that is not the runtime's.

use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use ironcliw::{
    Actor, Backoff, Child, Context, Error, EventLoop, ExitReason, Handler, Message, Restart, Runtime, Supervisor,
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Where;
impl Actor for Where {}

struct Ask;
impl Message for Ask {
    type Reply = ThreadId;
}
impl Handler<Ask> for Where {
    async fn handle(&mut self, _: Ask, _: &mut Context<Self>) -> ThreadId {
        thread::current().id()
    }
}

struct Sleep(Duration);
impl Message for Sleep {
    type Reply = ();
}
impl Handler<Sleep> for Where {
    async fn handle(&mut self, Sleep(time): Sleep, _: &mut Context<Self>) {
        tokio::time::sleep(time).await;
    }
}

struct Break;
impl Message for Break {
    type Reply = ();
}
impl Handler<Break> for Where {
    async fn handle(&mut self, _: Break, _: &mut Context<Self>) {
        panic!("broken");
    }
}

/// A loop as its owner drives it.
struct Owner {
    event_loop: EventLoop,
    woken: Receiver<()>,
}

impl Owner {
    fn new(runtime: &Runtime) -> Self {
        let (wake, woken) = channel();
        let event_loop = EventLoop::new(runtime.handle(), "loop", move || wake.send(()).unwrap_or_default()).unwrap();
        Self { event_loop, woken }
    }

    /// Turns only when it is woken: a wake-up that was lost would be seen.
    fn run_until(&mut self, done: impl Fn() -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < limit, "nobody woke the loop");
            if self.woken.recv_timeout(Duration::from_millis(5)).is_ok() {
                while self.event_loop.turn() {}
            }
        }
    }

    /// Runs `work` elsewhere while the loop turns here.
    fn run<T: Send + 'static>(&mut self, runtime: &Runtime, work: impl Future<Output = T> + Send + 'static) -> T {
        let handle = runtime.handle().clone();
        let worker = thread::spawn(move || handle.block_on(work));
        self.run_until(|| worker.is_finished());
        worker.join().unwrap()
    }
}

fn child(name: &str, owner: &Owner) -> Child<Where> {
    Child::new(name, || Where).placement(owner.event_loop.placement()).backoff(Backoff::NONE)
}

#[test]
fn its_actors_live_on_its_thread_and_are_supervised_there() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let mut owner = Owner::new(&runtime);
    let (handle, child) = (runtime.handle().clone(), child("guest", &owner));
    let (threads, restarts) = owner.run(&runtime, async move {
        let guest = handle.spawn(child).await.unwrap();
        let first = guest.ask(Ask).await.unwrap();
        guest.ask(Sleep(Duration::from_millis(5))).await.unwrap();
        assert!(matches!(guest.ask(Break).await.unwrap_err().error, Error::ActorPanicked { .. }));
        let many: Vec<_> = guest.ask_many((0..10_000).map(|_| Ask)).await.into_iter().map(Result::unwrap).collect();
        assert!(many.iter().all(|thread| *thread == first));
        ([first, guest.ask(Ask).await.unwrap()], guest.observe().restarts)
    });
    assert_eq!((threads, restarts), ([thread::current().id(); 2], 1));
    assert!(runtime.snapshot().arbiters.iter().any(|arbiter| arbiter.name == "loop"));
    drop(owner);
    runtime.shutdown(PATIENCE).unwrap();
}

#[test]
fn its_end_is_answered_for_and_its_actors_do_not_start_elsewhere() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let mut owner = Owner::new(&runtime);
    let (handle, child) = (runtime.handle().clone(), child("guest", &owner).restart(Restart::Temporary));
    let guest = owner.run(&runtime, async move {
        let group = handle.supervise(Supervisor::new("group")).await.unwrap();
        group.spawn(child).await.unwrap()
    });
    let (asked, waits) = (guest.clone(), guest.clone());
    let handle = runtime.handle().clone();
    let asker = thread::spawn(move || handle.block_on(async move { asked.ask(Sleep(PATIENCE)).await }));
    owner.run_until(|| waits.observe().depth == 0 && waits.observe().high_water > 0);
    drop(owner);
    assert!(asker.join().unwrap().is_err());
    assert_eq!(runtime.block_on(guest.stopped()), ExitReason::ThreadLost);
    let began = Instant::now();
    runtime.shutdown(PATIENCE).unwrap();
    assert!(began.elapsed() < PATIENCE / 2);
}

#[test]
fn a_runtime_that_ends_lets_go_of_it() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let mut owner = Owner::new(&runtime);
    let (handle, child) = (runtime.handle().clone(), child("guest", &owner));
    let guest = owner.run(&runtime, async move { handle.spawn(child).await.unwrap() });
    let closer = thread::spawn(move || runtime.shutdown(PATIENCE));
    owner.run_until(|| closer.is_finished());
    closer.join().unwrap().unwrap();
    while owner.event_loop.turn() {}
    assert!(owner.event_loop.is_over() && !guest.is_alive());
}
