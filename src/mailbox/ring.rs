//! A bounded queue of many producers and one consumer that grows on demand.
//!
//! Positions count messages since the queue was made and never wrap: `tail` is the next to be reserved, `head` the next to
//! be taken. A producer reserves a position by compare-and-swap on the tail word, writes its slot and publishes the slot's
//! stamp. The consumer waits for the stamp of its position, moves the value out and publishes `head`; it writes to no
//! slot, so a slot's cache lines travel in one direction.
//!
//! What limits the rate between two cores is how many cache lines travel, so a slot is three: its stamp (4 bytes), a narrow
//! part that every value has (16 bytes for a message) and a wide part that is written and read for large values only. Each
//! kind lies in an array of its own; small messages share a line by threes.
//!
//! Slots live in segments, each several times the size of the one before, up to the capacity. One that is full while the
//! queue is not is *sealed*: the tail word names the segment that takes further messages, so the same compare-and-swap that
//! reserves a position decides the segment it is in. The consumer empties a segment up to the base of the next one. Older
//! segments are kept until the queue is dropped: together they are smaller than the last one.
//!
//! | field | written by | when |
//! | --- | --- | --- |
//! | tail word | producers; whoever closes | reserving, growing (under the lock), closing, lining up |
//! | head | the consumer | after a value was moved out |
//! | a slot's value | the producer that reserved it, until it publishes the stamp; then the consumer, until it publishes `head` | |
//! | a slot's stamp | that producer | once the value is there: the low half of position + 1 |
//!
//! Why a slot is never written while it is read: a producer reserves position `p` only if it has seen a head above `p -
//! size`, and the consumer publishes that head after it moved the slot's earlier value out. Why an earlier value is never
//! read twice: its stamp is smaller than the one the consumer waits for.

use std::ptr;

use super::batch::Batch;
use super::probe::Probe;
use super::segment::{AHEAD, Put, Segment, Stow, stamp_of};
use crate::sync::{
    AtomicBool, AtomicPtr, AtomicU64, Mutex, Ordering, UnsafeCell, fence, loom_fence, store_and_fence, wait_a_little,
};

/// Slots of the first segment: enough for an actor that is asked now and then.
const FIRST: u64 = if cfg!(ironcliw_loom) { 1 } else { 4 };

/// How much larger each segment is than the one before, as a shift: the kept ones add up to a seventh of the last.
const GROWTH: u32 = if cfg!(ironcliw_loom) { 1 } else { 3 };

/// The most messages a mailbox may be told to hold.
pub(crate) const CAPACITY_MAX: usize = 1 << 24;

/// In the tail word, below the segment's number and the position.
const CLOSED: u64 = 1;
/// Somebody waits for room: whoever comes now waits behind them.
const LINE: u64 = 2;
const FLAGS: u32 = 2;
const SEGMENT_BITS: u32 = 6;
const POSITION: u32 = FLAGS + SEGMENT_BITS;
const ONE: u64 = 1 << POSITION;

/// Fields that one side writes often, away from what the other side writes.
#[repr(align(64))]
struct CacheLine<T>(T);

struct Producers<T: Stow, P> {
    /// The owner's.
    beside: P,
    capacity: u32,
    /// Held while a segment is added.
    growing: Mutex<()>,
    tail: AtomicU64,
    /// A head that some producer has seen: never above the real one.
    head_seen: AtomicU64,
    /// The consumer waits to be woken. It stands here because every producer reads it after it has written the tail.
    asleep: AtomicBool,
    /// The newest segment; those before hang on it.
    newest: AtomicPtr<Segment<T>>,
    /// It stands here for the same reason.
    probe: Probe,
}

struct Consumer<T: Stow, C> {
    /// The owner's.
    beside: C,
    head: AtomicU64,
    /// Where `head` is. The consumer's own.
    segment: UnsafeCell<*mut Segment<T>>,
}

/// What the consumer sees when nothing is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Nothing is reserved either: else a producer is about to publish.
    pub(crate) is_spent: bool,
    /// Somebody waits for room.
    pub(crate) has_line: bool,
}

