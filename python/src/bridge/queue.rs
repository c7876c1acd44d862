//! The completion queue of one event loop: many workers push, the loop's thread takes all at once.
//!
//! An intrusive stack: a push is one CAS, and only the push that finds it empty wakes the loop. The head
//! doubles as the flag that says the loop is gone, so no push can slip in behind [`Queue::close`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicPtr};

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, RwLock};

use pyo3::Py;

use super::call::Call;
use super::node::Node;

/// How a worker tells a loop that its queue is no longer empty.
pub(super) trait Wake: Send + Sync {
    /// Called by workers without the GIL; must not block.
    fn wake(&self);
    /// Called by the drain, before it takes the queue's nodes.
    fn clear(&self);
}

/// The queue. Once it is closed it holds no Python object, and nobody opens it again, so it may be dropped on any thread.
pub(super) struct Queue {
    /// On a line of its own: workers change it, while the loop's thread counts references to the queue.
    head: CachePadded<AtomicPtr<Node>>,
    /// Behind a lock so that `close` can close the descriptor while no worker is about to write to its number,
    /// which the process might have given to another file by then.
    waker: RwLock<Option<Box<dyn Wake>>>,
    pub(super) due: Due,
}

/// Answered calls that the loop is to resume in its next round: taken from the queue, or answered before anybody asked.
/// Python threads only; no lock is held while Python code runs.
#[derive(Default)]
pub(super) struct Due {
    nodes: Mutex<VecDeque<Arc<Node>>>,
    /// The loop has been told, and has not come yet.
    told: AtomicBool,
}

impl Due {
    /// Adds one. True if the loop is to be told.
    pub(super) fn push(&self, node: Arc<Node>) -> bool {
        self.nodes.lock().push_back(node);
        !self.told.swap(true, Relaxed)
    }

    /// Takes the newest back: the loop could not be told.
    pub(super) fn take_back(&self) -> Option<Arc<Node>> {
        self.told.store(false, Relaxed);
        self.nodes.lock().pop_back()
    }

    /// The loop has come. How many there are.
    pub(super) fn begin(&self) -> usize {
        self.told.store(false, Relaxed);
        self.nodes.lock().len()
    }

    pub(super) fn pop(&self) -> Option<Arc<Node>> {
        self.nodes.lock().pop_front()
    }

    /// Puts back one whose resumption was interrupted.
    pub(super) fn put_back(&self, node: Arc<Node>) {
        self.nodes.lock().push_front(node);
    }

    /// Whether there are some that the loop has not been told of: the rest of a full batch, or what an interrupt left.
    pub(super) fn is_left(&self) -> bool {
        !self.told.load(Relaxed) && !self.nodes.lock().is_empty()
    }
}

thread_local! {
    /// The queue that this worker last completed a call on. A worker that answers a burst of one loop's calls so leaves the
    /// count of the queue's references alone, which the loop's thread is busy with.
    static LAST: RefCell<Option<Arc<Queue>>> = const { RefCell::new(None) };
}

/// Worker: hands in a completed node whose call waits. Gives it back if the queue is closed.
pub(super) fn push(node: Arc<Node>) -> Result<(), Arc<Node>> {
    let Some(queue) = node.queue() else { return Err(node) };
    // Once it is pushed the node may be gone, and the queue with it: this thread needs a share of its own. One that ends
    // has no place for it any more.
    let last = LAST.try_with(RefCell::take).ok().flatten();
    let queue = last.filter(|last| Arc::ptr_eq(last, queue)).unwrap_or_else(|| Arc::clone(queue));
    let pushed = queue.push(node);
    let _ = LAST.try_with(|last| last.replace(Some(queue)));
    pushed
}

/// The head of a closed queue. An address that no node has; never dereferenced.
fn closed() -> *mut Node {
    ptr::without_provenance_mut(1)
}

impl Queue {
    pub(super) fn new(waker: Box<dyn Wake>) -> Self {
        Self { head: CachePadded::default(), waker: RwLock::new(Some(waker)), due: Due::default() }
    }

