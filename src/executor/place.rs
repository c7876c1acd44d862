//! Where tasks stand: a [`Place`] holds one task at a time, and wakers point to it.
//!
//! A place is never freed, only used again: its thread's next task may stand there, and when the thread has ended the next
//! thread takes over its [`RunQueue`] with all its places. So a waker is an address that counts no references, and one that
//! is older than the task it wakes costs that task a poll for nothing. The price is memory for the most tasks that there ever
//! were at once, 48 bytes each.
//!
//! A place may stand in two lists: the run queue, which its own thread alone touches, and the list of those that other threads
//! have called. Each has a flag of its own, so that waking a task from its own thread takes no atomic operation.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

use parking_lot::Mutex;

use super::bell::Bell;
use crate::sync::{AtomicBool, AtomicPtr, Ordering};

/// What an executor polls.
pub(super) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Places that are made together: at first, and at most.
const CHUNK_FIRST: usize = 16;
const CHUNK_LAST: usize = 1024;

thread_local! {
    /// Of the executor in whose turn this thread is.
    static HERE: Cell<Option<&'static RunQueue>> = const { Cell::new(None) };
}

pub(crate) struct Place {
    of: &'static RunQueue,
    /// What is behind this line is for the thread alone in whose turn the queue is.
    task: UnsafeCell<Option<Task>>,
    is_taken: Cell<bool>,
    is_queued: Cell<bool>,
    /// The last to wake it was another thread.
    was_called: Cell<bool>,
    /// The next in the run queue, or of the free ones.
    next: Cell<Option<&'static Place>>,
    /// For everybody from here on.
    is_called: AtomicBool,
    /// The one that was called before. Whoever has set `is_called` writes it, and whoever clears it reads it before.
    called_before: AtomicPtr<Place>,
}

// SAFETY: what stands between `of` and `is_called` is used by one thread at a time (see `RunQueue`), which is where the task was
// put in and where it is dropped; the rest is atomic.
unsafe impl Sync for Place {}

static VTABLE: RawWakerVTable = RawWakerVTable::new(|place| RawWaker::new(place, &VTABLE), wake, wake, |_| {});

unsafe fn wake(place: *const ()) {
    // SAFETY: the vtable is private, and its wakers are made of places, which live for ever.
    unsafe { &*place.cast::<Place>() }.wake();
}

impl Place {
    fn new(of: &'static RunQueue) -> Self {
        Self {
            of,
            task: UnsafeCell::new(None),
            is_taken: Cell::new(false),
            is_queued: Cell::new(false),
            was_called: Cell::new(false),
            next: Cell::new(None),
            is_called: AtomicBool::new(false),
            called_before: AtomicPtr::new(ptr::null_mut()),
        }
    }

    fn waker(&'static self) -> Waker {
        // SAFETY: the vtable takes any place's address for ever, on any thread.
        unsafe { Waker::from_raw(RawWaker::new(ptr::from_ref(self).cast(), &VTABLE)) }
    }

    /// The place of the task whose waker this is, if an executor of ours polls it.
    pub(crate) fn of(waker: &Waker) -> Option<&'static Self> {
        // SAFETY: the vtable is private, and its wakers are made of places, which live for ever.
        ptr::eq(waker.vtable(), &VTABLE).then(|| unsafe { &*waker.data().cast::<Self>() })
    }

    /// Whether the caller is on its thread, in its executor's turn.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        HERE.get().is_some_and(|here| ptr::eq(here, self.of))
    }

    /// Has its task polled, if there is one.
    #[inline]
    pub(crate) fn wake(&'static self) {
        if self.is_here() {
            self.was_called.set(false);
            self.of.queue(self);
        } else {
            self.call();
        }
    }

    /// Whether the last to wake the task was another thread. For the task itself, while it is polled.
    pub(crate) fn was_called(&self) -> bool {
        debug_assert!(self.is_here());
        self.was_called.get()
    }

    /// The same from another thread, or out of turn.
    #[cold]
    fn call(&'static self) {
        if !self.is_called.swap(true, Ordering::AcqRel) {
            self.of.push_called(self);
        }
    }

    /// In turn.
    fn put(&self, task: Task) {
        // SAFETY: its thread's turn, and the place was free: nobody borrows what is in it.
        unsafe { *self.task.get() = Some(task) };
        self.is_taken.set(true);
    }

    /// Takes the task out, which is then to be dropped. In turn, and not while it is polled.
    fn clear(&self) -> Option<Task> {
        self.is_taken.set(false);
        // SAFETY: its thread's turn, and nobody borrows what is in it.
        unsafe { (*self.task.get()).take() }
    }
}

