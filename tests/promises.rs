//! What the runtime promises of messages, restarts and stopping, tested from outside.

use std::future::IntoFuture;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ironcliw::{
    Actor, Address, Backoff, Child, Context, Error, Handler, Message, Overflow, Placement, Restart, Runtime,
    StartError, Strategy, Supervisor,
};

const SECOND: Duration = Duration::from_secs(1);

/// Remembers what it handled in a log that outlives it.
struct Scribe {
    log: Arc<Mutex<Vec<u64>>>,
    incarnation: u64,
}

impl Actor for Scribe {}

struct Write(u64);
impl Message for Write {
    type Reply = u64;
}

impl Handler<Write> for Scribe {
    async fn handle(&mut self, Write(n): Write, _: &mut Context<Self>) -> u64 {
        self.log.lock().unwrap().push(n);
        n
    }
}

struct Poison;
impl Message for Poison {
    type Reply = ();
}

impl Handler<Poison> for Scribe {
    async fn handle(&mut self, _: Poison, _: &mut Context<Self>) {
        panic!("poisoned");
    }
}

/// Holds its actor until told to go on.
struct Hold(tokio::sync::oneshot::Receiver<()>);
impl Message for Hold {
    type Reply = ();
}

impl Handler<Hold> for Scribe {
    async fn handle(&mut self, Hold(go): Hold, _: &mut Context<Self>) {
        let _ = go.await;
    }
}

struct WhichLife;
impl Message for WhichLife {
    type Reply = u64;
}

impl Handler<WhichLife> for Scribe {
    async fn handle(&mut self, _: WhichLife, _: &mut Context<Self>) -> u64 {
        self.incarnation
    }
}

struct Quit;
impl Message for Quit {
    type Reply = ();
}

