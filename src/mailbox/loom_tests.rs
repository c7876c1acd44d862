//! Every interleaving of a few threads at the ring, the mailbox and the lease, by loom: `make loom`.
//!
//! A thread that sleeps for ever is a deadlock, which loom reports. Under loom a ring's first segment holds one message and
//! the next two, so that two messages make it grow.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::cell::UnsafeCell;
use loom::sync::Notify;
use loom::thread;

use super::lease::{Claim, Lease};
use super::ring::{Refusal, Ring, Who};
use super::{Batch, Mailbox, PlaceInLine, Pushed, Refused, Rest, Sender, Stow};
use crate::Overflow;

/// A message that says whose it is, and that knows whether it was dropped.
struct Item {
    sender: u8,
    number: u8,
    _alive: Arc<()>,
}

impl Stow for Item {
    type Narrow = Self;
    type Wide = ();

    unsafe fn stow(self, narrow: *mut Self, _: *mut ()) {
        // SAFETY: the caller's promise.
        unsafe { narrow.write(self) };
    }

    unsafe fn unstow(narrow: *const Self, _: *const ()) -> Self {
        // SAFETY: the caller's promise.
        unsafe { narrow.read() }
    }
}

/// Makes the messages of one run, and counts those that still exist.
#[derive(Clone)]
struct Mint(Arc<()>);

impl Mint {
    fn new() -> Self {
        Self(Arc::new(()))
    }

    fn item(&self, sender: u8, number: u8) -> Item {
        Item { sender, number, _alive: self.0.clone() }
    }

    /// No message is left anywhere.
    fn close(self) {
        assert_eq!(Arc::strong_count(&self.0), 1, "a message was leaked");
    }
}

/// A thread as its wakers know it.
struct Sleeper(Notify);

impl Sleeper {
    fn new() -> Arc<Self> {
        Arc::new(Self(Notify::new()))
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify();
    }
}

type TestMailbox = Mailbox<Item, Arc<Sleeper>>;

impl super::Sleeper for Arc<Sleeper> {
    fn wake(&'static self) {
        self.0.notify();
    }

    fn is_here(&self) -> bool {
        true
    }
}

fn names(items: &[Item]) -> Vec<(u8, u8)> {
    items.iter().map(|item| (item.sender, item.number)).collect()
}

/// Whether each sender's messages are there once, in order.
#[track_caller]
fn assert_in_order(items: &[Item], senders: u8, each: u8) {
    for sender in 0..senders {
        let numbers: Vec<_> = items.iter().filter(|item| item.sender == sender).map(|item| item.number).collect();
        assert_eq!(numbers, (0..each).collect::<Vec<_>>(), "of sender {sender} in {:?}", names(items));
    }
    assert_eq!(items.len(), usize::from(senders * each));
}

fn pop(ring: &Ring<Item>) -> Option<Item> {
    // SAFETY: one thread of each model takes.
    unsafe { ring.pop() }
}

#[test]
fn ring_grows_under_two_producers_and_keeps_their_order() {
    loom::model(|| {
        let mint = Mint::new();
        let ring = Arc::new(Ring::new(4, (), ()));
        let producers: Vec<_> = (0..2)
            .map(|sender| {
                let (ring, mint) = (ring.clone(), mint.clone());
                thread::spawn(move || {
                    for number in 0..2 {
                        assert!(ring.push(mint.item(sender, number), Who::Anybody).is_ok(), "there is room for all");
                    }
                })
            })
            .collect();
        // Without waiting as long as they are at it: a loop that waits for two threads is more than loom can go through.
        let mut taken: Vec<_> = (0..2).filter_map(|_| pop(&ring)).collect();
        producers.into_iter().for_each(|producer| producer.join().expect("no producer panics"));
        taken.extend(std::iter::from_fn(|| pop(&ring)));
        assert_in_order(&taken, 2, 2);
        assert!(ring.look().is_spent);
        drop((taken, ring));
        mint.close();
    });
}

#[test]
fn ring_slot_is_written_again_only_once_it_was_read() {
    loom::model(|| {
        let mint = Mint::new();
        let ring = Arc::new(Ring::new(1, (), ()));
        let producer = {
            let (ring, mint) = (ring.clone(), mint.clone());
            thread::spawn(move || {
                for number in 0..3 {
                    let mut item = mint.item(0, number);
                    while let Err((refusal, back)) = ring.push(item, Who::Anybody) {
                        assert_eq!(refusal, Refusal::Full);
                        item = back;
                        thread::yield_now();
                    }
                }
            })
        };
        let mut taken = Vec::new();
        while taken.len() < 3 {
            match pop(&ring) {
                Some(item) => taken.push(item),
                None => thread::yield_now(),
            }
        }
        producer.join().expect("the producer does not panic");
        assert_in_order(&taken, 1, 3);
        drop((taken, ring));
        mint.close();
    });
}

