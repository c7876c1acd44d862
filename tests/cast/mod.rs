//! The actor that the tests of failing and stopping share: it can write, panic, wait, block its thread, and quit.

#![allow(dead_code)] // Each test program uses a part of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ironcliw::{Actor, Address, Backoff, Child, Context, Error, Handler, Message, ReplySink, Runtime};

pub const SECOND: Duration = Duration::from_secs(1);

pub type Log = Arc<Mutex<Vec<u64>>>;

/// Remembers what it handled in a log that outlives it.
pub struct Scribe {
    log: Log,
    life: u64,
}

impl Actor for Scribe {}

impl Scribe {
    pub fn new(log: Log, life: u64) -> Self {
        Self { log, life }
    }
}

/// A scribe that is started again at once, and what it writes.
pub fn scribe(name: &str) -> (Child<Scribe>, Log) {
    let log = Log::default();
    let (written, lives) = (log.clone(), AtomicU64::new(0));
    let child = Child::new(name, move || Scribe { log: written.clone(), life: lives.fetch_add(1, Ordering::Relaxed) });
    (child.backoff(Backoff::NONE), log)
}

pub struct Write(pub u64);
impl Message for Write {
    type Reply = u64;
}

impl Handler<Write> for Scribe {
    async fn handle(&mut self, Write(n): Write, _: &mut Context<Self>) -> u64 {
        self.log.lock().unwrap().push(n);
        n
    }
}

pub struct Poison;
impl Message for Poison {
    type Reply = ();
}

impl Handler<Poison> for Scribe {
    async fn handle(&mut self, _: Poison, _: &mut Context<Self>) {
        panic!("poisoned");
    }
}

/// Waits, without its thread, until told to go on.
pub struct Hold(pub tokio::sync::oneshot::Receiver<()>);
impl Message for Hold {
    type Reply = ();
}

impl Handler<Hold> for Scribe {
    async fn handle(&mut self, Hold(go): Hold, _: &mut Context<Self>) {
        let _ = go.await;
    }
}

/// Holds its thread until told to go on, then writes.
pub struct Block(pub std::sync::mpsc::Receiver<()>, pub u64);
impl Message for Block {
    type Reply = u64;
}

impl Handler<Block> for Scribe {
    async fn handle(&mut self, Block(go, n): Block, _: &mut Context<Self>) -> u64 {
        let _ = go.recv();
        self.log.lock().unwrap().push(n);
        n
    }
}

/// Holds its thread for a while.
pub struct Sleep(pub Duration);
impl Message for Sleep {
    type Reply = ();
}

impl Handler<Sleep> for Scribe {
    async fn handle(&mut self, Sleep(time): Sleep, _: &mut Context<Self>) {
        std::thread::sleep(time);
    }
}

/// Stops by itself, as one whose work is done.
pub struct Quit;
impl Message for Quit {
    type Reply = ();
}

impl Handler<Quit> for Scribe {
    async fn handle(&mut self, _: Quit, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

pub struct WhichLife;
impl Message for WhichLife {
    type Reply = u64;
}

impl Handler<WhichLife> for Scribe {
    async fn handle(&mut self, _: WhichLife, _: &mut Context<Self>) -> u64 {
        self.life
    }
}

/// Does what it is given, on the actor's thread.
pub struct Do<T>(pub Box<dyn FnOnce() -> T + Send>);
impl<T: Send + 'static> Message for Do<T> {
    type Reply = T;
}

impl<T: Send + 'static> Handler<Do<T>> for Scribe {
    async fn handle(&mut self, Do(act): Do<T>, _: &mut Context<Self>) -> T {
        act()
    }
}

/// Ends the thread it is handled on, as code that reaches for actix may.
pub struct EndThread;
impl Message for EndThread {
    type Reply = ();
}

impl Handler<EndThread> for Scribe {
    async fn handle(&mut self, _: EndThread, _: &mut Context<Self>) {
        actix::Arbiter::current().stop();
        std::future::pending().await
    }
}

/// A sink that does `take` with the answer.
pub struct Sink<F>(pub F);

impl<R, F: FnOnce(Result<R, Error>) + Send> ReplySink<R> for Sink<F> {
    fn send(self: Box<Self>, answer: Result<R, Error>) {
        (self.0)(answer);
    }
}

pub fn runtime() -> Runtime {
    Runtime::builder().workers(2).build().unwrap()
}

/// Waits until `done` holds, for ten seconds at the most.
#[track_caller]
pub fn eventually(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < 10 * SECOND, "it never came to be");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Gives `scribe` a message that it holds until the sender is used or dropped, and waits until it is in hand.
pub fn hold(scribe: &Address<Scribe>) -> tokio::sync::oneshot::Sender<()> {
    let (go, held) = tokio::sync::oneshot::channel();
    scribe.try_tell(Hold(held)).unwrap();
    eventually(|| scribe.depth() == 0);
    go
}

/// The answer to an ask that is under way, or a panic where it is not answered in ten seconds.
#[track_caller]
pub fn heard<T>(answers: &std::sync::mpsc::Receiver<T>) -> T {
    answers.recv_timeout(10 * SECOND).expect("an asker never heard")
}

/// Asks at once, on the calling thread, and returns where the answer will be.
pub fn ask<M>(scribe: &Address<Scribe>, message: M) -> std::sync::mpsc::Receiver<Result<M::Reply, Error>>
where
    M: Message,
    Scribe: Handler<M>,
{
    let (tell, told) = std::sync::mpsc::channel();
    scribe.ask_into(message, None, Box::new(Sink(move |answer| drop(tell.send(answer)))));
    told
}
