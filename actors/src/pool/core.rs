//! The pool behind its handles: finding a block for a lease, and a place for a block that comes back.
//!
//! A lease first looks on its class's shelf. Only if that is empty does it reserve room under the limit and ask the
//! system; only if there is no room does it free cached blocks of other classes, and it fails when there are none left.
//! A returned block goes to its shelf; if the cache then holds more than it may, blocks of other classes make way, in
//! turn, so that a program whose sizes change does not keep yesterday's and pay the system for today's.

use super::accounts::Accounts;
use super::block::Block;
use super::budget::Budget;
use super::class::SizeClass;
use super::shelf::Shelf;
use super::slots::SlotTable;
use crate::leak::Recorder;
use crate::{Error, Result};
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Blocks of other classes that one release frees at most, so that no release takes long.
const EVICTIONS_PER_RELEASE: usize = 8;

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) budget: Budget,
    pub(crate) slots: SlotTable,
    pub(crate) accounts: Accounts,
    pub(crate) shelves: Box<[CachePadded<Shelf>]>,
    pub(crate) recorder: Arc<Recorder>,
    /// Allocations refused, ever.
    pub(crate) failures: AtomicU64,
    /// The shelf that makes way next.
    eviction: AtomicUsize,
}

/// A block for a lease, and whether its bytes are still the zeros it was made with.
pub(crate) struct Found {
    pub(crate) block: Block,
    pub(crate) zeroed: bool,
}

impl Core {
    pub(crate) fn new(budget: Budget, recorder: Arc<Recorder>) -> Self {
        Self {
            budget,
            slots: SlotTable::new(),
            accounts: Accounts::new(),
            shelves: SizeClass::all().map(|class| CachePadded::new(Shelf::new(class))).collect(),
            recorder,
            failures: AtomicU64::new(0),
            eviction: AtomicUsize::new(0),
        }
    }

    pub(crate) fn shelf(&self, class: SizeClass) -> &Shelf {
        &self.shelves[class.index()]
    }

    /// A block of at least `len` bytes, held and not yet leased.
    pub(crate) fn find(&self, len: usize) -> Result<Found> {
        let Some(bytes) = SizeClass::block_bytes(len) else {
            self.failures.fetch_add(1, Relaxed);
            return Err(Error::invalid(format!("no buffer can have {len} bytes")));
        };
        let class = SizeClass::of(len);
        loop {
            if let Some(block) = self.shelf(class).take() {
                if !self.budget.is_over_limit() {
                    return Ok(Found { block, zeroed: false });
                }
                self.free(block);
            } else if self.budget.try_reserve(bytes) {
                return self.make(class, bytes).ok_or_else(|| self.exhausted(len));
            } else if !self.make_room(bytes) {
                return Err(self.exhausted(len));
            }
        }
    }

    /// A new block, in room that was reserved for it.
    fn make(&self, class: SizeClass, bytes: usize) -> Option<Found> {
        let made = self.slots.claim().and_then(|slot| {
            let block = Block::zeroed(class, bytes, slot).or_else(|| {
                // The system has no memory; what the cache gives back may be enough.
                self.trim(0);
                Block::zeroed(class, bytes, slot)
            });
            if block.is_none() {
                self.slots.retire(slot);
            }
            block
        });
        match made {
            Some(block) => {
                self.shelf(class).block_made();
                Some(Found { block, zeroed: true })
            }
            None => {
                self.budget.unreserve(bytes);
                None
            }
        }
    }

    fn exhausted(&self, requested: usize) -> Error {
        self.failures.fetch_add(1, Relaxed);
        Error::PoolExhausted { requested, live: self.budget.live(), limit: self.budget.limit() }
    }

    /// Takes back a block whose lease was closed, counted as live until now.
    pub(crate) fn put_back(&self, block: Block) {
        let (bytes, class) = (block.bytes(), block.class());
        let cached = self.budget.unlease(bytes);
        if class == SizeClass::HUGE || self.budget.is_over_limit() {
            return self.free(block);
        }
        let surplus = cached.saturating_sub(self.budget.retain());
        if surplus > 0 && (bytes > self.budget.retain() || !self.evict_others(class, surplus)) {
            return self.free(block);
        }
        if let Err(block) = self.shelf(class).put(block) {
            self.free(block);
        }
    }

    /// Frees up to a few cached blocks of classes other than `class`; whether they came to `surplus` bytes.
    fn evict_others(&self, class: SizeClass, surplus: usize) -> bool {
        let mut freed = 0;
        let mut evictions = 0;
        let start = self.eviction.fetch_add(1, Relaxed);
        for step in 0..self.shelves.len() {
            let shelf = &self.shelves[start.wrapping_add(step) % self.shelves.len()];
            if shelf.class() == class {
                continue;
            }
            while let Some(block) = shelf.take() {
                freed += block.bytes();
                evictions += 1;
                self.free(block);
                if freed >= surplus {
                    return true;
                }
                if evictions == EVICTIONS_PER_RELEASE {
                    return false;
                }
            }
        }
        false
    }

    /// Frees cached blocks until `bytes` more fit under the limit. False when nothing was there to free, or when even an
    /// empty cache would leave no room: then it is spared.
    fn make_room(&self, bytes: usize) -> bool {
        let Some(target) = self.budget.limit().checked_sub(bytes) else {
            return false;
        };
        self.budget.live() <= target && self.free_largest_first(|| self.budget.held() > target) > 0
    }

    /// Frees cached blocks until at most `cached_bytes` of them remain. Returns the bytes freed.
    pub(crate) fn trim(&self, cached_bytes: usize) -> usize {
        self.free_largest_first(|| self.budget.held().saturating_sub(self.budget.live()) > cached_bytes)
    }

    /// Frees cached blocks that are more than the limit or the cache's share. Returns the bytes freed.
    pub(crate) fn settle(&self) -> usize {
        let over = self.free_largest_first(|| self.budget.is_over_limit());
        over + self.trim(self.budget.retain())
    }

    fn free_largest_first(&self, go_on: impl Fn() -> bool) -> usize {
        let mut freed = 0;
        for shelf in self.shelves.iter().rev() {
            while go_on() {
                let Some(block) = shelf.take() else { break };
                freed += block.bytes();
                self.free(block);
            }
        }
        freed
    }

    /// Gives a block, neither leased nor on a shelf, back to the system.
    fn free(&self, block: Block) {
        let (bytes, slot, class) = (block.bytes(), block.slot(), block.class());
        drop(block);
        self.shelf(class).block_freed();
        self.slots.retire(slot);
        self.budget.unreserve(bytes);
    }
}
