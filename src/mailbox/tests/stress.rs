//! Many senders, one consumer at a time, real threads: every message once, and each sender's in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::super::{Batch, Lease, Mailbox, Pushed, Refused, Rest, Sender, Sleeper};
use super::{Item, for_ever, take};
use crate::Overflow;

const SENDERS: u32 = 6;
const EACH: u32 = 3_000;

/// A thread that waits for nothing for so long has lost a wake-up.
const PATIENCE: Duration = Duration::from_secs(60);

struct Parked {
    thread: Thread,
    is_rung: AtomicBool,
}

impl Parked {
    fn here() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), is_rung: AtomicBool::new(false) })
    }

    #[track_caller]
    fn wait(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.is_rung.swap(false, Ordering::Acquire) {
            thread::park_timeout(PATIENCE);
            assert!(Instant::now() < until, "a wake-up was lost");
        }
    }
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_rung.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

type TestMailbox = Mailbox<Item, Arc<Parked>>;

impl Sleeper for Arc<Parked> {
    fn wake(&'static self) {
        Wake::wake_by_ref(self);
    }

    fn is_here(&self) -> bool {
        self.thread.id() == thread::current().id()
    }
}

/// Marsaglia's xorshift: what comes next need not be good, but may be repeated.
struct Dice(u32);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 % sides
    }
}

/// What a sender may do with its next messages.
struct Send<'a> {
    mailbox: &'a TestMailbox,
    alive: &'a Arc<()>,
    parked: Arc<Parked>,
    dice: Dice,
    next: u32,
    end: u32,
    /// Those whose sender did not wait: each was queued or was not.
    cancelled: Vec<u32>,
}

impl Send<'_> {
    fn run(mut self) -> Vec<u32> {
        while self.next < self.end {
            match self.dice.roll(8) {
                0 | 1 => self.batch(),
                2 => self.change_its_mind(),
                3 => {
                    let item = self.item();
                    assert!(self.mailbox.push_or_line_up(item, Sender::Detached).is_ok());
                }
                _ => {
                    let item = self.item();
                    if let Err(item) = self.mailbox.push_now(item) {
                        self.wait_for_room(item);
                    }
                }
            }
        }
        self.cancelled
    }

    fn item(&mut self) -> Item {
        self.next += 1;
        Item::new(self.next - 1, self.alive)
    }

    fn batch(&mut self) {
        let size = (1 + self.dice.roll(8)).min(self.end - self.next);
        let items: Vec<_> = (0..size).map(|_| self.item()).collect();
        let mut batch = Batch::<_, 8>::new();
        batch.fill(items.into_iter());
        while !self.mailbox.push_batch(&mut batch).expect("it is open") {
            let first = batch.next().expect("else all were queued");
            self.wait_for_room(first);
        }
    }

    fn wait_for_room(&self, item: Item) {
        let item = match self.mailbox.push(item) {
            Ok(Pushed::Queued) => return,
            Err(Refused::Full(item)) => item,
            _ => unreachable!("it blocks, and is open"),
        };
        let place = self.mailbox.line_up(item).ok().expect("it is open");
        let waker = Waker::from(self.parked.clone());
        loop {
            match place.poll(&Context::from_waker(&waker)) {
                Poll::Ready(outcome) => return assert!(outcome.is_ok(), "it stays open"),
                Poll::Pending => self.parked.wait(),
            }
        }
    }

    /// Gets in line, waits for a moment or not at all, and goes.
    fn change_its_mind(&mut self) {
        let item = self.item();
        let id = item.id;
        let place = self.mailbox.line_up(item).ok().expect("it is open");
        let waker = Waker::from(self.parked.clone());
        let mut is_queued = false;
        for _ in 0..self.dice.roll(4) {
            is_queued = place.poll(&Context::from_waker(&waker)).is_ready();
            thread::yield_now();
        }
        self.mailbox.leave(&place);
        if !is_queued {
            self.cancelled.push(id);
        }
    }
}