/// Why nothing was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Closed,
    /// There is a line of those who wait for room.
    Line,
}

/// Whose reservation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Anybody,
    /// Somebody from the line, whose lock is held.
    FromTheLine,
}

/// What its owner reads whenever it pushes, and what it uses where it consumes, may lie on the same cache lines as the ring's
/// own fields: two lines hold all of a mailbox.
pub(crate) struct Ring<T: Stow, P = (), C = ()> {
    producers: CacheLine<Producers<T, P>>,
    consumer: CacheLine<Consumer<T, C>>,
}

// SAFETY: values move from the producer that wrote them to the consumer that takes them, as through any channel; segments
// are reached by shared reference and freed by `Drop` alone.
unsafe impl<T: Stow + Send, P: Send, C: Send> Send for Ring<T, P, C> {}
// SAFETY: as above; slots are handed over by their stamps and by `head` (see the table at the top), and taking is `unsafe`.
unsafe impl<T: Stow + Send, P: Sync, C: Sync> Sync for Ring<T, P, C> {}

impl<T: Stow, P, C> Ring<T, P, C> {
    pub(crate) fn new(capacity: usize, beside_producers: P, beside_consumer: C) -> Self {
        assert!((1..=CAPACITY_MAX).contains(&capacity), "a mailbox holds 1 to {CAPACITY_MAX} messages");
        Self {
            producers: CacheLine(Producers {
                beside: beside_producers,
                capacity: capacity as u32,
                growing: Mutex::new(()),
                tail: AtomicU64::new(0),
                head_seen: AtomicU64::new(0),
                asleep: AtomicBool::new(false),
                newest: AtomicPtr::new(ptr::null_mut()),
                probe: Probe::new(),
            }),
            consumer: CacheLine(Consumer {
                beside: beside_consumer,
                head: AtomicU64::new(0),
                segment: UnsafeCell::new(ptr::null_mut()),
            }),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.producers.0.capacity as usize
    }

    /// What lies beside the fields that producers write.
    #[inline]
    pub(crate) fn beside_producers(&self) -> &P {
        &self.producers.0.beside
    }

    /// What lies beside the fields that the consumer writes.
    #[inline]
    pub(crate) fn beside_consumer(&self) -> &C {
        &self.consumer.0.beside
    }

    /// Messages that wait now; an instant later it may be another number.
    pub(crate) fn len(&self) -> usize {
        let head = self.consumer.0.head.load(Ordering::Relaxed);
        let tail = self.producers.0.tail.load(Ordering::Relaxed) >> POSITION;
        (tail.saturating_sub(head) as usize).min(self.capacity())
    }

    /// Whether the first value has been published, for the consumer alone. Touches nothing that producers contend for.
    pub(crate) fn is_ready(&self) -> bool {
        let consumer = &self.consumer.0;
        let head = consumer.head.load(Ordering::Relaxed);
        // SAFETY: only the consumer writes this, and what it points to lives as long as the ring.
        let segment = consumer.segment.with(|segment| unsafe { (*segment).as_ref() });
        segment.is_none_or(|segment| segment.slot(head).stamp.load(Ordering::Relaxed) == stamp_of(head))
    }

    /// What there is beside published values, for the consumer that has just published `head`.
    pub(crate) fn look(&self) -> Look {
        // After that store, before the load below: a sender forms a line first and looks for room afterwards, so either the
        // line is seen here or it sees the room.
        fence(Ordering::SeqCst);
        self.peek()
    }

    /// The consumer says that it sleeps, then looks what there is.
    pub(crate) fn lie_down(&self) -> Look {
        // A producer reserves first and looks who sleeps afterwards, so either it is seen here or it sees the sleeper; and as
        // in `look`, a sender forms a line first.
        store_and_fence(&self.producers.0.asleep, true);
        self.peek()
    }

    fn peek(&self) -> Look {
        let tail = self.producers.0.tail.load(Ordering::SeqCst);
        let is_spent = tail >> POSITION == self.consumer.0.head.load(Ordering::Relaxed);
        Look { is_spent, has_line: tail & LINE != 0 }
    }

    /// The consumer says that it is up.
    pub(crate) fn get_up(&self) {
        self.producers.0.asleep.store(false, Ordering::Relaxed);
    }

    /// After a push: whether the consumer sleeps and the caller is the one to wake it.
    #[inline]
    pub(crate) fn must_wake(&self) -> bool {
        let asleep = &self.producers.0.asleep;
        loom_fence();
        asleep.load(Ordering::SeqCst) && asleep.swap(false, Ordering::AcqRel)
    }

    /// Whether there is no room, by the newest head. Between a line and this look is the fence of [`Ring::form_line`].
    pub(crate) fn is_full(&self) -> bool {
        let head = self.consumer.0.head.load(Ordering::SeqCst);
        let tail = self.producers.0.tail.load(Ordering::SeqCst) >> POSITION;
        tail.saturating_sub(head) >= self.producers.0.capacity.into()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.producers.0.tail.load(Ordering::Acquire) & CLOSED != 0
    }

    /// No reservation succeeds afterwards.
    pub(crate) fn close(&self) {
        self.producers.0.tail.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// From here on everybody is refused but those from the line. The line's lock is held.
    pub(crate) fn form_line(&self) {
        self.producers.0.tail.fetch_or(LINE, Ordering::SeqCst);
        loom_fence();
    }

    pub(crate) fn dissolve_line(&self) {
        self.producers.0.tail.fetch_and(!LINE, Ordering::SeqCst);
    }

    /// Reserves up to `wanted` positions in a row, at least one.
    #[inline]
    fn reserve(&self, wanted: u64, who: Who) -> Result<(&Segment<T>, u64, u64), Refusal> {
        let producers = &self.producers.0;
        let mut word = producers.tail.load(Ordering::Acquire);
        loop {
            if word & (CLOSED | LINE) != 0 {
                if word & CLOSED != 0 {
                    return Err(Refusal::Closed);
                }
                if who == Who::Anybody {
                    return Err(Refusal::Line);
                }
            }
            let position = word >> POSITION;
            let number = (word >> FLAGS) & ((1 << SEGMENT_BITS) - 1);
            let Some(segment) = self.segment(number) else {
                word = self.grow(number);
                continue;
            };
            let mut free = self.free(segment, position, producers.head_seen.load(Ordering::Acquire));
            if free == 0 {
                let head = self.consumer.0.head.load(Ordering::SeqCst);
                producers.head_seen.store(head, Ordering::Release);
                free = self.free(segment, position, head);
                if free == 0 {
                    // Against the newest head and the tail that it was read after: else it is another's news.
                    let now = producers.tail.load(Ordering::Acquire);
                    if now != word {
                        word = now;
                        continue;
                    }
                    if position.saturating_sub(head) >= producers.capacity.into() {
                        return Err(Refusal::Full);
                    }
                    word = self.grow(number);
                    continue;
                }
            }
            let granted = free.min(wanted);
            let next = word + granted * ONE;
            match producers.tail.compare_exchange_weak(word, next, Ordering::SeqCst, Ordering::Acquire) {
                Ok(_) => return Ok((segment, position, granted)),
                Err(now) => word = now,
            }
        }
    }

    /// Positions from `position` on that are free, if the consumer is at `head` or further.
    #[inline]
    fn free(&self, segment: &Segment<T>, position: u64, head: u64) -> u64 {
        let in_queue = u64::from(self.producers.0.capacity).saturating_sub(position.saturating_sub(head));
        let began = segment.base.load(Ordering::Relaxed).max(head);
        in_queue.min(segment.size().saturating_sub(position.saturating_sub(began)))
    }

    /// The segment of this number, if there is one yet.
    #[inline]
    fn segment(&self, number: u64) -> Option<&Segment<T>> {
        if number == 0 {
            return None;
        }
        let mut segment = self.producers.0.newest.load(Ordering::Acquire);
        loop {
            // SAFETY: segments live as long as the ring, and a number in the tail word is that of one that is linked.
            let found = unsafe { &*segment };
            if found.number == number {
                return Some(found);
            }
            segment = found.previous;
        }
    }

    /// Adds the segment after number `sealed`, unless somebody has, and returns the tail word.
    #[cold]
    fn grow(&self, sealed: u64) -> u64 {
        let producers = &self.producers.0;
        let _growing = producers.growing.lock();
        let mut word = producers.tail.load(Ordering::Acquire);
        if (word >> FLAGS) & ((1 << SEGMENT_BITS) - 1) != sealed || word & CLOSED != 0 {
            return word;
        }
        let full = u64::from(producers.capacity).next_power_of_two();
        let size = full.min(FIRST << (GROWTH * sealed as u32).min(32));
        let previous = producers.newest.load(Ordering::Relaxed);
        let segment = Box::into_raw(Box::new(Segment::new(sealed + 1, word >> POSITION, size, previous)));
        // Reached by number: nobody uses it before its number is in the tail word.
        producers.newest.store(segment, Ordering::Release);
        loop {
            // SAFETY: just made, and shared at most.
            unsafe { (*segment).base.store(word >> POSITION, Ordering::Relaxed) };
            let next = word + (1 << FLAGS);
            match producers.tail.compare_exchange(word, next, Ordering::SeqCst, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: segments live as long as the ring.
                    if let Some(previous) = unsafe { previous.as_ref() } {
                        previous.next.store(segment, Ordering::Release);
                    }
                    return next;
                }
                // Others went on in the old segment, or closed.
                Err(now) => word = now,
            }
        }
    }

    /// Queues one value.
    #[inline]
    pub(crate) fn push<V: Put<T>>(&self, value: V, who: Who) -> Result<(), (Refusal, V)> {
        match self.reserve(1, who) {
            Ok((segment, position, _)) => {
                self.producers.0.probe.pass(position, 1);
                // SAFETY: the position is reserved and not yet published.
                unsafe { publish(segment, position, value) };
                Ok(())
            }
            Err(refusal) => Err((refusal, value)),
        }
    }

    /// Queues as many of the batch as there is room for, in order, in one reservation.
    pub(crate) fn push_batch<const N: usize>(&self, batch: &mut Batch<T, N>) -> Result<(), Refusal> {
        let wanted = batch.len() as u64;
        if wanted == 0 {
            return Ok(());
        }
        let (segment, position, granted) = self.reserve(wanted, Who::Anybody)?;
        self.producers.0.probe.pass(position, granted);
        for place in 0..granted {
            let value = batch.next().expect("no more is granted than wanted");
            // SAFETY: the position is reserved and not yet published.
            unsafe { publish(segment, position + place, value) };
        }
        Ok(())
    }

    /// Where the first value lies, if it has been published.
    ///
    /// # Safety
    /// No other thread may look or take at the same time.
    #[inline]
    pub(crate) unsafe fn front(&self) -> Option<(*mut T::Narrow, *mut T::Wide)> {
        let consumer = &self.consumer.0;
        let head = consumer.head.load(Ordering::Relaxed);
        loop {
            let segment = consumer.segment.with(|segment| {
                // SAFETY: only the consumer, which the caller is, reads or writes this.
                unsafe { *segment }
            });
            // SAFETY: null before the first message; else a segment, which lives as long as the ring.
            if let Some(segment) = unsafe { segment.as_ref() } {
                let slot = segment.slot(head);
                if slot.stamp.load(Ordering::Acquire) == stamp_of(head) {
                    segment.prefetch(head);
                    let narrow = slot.narrow.with_mut(|narrow| narrow.cast());
                    return Some((narrow, slot.wide.with_mut(|wide| wide.cast())));
                }
            }
            if !self.turn_page(segment, head) {
                return None;
            }
        }
    }

    /// Passes over the first value, whose slot is free from here on.
    ///
    /// # Safety
    /// As [`Ring::front`], which has found it; the value was moved out.
    #[inline]
    pub(crate) unsafe fn advance(&self) {
        let head = &self.consumer.0.head;
        head.store(head.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Takes the first value, if it has been published.
    ///
    /// # Safety
    /// As [`Ring::front`].
    #[inline]
    pub(crate) unsafe fn pop(&self) -> Option<T> {
        // SAFETY: the caller's promise; the value is read once, for its slot is passed over.
        unsafe {
            let (narrow, wide) = self.front()?;
            let value = T::unstow(narrow, wide);
            self.advance();
            Some(value)
        }
    }

    /// When the message in front was queued, if the probe was on it. The consumer has found it published.
    pub(crate) fn front_queued_at(&self) -> Option<u64> {
        self.producers.0.probe.queued_at(self.consumer.0.head.load(Ordering::Relaxed))
    }

    /// Sees to it that a message to come is probed: the one that comes `gap` messages after the one in front, or later where
    /// that is queued already. Returns how many are between.
    pub(crate) fn probe_after(&self, gap: u64) -> u64 {
        let probe = &self.producers.0.probe;
        let head = self.consumer.0.head.load(Ordering::Relaxed);
        if probe.position() <= head || !probe.is_set() {
            let tail = self.producers.0.tail.load(Ordering::Relaxed) >> POSITION;
            // Where others send right now, they go on before they see the choice.
            let ahead = if tail <= head + 1 { 0 } else { AHEAD };
            probe.choose((tail + ahead).max(head + 1 + gap));
        }
        probe.position() - head - 1
    }

    /// Goes on to the next segment, if `head` is its first position.
    #[cold]
    fn turn_page(&self, present: *mut Segment<T>, head: u64) -> bool {
        // SAFETY: null, or a segment, which lives as long as the ring.
        let next = match unsafe { present.as_ref() } {
            Some(present) => present.next.load(Ordering::Acquire),
            None if self.producers.0.tail.load(Ordering::Acquire) >> POSITION == 0 => return false,
            None => ptr::from_ref(self.segment(1).expect("a position has a segment")).cast_mut(),
        };
        // SAFETY: as above; `next` is linked once its base is final.
        let begins_here = unsafe { next.as_ref() }.is_some_and(|next| next.base.load(Ordering::Relaxed) == head);
        if begins_here {
            self.consumer.0.segment.with_mut(|segment| {
                // SAFETY: called by `front` alone, whose caller is the only consumer.
                unsafe { *segment = next };
            });
        }
        begins_here
    }

    /// Takes the first value, waiting for a producer that has reserved it and not yet published.
    ///
    /// # Safety
    /// As [`Ring::pop`].
    pub(crate) unsafe fn pop_reserved(&self) -> Option<T> {
        let mut turn = 0;
        loop {
            // SAFETY: the caller's promise.
            if let Some(value) = unsafe { self.pop() } {
                return Some(value);
            }
            if self.look().is_spent {
                return None;
            }
            wait_a_little(turn);
            turn += 1;
        }
    }
}

/// # Safety
/// `position` must have been reserved in `segment` by the caller, and not yet published.
#[inline]
unsafe fn publish<T: Stow>(segment: &Segment<T>, position: u64, value: impl Put<T>) {
    let slot = segment.slot(position);
    slot.narrow.with_mut(|narrow| {
        // SAFETY: reserved, so nobody else touches it until the stamp says so.
        slot.wide.with_mut(|wide| unsafe { value.put(narrow.cast(), wide.cast()) });
    });
    slot.stamp.store(stamp_of(position), Ordering::Release);
}

impl<T: Stow, P, C> Drop for Ring<T, P, C> {
    fn drop(&mut self) {
        // SAFETY: exclusive access; every reservation was published by a call that has returned.
        while unsafe { self.pop() }.is_some() {}
        let mut segment = self.producers.0.newest.load(Ordering::Acquire);
        while !segment.is_null() {
            // SAFETY: made by `Box::into_raw` in `grow`, reached here once.
            let owned = unsafe { Box::from_raw(segment) };
            segment = owned.previous;
        }
    }
}
