//! Promise 1 where actor libraries lose messages: any number of poison messages, at any time. Every other message is
//! handled exactly once and in order per sender, and whoever sent a poison is told `ActorPanicked`.

mod cast;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use cast::{SECOND, Sink, eventually, heard, runtime};
use ironcliw::{
    Actor, Address, Backoff, Child, Context, Error, Handler, Message, Overflow, Runtime, StartError, Strategy,
    Supervisor,
};
use tokio::sync::{Semaphore, oneshot};

const ACTORS: usize = 200;
const SENDERS: usize = 2;
/// One message in so many is a poison.
const POISON: u64 = 20;

/// What an actor has handled, kept outside it.
#[derive(Default)]
struct Ledger {
    /// The number that comes next from each sender.
    next: [AtomicU64; SENDERS],
    /// Messages that were not the next.
    wrong: AtomicU64,
    lives: AtomicU64,
    /// Known from when its first life begins to start.
    address: OnceLock<Address<Clerk>>,
}

/// Each life begins when the gate lets it.
struct Clerk {
    ledger: Arc<Ledger>,
    gate: Arc<Semaphore>,
}

impl Actor for Clerk {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        self.ledger.address.get_or_init(|| ctx.address());
        self.ledger.lives.fetch_add(1, Relaxed);
        self.gate.acquire().await?.forget();
        Ok(())
    }
}

/// The `n`th from this sender; perhaps it waits before it is handled to its end, which a restart may fall into.
#[derive(Clone, Copy)]
struct Nth {
    sender: usize,
    n: u64,
    yields: bool,
}

impl Message for Nth {
    type Reply = ();
}

impl Handler<Nth> for Clerk {
    async fn handle(&mut self, Nth { sender, n, yields }: Nth, _: &mut Context<Self>) {
        if yields {
            tokio::task::yield_now().await;
        }
        let expected = self.ledger.next[sender].fetch_add(1, Relaxed);
        self.ledger.wrong.fetch_add(u64::from(expected != n), Relaxed);
    }
}

/// Panics, at once or when it has waited.
struct Poison {
    yields: bool,
}

impl Message for Poison {
    type Reply = ();
}

impl Handler<Poison> for Clerk {
    async fn handle(&mut self, Poison { yields }: Poison, _: &mut Context<Self>) {
        if yields {
            tokio::task::yield_now().await;
        }
        panic!("poisoned");
    }
}

/// Waits, in the middle of whatever queue it stands in, until told to go on.
struct Pause(oneshot::Receiver<()>);

impl Message for Pause {
    type Reply = ();
}

impl Handler<Pause> for Clerk {
    async fn handle(&mut self, Pause(go_on): Pause, _: &mut Context<Self>) {
        let _ = go_on.await;
    }
}

fn clerk(name: String, ledger: &Arc<Ledger>, gate: &Arc<Semaphore>) -> Child<Clerk> {
    let (ledger, gate) = (ledger.clone(), gate.clone());
    let child = Child::new(name, move || Clerk { ledger: ledger.clone(), gate: gate.clone() });
    child.backoff(Backoff::NONE).mailbox(64, Overflow::Block)
}

fn open_gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(Semaphore::MAX_PERMITS))
}

/// So many actors, in groups of `size`.
fn staff(runtime: &Runtime, strategy: Strategy, size: usize) -> (Vec<Address<Clerk>>, Vec<Arc<Ledger>>) {
    let gate = open_gate();
    let ledgers: Vec<Arc<Ledger>> = (0..ACTORS).map(|_| Arc::default()).collect();
    let mut clerks = Vec::new();
    for (g, members) in ledgers.chunks(size).enumerate() {
        let group = Supervisor::new(format!("group-{g}")).strategy(strategy).restarts(u32::MAX, 60 * SECOND);
        let children = members.iter().enumerate().map(|(n, ledger)| clerk(format!("clerk-{n}"), ledger, &gate));
        clerks.extend(runtime.block_on(async { runtime.supervise(group).await?.spawn_many(children).await }).unwrap());
    }
    (clerks, ledgers)
}

/// Asks for a panic, and tells whether it was answered as one.
fn poison(clerk: &Address<Clerk>, yields: bool, told: &mpsc::Sender<bool>) {
    let told = told.clone();
    let sink = move |answer| {
        let _ = told.send(matches!(answer, Err(Error::ActorPanicked { .. })));
    };
    clerk.ask_into(Poison { yields }, None, Box::new(Sink(sink)));
}