/// The tasks of one thread that want to be polled.
///
/// All but the bell and the list of those called belongs to the one thread in whose turn it is: the executor's own while it
/// is polled or dropped ([`RunQueue::enter`]).
pub(super) struct RunQueue {
    pub(super) bell: Bell,
    /// Called from other threads, the last one first.
    called: AtomicPtr<Place>,
    first: Cell<Option<&'static Place>>,
    last: Cell<Option<&'static Place>>,
    /// Without a task, and in no queue.
    free: Cell<Option<&'static Place>>,
    chunks: RefCell<Vec<&'static [Place]>>,
    /// Its executor ends: it takes no further tasks.
    is_closed: Cell<bool>,
}

// SAFETY: everything but the bell and `called`, which are atomic, is used by one thread at a time: see above.
unsafe impl Sync for RunQueue {}
// SAFETY: as above; it changes its thread only while it has no tasks.
unsafe impl Send for RunQueue {}

/// Those whose executor has ended.
static UNUSED: Mutex<Vec<&'static RunQueue>> = Mutex::new(Vec::new());

impl RunQueue {
    /// One for a new executor.
    pub(super) fn acquire() -> &'static Self {
        let queue = UNUSED.lock().pop().unwrap_or_else(|| Box::leak(Box::new(Self::new())));
        queue.is_closed.set(false);
        queue
    }

    pub(super) fn new() -> Self {
        Self {
            bell: Bell::new(),
            called: AtomicPtr::new(ptr::null_mut()),
            first: Cell::new(None),
            last: Cell::new(None),
            free: Cell::new(None),
            chunks: RefCell::new(Vec::new()),
            is_closed: Cell::new(false),
        }
    }

    /// Makes this thread its own until what is returned is dropped.
    ///
    /// # Safety
    /// The caller is the executor that has acquired it, on the thread that is to drop all its tasks.
    pub(super) unsafe fn enter(&'static self) -> Entered {
        Entered { before: HERE.replace(Some(self)) }
    }

    /// In whose turn this thread is.
    pub(super) fn here() -> Option<&'static Self> {
        HERE.get()
    }

    /// Puts a task where it is polled soon. For its own thread, in turn.
    pub(super) fn adopt(&'static self, task: Task) -> Option<&'static Place> {
        if self.is_closed.get() { None } else { Some(self.settle(task)) }
    }

    fn settle(&'static self, task: Task) -> &'static Place {
        let place = self.free.take().unwrap_or_else(|| self.make_places());
        self.free.set(place.next.take());
        place.put(task);
        self.queue(place);
        place
    }

    /// The place of a task that never ends.
    #[cfg(all(test, ironcliw_loom))]
    pub(super) fn stand_in(&'static self) -> &'static Place {
        self.settle(Box::pin(std::future::pending()))
    }

    /// Adds a chunk of places, and returns the first of those that are free now.
    #[cold]
    fn make_places(&'static self) -> &'static Place {
        let mut chunks = self.chunks.borrow_mut();
        let count = (CHUNK_FIRST << chunks.len().min(16)).min(CHUNK_LAST);
        let chunk: &'static [Place] = Box::leak((0..count).map(|_| Place::new(self)).collect());
        chunks.push(chunk);
        chunk.windows(2).for_each(|pair| pair[0].next.set(Some(&pair[1])));
        &chunk[0]
    }

    /// In turn.
    #[inline]
    fn queue(&'static self, place: &'static Place) {
        if place.is_queued.get() || !place.is_taken.get() {
            return;
        }
        place.is_queued.set(true);
        match self.last.replace(Some(place)) {
            Some(last) => last.next.set(Some(place)),
            None => self.first.set(Some(place)),
        }
    }

    #[inline]
    fn pop(&self) -> Option<&'static Place> {
        let place = self.first.get()?;
        let next = place.next.take();
        self.first.set(next);
        if next.is_none() {
            self.last.set(None);
        }
        place.is_queued.set(false);
        Some(place)
    }

    fn push_called(&'static self, place: &'static Place) {
        let mut before = self.called.load(Ordering::Relaxed);
        loop {
            place.called_before.store(before, Ordering::Relaxed);
            let called = ptr::from_ref(place).cast_mut();
            match self.called.compare_exchange_weak(before, called, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => before = now,
            }
        }
        self.bell.ring();
    }

    /// Queues those that were called from other threads, in the order of their calls. In turn.
    #[inline]
    pub(super) fn take_in_called(&'static self) {
        if !self.called.load(Ordering::Relaxed).is_null() {
            self.queue_called();
        }
    }

    #[cold]
    fn queue_called(&'static self) {
        let mut called = self.called.swap(ptr::null_mut(), Ordering::AcqRel);
        let mut earlier: *mut Place = ptr::null_mut();
        // The first one stands at the end of the list: it is turned round before anybody is queued.
        // SAFETY: places live for ever.
        while let Some(place) = unsafe { called.as_ref() } {
            let before = place.called_before.load(Ordering::Relaxed);
            place.called_before.store(earlier, Ordering::Relaxed);
            (earlier, called) = (called, before);
        }
        // SAFETY: as above.
        while let Some(place) = unsafe { earlier.as_ref() } {
            earlier = place.called_before.load(Ordering::Relaxed);
            // From here on it may be called again. Not a mere store: this must come after the calls that found it called
            // already, for what they were for to be seen.
            place.is_called.swap(false, Ordering::AcqRel);
            place.was_called.set(true);
            self.queue(place);
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.get().is_none()
    }

    /// Polls the first in the queue, if there is one. In turn.
    #[inline]
    pub(super) fn poll_first(&'static self) -> bool {
        let Some(place) = self.pop() else { return false };
        // SAFETY: in turn. `put` and `clear` do not touch a task that is polled: its place is taken, and nobody polls or ends a
        // queue within a poll.
        let Some(task) = (unsafe { (*place.task.get()).as_mut() }) else {
            // It was woken by its own last poll.
            self.give_back(place);
            return true;
        };
        if task.as_mut().poll(&mut Context::from_waker(&place.waker())).is_ready() {
            drop(place.clear());
            if !place.is_queued.get() {
                self.give_back(place);
            }
        }
        true
    }

    fn give_back(&self, place: &'static Place) {
        place.next.set(self.free.replace(Some(place)));
    }

    /// Drops all tasks, and those that are spawned by this, and leaves the queue to another executor. In turn.
    pub(super) fn end(&'static self) {
        self.is_closed.set(true);
        let chunks = self.chunks.borrow().clone();
        for place in chunks.into_iter().flatten() {
            if place.is_taken.get() {
                drop(place.clear());
                if !place.is_queued.get() {
                    self.give_back(place);
                }
            }
        }
        while let Some(place) = self.pop() {
            self.give_back(place);
        }
        self.bell.forget();
    }

    /// Leaves an ended one to the next executor.
    pub(super) fn release(&'static self) {
        UNUSED.lock().push(self);
    }
}

/// A thread in an executor's turn.
pub(super) struct Entered {
    before: Option<&'static RunQueue>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        HERE.set(self.before);
    }
}
