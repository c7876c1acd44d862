//! Code that is not ours runs among actors: sinks, wakers, and the `Drop` of messages and replies. It may block, panic or send
//! messages itself, and nobody suffers for it but those who wait for the thread it runs on.

mod cast;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context as TaskContext, Wake, Waker};
use std::time::Duration;

use cast::*;
use ironcliw::{Address, Error, Handler, Message, Overflow, Placement, ReplySink, Restart, Strategy, Supervisor};

type Act = Box<dyn FnOnce() + Send>;

/// Foreign code: what it does, once, wherever it is called.
struct Foreign(Mutex<Option<Act>>);

impl Foreign {
    fn new(act: impl FnOnce() + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(act))))
    }

    fn run(&self) {
        let act = self.0.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
    }
}

impl Wake for Foreign {
    fn wake(self: Arc<Self>) {
        self.run();
    }
}

/// A message, or a reply, that is dropped.
struct Dropped(Foreign);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.run();
    }
}

impl Message for Dropped {
    type Reply = ();
}

impl Handler<Dropped> for Scribe {
    async fn handle(&mut self, _: Dropped, _: &mut ironcliw::Context<Self>) {}
}

/// A sink that is asked whether it is closed.
struct Asked {
    foreign: Foreign,
    is_closed: bool,
    told: mpsc::Sender<Result<u64, Error>>,
}

impl ReplySink<u64> for Asked {
    fn send(self: Box<Self>, answer: Result<u64, Error>) {
        let _ = self.told.send(answer);
    }

    fn is_closed(&self) -> bool {
        self.foreign.run();
        self.is_closed
    }
}

/// A future that was begun, and is kept.
type Begun<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[track_caller]
fn begin<T>(future: impl Future<Output = T> + Send + 'static, waker: &Waker) -> Begun<T> {
    let mut begun = Box::pin(future);
    assert!(begun.as_mut().poll(&mut TaskContext::from_waker(waker)).is_pending(), "it does not wait");
    begun
}

fn tell(scribe: &Address<Scribe>, n: u64, waker: &Waker) -> Begun<bool> {
    let scribe = scribe.clone();
    begin(async move { scribe.tell(Write(n)).await.is_ok() }, waker)
}

/// Has `foreign` run on the scribe's thread, in one way or another, when the scribe is let go on. What is returned is kept
/// until the end.
type Way = fn(&Address<Scribe>, Foreign) -> Box<dyn std::any::Any>;

/// Wherever foreign code runs on an actor's thread: none of these with a window to its mailbox open, for which a supervisor
/// would have to wait (`src/mailbox/lease.rs`).
const WAYS: [(&str, Way); 7] = [
    ("a sink is asked whether it is closed, and is not", |scribe, foreign| {
        let (told, answer) = mpsc::channel();
        scribe.ask_into(Write(7), None, Box::new(Asked { foreign, is_closed: false, told }));
        Box::new(answer)
    }),
    ("a sink is asked whether it is closed, and is", |scribe, foreign| {
        let (told, answer) = mpsc::channel();
        scribe.ask_into(Write(7), None, Box::new(Asked { foreign, is_closed: true, told }));
        Box::new(answer)
    }),
    ("a sink takes an answer", |scribe, foreign| {
        scribe.ask_into(WhichLife, None, Box::new(Sink(move |_| foreign.run())));
        Box::new(())
    }),
    ("an asker is woken", |scribe, foreign| Box::new(begin(scribe.ask(WhichLife), &Waker::from(Arc::new(foreign))))),
    ("a sender in line is woken", |scribe, foreign| {
        scribe.try_tell(Write(7)).unwrap();
        Box::new(tell(scribe, 8, &Waker::from(Arc::new(foreign))))
    }),
    ("a message that nobody waits for is dropped", |scribe, foreign| {
        drop(begin(scribe.ask(Dropped(foreign)), Waker::noop()));
        Box::new(())
    }),
    ("a reply that nobody takes is dropped", |scribe, foreign| {
        scribe.try_tell(Do(Box::new(move || Dropped(foreign)))).unwrap();
        Box::new(())
    }),
];