/// Sends each actor `each` messages from every sender, one in [`POISON`] of them a poison, and looks at what came of them.
/// Returns how often actors were started again.
fn poison_everybody(strategy: Strategy, size: usize, each: u64) -> u64 {
    let runtime = runtime();
    let (clerks, ledgers) = staff(&runtime, strategy, size);
    let (told, answers) = mpsc::channel();
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (clerks, told) = (&clerks, told.clone());
            scope.spawn(move || {
                let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
                own.block_on(async {
                    for round in 0..each {
                        for (c, clerk) in clerks.iter().enumerate() {
                            // Each actor's come at another time; for every tenth, all of them in one burst.
                            let is_poison = match c % 10 {
                                0 => round < each / POISON,
                                _ => (round + c as u64).is_multiple_of(POISON),
                            };
                            if is_poison {
                                poison(clerk, round % 2 == 0, &told);
                            } else {
                                // Of those before it in this sender's rounds, so many were no poison.
                                let n = match c % 10 {
                                    0 => round - each / POISON,
                                    _ => round + (c as u64).div_ceil(POISON) - (round + c as u64).div_ceil(POISON),
                                };
                                let yields = n.is_multiple_of(7);
                                clerk.tell(Nth { sender, n, yields }).await.unwrap_or_else(|refused| {
                                    panic!("{} for {} of {sender}", refused.error, n);
                                });
                            }
                        }
                    }
                });
            });
        }
    });
    drop(told);
    // Every poison is answered, and after the last of them every message is handled.
    let poisons = answers.iter().inspect(|&panicked| assert!(panicked, "a poison was not answered as one")).count();
    let total = ACTORS as u64 * SENDERS as u64 * each;
    let handled = || ledgers.iter().flat_map(|ledger| &ledger.next).map(|next| next.load(Relaxed)).sum::<u64>();
    eventually(|| handled() + poisons as u64 >= total);
    assert_eq!(handled() + poisons as u64, total);
    assert_eq!(poisons as u64, total / POISON);
    for ledger in &ledgers {
        assert_eq!(ledger.wrong.load(Relaxed), 0, "handled out of order, or twice");
    }
    let snapshot = runtime.snapshot();
    assert_eq!(snapshot.dead_letters, 0);
    assert!(snapshot.actors.iter().all(|actor| actor.skipped == 0));
    runtime.shutdown(5 * SECOND).unwrap();
    snapshot.restarts
}

/// A million messages.
const EACH: u64 = 2_500;

#[test]
fn of_a_million_messages_to_two_hundred_actors_a_poison_costs_only_itself() {
    let restarts = poison_everybody(Strategy::OneForOne, ACTORS, EACH);
    assert_eq!(restarts, 50_000, "one restart a poison");
}

#[test]
fn poison_in_a_group_that_restarts_together_costs_its_siblings_nothing() {
    let restarts = poison_everybody(Strategy::OneForAll, 5, EACH);
    assert!(restarts >= 50_000, "{restarts}");
}

#[test]
fn poison_in_a_group_that_restarts_the_younger_ones_costs_its_siblings_nothing() {
    let restarts = poison_everybody(Strategy::RestForOne, 5, EACH);
    assert!(restarts >= 50_000, "{restarts}");
}

/// One clerk that is sent messages by one sender, and so that a test says what comes when.
struct Desk {
    ledger: Arc<Ledger>,
    gate: Arc<Semaphore>,
    told: mpsc::Sender<bool>,
    answers: mpsc::Receiver<bool>,
    written: u64,
}

impl Desk {
    /// The gate lets so many lives begin.
    fn new(lives: usize) -> Self {
        let (told, answers) = mpsc::channel();
        Self { ledger: Arc::default(), gate: Arc::new(Semaphore::new(lives)), told, answers, written: 0 }
    }

    fn child(&self) -> Child<Clerk> {
        clerk("clerk".to_owned(), &self.ledger, &self.gate).mailbox(1_000, Overflow::Reject)
    }

    fn write(&mut self, clerk: &Address<Clerk>) {
        clerk.try_tell(Nth { sender: 0, n: self.written, yields: self.written.is_multiple_of(3) }).unwrap();
        self.written += 1;
    }

    fn poison(&self, clerk: &Address<Clerk>, yields: bool) {
        poison(clerk, yields, &self.told);
    }

    /// The next poison that was answered was answered as one.
    #[track_caller]
    fn hears_of_a_panic(&self) {
        assert!(heard(&self.answers), "a poison was not answered as one");
    }

