//! One thread's cache of one pool: free blocks that it leases and takes back without anybody else's help, and the counts
//! of what it did.
//!
//! Invariants:
//! 1. Bins and counts are changed only from [`Inside`]: by the owner, a thread that passed the cache's gate (`gate`), or by
//!    a visitor that closed it. So a free block can be taken by anybody, and costs its owner no read-modify-write.
//! 2. `cached` is the bytes in the bins, and never exceeds `allowance` by the owner's doing: what may be added before the
//!    pool's cache as a whole is looked at again.
//! 3. Counts never decrease, and a cache is never removed from its pool: a thread that ends leaves an empty cache behind,
//!    which the next new thread takes over, counts included. So sums over all caches stay exact.
//!
//! `low` is how the most bytes ever leased are known without a common counter: it is the least that `cached` was since the
//! pool's held bytes last changed, moved along when blocks come from a shelf or go to one. What is held and was then not
//! idle was leased: see `budget`.
//!
//! The pool's README tells the whole of it.

mod bin;
mod gate;
mod local;
mod roster;
mod tallies;
#[cfg(all(test, not(any(ironcliw_loom, ironcliw_shuttle))))]
mod tests;

pub(crate) use bin::{Magazine, magazine_of};
pub(crate) use local::enter;
pub(crate) use roster::{Kept, Roster};
pub(crate) use tallies::Sizes;

use self::bin::Bin;
use self::gate::Gate;
use self::tallies::{OfOwner, Tallies};
use super::block::Block;
use super::budget::Shelved;
use super::class::SizeClass;
use super::core::Core;
use super::owner::Owner;
use super::shelf::Shelf;
use crate::leak::Countdown;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Bytes that one thread keeps at most, of all classes: a handful of frames.
const THREAD_BYTES_MAX: usize = 64 << 20;

/// See the module's documentation. Two cache lines apart from any other: the CPU fetches lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct ThreadCache {
    gate: Gate,
    /// Whether a living thread has it; the shared one is nobody's.
    owned: AtomicBool,
    /// The thread that has it, by the system's number for it; 0: unknown, or none. For who looks at the pool only.
    thread: AtomicU64,
    countdown: Countdown,
    cached: AtomicUsize,
    allowance: AtomicUsize,
    low: AtomicIsize,
    /// For the end of the thread, and to tell whose cache it is.
    core: Weak<Core>,
    next: AtomicPtr<ThreadCache>,
    bins: [Bin; SizeClass::COUNT],
    tallies: Tallies,
}

impl ThreadCache {
    fn new(core: Weak<Core>, attention: u8) -> Self {
        let mut classes = SizeClass::all();
        Self {
            gate: Gate::new(attention),
            owned: AtomicBool::new(true),
            thread: AtomicU64::new(0),
            countdown: Countdown::new(),
            cached: AtomicUsize::new(0),
            allowance: AtomicUsize::new(0),
            low: AtomicIsize::new(0),
            core,
            next: AtomicPtr::default(),
            bins: std::array::from_fn(|_| Bin::new(classes.next().unwrap_or(SizeClass::HUGE))),
            tallies: Tallies::new(),
        }
    }

    /// Forgets what is in it: nobody knows what was being done to it.
    fn abandon(&self) {
        self.bins.iter().for_each(Bin::abandon);
        self.tallies.forget_last();
        self.cached.store(0, Relaxed);
        self.allowance.store(0, Relaxed);
        self.low.store(0, Relaxed);
    }

    fn is_closed(&self) -> bool {
        self.gate.is_raised(gate::CLOSED)
    }
}

/// A cache that is the holder's alone.
pub(crate) struct Inside<'a> {
    cache: &'a ThreadCache,
    /// Whether the holder came through the gate, as its owner.
    by_gate: bool,
    /// Whether blocks may stay: the shared cache keeps none.
    keeps: bool,
}

impl Drop for Inside<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.by_gate {
            self.cache.gate.leave();
        }
    }
}

