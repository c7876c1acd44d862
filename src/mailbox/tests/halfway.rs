//! A sender that the system stops between its reservation and its publication: nothing that waits behind its message is
//! passed on before it, nobody goes to sleep beside it, and it is not lost.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, Scope, ScopedJoinHandle};

use super::super::{Lease, Mailbox, Pushed, Put, Rest, Sender, Sleeper, Stow};
use super::{Item, for_ever, take};
use crate::Overflow;

/// An item whose sender stops on its way into the slot: it has reserved by then, and publishes when it is let go on.
struct Halfway {
    item: Item,
    reserved: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
}

impl Put<Item> for Halfway {
    unsafe fn put(self, narrow: *mut <Item as Stow>::Narrow, wide: *mut <Item as Stow>::Wide) {
        self.reserved.send(()).expect("the test waits for this");
        // A test that has failed lets it go as well.
        let _ = self.go_on.recv();
        // SAFETY: the caller's promise.
        unsafe { self.item.stow(narrow, wide) };
    }
}

/// A sender that is stopped.
struct Stopped<'scope> {
    go_on: mpsc::Sender<()>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl Stopped<'_> {
    /// Its message is published when this returns.
    fn go_on(self) {
        self.go_on.send(()).expect("it waits for this");
        self.thread.join().expect("it was queued");
    }
}

/// Sends `item` by halves. The place is reserved when this returns.
fn stop<'scope>(scope: &'scope Scope<'scope, '_>, mailbox: &'scope TestMailbox, item: Item) -> Stopped<'scope> {
    let (reserved, has_reserved) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let halfway = Halfway { item, reserved, go_on: may_go_on };
    let thread = scope.spawn(move || assert!(mailbox.push_now(halfway).is_ok(), "there was room"));
    has_reserved.recv().expect("it reserves");
    Stopped { go_on, thread }
}

fn push(mailbox: &TestMailbox, item: Item) {
    assert!(matches!(mailbox.push(item), Ok(Pushed::Queued)), "there was room");
}

#[track_caller]
fn taken(mailbox: &TestMailbox, lease: &Lease) -> Option<u32> {
    let window = lease.open().expect("the lease holds");
    take(mailbox, &window).map(|item| item.id)
}

#[track_caller]
fn rest(mailbox: &TestMailbox, lease: &Lease) -> Rest {
    let window = lease.open().expect("the lease holds");
    mailbox.rest(&window)
}

/// The consumer finds nothing and does not sleep, however often it looks.
#[track_caller]
fn assert_looks_again(mailbox: &TestMailbox, lease: &Lease) {
    for _ in 0..100 {
        assert_eq!(taken(mailbox, lease), None, "a place that nobody has published was taken, or passed over");
        assert_eq!(rest(mailbox, lease), Rest::Soon, "it sleeps beside a message, or takes it for one that is there");
        mailbox.make_room_before_a_wait();
    }
}

