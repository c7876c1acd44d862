//! The shelf of one size class: its free blocks that are in no thread's cache, and its counts.

use super::cache::{Magazine, magazine_of};
use super::class::SizeClass;
use crossbeam_queue::ArrayQueue;
use std::sync::OnceLock;
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
    free: OnceLock<ArrayQueue<Magazine>>,
}

impl Shelf {
    pub(crate) fn new(class: SizeClass) -> Self {
        let zero = AtomicU64::default;
        Self { class, made: zero(), existing: zero(), high_water: zero(), free: OnceLock::new() }
    }

    /// Free blocks that fit on the shelf.
    pub(crate) fn capacity(&self) -> usize {
        self.class.bytes().map_or(0, |bytes| (BLOCKS_MAX_BYTES / bytes as u64).clamp(1, BLOCKS_MAX) as usize)
    }

    pub(crate) fn take(&self) -> Option<Magazine> {
        self.free.get()?.pop()
    }

    /// Puts free blocks of this class on the shelf; gives them back when there is no room. An empty magazine is none.
    pub(crate) fn put(&self, magazine: Magazine) -> Result<(), Magazine> {
        if magazine.len() == 0 {
            return Ok(());
        }
        match self.capacity().div_ceil(magazine_of(self.class).max(1)) {
            0 => Err(magazine),
            magazines => self.free.get_or_init(|| ArrayQueue::new(magazines)).push(magazine),
        }
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
