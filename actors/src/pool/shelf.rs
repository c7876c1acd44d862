//! The shelf of one size class: its free blocks and its counts.

use super::block::Block;
use super::class::SizeClass;
use crossbeam_queue::ArrayQueue;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Free blocks a class keeps at most. Small blocks are cheap to make, and this many of them are a burst's worth.
const BLOCKS_MAX: usize = 1024;
/// And of large ones as many as these bytes hold: a class of the largest keeps a single block at least.
const BLOCKS_MAX_BYTES: usize = 8 << 30;

#[derive(Debug)]
pub(crate) struct Shelf {
    class: SizeClass,
    live: AtomicU64,
    leases: AtomicU64,
    high_water: AtomicU64,
    /// Made by the first release: most classes are never used.
    free: OnceLock<ArrayQueue<Block>>,
}

impl Shelf {
    pub(crate) fn new(class: SizeClass) -> Self {
        let zero = AtomicU64::default;
        Self {
            class,
            live: zero(),
            leases: zero(),
            high_water: zero(),
            free: OnceLock::new(),
        }
    }

    /// Free blocks that fit on the shelf.
    pub(crate) fn capacity(&self) -> usize {
        self.class
            .bytes()
            .map_or(0, |bytes| (BLOCKS_MAX_BYTES / bytes).clamp(1, BLOCKS_MAX))
    }

    pub(crate) fn take(&self) -> Option<Block> {
        self.free.get()?.pop()
    }

    /// Puts a free block of this class on the shelf; gives it back when there is no room.
    pub(crate) fn put(&self, block: Block) -> Result<(), Block> {
        debug_assert_eq!(block.class(), self.class);
        match self.capacity() {
            0 => Err(block),
            capacity => self
                .free
                .get_or_init(|| ArrayQueue::new(capacity))
                .push(block),
        }
    }

    pub(crate) fn lease(&self) {
        self.leases.fetch_add(1, Relaxed);
        let live = self.live.fetch_add(1, Relaxed) + 1;
        if live > self.high_water.load(Relaxed) {
            self.high_water.fetch_max(live, Relaxed);
        }
    }

    pub(crate) fn release(&self) {
        let before = self.live.fetch_sub(1, Relaxed);
        debug_assert!(before > 0);
    }

    pub(crate) fn class(&self) -> SizeClass {
        self.class
    }

    pub(crate) fn live(&self) -> u64 {
        self.live.load(Relaxed)
    }

    /// Leases ever.
    pub(crate) fn leases(&self) -> u64 {
        self.leases.load(Relaxed)
    }

    /// The most leases at a time.
    pub(crate) fn high_water(&self) -> u64 {
        self.high_water.load(Relaxed)
    }

    pub(crate) fn available(&self) -> usize {
        self.free.get().map_or(0, ArrayQueue::len)
    }
}
