//! Whether an await is worth a short wait in place before its task is put to sleep.
//!
//! A task that sleeps and is woken costs a turn of the event loop, which is some 7 µs on the machine that docs/performance.md
//! describes, and far more if the thread goes to sleep with it. Where answers come sooner than that, waiting for them in
//! place is cheaper; where they do not, it is a waste. Waiting for as long as sleeping would cost is never more than twice
//! as dear as the better of the two ("Competitive snoopy caching", Karlin et al., 1988). Each kind of call (`ping`,
//! `images.resize`) has a credit that answers in time raise and others lower; a kind without credit is only tried now and
//! then. The GIL is held meanwhile, which is shorter than any thread's turn with it.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::{Duration, Instant};

use super::node::{Life, Node};

/// As long as it takes to put a task to sleep and to wake it.
const SPIN: Duration = Duration::from_micros(8);
/// Looks at the state between two looks at the clock, which costs as much as ten of them.
const LOOKS: u32 = 32;

const CREDIT_MAX: u32 = 8;
/// A kind without credit is tried at its first call of so many, and of twice as many each time that this is in vain.
const REST_FIRST: u32 = 16;
const REST_LAST: u32 = 256;

/// Answers in place that a thread takes in a row before one goes by way of the loop, so that a task that asks again and again
/// leaves the loop's timers, sockets and other tasks a turn every fraction of a millisecond.
const IN_A_ROW_MAX: u32 = 256;

thread_local! {
    /// Answers that this thread has taken in place since its loop last called us.
    static IN_A_ROW: Cell<u32> = const { Cell::new(0) };
}

/// The loop of this thread has had a turn.
pub(super) fn loop_has_turned() {
    IN_A_ROW.set(0);
}

/// More kinds of calls than there are; two that share a place merely share a credit.
const PLACES: usize = 64;

/// Python threads only, which take turns: no two change it at once.
struct Record {
    credit: AtomicU32,
    /// Calls until the next try, and how many that were the last time.
    rest: AtomicU32,
    rested: AtomicU32,
}

static RECORDS: [Record; PLACES] = [const {
    Record { credit: AtomicU32::new(CREDIT_MAX), rest: AtomicU32::new(0), rested: AtomicU32::new(REST_FIRST) }
}; PLACES];

/// Where there is but one core, whoever spins keeps the worker from running.
static HAS_CORES: LazyLock<bool> =
    LazyLock::new(|| std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1));

/// What the program said last.
static ALLOWED: AtomicBool = AtomicBool::new(true);

/// Lets awaits spin, or keeps them from it.
pub(crate) fn allow(spin: bool) {
    ALLOWED.store(spin, Relaxed);
}

impl Record {
    fn of(kind: &'static str) -> &'static Self {
        // Names whose bytes lie in one word share a place as well.
        &RECORDS[(kind.as_ptr().addr() >> 3) % PLACES]
    }

    fn is_worth_a_try(&self) -> bool {
        if self.credit.load(Relaxed) > 0 {
            return true;
        }
        let rest = self.rest.load(Relaxed);
        self.rest.store(rest.saturating_sub(1), Relaxed);
        rest == 0
    }

    fn note(&self, in_time: bool) {
        let credit = self.credit.load(Relaxed);
        if in_time {
            self.credit.store((credit + 2).min(CREDIT_MAX), Relaxed);
            self.rested.store(REST_FIRST, Relaxed);
        } else if credit > 0 {
            self.credit.store(credit - 1, Relaxed);
        } else {
            let rested = self.rested.load(Relaxed);
            self.rest.store(rested, Relaxed);
            self.rested.store((rested * 2).min(REST_LAST), Relaxed);
        }
    }
}

fn is_pending(node: &Node) -> bool {
    node.life() == Life::Pending
}

/// Waits for a moment for the answer of a call that nobody waits for yet, if calls of its kind are answered that soon.
pub(super) fn wait_a_moment(node: &Node) {
    if !is_pending(node) || !ALLOWED.load(Relaxed) || !*HAS_CORES {
        return;
    }
    let record = Record::of(node.name);
    if IN_A_ROW.get() < IN_A_ROW_MAX && record.is_worth_a_try() {
        let in_time = is_answered_within(node, SPIN);
        record.note(in_time);
        IN_A_ROW.set(IN_A_ROW.get() + u32::from(in_time));
    }
}

fn is_answered_within(node: &Node, spin: Duration) -> bool {
    let mut until = None;
    loop {
        for _ in 0..LOOKS {
            if !is_pending(node) {
                return true;
            }
            std::hint::spin_loop();
        }
        // Many answers come before the clock is needed.
        let now = Instant::now();
        if now > *until.get_or_insert(now + spin) {
            return false;
        }
    }
}