/// At each of the first places, which are in two segments, with and without others behind it.
#[test]
fn message_of_a_sender_that_stopped_halfway_is_waited_for_and_keeps_its_place() {
    let alive = Arc::new(());
    for at in 0..12 {
        for behind in [0, 1, 40] {
            let mailbox = TestMailbox::new(100, Overflow::Block);
            let lease = mailbox.lease();
            thread::scope(|scope| {
                (0..at).for_each(|id| push(&mailbox, Item::new(id, &alive)));
                let stopped = stop(scope, &mailbox, Item::new(at, &alive));
                (at + 1..=at + behind).for_each(|id| push(&mailbox, Item::new(id, &alive)));
                (0..at).for_each(|id| assert_eq!(taken(&mailbox, &lease), Some(id)));
                assert_looks_again(&mailbox, &lease);
                assert_eq!(mailbox.depth() as u32, 1 + behind);
                stopped.go_on();
                (at..=at + behind).for_each(|id| assert_eq!(taken(&mailbox, &lease), Some(id)));
                assert_eq!(rest(&mailbox, &lease), Rest::Asleep);
            });
        }
    }
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn place_of_a_sender_that_stopped_halfway_counts_as_taken_and_the_line_waits_behind_it() {
    let alive = Arc::new(());
    let mailbox = TestMailbox::new(3, Overflow::Block);
    let lease = mailbox.lease();
    thread::scope(|scope| {
        let stopped = stop(scope, &mailbox, Item::new(0, &alive));
        (1..3).for_each(|id| push(&mailbox, Item::new(id, &alive)));
        assert!(mailbox.push_now(Item::new(9, &alive)).is_err(), "it holds more than it may");
        (3..5).for_each(|id| assert!(mailbox.push_or_line_up(Item::new(id, &alive), Sender::Detached).is_ok()));
        assert_looks_again(&mailbox, &lease);
        assert_eq!(mailbox.depth(), 3);
        stopped.go_on();
        for id in 0..5 {
            assert_eq!(taken(&mailbox, &lease), Some(id));
            mailbox.make_room();
        }
        assert_eq!(rest(&mailbox, &lease), Rest::Asleep);
    });
    assert_eq!(Arc::strong_count(&alive), 1);
}

type TestMailbox = Mailbox<Item, Calls>;

/// Counts how often it is called.
struct Calls(AtomicU32);

impl Sleeper for Calls {
    fn wake(&'static self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn is_here(&self) -> bool {
        true
    }
}

#[test]
fn consumer_that_went_to_sleep_before_a_sender_stopped_is_woken_by_whoever_publishes() {
    let alive = Arc::new(());
    let mailbox = TestMailbox::new(8, Overflow::Block);
    let lease = mailbox.lease();
    let calls: &'static Calls = for_ever(Calls(AtomicU32::new(0)));
    let window = lease.open().expect("the lease holds");
    mailbox.attend(&window, calls);
    assert_eq!(mailbox.rest(&window), Rest::Asleep);
    drop(window);
    thread::scope(|scope| {
        let stopped = stop(scope, &mailbox, Item::new(0, &alive));
        assert_eq!(calls.0.load(Ordering::SeqCst), 0);
        push(&mailbox, Item::new(1, &alive));
        assert_eq!(calls.0.load(Ordering::SeqCst), 1, "a consumer that sleeps beside a message");
        // It is up, and finds the place of the other one in front.
        mailbox.get_up(&lease.open().expect("the lease holds"));
        assert_looks_again(&mailbox, &lease);
        stopped.go_on();
        (0..2).for_each(|id| assert_eq!(taken(&mailbox, &lease), Some(id)));
        assert_eq!(rest(&mailbox, &lease), Rest::Asleep);
        // Alone, the one that stopped wakes it itself.
        let stopped = stop(scope, &mailbox, Item::new(2, &alive));
        stopped.go_on();
        assert_eq!(calls.0.load(Ordering::SeqCst), 2, "a consumer that sleeps beside a message");
        assert_eq!(taken(&mailbox, &lease), Some(2));
    });
}

#[test]
fn message_of_a_sender_that_stopped_halfway_is_among_those_that_are_left_at_the_end() {
    let alive = Arc::new(());
    let mailbox = TestMailbox::new(8, Overflow::Block);
    let lease = mailbox.lease();
    thread::scope(|scope| {
        push(&mailbox, Item::new(0, &alive));
        let stopped = stop(scope, &mailbox, Item::new(1, &alive));
        push(&mailbox, Item::new(2, &alive));
        assert!(mailbox.close().is_empty());
        // Whoever drains waits for the one that stopped, which goes on only after that began.
        let (tell, told) = mpsc::channel();
        let mailbox = &mailbox;
        let drains = scope.spawn(move || {
            let revoked = mailbox.revoke();
            assert_eq!(mailbox.take_left(&revoked).map(|item| item.id), Some(0));
            tell.send(()).expect("the test waits for this");
            std::iter::from_fn(|| mailbox.take_left(&revoked)).map(|item| item.id).collect::<Vec<_>>()
        });
        told.recv().expect("it drains");
        (0..1_000).for_each(|_| thread::yield_now());
        stopped.go_on();
        assert_eq!(drains.join().expect("it ends"), [1, 2]);
    });
    assert!(lease.open().is_none());
    assert_eq!(Arc::strong_count(&alive), 1);
}