/// Two producers look for room in a full ring while its value is taken: one may read of it from the other.
#[test]
fn ring_slot_that_one_producer_has_seen_free_is_free_for_another() {
    loom::model(|| {
        let mint = Mint::new();
        let ring = Arc::new(Ring::new(1, (), ()));
        assert!(ring.push(mint.item(2, 0), Who::Anybody).is_ok());
        let producers: Vec<_> = (0..2)
            .map(|sender| {
                let (ring, mint) = (ring.clone(), mint.clone());
                thread::spawn(move || ring.push(mint.item(sender, 0), Who::Anybody).is_ok())
            })
            .collect();
        assert_eq!(pop(&ring).map(|item| item.sender), Some(2));
        let queued = producers.into_iter().map(|producer| producer.join().expect("no producer panics"));
        let queued: Vec<_> = (0..2).zip(queued).filter_map(|(sender, is_queued)| is_queued.then_some(sender)).collect();
        let left: Vec<_> = std::iter::from_fn(|| pop(&ring)).map(|item| item.sender).collect();
        assert!(left.len() <= 1);
        assert_eq!(left, queued);
        drop(ring);
        mint.close();
    });
}

#[test]
fn ring_that_is_closed_gives_up_what_it_took_and_gives_back_what_it_refuses() {
    loom::model(|| {
        let mint = Mint::new();
        let ring = Arc::new(Ring::new(4, (), ()));
        let producers: Vec<_> = (0..2)
            .map(|sender| {
                let (ring, mint) = (ring.clone(), mint.clone());
                thread::spawn(move || {
                    let mut queued = 0;
                    for number in 0..2 {
                        match ring.push(mint.item(sender, number), Who::Anybody) {
                            Ok(()) => queued += 1,
                            Err((refusal, back)) => {
                                assert_eq!((refusal, back.number), (Refusal::Closed, number));
                            }
                        }
                    }
                    queued
                })
            })
            .collect();
        ring.close();
        let mut left = Vec::new();
        // SAFETY: nobody else takes.
        while let Some(item) = unsafe { ring.pop_reserved() } {
            left.push(item);
        }
        let queued = producers.into_iter().map(|producer| producer.join().expect("no producer panics"));
        for (sender, queued) in queued.enumerate() {
            let found: Vec<_> = left.iter().filter(|item| usize::from(item.sender) == sender).collect();
            assert!(found.iter().map(|item| item.number).eq(0..queued), "{:?}", names(&left));
        }
        assert!(pop(&ring).is_none());
        drop((left, ring));
        mint.close();
    });
}

#[test]
fn ring_takes_a_batch_in_order_beside_single_messages() {
    loom::model(|| {
        let mint = Mint::new();
        let ring = Arc::new(Ring::new(4, (), ()));
        let batcher = {
            let (ring, mint) = (ring.clone(), mint.clone());
            thread::spawn(move || {
                let mut batch = Batch::<_, 3>::new();
                batch.fill((0..3).map(|number| mint.item(0, number)));
                while !batch.is_empty() {
                    assert_eq!(ring.push_batch(&mut batch), Ok(()), "there is room for all");
                }
            })
        };
        let single = {
            let (ring, mint) = (ring.clone(), mint.clone());
            thread::spawn(move || assert!(ring.push(mint.item(1, 0), Who::Anybody).is_ok()))
        };
        let mut taken: Vec<_> = pop(&ring).into_iter().collect();
        batcher.join().expect("the batch does not panic");
        single.join().expect("the producer does not panic");
        taken.extend(std::iter::from_fn(|| pop(&ring)));
        assert_eq!(taken.len(), 4);
        assert!(taken.iter().filter(|item| item.sender == 0).map(|item| item.number).eq(0..3), "{:?}", names(&taken));
        drop((taken, ring));
        mint.close();
    });
}

/// An incarnation, as far as its mailbox knows it.
struct Consumer {
    mailbox: Arc<TestMailbox>,
    lease: Arc<Lease>,
    sleeper: Arc<Sleeper>,
}