    /// Worker: hands in a completed node and wakes the loop if it may be asleep. Gives the node back if the
    /// queue is closed.
    fn push(&self, node: Arc<Node>) -> Result<(), Arc<Node>> {
        let raw = Arc::into_raw(node).cast_mut();
        let mut head = self.head.load(Relaxed);
        loop {
            if head == closed() {
                // SAFETY: `raw` came from `Arc::into_raw` above and has not been published.
                return Err(unsafe { Arc::from_raw(raw) });
            }
            // SAFETY: `raw` is alive: its reference count is ours until the CAS publishes it.
            unsafe { (*raw).next.store(head, Relaxed) };
            match self.head.compare_exchange_weak(head, raw, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        if head.is_null() {
            self.wake();
        }
        Ok(())
    }

    /// Makes the loop call its drain again.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.read() {
            waker.wake();
        }
    }

    /// Loop: makes every node due, in the order of their completion.
    ///
    /// The wake-up is cleared *before* the head is swapped: the other way round, a push between the two would
    /// have its wake-up eaten and its node left behind.
    pub(super) fn take(&self) {
        if let Some(waker) = &*self.waker.read() {
            waker.clear();
        }
        // A read-modify-write even if there is nothing to take: unlike a load it cannot see a head from before
        // the push whose wake-up was just cleared.
        let taken = self.head.fetch_update(AcqRel, Acquire, |head| (head != closed()).then_some(ptr::null_mut()));
        if let Ok(head) = taken {
            let mut due = self.due.nodes.lock();
            unlink(head, &mut |node| due.push_back(node));
        }
    }

    /// Loop: refuses all later pushes, closes the descriptor, and gives `each` what was not resumed.
    pub(super) fn close(&self, mut each: impl FnMut(Arc<Node>)) {
        let head = self.head.swap(closed(), AcqRel);
        *self.waker.write() = None;
        let due = std::mem::take(&mut *self.due.nodes.lock());
        due.into_iter().for_each(&mut each);
        if head != closed() {
            unlink(head, &mut each);
        }
    }

    /// Whether there is something to take.
    pub(super) fn has_some(&self) -> bool {
        let head = self.head.load(Acquire);
        !head.is_null() && head != closed()
    }

    /// Shows the collector the calls that are answered and not resumed: what is pushed is the queue's alone. Python threads
    /// only, which are also the ones that take nodes out, so those that are seen stay.
    pub(super) fn visit_owners<E>(&self, mut visit: impl FnMut(&Py<Call>) -> Result<(), E>) -> Result<(), E> {
        // The collector must not wait; a lock that is taken is held by a thread that is moving nodes, which are in use then.
        if let Some(due) = self.due.nodes.try_lock() {
            due.iter().try_for_each(|node| node.visit_owner(&mut visit))?;
        }
        let mut next = self.head.load(Acquire);
        while !next.is_null() && next != closed() {
            // SAFETY: it was pushed, which gave its reference count to the queue, and is taken out by threads that hold the
            // GIL only, as this one does.
            let node = unsafe { &*next };
            node.visit_owner(&mut visit)?;
            next = node.next.load(Relaxed);
        }
        Ok(())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.head.load(Acquire) == closed()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Unreachable nodes hold an `Arc` of this queue, so there are none; closing is for the descriptor.
        self.close(drop);
    }
}

/// Reverses the detached stack `head`, so that the first push comes first, and hands out its nodes.
fn unlink(mut head: *mut Node, each: &mut impl FnMut(Arc<Node>)) {
    let mut first: *mut Node = ptr::null_mut();
    while !head.is_null() {
        // SAFETY: the chain was detached by an acquiring swap, so its nodes are alive and only ours.
        let next = unsafe { (*head).next.swap(first, Relaxed) };
        first = head;
        head = next;
    }
    while !first.is_null() {
        // SAFETY: as above; every node of the chain carries the reference count that its push gave away.
        let node = unsafe { Arc::from_raw(first) };
        first = node.next.load(Relaxed);
        each(node);
    }
}