    /// Everything was handled once and in order, and each of so many poisons cost one life.
    #[track_caller]
    fn closes(self, runtime: &Runtime, poisons: u64) {
        eventually(|| self.ledger.next[0].load(Relaxed) == self.written && runtime.snapshot().restarts == poisons);
        assert_eq!(self.ledger.wrong.load(Relaxed), 0, "handled out of order, or twice");
        assert_eq!(self.answers.try_recv(), Err(mpsc::TryRecvError::Empty), "a poison was answered twice");
        assert_eq!(runtime.snapshot().dead_letters, 0);
        runtime.shutdown(5 * SECOND).unwrap();
    }
}

fn lenient_group(runtime: &Runtime) -> ironcliw::SupervisorRef {
    let group = Supervisor::new("group").restarts(u32::MAX, 60 * SECOND);
    runtime.block_on(runtime.supervise(group)).unwrap()
}

#[test]
fn poison_that_comes_before_the_first_start_has_finished_costs_only_itself() {
    let runtime = runtime();
    let mut desk = Desk::new(0);
    let group = lenient_group(&runtime);
    let child = desk.child();
    let clerk = thread::scope(|scope| {
        // The spawner waits for the start, which waits for the gate.
        let spawner = scope.spawn(|| runtime.block_on(group.spawn(child)));
        eventually(|| desk.ledger.address.get().is_some());
        let early = desk.ledger.address.get().unwrap().clone();
        for yields in [false, true] {
            desk.write(&early);
            desk.poison(&early, yields);
        }
        desk.write(&early);
        assert_eq!(early.depth(), 5, "it handles messages before it has started");
        desk.gate.add_permits(3);
        spawner.join().unwrap().expect("a poison is no failure to start")
    });
    desk.hears_of_a_panic();
    desk.hears_of_a_panic();
    desk.write(&clerk);
    desk.closes(&runtime, 2);
}

#[test]
fn poison_that_comes_before_a_restart_has_finished_costs_only_itself() {
    let runtime = runtime();
    let mut desk = Desk::new(1);
    let clerk = runtime.block_on(lenient_group(&runtime).spawn(desk.child())).unwrap();
    desk.poison(&clerk, false);
    desk.hears_of_a_panic();
    for life in 2..50 {
        // It starts, and cannot have finished: what comes now waits for that, poison or not.
        eventually(|| desk.ledger.lives.load(Relaxed) == life);
        desk.write(&clerk);
        desk.poison(&clerk, life % 2 == 0);
        desk.write(&clerk);
        // Lets it handle the queue up to the first poison in it; what is behind waits for the next life.
        desk.gate.add_permits(1);
        desk.hears_of_a_panic();
    }
    desk.gate.add_permits(1);
    desk.closes(&runtime, 49);
}

#[test]
fn poison_that_comes_during_a_replay_costs_only_itself() {
    let runtime = runtime();
    let mut desk = Desk::new(1_000);
    let clerk = runtime.block_on(lenient_group(&runtime).spawn(desk.child())).unwrap();
    let pause = |clerk: &Address<Clerk>| {
        let (go_on, paused) = oneshot::channel();
        clerk.try_tell(Pause(paused)).unwrap();
        go_on
    };
    let mut go_on = pause(&clerk);
    let mut backlog = 0;
    for round in 0..50 {
        eventually(|| clerk.depth() == backlog);
        // In the middle of its backlog it waits: behind what is left of that comes what costs it this life, in which the
        // next one is to work off what is left and comes upon the next pause.
        desk.write(&clerk);
        desk.poison(&clerk, round % 2 == 0);
        desk.write(&clerk);
        let next = pause(&clerk);
        desk.write(&clerk);
        desk.poison(&clerk, round % 2 == 1);
        desk.write(&clerk);
        std::mem::replace(&mut go_on, next).send(()).unwrap();
        desk.hears_of_a_panic();
        // A message, the poison that was behind it, and another message: before the next round's.
        if round > 0 {
            desk.hears_of_a_panic();
        }
        backlog = 3;
    }
    go_on.send(()).unwrap();
    desk.hears_of_a_panic();
    desk.closes(&runtime, 100);
}

#[test]
fn poison_after_poison_costs_a_life_each_and_nothing_between_them() {
    let runtime = runtime();
    let mut desk = Desk::new(1_000);
    let clerk = runtime.block_on(lenient_group(&runtime).spawn(desk.child())).unwrap();
    for _ in 0..100 {
        desk.poison(&clerk, false);
        desk.poison(&clerk, true);
        desk.write(&clerk);
    }
    (0..200).for_each(|_| desk.hears_of_a_panic());
    desk.closes(&runtime, 200);
}