impl Handler<Quit> for Scribe {
    async fn handle(&mut self, _: Quit, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

type Log = Arc<Mutex<Vec<u64>>>;

fn scribe(name: &str) -> (Child<Scribe>, Log) {
    let log = Log::default();
    let (written, lives) = (log.clone(), AtomicU64::new(0));
    let child =
        Child::new(name, move || Scribe { log: written.clone(), incarnation: lives.fetch_add(1, Ordering::Relaxed) });
    (child.backoff(Backoff::NONE), log)
}

fn runtime() -> Runtime {
    Runtime::builder().workers(2).build().unwrap()
}

/// Waits until `done` holds; the test's own time limit ends a wait that never does.
async fn eventually(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn an_ask_is_answered_and_tells_keep_their_order() {
    let runtime = runtime();
    let (child, log) = scribe("scribe");
    runtime.block_on(async {
        let scribe = runtime.spawn(child).await.unwrap();
        assert_eq!(scribe.path(), "user/scribe");
        for n in 0..1_000 {
            scribe.tell(Write(n)).await.unwrap();
        }
        assert_eq!(scribe.ask(Write(1_000)).await.unwrap(), 1_000);
    });
    assert_eq!(*log.lock().unwrap(), (0..=1_000).collect::<Vec<_>>());
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn queued_messages_survive_panics_in_order_and_each_poison_asker_is_told() {
    let runtime = runtime();
    let (child, log) = scribe("scribe");
    runtime.block_on(async {
        let group = runtime.supervise(Supervisor::new("group").restarts(1_000, SECOND)).await.unwrap();
        let scribe = group.spawn(child.mailbox(10_000, Overflow::Reject)).await.unwrap();
        let (go, held) = tokio::sync::oneshot::channel();
        scribe.try_tell(Hold(held)).unwrap();
        eventually(|| scribe.depth() == 0).await;
        let mut poison = Vec::new();
        for n in 0..200 {
            if n % 20 < 3 {
                let queued = scribe.depth();
                poison.push(tokio::spawn(scribe.ask(Poison).into_future()));
                eventually(|| scribe.depth() > queued).await;
            }
            scribe.try_tell(Write(n)).unwrap();
        }
        go.send(()).unwrap();
        assert_eq!(scribe.ask(Write(200)).await.unwrap(), 200);
        for asker in poison {
            let refused = asker.await.unwrap().unwrap_err();
            assert!(
                matches!(&refused.error, Error::ActorPanicked { path, reason }
                if path == "user/group/scribe" && reason.starts_with("poisoned")),
                "{refused:?}"
            );
        }
        assert_eq!(scribe.ask(WhichLife).await.unwrap(), 30);
    });
    assert_eq!(*log.lock().unwrap(), (0..=200).collect::<Vec<_>>());
    assert_eq!(runtime.snapshot().restarts, 30);
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_full_mailbox_rejects_and_gives_the_message_back() {
    let runtime = runtime();
    let (child, _) = scribe("scribe");
    runtime.block_on(async {
        let scribe = runtime.spawn(child.mailbox(2, Overflow::Reject)).await.unwrap();
        let (_go, held) = tokio::sync::oneshot::channel();
        scribe.try_tell(Hold(held)).unwrap();
        eventually(|| scribe.depth() == 0).await;
        scribe.try_tell(Write(1)).unwrap();
        scribe.try_tell(Write(2)).unwrap();
        let refused = scribe.try_tell(Write(3)).unwrap_err();
        assert_eq!(refused.error, Error::MailboxFull { path: "user/scribe".into(), capacity: 2 });
        assert_eq!(refused.message.unwrap().0, 3);
        assert!(scribe.tell(Write(4)).await.unwrap_err().message.is_some());
    });
}

#[test]
fn a_blocked_sender_waits_for_room_and_nothing_is_lost() {
    let runtime = runtime();
    let (child, log) = scribe("scribe");
    runtime.block_on(async {
        let scribe = runtime.spawn(child.mailbox(4, Overflow::Block)).await.unwrap();
        let senders: Vec<_> = (0..8_u64)
            .map(|sender| {
                let scribe = scribe.clone();
                tokio::spawn(async move {
                    for n in 0..500 {
                        scribe.tell(Write(sender * 1_000 + n)).await.unwrap();
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.unwrap();
        }
        scribe.ask(WhichLife).await.unwrap();
    });
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 4_000);
    for sender in 0..8 {
        let of_sender: Vec<_> = log.iter().filter(|n| *n / 1_000 == sender).collect();
        assert!(of_sender.is_sorted());
    }
    assert!(runtime.snapshot().actors[0].high_water <= 4);
}

#[test]
fn the_dropping_policies_answer_the_asker_and_count() {
    for (policy, kept) in [(Overflow::DropNewest, [1, 2]), (Overflow::DropOldest, [2, 3])] {
        let runtime = runtime();
        let (child, log) = scribe("scribe");
        runtime.block_on(async {
            let scribe = runtime.spawn(child.mailbox(2, policy)).await.unwrap();
            let (go, held) = tokio::sync::oneshot::channel();
            scribe.try_tell(Hold(held)).unwrap();
            eventually(|| scribe.depth() == 0).await;
            let asks: Vec<_> = (1..=3_u64)
                .map(|n| {
                    let ask = tokio::spawn(scribe.ask(Write(n)).into_future());
                    (n, ask)
                })
                .collect();
            eventually(|| runtime.snapshot().dead_letters == 1).await;
            go.send(()).unwrap();
            for (n, ask) in asks {
                match ask.await.unwrap() {
                    Ok(answer) => assert!(answer == n && kept.contains(&n)),
                    Err(refused) => {
                        assert!(!kept.contains(&n));
                        assert!(matches!(refused.error, Error::MailboxFull { .. }));
                    }
                }
            }
        });
        assert_eq!(*log.lock().unwrap(), kept);
    }
}

#[test]
fn a_message_past_its_deadline_is_not_handled() {
    let runtime = runtime();
    let (child, log) = scribe("scribe");
    runtime.block_on(async {
        let scribe = runtime.spawn(child).await.unwrap();
        let (go, held) = tokio::sync::oneshot::channel();
        scribe.try_tell(Hold(held)).unwrap();
        let late = scribe.ask(Write(1)).deadline(Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(late.error, Error::DeadlineExceeded { .. }));
        go.send(()).unwrap();
        scribe.ask(Write(2)).await.unwrap();
    });
    assert_eq!(*log.lock().unwrap(), [2]);
    assert_eq!(runtime.snapshot().actors[0].skipped, 1);
}

#[test]
fn a_dropped_ask_is_skipped() {
    let runtime = runtime();
    let (child, log) = scribe("scribe");
    runtime.block_on(async {
        let scribe = runtime.spawn(child).await.unwrap();
        let (go, held) = tokio::sync::oneshot::channel();
        scribe.try_tell(Hold(held)).unwrap();
        eventually(|| scribe.depth() == 0).await;
        let ask = tokio::spawn(scribe.ask(Write(1)).into_future());
        eventually(|| scribe.depth() == 1).await;
        ask.abort();
        let _ = ask.await;
        go.send(()).unwrap();
        scribe.ask(Write(2)).await.unwrap();
    });
    assert_eq!(*log.lock().unwrap(), [2]);
}

struct Stillborn(&'static str);

impl Actor for Stillborn {
    async fn started(&mut self, _: &mut Context<Self>) -> Result<(), StartError> {
        match self.0 {
            "panics" => panic!("no"),
            reason => Err(reason.into()),
        }
    }
}

#[test]
fn a_start_failure_is_the_spawners() {
    let runtime = runtime();
    runtime.block_on(async {
        let refuse = runtime.spawn(Child::new("refuses", || Stillborn("no power"))).await.unwrap_err();
        assert_eq!(refuse, Error::StartFailed { path: "user/refuses".into(), reason: "no power".into() });
        let panics = runtime.spawn(Child::new("panics", || Stillborn("panics"))).await.unwrap_err();
        assert!(panics.to_string().contains("panicked: no"), "{panics}");
        let factory = Child::<Stillborn>::new("factory", || panic!("no hands"));
        assert!(runtime.spawn(factory).await.unwrap_err().to_string().contains("no hands"));
        let fallible = Child::<Stillborn>::fallible("fallible", || Err("no wire"));
        assert!(runtime.spawn(fallible).await.unwrap_err().to_string().contains("no wire"));
        // A failed start leaves nothing behind: the name is free again.
        let (child, _) = scribe("refuses");
        runtime.spawn(child).await.unwrap();
        let (again, _) = scribe("refuses");
        assert_eq!(runtime.spawn(again).await.unwrap_err(), Error::NameTaken { path: "user/refuses".into() });
        for bad in ["", "a/b", "a\nb"] {
            assert!(matches!(runtime.spawn(scribe(bad).0).await.unwrap_err(), Error::StartFailed { .. }));
        }
        let core = Child::new("far", || Stillborn("")).placement(Placement::Core(100_000));
        assert!(runtime.spawn(core).await.unwrap_err().to_string().contains("there is no core 100000"));
    });
    assert_eq!(runtime.snapshot().actors.len(), 1);
}

#[test]
fn restart_kinds_decide_what_a_stop_and_a_panic_mean() {
    // (kind, alive after a normal stop, alive after a panic)
    for (kind, after_stop, after_panic) in
        [(Restart::Permanent, true, true), (Restart::Transient, false, true), (Restart::Temporary, false, false)]
    {
        let runtime = runtime();
        runtime.block_on(async {
            let stops = runtime.spawn(scribe("stops").0.restart(kind)).await.unwrap();
            let panics = runtime.spawn(scribe("panics").0.restart(kind)).await.unwrap();
            stops.ask(Quit).await.unwrap();
            panics.ask(Poison).await.unwrap_err();
            for (address, alive) in [(stops, after_stop), (panics, after_panic)] {
                if alive {
                    assert_eq!(address.ask(WhichLife).await.unwrap(), 1);
                } else {
                    eventually(|| !address.is_alive()).await;
                    let refused = address.tell(Write(9)).await.unwrap_err();
                    assert!(matches!(refused.error, Error::ActorStopped { .. }));
                    assert_eq!(refused.message.unwrap().0, 9);
                }
            }
        });
    }
}

#[test]
fn what_is_still_queued_at_a_final_stop_is_answered_and_counted() {
    let runtime = runtime();
    runtime.block_on(async {
        let scribe = runtime.spawn(scribe("scribe").0.restart(Restart::Temporary)).await.unwrap();
        let (go, held) = tokio::sync::oneshot::channel();
        scribe.try_tell(Hold(held)).unwrap();
        eventually(|| scribe.depth() == 0).await;
        let poison = tokio::spawn(scribe.ask(Poison).into_future());
        eventually(|| scribe.depth() == 1).await;
        let queued = tokio::spawn(scribe.ask(Write(1)).into_future());
        eventually(|| scribe.depth() == 2).await;
        scribe.try_tell(Write(2)).unwrap();
        go.send(()).unwrap();
        assert!(matches!(poison.await.unwrap().unwrap_err().error, Error::ActorPanicked { .. }));
        let answer = queued.await.unwrap().unwrap_err();
        assert_eq!(answer.error, Error::ActorStopped { path: "user/scribe".into() });
        eventually(|| runtime.snapshot().dead_letters == 2).await;
    });
}

#[test]
fn a_supervisor_that_uses_up_its_restarts_escalates_and_its_parent_starts_it_again() {
    let runtime = runtime();
    runtime.block_on(async {
        let group = runtime
            .supervise(Supervisor::new("group").restarts(2, Duration::from_secs(60)).backoff(Backoff::NONE))
            .await
            .unwrap();
        let a = group.spawn(scribe("a").0).await.unwrap();
        let b = group.spawn(scribe("b").0).await.unwrap();
        for _ in 0..2 {
            a.ask(Poison).await.unwrap_err();
        }
        assert_eq!(b.ask(WhichLife).await.unwrap(), 0, "one for one leaves the sibling alone");
        a.ask(Poison).await.unwrap_err();
        // The third failure in the window: the group goes down and comes back, with the same addresses.
        assert_eq!(a.ask(WhichLife).await.unwrap(), 3);
        assert_eq!(b.ask(WhichLife).await.unwrap(), 1);
    });
    let events = runtime.snapshot().events;
    assert!(events.iter().any(|event| event.path == "user/group" && event.what == ironcliw::What::BudgetExhausted));
}

#[test]
fn when_the_root_gives_up_everybody_can_see_it() {
    let runtime = runtime();
    runtime.block_on(async {
        let root = runtime.root().unwrap();
        let scribe = root.spawn(scribe("scribe").0).await.unwrap();
        for _ in 0..6 {
            assert!(runtime.is_ready());
            scribe.ask(Poison).await.unwrap_err();
        }
        eventually(|| !runtime.is_ready()).await;
        assert!(matches!(scribe.ask(Write(1)).await.unwrap_err().error, Error::ActorStopped { .. }));
    });
    assert_eq!(runtime.snapshot().state, "failed");
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn one_for_all_and_rest_for_one_restart_whom_they_should_and_keep_the_queues() {
    for (strategy, lives) in [(Strategy::OneForAll, [1_u64, 1, 1]), (Strategy::RestForOne, [0, 1, 1])] {
        let runtime = runtime();
        runtime.block_on(async {
            let group = runtime.supervise(Supervisor::new("group").strategy(strategy)).await.unwrap();
            let mut members: Vec<Address<Scribe>> = Vec::new();
            for name in ["a", "b", "c"] {
                members.push(group.spawn(scribe(name).0).await.unwrap());
            }
            let (go, held) = tokio::sync::oneshot::channel();
            members[2].try_tell(Hold(held)).unwrap();
            eventually(|| members[2].depth() == 0).await;
            let queued = tokio::spawn(members[2].ask(Write(7)).into_future());
            eventually(|| members[2].depth() == 1).await;
            members[1].ask(Poison).await.unwrap_err();
            go.send(()).unwrap();
            assert_eq!(queued.await.unwrap().unwrap(), 7);
            eventually(|| runtime.snapshot().restarts == lives.iter().sum::<u64>()).await;
            for (member, life) in members.iter().zip(lives) {
                assert_eq!(member.ask(WhichLife).await.unwrap(), life, "{}", member.path());
            }
        });
    }
}

#[test]
fn a_sibling_that_does_not_end_in_time_answers_that_it_was_restarted() {
    let runtime = runtime();
    runtime.block_on(async {
        let group = runtime.supervise(Supervisor::new("group").strategy(Strategy::OneForAll)).await.unwrap();
        let slow = group.spawn(scribe("slow").0.shutdown(Duration::from_millis(20))).await.unwrap();
        let fails = group.spawn(scribe("fails").0).await.unwrap();
        let (_go, held) = tokio::sync::oneshot::channel();
        let in_hand = tokio::spawn(slow.ask(Hold(held)).into_future());
        eventually(|| {
            runtime.snapshot().actors.iter().any(|a| a.path == slow.path() && a.high_water == 1 && a.depth == 0)
        })
        .await;
        fails.ask(Poison).await.unwrap_err();
        let answer = in_hand.await.unwrap().unwrap_err();
        assert_eq!(answer.error, Error::ActorRestarting { path: "user/group/slow".into() });
        assert_eq!(slow.ask(WhichLife).await.unwrap(), 1);
    });
}

struct Diary(&'static str, Arc<Mutex<Vec<&'static str>>>);

impl Actor for Diary {
    async fn stopped(&mut self, _: &mut Context<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[test]
fn shutdown_drains_in_reverse_start_order() {
    let runtime = runtime();
    let order = Arc::<Mutex<Vec<&'static str>>>::default();
    let (child, log) = scribe("scribe");
    runtime.block_on(async {
        for name in ["first", "second", "third"] {
            let order = Arc::clone(&order);
            runtime.spawn(Child::new(name, move || Diary(name, order.clone()))).await.unwrap();
        }
        let scribe = runtime.spawn(child).await.unwrap();
        for n in 0..50 {
            scribe.try_tell(Write(n)).unwrap();
        }
    });
    runtime.shutdown(SECOND).unwrap();
    assert_eq!(*order.lock().unwrap(), ["third", "second", "first"]);
    assert_eq!(log.lock().unwrap().len(), 50);
    let late = runtime.block_on_closed_spawn();
    assert_eq!(late, Error::RuntimeClosed);
    runtime.shutdown(SECOND).unwrap();
}

trait AfterClose {
    fn block_on_closed_spawn(&self) -> Error;
}

impl AfterClose for Runtime {
    fn block_on_closed_spawn(&self) -> Error {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(self.spawn(scribe("late").0))
            .unwrap_err()
    }
}

struct Block(std::sync::mpsc::Receiver<()>);
impl Message for Block {
    type Reply = ();
}

impl Handler<Block> for Scribe {
    async fn handle(&mut self, Block(go): Block, _: &mut Context<Self>) {
        let _ = go.recv();
    }
}

#[test]
fn shutdown_is_bounded_and_says_what_it_abandoned() {
    let runtime = runtime();
    let (go, held) = std::sync::mpsc::channel();
    runtime.block_on(async {
        let stuck = runtime.spawn(scribe("stuck").0.placement(Placement::Dedicated)).await.unwrap();
        stuck.try_tell(Block(held)).unwrap();
        eventually(|| stuck.depth() == 0).await;
    });
    match runtime.shutdown(Duration::from_millis(50)).unwrap_err() {
        Error::Abandoned { actors, .. } => assert_eq!(actors, ["user/stuck"]),
        other => panic!("{other}"),
    }
    drop(go);
}

struct Bomb(Arc<AtomicUsize>);
impl Actor for Bomb {}
impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("as it was dropped");
    }
}

#[test]
fn a_panic_in_drop_is_contained() {
    let runtime = runtime();
    let drops = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let counted = drops.clone();
        let group = runtime.root().unwrap();
        let bomb = group.spawn(Child::new("bomb", move || Bomb(counted.clone()))).await.unwrap();
        group.stop_child(bomb.path()).await;
        assert!(!bomb.is_alive());
        let (child, _) = scribe("after");
        runtime.spawn(child).await.unwrap().ask(Write(1)).await.unwrap();
    });
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_runtime_dropped_without_shutdown_ends_by_itself() {
    let runtime = runtime();
    let order = Arc::<Mutex<Vec<&'static str>>>::default();
    let diary = order.clone();
    runtime.block_on(async { runtime.spawn(Child::new("d", move || Diary("d", diary.clone()))).await.unwrap() });
    drop(runtime);
    while order.lock().unwrap().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn pinning_is_checked_and_reported() {
    let runtime = Runtime::builder().workers(1).pin(true).build().unwrap();
    runtime.block_on(async { runtime.spawn(scribe("s").0.placement(Placement::Core(0))).await.unwrap() });
    let snapshot = runtime.snapshot();
    let arbiter = &snapshot.arbiters[0];
    assert_eq!(arbiter.wanted_core, Some(snapshot.cores[0]));
    if cfg!(target_os = "linux") {
        assert_eq!(arbiter.pinned_core, arbiter.wanted_core);
    }
}
