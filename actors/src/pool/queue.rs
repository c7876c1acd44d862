//! A bounded queue for any number of threads, without locks: Dmitry Vyukov's bounded MPMC queue
//! (<https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue>).
//!
//! Each cell has a turn. A cell of turn `n` waits for whoever puts number `n`; with `n + 1` it waits for whoever takes it; and
//! then it is `n + capacity`, the turn of the next lap. Who advances `tail` or `head` to `n + 1` has cell `n` to itself until it
//! sets the turn.
//!
//! Why not crossbeam's `ArrayQueue`, which is the same at heart: its memory is asked for where there may be none, and who
//! takes waits without limit for one who puts, who in the child of a fork may not exist. Here the memory may be refused, who
//! takes gives up after a while, and [`Queue::mend`] repairs what a fork cut in two.

use super::sync::{AtomicUsize, Ordering, pause};
use crossbeam_utils::CachePadded;
use std::mem::MaybeUninit;

#[cfg(ironcliw_loom)]
use loom::cell::UnsafeCell;

/// How often one who takes looks again at a cell that is being filled, before it lets that thread, which must have been taken
/// off its core, go first; and how often it does that before it goes on without.
const LOOKS: u32 = if cfg!(any(ironcliw_loom, ironcliw_shuttle)) { 1 } else { 100 };
const PAUSES_MAX: u32 = if cfg!(ironcliw_loom) { 2 } else { 1000 };

#[derive(Debug)]
pub(crate) struct Queue<T> {
    cells: Box<[Cell<T>]>,
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
}

#[derive(Debug)]
struct Cell<T> {
    turn: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// `std`'s cell with loom's interface.
#[cfg(not(ironcliw_loom))]
#[derive(Debug)]
struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(ironcliw_loom))]
impl<T> UnsafeCell<T> {
    fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

// SAFETY: values are moved in and out, each by one thread at a time, and never shared.
unsafe impl<T: Send> Sync for Queue<T> {}
// SAFETY: likewise.
unsafe impl<T: Send> Send for Queue<T> {}

impl<T> Queue<T> {
    /// A queue of `capacity` places, a power of two and 2 or more; `None` when the system has no memory.
    pub(crate) fn try_new(capacity: usize) -> Option<Self> {
        debug_assert!(capacity.is_power_of_two() && capacity >= 2);
        let mut cells = Vec::new();
        cells.try_reserve_exact(capacity).ok()?;
        cells.extend(
            (0..capacity)
                .map(|turn| Cell { turn: AtomicUsize::new(turn), value: UnsafeCell::new(MaybeUninit::uninit()) }),
        );
        let zero = || CachePadded::new(AtomicUsize::new(0));
        Some(Self { cells: cells.into_boxed_slice(), head: zero(), tail: zero() })
    }

    fn cell(&self, at: usize) -> &Cell<T> {
        &self.cells[at & (self.cells.len() - 1)]
    }

    /// Puts a value at the end; gives it back when there is no room.
    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        let mut at = self.tail.load(Ordering::Relaxed);
        loop {
            let cell = self.cell(at);
            let ahead = cell.turn.load(Ordering::Acquire).wrapping_sub(at) as isize;
            if ahead < 0 {
                // A lap behind: nobody has taken it, or somebody is about to.
                return Err(value);
            }
            // Sequentially consistent, for `pop`.
            let advance = |at: usize| {
                self.tail.compare_exchange_weak(at, at.wrapping_add(1), Ordering::SeqCst, Ordering::Relaxed)
            };
            match if ahead == 0 { advance(at) } else { Err(self.tail.load(Ordering::Relaxed)) } {
                Ok(_) => {
                    // SAFETY: the cell is ours from the tail's step until its turn is set.
                    cell.value.with_mut(|place| unsafe { (*place).write(value) });
                    cell.turn.store(at.wrapping_add(1), Ordering::Release);
                    return Ok(());
                }
                Err(now) => at = now,
            }
        }
    }