#[test]
fn foreign_code_that_blocks_an_actors_thread_does_not_hold_up_the_next_life() {
    for (way, run) in WAYS {
        let runtime = runtime();
        let group = Supervisor::new("group").strategy(Strategy::OneForAll);
        let group = runtime.block_on(runtime.supervise(group)).unwrap();
        let (slow, log) = scribe("slow");
        let slow = slow.placement(Placement::Dedicated).shutdown(Duration::from_millis(10)).mailbox(1, Overflow::Block);
        let slow = runtime.block_on(group.spawn(slow)).unwrap();
        let fails = runtime.block_on(group.spawn(scribe("fails").0)).unwrap();
        let (reach, reached) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let held = hold(&slow);
        let kept = run(
            &slow,
            Foreign::new(move || {
                reach.send(()).unwrap();
                let _ = may_go_on.recv();
            }),
        );
        held.send(()).unwrap();
        reached.recv_timeout(10 * SECOND).unwrap_or_else(|_| panic!("it never came to where {way}"));
        // Its thread is held; a supervisor that has to replace it is not.
        fails.try_tell(Poison).unwrap();
        assert_eq!(ask(&slow, WhichLife).recv_timeout(10 * SECOND), Ok(Ok(1)), "{way}");
        assert_eq!(ask(&fails, WhichLife).recv_timeout(10 * SECOND), Ok(Ok(1)), "{way}");
        go_on.send(()).unwrap();
        eventually(|| runtime.snapshot().lost_threads == 0);
        assert_eq!(heard(&ask(&slow, Write(9))), Ok(9), "{way}");
        // What was in hand was answered for, and is not handled by the thread that comes back late.
        if let Ok(answer) = kept.downcast::<mpsc::Receiver<Result<u64, Error>>>() {
            assert!(matches!(answer.recv_timeout(10 * SECOND), Ok(Err(_))), "{way}");
            assert_eq!(answer.try_recv(), Err(mpsc::TryRecvError::Disconnected), "{way}: answered twice");
            assert_eq!(*log.lock().unwrap(), [9], "{way}: handled after its asker was told that it is not");
        }
        // A message that was in hand without an asker goes on there, as any handler does, beside the next life.
        let mut all = log.lock().unwrap().clone();
        all.sort_unstable();
        assert!(all.is_sorted_by(|one, other| one < other), "{way}: handled twice: {all:?}");
        runtime.shutdown(5 * SECOND).unwrap();
    }
}

/// Says how often it was asked.
struct Counted(Arc<AtomicUsize>, mpsc::Sender<Result<u64, Error>>);

impl ReplySink<u64> for Counted {
    fn send(self: Box<Self>, answer: Result<u64, Error>) {
        let _ = self.1.send(answer);
    }

    fn is_closed(&self) -> bool {
        self.0.fetch_add(1, SeqCst);
        false
    }
}

/// Where it blocks the first time, the test above sees that no window is open. There is no other time.
#[test]
fn a_sink_is_asked_once_whether_it_is_closed() {
    let runtime = runtime();
    for overflow in [Overflow::Block, Overflow::DropOldest] {
        let (child, _) = scribe(&format!("{overflow:?}"));
        let scribe = runtime.block_on(runtime.spawn(child.mailbox(1, overflow))).unwrap();
        let (asked, (tell, told)) = (Arc::default(), mpsc::channel());
        scribe.ask_into(Write(1), None, Box::new(Counted(Arc::clone(&asked), tell)));
        assert_eq!(heard(&told), Ok(1));
        assert_eq!(asked.load(SeqCst), 1, "{overflow:?}");
    }
    runtime.shutdown(5 * SECOND).unwrap();
}

#[test]
fn foreign_code_may_send_to_the_actor_on_whose_thread_it_runs_and_look_at_it() {
    for (way, run) in WAYS {
        for overflow in [Overflow::Block, Overflow::Reject, Overflow::DropOldest, Overflow::DropNewest] {
            if overflow != Overflow::Block && way.contains("in line") {
                continue;
            }
            let runtime = runtime();
            let (child, log) = scribe("scribe");
            let scribe = runtime.block_on(runtime.spawn(child.mailbox(1, overflow))).unwrap();
            let (tell, told) = mpsc::channel();
            let held = hold(&scribe);
            let (to, handle) = (scribe.clone(), runtime.handle().clone());
            let kept = run(
                &scribe,
                Foreign::new(move || {
                    // More than there is room for: some get in line, are refused, or push others out.
                    let senders: Vec<_> = (1..4)
                        .map(|n| {
                            let to = to.clone();
                            let mut sender: Begun<_> = Box::pin(async move { to.tell(Write(n)).await });
                            let _ = sender.as_mut().poll(&mut TaskContext::from_waker(Waker::noop()));
                            sender
                        })
                        .collect();
                    to.ask_into(Write(4), None, Box::new(Sink(|_| ())));
                    let seen = (to.depth(), to.is_alive(), handle.snapshot().actors.len());
                    // Those who wait leave the line.
                    drop(senders);
                    tell.send(seen).unwrap();
                }),
            );
            held.send(()).unwrap();
            let (depth, is_alive, actors) =
                told.recv_timeout(10 * SECOND).unwrap_or_else(|_| panic!("{way}, {overflow:?}: it waits for itself"));
            assert!(depth <= 1 && is_alive && actors == 1, "{way}, {overflow:?}");
            runtime
                .block_on(async { tokio::time::timeout(10 * SECOND, ask_until_there_is_room(&scribe)).await.unwrap() });
            let log = log.lock().unwrap();
            assert!(!log.is_empty(), "{way}, {overflow:?}: {log:?}");
            assert_eq!(runtime.snapshot().restarts, 0, "{way}, {overflow:?}");
            drop((log, kept));
            runtime.shutdown(5 * SECOND).unwrap();
        }
    }
}

