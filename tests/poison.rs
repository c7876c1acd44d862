//! Promise 1 where actor libraries lose messages: any number of poison messages, at any time. Every other message is
//! handled exactly once and in order per sender, and whoever sent a poison is told `ActorPanicked`.

mod cast;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;

use cast::{SECOND, Sink, eventually, heard, runtime};
use ironcliw::{
    Actor, Address, Backoff, Child, Context, Error, Handler, Message, Overflow, Runtime, StartError, Strategy,
    Supervisor,
};
use tokio::sync::Semaphore;

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
}

/// Each life begins when the gate lets it.
struct Clerk {
    ledger: Arc<Ledger>,
    gate: Arc<Semaphore>,
}

impl Actor for Clerk {
    async fn started(&mut self, _: &mut Context<Self>) -> Result<(), StartError> {
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

#[test]
fn of_a_million_messages_to_two_hundred_actors_a_poison_costs_only_itself() {
    let restarts = poison_everybody(Strategy::OneForOne, ACTORS, 2_500);
    assert_eq!(restarts, 50_000, "one restart a poison");
}

#[test]
fn poison_in_a_group_that_restarts_together_costs_its_siblings_nothing() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let restarts = poison_everybody(strategy, 5, 200);
        assert!(restarts >= 4_000, "{strategy:?}: {restarts}");
    }
}

#[test]
fn poison_that_comes_while_the_actor_starts_again_or_works_off_its_queue_costs_only_itself() {
    let runtime = runtime();
    let (ledger, gate) = (Arc::<Ledger>::default(), Arc::new(Semaphore::new(1)));
    let group = Supervisor::new("group").restarts(u32::MAX, 60 * SECOND);
    let clerk = clerk("clerk".to_owned(), &ledger, &gate).mailbox(1_000, Overflow::Reject);
    let clerk = runtime.block_on(async { runtime.supervise(group).await?.spawn(clerk).await }).unwrap();
    let (told, answers) = mpsc::channel();
    let mut n = 0;
    let mut write = || {
        clerk.try_tell(Nth { sender: 0, n, yields: n % 3 == 0 }).unwrap();
        n += 1;
    };
    poison(&clerk, false, &told);
    assert!(heard(&answers));
    for life in 2..50 {
        // It starts, and cannot have finished: what comes now waits for that, poison or not.
        eventually(|| ledger.lives.load(Relaxed) == life);
        write();
        poison(&clerk, life % 2 == 0, &told);
        write();
        // Lets it handle the queue up to the first poison in it; the one after that it meets in a later life.
        gate.add_permits(1);
        assert!(heard(&answers), "life {life}");
    }
    // Poison after poison, with one life each, and the messages between them.
    for _ in 0..100 {
        poison(&clerk, false, &told);
        poison(&clerk, true, &told);
        write();
    }
    gate.add_permits(1_000);
    assert!((0..200).all(|_| heard(&answers)));
    eventually(|| ledger.next[0].load(Relaxed) == n);
    assert_eq!(ledger.wrong.load(Relaxed), 0);
    assert_eq!(runtime.snapshot().restarts, 249);
    runtime.shutdown(5 * SECOND).unwrap();
}