    /// Takes the value at the front. `None` when the queue is empty, or when a thread that is putting one there does not come
    /// to its end.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut at = self.head.load(Ordering::Relaxed);
        let mut turns = 0;
        loop {
            let cell = self.cell(at);
            let ahead = cell.turn.load(Ordering::Acquire).wrapping_sub(at.wrapping_add(1)) as isize;
            if ahead < 0 {
                // Sequentially consistent: one who has put a value and then does not see what we did before, sees to it that
                // we see the tail's step (`Core::take_back` and the end of a pool).
                let is_empty = self.tail.load(Ordering::SeqCst) == at;
                if is_empty || turns == LOOKS + PAUSES_MAX {
                    return None;
                }
                pause(turns < LOOKS);
                turns += 1;
                at = self.head.load(Ordering::Relaxed);
                continue;
            }
            let advance = |at: usize| {
                self.head.compare_exchange_weak(at, at.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed)
            };
            match if ahead == 0 { advance(at) } else { Err(self.head.load(Ordering::Relaxed)) } {
                Ok(_) => {
                    // SAFETY: it was filled, as its turn says, and is ours from the head's step until its turn is set.
                    let value = cell.value.with(|place| unsafe { (*place).assume_init_read() });
                    cell.turn.store(at.wrapping_add(self.cells.len()), Ordering::Release);
                    return Some(value);
                }
                Err(now) => at = now,
            }
        }
    }

    /// Makes whole what threads that are no more left half done: a value that one was putting is `missing`, one that another
    /// was taking is gone with it. Shows every value that is there.
    ///
    /// # Safety
    /// The caller is the only thread that uses the queue, and the others never come back: the child of a fork.
    pub(crate) unsafe fn mend(&self, missing: impl Fn() -> T, mut show: impl FnMut(&T)) {
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        let capacity = self.cells.len();
        let filled = tail.wrapping_sub(head).min(capacity);
        for at in (0..filled).map(|step| head.wrapping_add(step)) {
            let (cell, full) = (self.cell(at), at.wrapping_add(1));
            if cell.turn.load(Ordering::Relaxed) != full {
                // SAFETY: nobody else is here, and what was written there, if anything, is half of a value.
                cell.value.with_mut(|place| unsafe { _ = (*place).write(missing()) });
                cell.turn.store(full, Ordering::Relaxed);
            }
            // SAFETY: it is filled.
            cell.value.with(|place| show(unsafe { (*place).assume_init_ref() }));
        }
        for at in (0..capacity - filled).map(|step| tail.wrapping_add(step)) {
            self.cell(at).turn.store(at, Ordering::Relaxed);
        }
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            while self.pop().is_some() {}
        }
    }
}

#[cfg(all(test, not(any(ironcliw_loom, ironcliw_shuttle))))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn values_come_out_in_the_order_they_were_put_and_no_more_than_fit() {
        let queue = Queue::try_new(4).unwrap();
        for lap in 0..10 {
            (0..4).for_each(|n| queue.push(lap * 4 + n).unwrap());
            assert_eq!(queue.push(99), Err(99));
            assert!((0..4).all(|n| queue.pop() == Some(lap * 4 + n)));
            assert_eq!(queue.pop(), None);
        }
    }

    #[test]
    fn threads_take_each_value_once() {
        const EACH: u64 = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
        let queue = Queue::try_new(8).unwrap();
        let (sum, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (queue, sum, taken) = (&queue, &sum, &taken);
                scope.spawn(move || {
                    for n in 0..EACH {
                        while queue.push(thread * EACH + n).is_err() {
                            std::thread::yield_now();
                        }
                    }
                });
                scope.spawn(move || {
                    while taken.load(Ordering::Relaxed) < 2 * EACH {
                        match queue.pop() {
                            Some(value) => {
                                sum.fetch_add(value, Ordering::Relaxed);
                                taken.fetch_add(1, Ordering::Relaxed);
                            }
                            None => std::thread::yield_now(),
                        }
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), (0..2 * EACH).sum::<u64>());
    }

    #[test]
    fn what_a_fork_cut_in_two_is_mended() {
        let queue = Queue::try_new(4).unwrap();
        (0..3).for_each(|n| queue.push(n).unwrap());
        assert_eq!(queue.pop(), Some(0));
        // One was putting a value, another was taking the next.
        queue.tail.fetch_add(1, Ordering::Relaxed);
        queue.head.fetch_add(1, Ordering::Relaxed);
        let mut seen = Vec::new();
        // SAFETY: nobody else is here.
        unsafe { queue.mend(|| -1, |&value| seen.push(value)) };
        assert_eq!(seen, [2, -1]);
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some(2), Some(-1), None));
        (0..4).for_each(|n| queue.push(n).unwrap());
        assert_eq!(queue.push(4), Err(4));
        assert!((0..4).all(|n| queue.pop() == Some(n)));
    }
}

#[cfg(all(test, ironcliw_loom))]
mod loom_tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn loom_a_value_is_taken_once_and_none_is_lost() {
        loom::model(|| {
            let queue = Arc::new(Queue::try_new(2).unwrap());
            let (puts, takes) = (queue.clone(), queue.clone());
            let putter = loom::thread::spawn(move || puts.push(1_u8).is_ok());
            let taker = loom::thread::spawn(move || takes.pop());
            let own = queue.push(2).is_ok();
            let mut seen: Vec<u8> = taker.join().unwrap().into_iter().collect();
            assert!(putter.join().unwrap() && own);
            seen.extend(std::iter::from_fn(|| queue.pop()));
            seen.sort_unstable();
            assert_eq!(seen, [1, 2]);
        });
    }
}
