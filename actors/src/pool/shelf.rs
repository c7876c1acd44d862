//! The shelf of one size class: its free blocks that are in no thread's cache, and its counts.

use super::cache::{Magazine, magazine_of};
use super::class::SizeClass;
use super::fallible::OnceBox;
use super::queue::Queue;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Free blocks a class keeps at most. Small blocks are cheap to make, and this many of them are a burst's worth.
const BLOCKS_MAX: u64 = 1024;
/// And of large ones as many as these bytes hold: 8 of the largest.
const BLOCKS_MAX_BYTES: u64 = 8 << 30;

#[derive(Debug)]
pub(crate) struct Shelf {
    class: SizeClass,
    /// Blocks made for this class, ever.
    made: AtomicU64,
    /// Blocks of this class that exist, leased or free.
    existing: AtomicU64,
    /// The most blocks that ever existed.
    high_water: AtomicU64,
    /// Made by the first magazine: most classes are never used.
    free: OnceBox<Queue<Magazine>>,
}

impl Shelf {
    pub(crate) fn new(class: SizeClass) -> Self {
        let zero = AtomicU64::default;
        Self { class, made: zero(), existing: zero(), high_water: zero(), free: OnceBox::new() }
    }

    /// Free blocks that fit on the shelf.
    pub(crate) fn capacity(&self) -> usize {
        self.magazines() * magazine_of(self.class)
    }

    /// Magazines that fit on the shelf: none of huge blocks, and otherwise a power of two, 8 or more.
    fn magazines(&self) -> usize {
        let Some(bytes) = self.class.bytes() else { return 0 };
        let blocks = (BLOCKS_MAX_BYTES / bytes as u64).min(BLOCKS_MAX) as usize;
        1 << (blocks / magazine_of(self.class)).ilog2()
    }

    pub(crate) fn take(&self) -> Option<Magazine> {
        self.free.get()?.pop()
    }

    /// Puts free blocks of this class on the shelf; gives them back when there is no room, or no memory for a shelf. An empty
    /// magazine is none.
    pub(crate) fn put(&self, magazine: Magazine) -> Result<(), Magazine> {
        if magazine.len() == 0 {
            return Ok(());
        }
        let make = || Queue::try_new(self.magazines());
        match self.class.bytes().and_then(|_| self.free.get_or_try(make)) {
            Some(free) => free.push(magazine),
            None => Err(magazine),
        }
    }

    /// Makes the shelf whole in the child of a fork. Returns the bytes of the blocks on it.
    ///
    /// # Safety
    /// As [`Queue::mend`].
    pub(super) unsafe fn mend(&self) -> usize {
        let mut blocks = 0;
        if let Some(free) = self.free.get() {
            // SAFETY: the caller's promise. An empty magazine is one that came too late.
            unsafe { free.mend(Magazine::default, |magazine| blocks += magazine.len()) };
        }
        blocks * self.class.bytes().unwrap_or(0)
    }

    /// Counts a block that was made for this class.
    pub(crate) fn block_made(&self) {
        self.made.fetch_add(1, Relaxed);
        let existing = self.existing.fetch_add(1, Relaxed) + 1;
        self.high_water.fetch_max(existing, Relaxed);
    }

    /// Uncounts a block that was freed.
    pub(crate) fn block_freed(&self) {
        let before = self.existing.fetch_sub(1, Relaxed);
        debug_assert!(before > 0);
    }

    pub(crate) fn class(&self) -> SizeClass {
        self.class
    }

    pub(crate) fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    pub(crate) fn existing(&self) -> u64 {
        self.existing.load(Relaxed)
    }

    pub(crate) fn high_water(&self) -> u64 {
        self.high_water.load(Relaxed)
    }
}
