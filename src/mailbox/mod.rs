//! The bounded queue between senders and one actor. Start with `README.md`: how it works, and why no wake-up is lost.
//!
//! It belongs to the actor's address, not to an incarnation: a crash leaves it as it is, and the next incarnation goes on
//! with the next message. Signals have a lane of their own, which is never full and is looked at before each message.
//!
//! An incarnation consumes it under a [`Lease`](lease::Lease). A later lease, or the end, revokes it: a thread that returns
//! late hears `Halt`, whatever it asks for.
//!
//! Invariants:
//! - at most `capacity` messages are queued, and none is pushed once it is closed;
//! - while somebody is in line nobody else's message is queued: messages keep the order of their senders' calls;
//! - a message leaves exactly once: to the actor, to an overflow victim's answer, back to its sender, or to the final seal;
//! - whoever makes something to do for a consumer that sleeps wakes it.
//!
//! Wakers are called, and messages dropped, after locks are released: both may run foreign code.

mod batch;
mod lease;
mod line;
#[cfg(all(test, ironcliw_loom))]
mod loom_tests;
mod probe;
mod ring;
mod segment;
#[cfg(all(test, not(ironcliw_loom)))]
mod tests;

use std::collections::VecDeque;
use std::ptr;
use std::sync::Arc;
use std::task::Waker;

use tracing::error;

use crate::Overflow;
use crate::executor;
use crate::panics::{self, Panicked};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU32, Mutex, MutexGuard, Ordering, fence};

pub(crate) use batch::Batch;
pub(crate) use lease::{Claim, Lease, Window};
pub(crate) use line::{PlaceInLine, Sender, Turn};
pub(crate) use ring::CAPACITY_MAX;
pub(crate) use segment::{Put, Stow};

use line::{Line, TurnState, Waiting};
use ring::{Refusal, Ring, Who};

/// What a supervisor tells an incarnation, past the queue. A greater one leaves less time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Signal {
    /// End now; the queue is kept for the next incarnation.
    Restart = 1,
    /// Handle what is queued, then end for good.
    Drain = 2,
    /// End at the next await, whatever came before.
    Halt = 3,
}

impl Signal {
    fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => None,
            1 => Some(Self::Restart),
            2 => Some(Self::Drain),
            _ => Some(Self::Halt),
        }
    }
}

/// Why a message was not queued. It is given back.
pub(crate) enum Refused<T> {
    Full(T),
    Closed(T),
}

/// What became of the queue when one message was pushed.
pub(crate) enum Pushed<T> {
    Queued,
    /// Queued, and this older one was pushed out.
    Evicted(T),
    /// Not queued, by [`Overflow::DropNewest`].
    Dropped(T),
}

/// What a consumer that found no message is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Wait to be woken.
    Asleep,
    /// Look again.
    More,
    /// A sender is about to publish its message, or to be let in from the line: look again in a moment.
    Soon,
}

/// Proof that no incarnation consumes the mailbox, nor will while this lives.
pub(crate) struct Revoked<'a> {
    _lease: MutexGuard<'a, Option<Arc<Lease>>>,
}

/// How often a sender looks whether there is room before it gets in line: some microseconds, in which a consumer that runs
/// frees many places.
const PATIENCE: u32 = 32;

/// Of the processor's pauses: about a microsecond where one takes some 40 cycles.
const LINGER: u32 = 64;

/// What a mailbox wakes when there is something to do. One that is older than the present consumer may be woken as well.
pub(crate) trait Sleeper: Sync + 'static {
    fn wake(&'static self);

    /// Whether it sleeps on the caller's thread.
    fn is_here(&self) -> bool;
}

/// A task's place in its executor.
impl Sleeper for executor::Place {
    #[inline]
    fn wake(&'static self) {
        self.wake();
    }

    fn is_here(&self) -> bool {
        self.is_here()
    }
}

pub(crate) struct Mailbox<T: Stow, S: Sleeper = executor::Place> {
    ring: Ring<T, Gate<T, S>, Reception<T>>,
}