/// A block that a cache did not take, and why.
pub(crate) enum Refused {
    /// It would keep more than it was allowed.
    Allowance(Block),
    /// The bin is full: a magazine must go to the shelf first.
    Full(Block),
    /// The thread cannot count for its owner yet.
    Uncounted(Block),
}

impl Inside<'_> {
    /// Leases the block of this class that was used last. The lease is counted; `None` also where it cannot be.
    #[inline(always)]
    pub(crate) fn lease(&self, class: SizeClass, owner: Owner) -> Option<Block> {
        let bin = &self.cache.bins[class.index()];
        let block = bin.pop()?;
        let Some(of_owner) = self.cache.tallies.of(owner) else {
            let back = bin.push(block);
            debug_assert!(back.is_ok(), "a bin that a block was taken from has a place");
            return None;
        };
        let bytes = block.bytes();
        let cached = self.cache.cached.load(Relaxed) - bytes;
        self.cache.cached.store(cached, Relaxed);
        if (cached as isize) < self.cache.low.load(Relaxed) {
            self.cache.low.store(cached as isize, Relaxed);
        }
        of_owner.begin_classed(class);
        Some(block)
    }

    /// Whether the lease that was just counted is one of those to be recorded, one in `every()` on average.
    #[inline(always)]
    pub(crate) fn is_sample(&self, every: impl FnOnce() -> u32) -> bool {
        self.cache.countdown.is_sample(every)
    }

    /// The next lease asks anew whether it is.
    pub(crate) fn restart_sampling(&self) {
        self.cache.countdown.restart();
    }

    /// Keeps a block whose lease has ended, and counts the end: or neither.
    #[inline(always)]
    pub(crate) fn give_back(&self, block: Block, owner: Owner) -> Result<(), Refused> {
        let class = block.class();
        let Some(of_owner) = self.cache.tallies.of(owner) else { return Err(Refused::Uncounted(block)) };
        self.keep(block, class)?;
        of_owner.end_classed(class);
        Ok(())
    }

    /// Keeps a free block.
    #[inline(always)]
    pub(crate) fn keep(&self, block: Block, class: SizeClass) -> Result<(), Refused> {
        let bin = &self.cache.bins[class.index()];
        let cached = self.cache.cached.load(Relaxed) + block.bytes();
        if cached > self.cache.allowance.load(Relaxed) {
            return Err(Refused::Allowance(block));
        }
        if bin.is_full() || !self.keeps {
            return Err(Refused::Full(block));
        }
        bin.push(block).map_err(Refused::Full)?;
        self.cache.cached.store(cached, Relaxed);
        Ok(())
    }

    /// Keeps a free block that found the bin full, by way of the shelf. What the shelf does not take comes back.
    pub(crate) fn overflow(&self, block: Block, shelf: &Shelf, shelved: &Shelved) -> Result<(), Magazine> {
        let (class, bytes) = (block.class(), block.bytes());
        let bin = &self.cache.bins[class.index()];
        if bin.len() == 0 || !self.keeps {
            shelved.add(bytes);
            // As if it had been kept and then moved.
            self.cache.low.store(self.cache.low.load(Relaxed) - bytes as isize, Relaxed);
            return shelf.put(Magazine::of(block));
        }
        let moved = self.take_oldest(class, magazine_of(class), shelved);
        // There is room now: the magazine was not empty.
        match bin.push(block) {
            Ok(()) => self.cache.cached.store(self.cache.cached.load(Relaxed) + bytes, Relaxed),
            Err(block) => {
                debug_assert!(false, "a bin from which a magazine was taken is full");
                drop(block);
            }
        }
        shelf.put(moved)
    }

    /// Takes `count` blocks from below, which from here on are counted as shelved.
    pub(crate) fn take_oldest(&self, class: SizeClass, count: usize, shelved: &Shelved) -> Magazine {
        let moved = self.cache.bins[class.index()].take_oldest(count);
        let bytes = moved.len() * class.bytes().unwrap_or(0);
        // In this order: who sums up may count a block twice for a moment, and does not miss one that moves once.
        shelved.add(bytes);
        self.cache.cached.store(self.cache.cached.load(Relaxed) - bytes, Relaxed);
        self.cache.low.store(self.cache.low.load(Relaxed) - bytes as isize, Relaxed);
        self.cache.allowance.store(self.cache.allowance.load(Relaxed).saturating_sub(bytes), Relaxed);
        moved
    }

    /// Leases from a shelf's magazine and keeps the rest of it, which makes this bin one that is leased from. What cannot be
    /// kept stays in the magazine, which is not moved, as its copy would be read before it is all written. The caller counts
    /// the lease.
    pub(crate) fn lease_from(&self, magazine: &mut Magazine, class: SizeClass, shelved: &Shelved) -> Option<Block> {
        let bytes = class.bytes().unwrap_or(0);
        let cache = self.cache;
        let bin = &cache.bins[class.index()];
        let mut kept = 0;
        if self.keeps && cache.cached.load(Relaxed) + magazine_of(class) * bytes <= THREAD_BYTES_MAX {
            bin.widen(class);
            while !bin.is_full()
                && let Some(block) = magazine.pop_but_first()
            {
                match bin.push(block) {
                    Ok(()) => kept += bytes,
                    Err(block) => {
                        debug_assert!(false, "a bin that is not full has no place");
                        drop(block);
                    }
                }
            }
        }
        let block = magazine.pop()?;
        // In this order: see `take_oldest`.
        let cached = cache.cached.load(Relaxed) + kept;
        cache.cached.store(cached, Relaxed);
        shelved.sub(kept + bytes);
        // All came from the shelf, and the leased one left at once.
        let low = cache.low.load(Relaxed) + (kept + bytes) as isize;
        cache.low.store(low.min(cached as isize), Relaxed);
        cache.allowance.store(cache.allowance.load(Relaxed).max(cached + bytes), Relaxed);
        Some(block)
    }

    /// Lets the cache keep `bytes` more than it does, and if it can `extra`, within what one thread may.
    pub(crate) fn allow(&self, bytes: usize, extra: usize) {
        if self.keeps {
            let most = (self.cache.cached.load(Relaxed) + bytes + extra).min(THREAD_BYTES_MAX);
            self.cache.allowance.store(most, Relaxed);
        }
    }

    /// Keeps nothing more without asking.
    pub(crate) fn allow_nothing(&self) {
        self.cache.allowance.store(0, Relaxed);
    }

    pub(crate) fn len(&self, class: SizeClass) -> usize {
        self.cache.bins[class.index()].len()
    }

    /// The thread leases blocks of this class that it has to get elsewhere: it may keep more.
    pub(crate) fn widen(&self, class: SizeClass) {
        if self.keeps {
            self.cache.bins[class.index()].widen(class);
        }
    }

    /// Whether this thread counted for `owner` when it last counted.
    fn counted_last_for(&self, owner: Owner) -> bool {
        self.cache.tallies.is_last(owner)
    }

    /// Makes room to count for `owner`. False when the system has no memory for it.
    fn open(&self, owner: Owner) -> bool {
        self.cache.tallies.open(owner)
    }

    /// Counts a lease of a block that came from elsewhere, in a cache that can: see [`Roster::with_count`].
    pub(crate) fn begin(&self, owner: Owner, class: SizeClass, bytes: usize) {
        self.count(owner, |of_owner| of_owner.begin(class, bytes));
    }

    /// Counts the end of a lease, likewise.
    pub(crate) fn end(&self, owner: Owner, class: SizeClass, bytes: usize) {
        self.count(owner, |of_owner| of_owner.end(class, bytes));
    }

    fn count(&self, owner: Owner, count: impl FnOnce(&OfOwner)) {
        let of_owner = self.cache.tallies.of(owner);
        debug_assert!(of_owner.is_some(), "an owner that leases was let in");
        if let Some(of_owner) = of_owner {
            count(of_owner);
        }
    }
}
