//! What actors cost on the heap, counted by the allocator. One test, so that nothing else allocates beside it.

mod cast;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use cast::{SECOND, eventually, runtime};
use ironcliw::{Actor, Child, Supervisor};

/// The system's allocator, with an account of what is live.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Idle;
impl Actor for Idle {}

const CYCLES: usize = 10_000;
/// Until here tables and queues grow to what they need, and the event log fills.
const WARM_UP: usize = 1_000;
/// What all the cycles together may leave behind: far less than one byte each.
const SLACK: usize = 4 << 10;

const MANY: usize = 10_000;
/// Crowds that may come and go before the heap stays as it is.
const ROUNDS: usize = 8;

/// Bytes an idle actor may cost, all told; `docs/performance.md` has what it does cost.
const PER_ACTOR_MAX: usize = 2_000;

#[test]
fn ten_thousand_spawns_and_stops_leave_nothing_on_the_heap_and_an_idle_actor_is_small() {
    let runtime = runtime();
    let group = runtime.block_on(runtime.supervise(Supervisor::new("group"))).unwrap();
    let cycle = |n: usize| {
        runtime.block_on(async {
            let actor = group.spawn(Child::new(format!("idle-{:05}", n % 100_000), || Idle)).await.unwrap();
            group.stop_child(actor.path()).await;
        });
    };
    (0..WARM_UP).for_each(cycle);
    let before = LIVE.load(Relaxed);
    (WARM_UP..WARM_UP + CYCLES).for_each(cycle);
    // The actors' threads drop the last of them a moment after their end is known.
    eventually(|| LIVE.load(Relaxed) < before + SLACK);

    let many = || {
        let before = LIVE.load(Relaxed);
        let crowd = runtime.block_on(group.supervise(Supervisor::new("crowd"))).unwrap();
        let children = (0..MANY).map(|n| Child::new(format!("idle-{n:05}"), || Idle));
        let actors = runtime.block_on(crowd.spawn_many(children)).unwrap();
        let each = (LIVE.load(Relaxed) - before) / MANY;
        drop(actors);
        runtime.block_on(group.stop_child(crowd.path()));
        each
    };
    // What tables and queues have grown to stays theirs, and how far they grow is a matter of who is faster; but they do not
    // grow for ever.
    let stays_flat = || {
        let before = LIVE.load(Relaxed);
        let each = many();
        println!("{each} bytes for an idle actor");
        assert!(each < PER_ACTOR_MAX, "{each} bytes for an idle actor");
        (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            LIVE.load(Relaxed) < before + SLACK
        })
    };
    assert!((0..ROUNDS).any(|_| stays_flat()), "the heap grows with every crowd that comes and goes");
    runtime.shutdown(SECOND).unwrap();
}
