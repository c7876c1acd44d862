//! A flooded actor starves neither its neighbours on the thread nor their timers. Turns are counted, not timed.

mod cast;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use cast::{SECOND, heard};
use ironcliw::{Actor, Child, Context, Handler, Message, Overflow, Placement, Runtime, StartError};

/// Keeps its own mailbox from ever being empty, and counts.
struct Flooded {
    handled: Arc<AtomicU64>,
    goes_on: Arc<AtomicBool>,
}

impl Actor for Flooded {}

struct Drip;
impl Message for Drip {
    type Reply = ();
}

impl Handler<Drip> for Flooded {
    async fn handle(&mut self, _: Drip, ctx: &mut Context<Self>) {
        self.handled.fetch_add(1, Ordering::Relaxed);
        if self.goes_on.load(Ordering::Relaxed) {
            ctx.address().try_tell(Drip).expect("each message makes room for one");
        }
    }
}

struct Neighbour {
    flooded: Arc<AtomicU64>,
    beat: mpsc::Sender<()>,
}

struct Beat;
impl Message for Beat {
    type Reply = ();
}

struct Seen;
impl Message for Seen {
    type Reply = u64;
}

impl Actor for Neighbour {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        ctx.every(Duration::from_millis(1), || Beat);
        Ok(())
    }
}

impl Handler<Beat> for Neighbour {
    async fn handle(&mut self, _: Beat, _: &mut Context<Self>) {
        // The test may have heard enough.
        let _ = self.beat.send(());
    }
}

impl Handler<Seen> for Neighbour {
    async fn handle(&mut self, _: Seen, _: &mut Context<Self>) -> u64 {
        self.flooded.load(Ordering::Relaxed)
    }
}

struct Ask;
impl Message for Ask {
    type Reply = (u64, u64);
}

/// Asks the neighbour from the same thread, and says how far the flood had come before and when it was asked.
struct Asker {
    neighbour: ironcliw::Address<Neighbour>,
    flooded: Arc<AtomicU64>,
}

impl Actor for Asker {}

impl Handler<Ask> for Asker {
    async fn handle(&mut self, _: Ask, _: &mut Context<Self>) -> (u64, u64) {
        let before = self.flooded.load(Ordering::Relaxed);
        (before, self.neighbour.ask(Seen).await.expect("it lives"))
    }
}

#[test]
fn a_flooded_actor_lets_its_neighbours_and_their_timers_have_their_turns() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let (handled, goes_on) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
    let (beat, beats) = mpsc::channel();
    let together = Placement::Shared("together");
    let flooded = {
        let (handled, goes_on) = (handled.clone(), goes_on.clone());
        Child::new("flooded", move || Flooded { handled: handled.clone(), goes_on: goes_on.clone() })
            .mailbox(1_000, Overflow::Reject)
            .placement(together.clone())
    };
    let flooded = runtime.block_on(runtime.spawn(flooded)).unwrap();
    let neighbour = {
        let handled = handled.clone();
        Child::new("neighbour", move || Neighbour { flooded: handled.clone(), beat: beat.clone() })
    };
    let neighbour = runtime.block_on(runtime.spawn(neighbour.placement(together.clone()))).unwrap();
    let asker = {
        let (neighbour, handled) = (neighbour.clone(), handled.clone());
        Child::new("asker", move || Asker { neighbour: neighbour.clone(), flooded: handled.clone() })
    };
    let asker = runtime.block_on(runtime.spawn(asker.placement(together))).unwrap();
    for _ in 0..900 {
        flooded.try_tell(Drip).unwrap();
    }

    // The mailbox is never empty from here on, and yet:
    for _ in 0..20 {
        let (before, then) = runtime.block_on(async { asker.ask(Ask).await }).unwrap();
        // The neighbour's turn comes after at most the rest of one turn of 64 and, where the runtime looks at its timers in
        // between, one more.
        assert!(then - before <= 128, "{} messages went first", then - before);
    }
    for _ in 0..20 {
        heard(&beats);
    }
    goes_on.store(false, Ordering::Relaxed);
    runtime.shutdown(5 * SECOND).unwrap();
}