impl Consumer {
    fn new(mailbox: &Arc<TestMailbox>) -> Self {
        let consumer = Self { mailbox: mailbox.clone(), lease: mailbox.lease(), sleeper: Sleeper::new() };
        let window = consumer.lease.open().expect("nobody revokes it");
        consumer.mailbox.attend(&window, Box::leak(Box::new(consumer.sleeper.clone())));
        drop(window);
        consumer
    }

    /// Sleeps until there is a message.
    fn take(&self) -> Item {
        loop {
            let window = self.lease.open().expect("nobody revokes it");
            if let Some((narrow, wide)) = self.mailbox.front(&window) {
                // SAFETY: the front is moved out once, in its window.
                let item = unsafe {
                    let item = Item::unstow(narrow, wide);
                    self.mailbox.pass_over(&window);
                    item
                };
                drop(window);
                self.mailbox.make_room();
                return item;
            }
            if let Some(item) = self.mailbox.take_from_deque(&window) {
                return item;
            }
            let rest = self.mailbox.rest(&window);
            drop(window);
            match rest {
                Rest::Asleep => {
                    self.sleeper.0.wait();
                    let window = self.lease.open().expect("nobody revokes it");
                    self.mailbox.get_up(&window);
                }
                Rest::More => {}
                Rest::Soon => {
                    self.mailbox.make_room_before_a_wait();
                    thread::yield_now();
                }
            }
        }
    }
}

/// Sends, asleep in line where there is no room.
fn send(mailbox: &TestMailbox, item: Item) {
    let item = match mailbox.push(item) {
        Ok(Pushed::Queued) => return,
        Err(Refused::Full(item)) => item,
        Ok(Pushed::Evicted(_) | Pushed::Dropped(_)) | Err(Refused::Closed(_)) => unreachable!("it blocks and is open"),
    };
    let place = mailbox.line_up(item).ok().expect("it is open");
    assert!(wait_in(&place).is_ok(), "it stays open");
}

fn wait_in(place: &PlaceInLine<Item>) -> Result<(), Refused<Item>> {
    let sleeper = Sleeper::new();
    let waker = Waker::from(sleeper.clone());
    loop {
        if let Poll::Ready(outcome) = place.poll(&Context::from_waker(&waker)) {
            return outcome;
        }
        sleeper.0.wait();
    }
}

/// `senders` threads send `each` messages to one that sleeps whenever there is none.
fn senders_and_a_sleeper(capacity: usize, overflow: Overflow, senders: u8, each: u8) {
    let mint = Mint::new();
    let mailbox = Arc::new(TestMailbox::new(capacity, overflow));
    let consumer = Consumer::new(&mailbox);
    let threads: Vec<_> = (0..senders)
        .map(|sender| {
            let (mailbox, mint) = (mailbox.clone(), mint.clone());
            thread::spawn(move || (0..each).for_each(|number| send(&mailbox, mint.item(sender, number))))
        })
        .collect();
    let taken: Vec<_> = (0..senders * each).map(|_| consumer.take()).collect();
    threads.into_iter().for_each(|sender| sender.join().expect("no sender panics"));
    assert_in_order(&taken, senders, each);
    drop((taken, consumer, mailbox));
    mint.close();
}

#[test]
fn consumer_that_sleeps_is_woken_for_each_of_two_messages() {
    loom::model(|| senders_and_a_sleeper(2, Overflow::Block, 1, 2));
}

#[test]
fn consumer_that_sleeps_is_woken_by_either_of_two_senders() {
    loom::model(|| senders_and_a_sleeper(2, Overflow::Block, 2, 1));
}

#[test]
fn consumer_that_sleeps_is_woken_for_what_comes_into_a_mailbox_that_evicts() {
    loom::model(|| senders_and_a_sleeper(2, Overflow::DropOldest, 2, 1));
}

#[test]
fn sender_in_line_is_woken_and_wakes() {
    loom::model(|| senders_and_a_sleeper(1, Overflow::Block, 1, 3));
}

#[test]
fn two_senders_in_line_are_let_in_by_a_consumer_that_sleeps() {
    loom::model(|| senders_and_a_sleeper(1, Overflow::Block, 2, 1));
}

