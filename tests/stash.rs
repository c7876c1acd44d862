//! Messages that an actor puts off until its state allows them.

mod cast;

use std::sync::{Arc, Mutex};

use cast::{SECOND, eventually, runtime};
use ironcliw::{Actor, Address, Backoff, Child, Context, Handler, Message, Overflow, Restart, Runtime, Stash};

type Kept = Arc<Mutex<Stash<Item>>>;
type Log = Arc<Mutex<Vec<u64>>>;

/// Puts items off until it is opened; 13 is bad luck.
struct Gate {
    is_open: bool,
    kept: Kept,
    log: Log,
}

impl Actor for Gate {}

struct Item(u64);
impl Message for Item {
    type Reply = ();
}

impl Handler<Item> for Gate {
    async fn handle(&mut self, Item(n): Item, _: &mut Context<Self>) {
        if !self.is_open {
            if let Err(full) = self.kept.lock().unwrap().put(Item(n)) {
                self.log.lock().unwrap().push(1_000 + full.0.0);
            }
            return;
        }
        self.log.lock().unwrap().push(n);
        assert_ne!(n, 13, "bad luck");
    }
}

/// Opens or shuts the gate, and has what was put off handled.
struct Open(bool);
impl Message for Open {
    type Reply = ();
}

impl Handler<Open> for Gate {
    async fn handle(&mut self, Open(is_open): Open, ctx: &mut Context<Self>) {
        self.is_open = is_open;
        self.kept.lock().unwrap().unstash_all(ctx);
    }
}

struct Stop;
impl Message for Stop {
    type Reply = ();
}

impl Handler<Stop> for Gate {
    async fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        self.kept.lock().unwrap().unstash_all(ctx);
        ctx.stop();
    }
}

/// A gate whose first incarnation is shut and whose others are open.
fn gate(runtime: &Runtime, restart: Restart) -> (Address<Gate>, Kept, Log) {
    let (kept, log) = (Arc::new(Mutex::new(Stash::new(4))), Log::default());
    let (keeps, logs, first) = (kept.clone(), log.clone(), Mutex::new(true));
    let make = move || {
        let is_open = !std::mem::take(&mut *first.lock().unwrap());
        Gate { is_open, kept: keeps.clone(), log: logs.clone() }
    };
    let child = Child::new("gate", make).backoff(Backoff::NONE).restart(restart).mailbox(8, Overflow::Reject);
    (runtime.block_on(runtime.spawn(child)).unwrap(), kept, log)
}

fn tell<M: Message>(gate: &Address<Gate>, message: M)
where
    Gate: Handler<M>,
{
    gate.try_tell(message).unwrap();
}

#[test]
fn what_was_put_off_is_handled_in_order_before_what_waits() {
    let runtime = runtime();
    let (gate, kept, log) = gate(&runtime, Restart::Permanent);
    for n in 0..5 {
        tell(&gate, Item(n));
    }
    eventually(|| log.lock().unwrap().len() == 1 && kept.lock().unwrap().len() == 4);
    // Put off once more, in the same order, then handled while the mailbox holds others.
    tell(&gate, Open(false));
    eventually(|| kept.lock().unwrap().len() == 4);
    let shut = kept.lock().unwrap();
    tell(&gate, Open(true));
    for n in 5..9 {
        tell(&gate, Item(n));
    }
    drop(shut);
    eventually(|| log.lock().unwrap().len() == 9);
    // The fifth found no room, and came back.
    assert_eq!(*log.lock().unwrap(), [1_004, 0, 1, 2, 3, 5, 6, 7, 8]);
    assert!(kept.lock().unwrap().is_empty());
}

#[test]
fn what_was_taken_up_again_survives_a_panic_in_order() {
    let runtime = runtime();
    let (gate, _, log) = gate(&runtime, Restart::Permanent);
    for n in [1, 13, 2, 3] {
        tell(&gate, Item(n));
    }
    tell(&gate, Open(true));
    tell(&gate, Item(4));
    eventually(|| log.lock().unwrap().len() == 5);
    assert_eq!(*log.lock().unwrap(), [1, 13, 2, 3, 4]);
    assert_eq!(runtime.snapshot().restarts, 1);
}

#[test]
fn what_was_taken_up_again_is_handled_before_a_stop_and_counted_after_an_end() {
    let first = runtime();
    let (gate_, kept, log) = gate(&first, Restart::Permanent);
    for n in 1..4 {
        tell(&gate_, Item(n));
    }
    eventually(|| kept.lock().unwrap().len() == 3);
    let shut = kept.lock().unwrap();
    tell(&gate_, Open(true));
    let stop = std::thread::spawn(move || first.shutdown(SECOND));
    eventually(|| !gate_.is_alive());
    drop(shut);
    stop.join().unwrap().unwrap();
    assert_eq!(*log.lock().unwrap(), [1, 2, 3]);

    let second = runtime();
    let (gate, _, log) = gate(&second, Restart::Transient);
    for n in 1..4 {
        tell(&gate, Item(n));
    }
    tell(&gate, Stop);
    second.block_on(gate.stopped());
    eventually(|| second.snapshot().dead_letters == 3);
    assert!(log.lock().unwrap().is_empty());
}