/// What senders use.
struct Gate<T, S> {
    /// [`Overflow::DropOldest`] alone: its senders take from the queue as well, which a ring's cannot.
    deque: Option<Box<Mutex<VecDeque<T>>>>,
    /// Whom to wake; null before there is one.
    consumer: AtomicPtr<S>,
}

/// What is used where messages are taken, and by those who wait.
struct Reception<T> {
    overflow: Overflow,
    line: Mutex<Line<T>>,
    /// Whether there is a line, for the consumer to see in passing.
    has_line: AtomicBool,
    /// The lease there is.
    lease: Mutex<Option<Arc<Lease>>>,
    /// How many there have been. Changed under that lock.
    leases: AtomicU32,
    high_water: AtomicU32,
}

impl<T: Stow, S: Sleeper> Mailbox<T, S> {
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        #[cfg(all(target_pointer_width = "64", not(ironcliw_loom)))]
        const {
            assert!(size_of::<Self>() == 128, "a mailbox is two cache lines")
        };
        let deque = (overflow == Overflow::DropOldest).then(|| Box::new(Mutex::new(VecDeque::new())));
        let reception = Reception {
            overflow,
            line: Mutex::new(None),
            has_line: AtomicBool::new(false),
            lease: Mutex::new(None),
            leases: AtomicU32::new(0),
            high_water: AtomicU32::new(0),
        };
        let gate = Gate { deque, consumer: AtomicPtr::new(ptr::null_mut()) };
        Self { ring: Ring::new(capacity, gate, reception) }
    }

    #[inline]
    fn deque(&self) -> Option<&Mutex<VecDeque<T>>> {
        self.gate().deque.as_deref()
    }

    #[inline]
    fn gate(&self) -> &Gate<T, S> {
        self.ring.beside_producers()
    }

    #[inline]
    fn reception(&self) -> &Reception<T> {
        self.ring.beside_consumer()
    }

    pub(crate) fn overflow(&self) -> Overflow {
        self.reception().overflow
    }

    pub(crate) fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    pub(crate) fn depth(&self) -> usize {
        match self.deque() {
            Some(deque) => deque.lock().len(),
            None => self.ring.len(),
        }
    }

    /// The most messages that were seen waiting, at the begin of a turn or by a sender that found no room.
    pub(crate) fn high_water(&self) -> usize {
        (self.reception().high_water.load(Ordering::Relaxed) as usize).max(self.depth())
    }

    /// Queues if that takes no more than a free place, whatever the policy; else [`Mailbox::push`] says what is to be done.
    #[inline]
    pub(crate) fn push_now<V: Put<T>>(&self, item: V) -> Result<(), V> {
        if self.deque().is_some() {
            return Err(item);
        }
        self.ring.push(item, Who::Anybody).map_err(|(_, item)| item)?;
        self.call_consumer();
        Ok(())
    }

    /// Queues without waiting, by this mailbox's policy.
    #[inline]
    pub(crate) fn push(&self, item: T) -> Result<Pushed<T>, Refused<T>> {
        if let Some(deque) = self.deque() {
            return self.push_evicting(deque, item);
        }
        match self.ring.push(item, Who::Anybody) {
            Ok(()) => {
                self.call_consumer();
                Ok(Pushed::Queued)
            }
            Err((Refusal::Closed, item)) => Err(Refused::Closed(item)),
            Err((Refusal::Full | Refusal::Line, item)) => {
                self.note_full();
                if self.overflow() == Overflow::DropNewest {
                    Ok(Pushed::Dropped(item))
                } else {
                    Err(Refused::Full(item))
                }
            }
        }
    }

    fn push_evicting(&self, deque: &Mutex<VecDeque<T>>, item: T) -> Result<Pushed<T>, Refused<T>> {
        let evicted = {
            let mut queue = deque.lock();
            if self.ring.is_closed() {
                return Err(Refused::Closed(item));
            }
            let evicted = if queue.len() == self.capacity() { queue.pop_front() } else { None };
            queue.push_back(item);
            self.reception().high_water.fetch_max(queue.len() as u32, Ordering::Relaxed);
            evicted
        };
        // The lock orders this after a consumer that looked before it, and so after what that consumer said.
        self.call_consumer();
        Ok(evicted.map_or(Pushed::Queued, Pushed::Evicted))
    }

    /// Queues what there is room for, of a batch, in order. `Ok` says whether all of it was queued.
    pub(crate) fn push_batch<const N: usize>(&self, batch: &mut Batch<T, N>) -> Result<bool, ()> {
        debug_assert!(self.deque().is_none());
        match self.ring.push_batch(batch) {
            Ok(()) => {
                self.call_consumer();
                Ok(batch.is_empty())
            }
            Err(Refusal::Closed) => Err(()),
            Err(Refusal::Full | Refusal::Line) => {
                self.note_full();
                Ok(false)
            }
        }
    }

    /// Queues, or puts the message in line where there is no room.
    pub(crate) fn push_or_line_up(&self, item: T, sender: Sender<T>) -> Result<(), Refused<T>> {
        let item = match self.push(item) {
            Err(Refused::Full(item)) => item,
            Err(closed) => return Err(closed),
            Ok(_) => {
                if let Sender::Waits(turn) = sender {
                    turn.decide(TurnState::Queued);
                }
                return Ok(());
            }
        };
        {
            let mut line = self.reception().line.lock();
            if self.ring.is_closed() {
                return Err(Refused::Closed(item));
            }
            line.get_or_insert_default().push_back(Waiting { item, sender });
            self.reception().has_line.store(true, Ordering::Relaxed);
            self.ring.form_line();
        }
        // Room that came before there was a line for the consumer to see.
        if !self.ring.is_full() {
            self.serve_line();
        }
        Ok(())
    }

    /// Looks for a moment whether room comes by itself, if another thread consumes.
    pub(crate) fn await_room(&self) -> bool {
        if self.consumer().is_none_or(Sleeper::is_here) || self.reception().has_line.load(Ordering::Relaxed) {
            return false;
        }
        // Room for one would be taken by one message, at the price of the cache lines that all of this needs.
        let enough = self.capacity() - self.capacity().div_ceil(4);
        for _ in 0..PATIENCE {
            (0..8).for_each(|_| std::hint::spin_loop());
            if self.ring.len() <= enough {
                return true;
            }
        }
        false
    }

    /// Gets in line. Whoever does not poll the place to its end must [leave](Self::leave) it.
    pub(crate) fn line_up(&self, item: T) -> Result<PlaceInLine<T>, Refused<T>> {
        let turn = Turn::new();
        self.push_or_line_up(item, Sender::Waits(turn.clone()))?;
        Ok(PlaceInLine { turn })
    }

    /// The sender does not wait any more; a message that is still in line is dropped.
    pub(crate) fn leave(&self, place: &PlaceInLine<T>) {
        if !place.turn.is_in_line() {
            return;
        }
        let left = {
            let mut line = self.reception().line.lock();
            let is_own =
                |waiting: &Waiting<T>| matches!(&waiting.sender, Sender::Waits(turn) if Arc::ptr_eq(turn, &place.turn));
            let left = line.as_mut().and_then(|line| line.iter().position(is_own).and_then(|at| line.remove(at)));
            if left.is_some() {
                self.dissolve_if_empty(&mut line);
            }
            left
        };
        drop(left);
    }

    /// Lets those in line in, as many as there is room for.
    #[cold]
    pub(crate) fn serve_line(&self) {
        let mut served = Vec::new();
        {
            let mut line = self.reception().line.lock();
            while let Some(Waiting { item, sender }) = line.as_mut().and_then(|line| line.pop_front()) {
                match self.ring.push(item, Who::FromTheLine) {
                    Ok(()) => {
                        if let Sender::Waits(turn) = sender {
                            served.extend(turn.decide(TurnState::Queued));
                        }
                    }
                    Err((_, item)) => {
                        line.as_mut().expect("it was just taken from").push_front(Waiting { item, sender });
                        break;
                    }
                }
            }
            self.dissolve_if_empty(&mut line);
        }
        self.call_consumer();
        served.into_iter().for_each(wake_sender);
    }

    fn dissolve_if_empty(&self, line: &mut Line<T>) {
        if line.as_ref().is_none_or(|line| line.is_empty()) {
            *line = None;
            self.reception().has_line.store(false, Ordering::Relaxed);
            self.ring.dissolve_line();
        }
    }

    /// After something was queued.
    #[inline]
    fn call_consumer(&self) {
        if self.ring.must_wake() {
            self.wake_consumer();
        }
    }

    #[inline]
    fn consumer(&self) -> Option<&'static S> {
        // SAFETY: null, or what `attend` was given, which lives for ever.
        unsafe { self.gate().consumer.load(Ordering::Acquire).as_ref() }
    }

    #[inline]
    fn wake_consumer(&self) {
        if let Some(consumer) = self.consumer() {
            consumer.wake();
        }
    }

    /// After the consumer was left word: it is woken, or is about to look.
    fn wake_for_a_word(&self) {
        fence(Ordering::SeqCst);
        self.wake_consumer();
    }

    #[cold]
    fn note_full(&self) {
        self.reception().high_water.fetch_max(self.capacity() as u32, Ordering::Relaxed);
    }

    /// Sends a signal to the present incarnation.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(lease) = &*self.reception().lease.lock() {
            lease.signal(signal);
        }
        self.wake_for_a_word();
    }

    /// The same for the incarnation of this claim alone.
    pub(crate) fn signal_to(&self, claim: Claim, signal: Signal) {
        if let Some(lease) = self.reception().lease.lock().as_ref().filter(|lease| lease.claim() == claim) {
            lease.signal(signal);
        }
        self.wake_for_a_word();
    }

    /// The claim that holds now, or that the last incarnation held.
    pub(crate) fn present_claim(&self) -> Claim {
        let _lease = self.reception().lease.lock();
        Claim(self.reception().leases.load(Ordering::Relaxed))
    }

    /// Begins an incarnation's lease, which ends that of any earlier one.
    pub(crate) fn lease(&self) -> Arc<Lease> {
        let mut present = self.reception().lease.lock();
        let claim = Claim(self.reception().leases.fetch_add(1, Ordering::Relaxed) + 1);
        let lease = Arc::new(Lease::new(claim));
        if let Some(earlier) = present.replace(lease.clone()) {
            earlier.revoke();
        }
        drop(present);
        // An earlier incarnation may sit in its handler and wait for somebody else.
        self.wake_for_a_word();
        lease
    }

    /// Ends whatever lease there is. While the proof lives no other begins.
    pub(crate) fn revoke(&self) -> Revoked<'_> {
        let mut present = self.reception().lease.lock();
        if let Some(earlier) = present.take() {
            earlier.revoke();
            self.wake_for_a_word();
        }
        Revoked { _lease: present }
    }

    /// The consumer says whom to wake. Whatever word it was left before, it hears after this.
    pub(crate) fn attend(&self, _: &Window<'_>, consumer: &'static S) {
        self.gate().consumer.store(ptr::from_ref(consumer).cast_mut(), Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Where the next message lies, if there is one. It is to be moved out, and passed over.
    #[inline]
    pub(crate) fn front(&self, _: &Window<'_>) -> Option<(*mut T::Narrow, *mut T::Wide)> {
        // SAFETY: the window says that the caller's lease holds, and there is one lease at a time.
        unsafe { self.ring.front() }
    }

    /// # Safety
    /// The message that [`Mailbox::front`] has found in this window was moved out.
    #[inline]
    pub(crate) unsafe fn pass_over(&self, _: &Window<'_>) {
        // SAFETY: the caller's promise; as in `front`.
        unsafe { self.ring.advance() }
    }

    /// The next message of a mailbox that drops the oldest, if there is one: `front` finds none of these.
    #[inline]
    pub(crate) fn take_from_deque(&self, _: &Window<'_>) -> Option<T> {
        self.deque().and_then(|deque| deque.lock().pop_front())
    }

    /// Whether there is a message in front, by a glance that may miss one; what drops the oldest cannot say no.
    pub(crate) fn is_ready(&self) -> bool {
        self.ring.is_ready()
    }

    /// When the message in front was queued, in ticks, if that is known.
    pub(crate) fn front_queued_at(&self) -> Option<u64> {
        self.ring.front_queued_at()
    }

    /// Asks for the time at which a message is queued: the one `gap` after the one in front, or a later one. Returns how many
    /// are between. One that drops the oldest does not know.
    pub(crate) fn probe_after(&self, gap: u64) -> u64 {
        if self.deque().is_some() { gap } else { self.ring.probe_after(gap) }
    }

    /// Lets messages come together for about a microsecond, after `front` found nothing; whether there is one. Between two
    /// cores a cache line that is fetched for one message costs as much as one that is fetched for several.
    pub(crate) fn linger(&self, _: &Window<'_>) -> bool {
        if self.deque().is_some() {
            return false;
        }
        (0..LINGER).for_each(|_| std::hint::spin_loop());
        self.ring.is_ready()
    }

    /// After messages were taken: whoever waits for room may come in, once there is enough of it for several.
    #[inline]
    pub(crate) fn make_room(&self) {
        if self.reception().has_line.load(Ordering::Relaxed) {
            let elbow_room = self.capacity().div_ceil(4);
            if self.ring.len() + elbow_room <= self.capacity() {
                self.serve_line();
            }
        }
    }

    /// Before the consumer waits for something else than messages.
    pub(crate) fn make_room_before_a_wait(&self) {
        if self.ring.look().has_line {
            self.serve_line();
        }
    }

    /// After `front` found nothing: whether to go to sleep. Not while there is a line, which is to be served once the window
    /// is closed: those who wait are woken by foreign code.
    pub(crate) fn rest(&self, _: &Window<'_>) -> Rest {
        let look = self.ring.lie_down();
        let is_spent = match self.deque() {
            Some(deque) => deque.lock().is_empty(),
            None => look.is_spent,
        };
        if is_spent && !look.has_line {
            return Rest::Asleep;
        }
        self.ring.get_up();
        if self.deque().is_some() { Rest::More } else { Rest::Soon }
    }

    /// The consumer is up, whoever woke it.
    pub(crate) fn get_up(&self, _: &Window<'_>) {
        self.ring.get_up();
    }

    /// At the begin of a turn.
    pub(crate) fn note_depth(&self) {
        let depth = self.depth() as u32;
        if depth > self.reception().high_water.load(Ordering::Relaxed) {
            self.reception().high_water.fetch_max(depth, Ordering::Relaxed);
        }
    }

    /// Takes no more messages. What is queued stays until it is taken; those in line get theirs back, and the messages of
    /// those who did not wait are returned, to be answered.
    #[must_use]
    pub(crate) fn close(&self) -> Vec<T> {
        let line = {
            // Under both locks' eyes: whoever pushes or lines up afterwards sees it closed.
            let _queue = self.deque().map(|deque| deque.lock());
            self.ring.close();
            let mut line = self.reception().line.lock();
            let left = line.take();
            self.dissolve_if_empty(&mut line);
            left
        };
        let mut detached = Vec::new();
        for Waiting { item, sender } in line.into_iter().flat_map(|line| *line) {
            match sender {
                Sender::Waits(turn) => {
                    if let Some(waker) = turn.decide(TurnState::Refused(Some(item))) {
                        wake_sender(waker);
                    }
                }
                Sender::Detached => detached.push(item),
            }
        }
        detached
    }

    /// The next of what is still queued once nobody consumes it. The mailbox must be closed.
    pub(crate) fn take_left(&self, _: &Revoked<'_>) -> Option<T> {
        debug_assert!(self.ring.is_closed());
        if let Some(deque) = self.deque() {
            return deque.lock().pop_front();
        }
        // SAFETY: every lease is revoked, and the proof keeps others from beginning.
        unsafe { self.ring.pop_reserved() }
    }
}

/// A sender's waker is foreign code: its panic is neither the actor's nor the next sender's.
fn wake_sender(waker: Waker) {
    if let Err(Panicked(reason)) = panics::catch(|| waker.wake()) {
        error!(reason, "the waker of a sender panicked");
    }
}