/// What the consumer waits for is done by a sender once it has been let in.
#[test]
fn sender_in_line_is_let_in_by_a_consumer_that_waits_for_something_else() {
    loom::model(|| {
        let mint = Mint::new();
        let mailbox = Arc::new(TestMailbox::new(1, Overflow::Block));
        let consumer = Consumer::new(&mailbox);
        send(&mailbox, mint.item(0, 0));
        let done = Sleeper::new();
        let sender = {
            let (mailbox, mint, done) = (mailbox.clone(), mint.clone(), done.clone());
            thread::spawn(move || {
                send(&mailbox, mint.item(1, 0));
                done.0.notify();
            })
        };
        assert_eq!(consumer.take().sender, 0);
        mailbox.make_room_before_a_wait();
        done.0.wait();
        assert_eq!(consumer.take().sender, 1);
        sender.join().expect("the sender does not panic");
        drop((consumer, mailbox));
        mint.close();
    });
}

/// One sender fills the mailbox; another lines up and leaves again, while the consumer makes room.
#[test]
fn sender_that_leaves_the_line_takes_its_message_with_it_or_has_sent_it() {
    loom::model(|| {
        let mint = Mint::new();
        let mailbox = Arc::new(TestMailbox::new(1, Overflow::Block));
        let consumer = Consumer::new(&mailbox);
        send(&mailbox, mint.item(0, 0));
        let fickle = {
            let (mailbox, mint) = (mailbox.clone(), mint.clone());
            thread::spawn(move || {
                let place = mailbox.line_up(mint.item(1, 0)).ok().expect("it is open");
                mailbox.leave(&place);
            })
        };
        assert_eq!(consumer.take().sender, 0);
        fickle.join().expect("the sender does not panic");
        // Whichever it was, the line is gone and the mailbox goes on. This thread is the consumer: it must not wait for room.
        if mailbox.depth() == 1 {
            assert_eq!(consumer.take().sender, 1);
        }
        send(&mailbox, mint.item(2, 0));
        assert_eq!(consumer.take().sender, 2);
        drop((consumer, mailbox));
        mint.close();
    });
}

/// A sender without a future of its own lines up while the mailbox is closed: one of three has its message then.
#[test]
fn close_finds_each_message_in_the_queue_or_in_line() {
    loom::model(|| {
        let mint = Mint::new();
        let mailbox = Arc::new(TestMailbox::new(1, Overflow::Block));
        let sender = {
            let (mailbox, mint) = (mailbox.clone(), mint.clone());
            thread::spawn(move || {
                let refused =
                    (0..2).filter_map(|number| match mailbox.push_or_line_up(mint.item(0, number), Sender::Detached) {
                        Ok(()) => None,
                        Err(Refused::Closed(item) | Refused::Full(item)) => Some(item.number),
                    });
                refused.collect::<Vec<_>>()
            })
        };
        let mut found: Vec<_> = mailbox.close().iter().map(|item| item.number).collect();
        let revoked = mailbox.revoke();
        while let Some(item) = mailbox.take_left(&revoked) {
            found.push(item.number);
        }
        drop(revoked);
        found.extend(sender.join().expect("the sender does not panic"));
        found.sort_unstable();
        assert_eq!(found, [0, 1]);
        drop(mailbox);
        mint.close();
    });
}

/// What only the holder of a window may touch: loom reports two at a time.
struct Shared(UnsafeCell<u32>);

// SAFETY: that is what the tests are about.
unsafe impl Sync for Shared {}
// SAFETY: an integer.
unsafe impl Send for Shared {}

impl Shared {
    fn touch(&self) {
        self.0.with_mut(|value| {
            // SAFETY: loom reports whoever else is here.
            unsafe { *value += 1 };
        });
    }
}

/// A thread that comes back late, and its successor, which begins when the lease has been revoked.
fn late_thread_and_successor(gives_back: bool) {
    let shared = Arc::new(Shared(UnsafeCell::new(0)));
    let lease = Arc::new(Lease::new(Claim(1)));
    let late = {
        let (lease, shared) = (lease.clone(), shared.clone());
        thread::spawn(move || {
            for _ in 0..2 {
                if let Some(_window) = lease.open() {
                    shared.touch();
                }
            }
            if gives_back {
                lease.give_back();
            }
        })
    };
    lease.revoke();
    shared.touch();
    let successor = Lease::new(Claim(2));
    {
        let _window = successor.open().expect("the successor's own lease holds");
        shared.touch();
    }
    assert!(gives_back || lease.open().is_none());
    late.join().expect("the late thread does not panic");
}

#[test]
fn nobody_is_inside_once_a_lease_is_revoked() {
    loom::model(|| late_thread_and_successor(false));
}

#[test]
fn nobody_is_inside_once_a_lease_was_given_back_and_revoked() {
    loom::model(|| late_thread_and_successor(true));
}