async fn ask_until_there_is_room(scribe: &Address<Scribe>) {
    while scribe.ask(Write(10)).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_message_that_is_given_up_in_line_may_send_others_as_it_is_dropped() {
    let runtime = runtime();
    let (child, log) = scribe("scribe");
    let scribe = runtime.block_on(runtime.spawn(child.mailbox(1, Overflow::Block))).unwrap();
    let held = hold(&scribe);
    scribe.try_tell(Write(1)).unwrap();
    let (to, (dropped, told)) = (scribe.clone(), mpsc::channel());
    let foreign = Foreign::new(move || {
        drop(tell(&to, 2, Waker::noop()));
        dropped.send(ask(&to, Write(3))).unwrap();
    });
    let to = scribe.clone();
    let given_up = begin(async move { to.tell(Dropped(foreign)).await.is_ok() }, Waker::noop());
    // On a thread of its own: if it waits for itself, this one says so.
    let gives_up = std::thread::spawn(move || drop(given_up));
    let answer = heard(&told);
    gives_up.join().unwrap();
    held.send(()).unwrap();
    assert_eq!(heard(&answer), Ok(3));
    assert_eq!(*log.lock().unwrap(), [1, 3]);
    runtime.shutdown(5 * SECOND).unwrap();
}

/// A waker that notes that it was called, and panics.
struct Grenade(mpsc::Sender<()>);

impl Wake for Grenade {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
        panic!("in a waker");
    }
}

#[test]
fn a_sender_whose_waker_panics_costs_neither_the_actor_nor_those_who_wait_behind_it() {
    let runtime = runtime();
    let (child, log) = scribe("scribe");
    let scribe = runtime.block_on(runtime.spawn(child.mailbox(2, Overflow::Block))).unwrap();
    let held = hold(&scribe);
    (0..2).for_each(|n| scribe.try_tell(Write(n)).unwrap());
    let (thrown, explosions) = mpsc::channel();
    let grenade = Waker::from(Arc::new(Grenade(thrown)));
    let mut senders = Vec::new();
    let mut wakes = Vec::new();
    for n in 2..20 {
        let (wake, woken) = mpsc::channel();
        let waker = if n % 3 == 0 {
            Waker::from(Arc::new(Foreign::new(move || wake.send(()).unwrap())))
        } else {
            grenade.clone()
        };
        senders.push(tell(&scribe, n, &waker));
        wakes.extend((n % 3 == 0).then_some(woken));
    }
    held.send(()).unwrap();
    wakes.iter().for_each(|woken| heard(woken));
    (0..12).for_each(|_| heard(&explosions));
    assert!(senders.into_iter().all(|sender| runtime.block_on(sender)), "a sender was refused");
    assert_eq!(heard(&ask(&scribe, Write(20))), Ok(20));
    assert_eq!(*log.lock().unwrap(), (0..=20).collect::<Vec<_>>());
    assert_eq!(heard(&ask(&scribe, WhichLife)), Ok(0), "the actor does not pay for a waker");
    runtime.shutdown(5 * SECOND).unwrap();
}

#[test]
fn wakers_that_panic_as_an_actor_ends_keep_nobody_from_hearing_of_it() {
    let runtime = runtime();
    let child = scribe("scribe").0.mailbox(1, Overflow::Block).restart(Restart::Temporary);
    let scribe = runtime.block_on(runtime.spawn(child)).unwrap();
    let held = hold(&scribe);
    scribe.try_tell(Poison).unwrap();
    let (thrown, explosions) = mpsc::channel();
    let grenade = Waker::from(Arc::new(Grenade(thrown)));
    let in_line: Vec<_> = (0..5).map(|n| tell(&scribe, n, &grenade)).collect();
    let last = ask(&scribe, Write(5));
    held.send(()).unwrap();
    // The first of them may get the place that the poison leaves; the others are sent away by the supervisor.
    (0..5).for_each(|_| heard(&explosions));
    assert!(in_line.into_iter().skip(1).all(|sender| !runtime.block_on(sender)));
    assert!(matches!(heard(&last), Err(Error::ActorStopped { .. })));
    // It stands.
    let next = runtime.block_on(runtime.spawn(cast::scribe("scribe").0)).unwrap();
    assert_eq!(heard(&ask(&next, WhichLife)), Ok(0));
    runtime.shutdown(5 * SECOND).unwrap();
}

#[test]
fn an_asker_whose_waker_panics_costs_the_actor_nothing() {
    let runtime = runtime();
    let scribe = runtime.block_on(runtime.spawn(scribe("scribe").0)).unwrap();
    let held = hold(&scribe);
    let (thrown, explosions) = mpsc::channel();
    let asker = scribe.ask(WhichLife);
    let asker = begin(asker, &Waker::from(Arc::new(Grenade(thrown))));
    held.send(()).unwrap();
    heard(&explosions);
    assert_eq!(runtime.block_on(asker).unwrap(), 0);
    assert_eq!(heard(&ask(&scribe, WhichLife)), Ok(0), "the actor does not pay for a waker");
    runtime.shutdown(5 * SECOND).unwrap();
}
