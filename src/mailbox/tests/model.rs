//! Whatever is done to a mailbox, it does what two queues would: one of messages, and one of those who wait for room.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::super::{Batch, Lease, Mailbox, PlaceInLine, Pushed, Refused, Rest, Sender};
use super::{Item, take};
use crate::Overflow;

#[derive(Debug, Clone)]
enum Op {
    Push,
    PushNow,
    PushBatch(u32),
    LineUp,
    LineUpDetached,
    /// One of those who are in line, counted from the first, modulo their number.
    Leave(usize),
    Take,
    Rest,
    WaitForSomethingElse,
    Restart,
    Close,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => Just(Op::Push),
        4 => Just(Op::PushNow),
        4 => (1..=8_u32).prop_map(Op::PushBatch),
        4 => Just(Op::LineUp),
        2 => Just(Op::LineUpDetached),
        2 => (0..8_usize).prop_map(Op::Leave),
        12 => Just(Op::Take),
        2 => Just(Op::Rest),
        1 => Just(Op::WaitForSomethingElse),
        1 => Just(Op::Restart),
    ];
    // Few are closed before their end.
    (prop::collection::vec(op, 1..200), prop::option::weighted(0.3, 0..200_usize)).prop_map(|(mut ops, close_at)| {
        if let Some(at) = close_at {
            ops.insert(at.min(ops.len()), Op::Close);
        }
        ops
    })
}

struct Waiter {
    id: u32,
    is_detached: bool,
}

/// The mailbox and what it ought to be.
struct Pair {
    alive: Arc<()>,
    next_id: u32,
    mailbox: Mailbox<Item>,
    lease: Arc<Lease>,
    places: BTreeMap<u32, PlaceInLine<Item>>,
    overflow: Overflow,
    capacity: usize,
    queue: VecDeque<u32>,
    line: VecDeque<Waiter>,
    is_closed: bool,
}

impl Pair {
    fn new(capacity: usize, overflow: Overflow) -> Self {
        let mailbox = Mailbox::new(capacity, overflow);
        let lease = mailbox.lease();
        Self {
            alive: Arc::new(()),
            next_id: 0,
            mailbox,
            lease,
            places: BTreeMap::new(),
            overflow,
            capacity,
            queue: VecDeque::new(),
            line: VecDeque::new(),
            is_closed: false,
        }
    }

    fn item(&mut self) -> Item {
        self.next_id += 1;
        Item::new(self.next_id, &self.alive)
    }

    fn has_room(&self) -> bool {
        self.queue.len() < self.capacity
    }

    fn serve_line(&mut self) {
        while self.has_room()
            && let Some(first) = self.line.pop_front()
        {
            self.queue.push_back(first.id);
        }
    }

    fn act(&mut self, op: &Op) {
        match *op {
            Op::Push => self.push(),
            Op::PushNow => self.push_now(),
            Op::PushBatch(size) if self.overflow != Overflow::DropOldest => self.push_batch(size),
            Op::LineUp if self.overflow == Overflow::Block => self.line_up(false),
            Op::LineUpDetached if self.overflow == Overflow::Block => self.line_up(true),
            Op::Leave(which) => self.leave(which),
            Op::Take => self.take(),
            Op::Rest => self.rest(),
            Op::WaitForSomethingElse => {
                self.mailbox.make_room_before_a_wait();
                self.serve_line();
            }
            Op::Restart => {
                let earlier = std::mem::replace(&mut self.lease, self.mailbox.lease());
                assert!(earlier.open().is_none());
            }
            Op::Close => self.close(),
            Op::PushBatch(_) | Op::LineUp | Op::LineUpDetached => {}
        }
        self.check();
    }

    fn push(&mut self) {
        let item = self.item();
        let id = item.id;
        let is_free = self.has_room() && self.line.is_empty();
        match (self.mailbox.push(item), self.overflow) {
            (Err(Refused::Closed(back)), _) => assert!(self.is_closed && back.id == id),
            _ if self.is_closed => panic!("it takes {id} though it is closed"),
            (Ok(Pushed::Queued), _) => {
                assert!(is_free);
                self.queue.push_back(id);
            }
            (Ok(Pushed::Evicted(victim)), Overflow::DropOldest) => {
                assert_eq!((is_free, Some(victim.id)), (false, self.queue.pop_front()));
                self.queue.push_back(id);
            }
            (Ok(Pushed::Dropped(back)), Overflow::DropNewest) => assert!(!is_free && back.id == id),
            (Err(Refused::Full(back)), Overflow::Block | Overflow::Reject) => assert!(!is_free && back.id == id),
            _ => panic!("that is another policy's way"),
        }
    }

    fn push_now(&mut self) {
        let item = self.item();
        let id = item.id;
        let is_free = self.has_room() && self.line.is_empty() && !self.is_closed;
        match self.mailbox.push_now(item) {
            Ok(()) => {
                assert!(is_free);
                self.queue.push_back(id);
            }
            Err(back) => assert!(back.id == id && (!is_free || self.overflow == Overflow::DropOldest)),
        }
    }

    fn push_batch(&mut self, size: u32) {
        let first = self.next_id + 1;
        let items: Vec<_> = (0..size).map(|_| self.item()).collect();
        let mut batch = Batch::<_, 8>::new();
        batch.fill(items.into_iter());
        let room = if self.line.is_empty() { self.capacity - self.queue.len() } else { 0 };
        match self.mailbox.push_batch(&mut batch) {
            Err(()) => assert!(self.is_closed),
            Ok(is_all) => {
                let queued = size - batch.len() as u32;
                assert!(!self.is_closed && queued as usize <= room && (queued > 0) == (room > 0));
                assert_eq!(is_all, queued == size);
                self.queue.extend(first..first + queued);
            }
        }
    }