/// Consumes until its lease is revoked, or the mailbox is closed and empty. Takings are noted inside the window.
fn consume(mailbox: &TestMailbox, lease: &Lease, taken: &Mutex<Vec<u32>>) {
    let parked = Parked::here();
    let Some(window) = lease.open() else { return };
    mailbox.attend(&window, for_ever(parked.clone()));
    drop(window);
    loop {
        let Some(window) = lease.open() else { return };
        if let Some(item) = take(mailbox, &window) {
            taken.lock().push(item.id);
            drop(window);
            mailbox.make_room();
            continue;
        }
        let rest = mailbox.rest(&window);
        let is_over = rest == Rest::Asleep && mailbox.ring.is_closed();
        drop(window);
        match rest {
            Rest::Asleep if is_over => return,
            Rest::Asleep => {
                parked.wait();
                let Some(window) = lease.open() else { return };
                mailbox.get_up(&window);
            }
            Rest::More => {}
            Rest::Soon => mailbox.make_room_before_a_wait(),
        }
    }
}

/// `restarts` consumers take the mailbox from one another, each while the one before is at it.
fn many_senders(capacity: usize, restarts: usize) {
    let alive = Arc::new(());
    let mailbox = TestMailbox::new(capacity, Overflow::Block);
    let taken = Mutex::new(Vec::new());
    let cancelled = Mutex::new(Vec::new());
    let sending = AtomicUsize::new(SENDERS as usize);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (mailbox, alive, cancelled, sending) = (&mailbox, &alive, &cancelled, &sending);
            scope.spawn(move || {
                let (next, end) = (sender * EACH, (sender + 1) * EACH);
                let (parked, dice) = (Parked::here(), Dice(0x9E37_79B9 ^ (sender + 1)));
                let left = Send { mailbox, alive, parked, dice, next, end, cancelled: Vec::new() }.run();
                cancelled.lock().extend(left);
                sending.fetch_sub(1, Ordering::Relaxed);
            });
        }
        for restart in 0..=restarts {
            let lease = mailbox.lease();
            let (mailbox, taken) = (&mailbox, &taken);
            scope.spawn(move || consume(mailbox, &lease, taken));
            // The last one stays.
            let enough = SENDERS as usize * EACH as usize / (restarts + 1) * (restart + 1);
            while restart < restarts && taken.lock().len() < enough && sending.load(Ordering::Relaxed) > 0 {
                thread::sleep(Duration::from_micros(200));
            }
        }
        while sending.load(Ordering::Relaxed) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let returned = mailbox.close();
        assert!(returned.iter().all(|item| item.id < SENDERS * EACH));
        taken.lock().extend(returned.iter().map(|item| item.id + SENDERS * EACH));
        mailbox.signal(super::super::Signal::Drain);
    });
    let taken = taken.into_inner();
    // Those that came back from the line, when it was closed, were noted with an offset: they have no order among the rest.
    let (returned, taken): (Vec<_>, Vec<_>) = taken.into_iter().partition(|id| *id >= SENDERS * EACH);
    let mut last = vec![None; SENDERS as usize];
    for id in &taken {
        let last = &mut last[(id / EACH) as usize];
        assert!(*last < Some(*id), "{id} was taken after {last:?}");
        *last = Some(*id);
    }
    let mut found: Vec<_> = taken.into_iter().chain(returned.into_iter().map(|id| id - SENDERS * EACH)).collect();
    found.sort_unstable();
    assert!(found.is_sorted_by(|one, other| one < other), "a message was taken twice");
    let cancelled = cancelled.into_inner();
    let missing: Vec<_> = (0..SENDERS * EACH).filter(|id| found.binary_search(id).is_err()).collect();
    let lost: Vec<_> = missing.into_iter().filter(|id| !cancelled.contains(id)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    drop(mailbox);
    assert_eq!(Arc::strong_count(&alive), 1, "a message was leaked");
}

#[test]
fn many_senders_wait_at_a_mailbox_of_one() {
    many_senders(1, 0);
}

#[test]
fn many_senders_wait_at_a_mailbox_of_three() {
    many_senders(3, 0);
}

#[test]
fn many_senders_fill_a_mailbox_that_grows() {
    many_senders(1_000, 0);
}

#[test]
fn consumers_take_a_mailbox_from_one_another() {
    many_senders(3, 50);
    many_senders(40, 50);
}