    fn line_up(&mut self, is_detached: bool) {
        let item = self.item();
        let id = item.id;
        let lined_up = if is_detached {
            self.mailbox.push_or_line_up(item, Sender::Detached)
        } else {
            self.mailbox.line_up(item).map(|place| drop(self.places.insert(id, place)))
        };
        if let Err(refused) = lined_up {
            assert!(self.is_closed && matches!(refused, Refused::Closed(back) if back.id == id));
            return;
        }
        assert!(!self.is_closed);
        self.line.push_back(Waiter { id, is_detached });
        self.serve_line();
    }

    fn leave(&mut self, which: usize) {
        let waiting: Vec<_> = self.line.iter().filter(|waiter| !waiter.is_detached).map(|waiter| waiter.id).collect();
        let Some(id) = waiting.get(which % waiting.len().max(1)) else { return };
        self.mailbox.leave(&self.places.remove(id).expect("who waits has a place"));
        self.line.retain(|waiter| waiter.id != *id);
    }

    fn take(&mut self) {
        let window = self.lease.open().expect("the lease holds");
        let taken = take(&self.mailbox, &window);
        drop(window);
        assert_eq!(taken.map(|item| item.id), self.queue.pop_front());
        self.mailbox.make_room();
        if self.queue.len() + self.capacity.div_ceil(4) <= self.capacity {
            self.serve_line();
        }
    }

    fn rest(&mut self) {
        if !self.queue.is_empty() {
            return;
        }
        assert!(self.line.is_empty(), "an empty mailbox has no line");
        let window = self.lease.open().expect("the lease holds");
        assert_eq!(self.mailbox.rest(&window), Rest::Asleep);
        self.mailbox.get_up(&window);
    }

    fn close(&mut self) {
        let detached: Vec<_> = self.mailbox.close().iter().map(|item| item.id).collect();
        self.is_closed = true;
        let line = std::mem::take(&mut self.line);
        assert!(line.iter().filter(|waiter| waiter.is_detached).map(|waiter| waiter.id).eq(detached));
        for waiter in line.iter().filter(|waiter| !waiter.is_detached) {
            let place = self.places.remove(&waiter.id).expect("who waits has a place");
            let Poll::Ready(Err(Refused::Closed(back))) = place.poll(&Context::from_waker(Waker::noop())) else {
                panic!("{} waits at a closed mailbox", waiter.id)
            };
            assert_eq!(back.id, waiter.id);
        }
    }

    /// Of what can be seen at any time.
    fn check(&mut self) {
        assert_eq!(self.mailbox.depth(), self.queue.len());
        assert!(self.queue.len() <= self.capacity && self.mailbox.high_water() >= self.queue.len());
        let line = &self.line;
        self.places.retain(|id, place| match place.poll(&Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                assert!(line.iter().any(|waiter| waiter.id == *id), "{id} waits for nothing");
                true
            }
            Poll::Ready(outcome) => {
                assert!(outcome.is_ok() && line.iter().all(|waiter| waiter.id != *id), "{id} is in line");
                false
            }
        });
        let waiting = self.line.iter().filter(|waiter| !waiter.is_detached).count();
        assert_eq!(self.places.len(), waiting);
    }

    /// Closes it for good: what is left is what is queued. Nothing exists afterwards.
    fn end(mut self) {
        self.close();
        let revoked = self.mailbox.revoke();
        let left = std::iter::from_fn(|| self.mailbox.take_left(&revoked)).map(|item| item.id);
        assert!(left.eq(self.queue.iter().copied()));
        drop(revoked);
        drop(self.mailbox);
        assert_eq!(Arc::strong_count(&self.alive), 1, "a message was leaked");
    }
}

const POLICIES: [Overflow; 4] = [Overflow::Block, Overflow::Reject, Overflow::DropNewest, Overflow::DropOldest];

proptest! {
    #[test]
    fn mailbox_does_what_two_queues_would(
        capacity in 1..=40_usize,
        overflow in prop::sample::select(POLICIES.as_slice()),
        ops in ops(),
    ) {
        let mut pair = Pair::new(capacity, overflow);
        ops.iter().for_each(|op| pair.act(op));
        pair.end();
    }

    /// A mailbox that is dropped as it is drops what is in it, and in line.
    #[test]
    fn mailbox_that_is_dropped_leaks_nothing(capacity in 1..=40_usize, ops in ops()) {
        let mut pair = Pair::new(capacity, Overflow::Block);
        ops.iter().for_each(|op| pair.act(op));
        let Pair { alive, mailbox, places, .. } = pair;
        drop((mailbox, places));
        prop_assert_eq!(Arc::strong_count(&alive), 1);
    }
}

/// Stamps are the low halves of positions: it is the number of laps that could confuse them.
#[test]
fn slots_are_used_again_for_many_laps() {
    for capacity in [1, 3, 4, 5, 33] {
        let mut pair = Pair::new(capacity, Overflow::Reject);
        for lap in 0..2_000 {
            (0..=capacity - usize::from(lap % 2 == 0)).for_each(|_| pair.act(&Op::Push));
            (0..=capacity).for_each(|_| pair.act(&Op::Take));
        }
        pair.end();
    }
}
