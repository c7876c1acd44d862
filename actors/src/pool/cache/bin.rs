//! The free blocks of one class in one thread's cache: a stack, so that the block used last, which is still in the CPU's
//! cache, is used next.
//!
//! Only whoever is behind the cache's gate changes a bin, so that nothing here is a read-modify-write; the fields are
//! atomic because others may look at the count.

use super::super::block::Block;
use super::super::class::SizeClass;
use super::super::slot::Slot;
use super::super::sync::AtomicU32;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// Blocks that go from a thread to the shelf or back at a time, at most: a cache line of pointers.
pub(crate) const MAGAZINE: usize = 8;
/// Blocks of one class that one thread keeps at most: one magazine to lease from and one to return to, so that a thread
/// whose count goes up and down at the border does not go to the shelf each time (Bonwick and Adams 2001).
const DEPTH_MAX: usize = 2 * MAGAZINE;
/// Bytes of one class that one thread keeps at most, unless two blocks are more.
const DEPTH_BYTES_MAX: usize = 4 << 20;

/// Blocks on their way between a thread and a shelf; those that are there come first.
#[derive(Debug, Default)]
pub(crate) struct Magazine {
    blocks: [Option<Block>; MAGAZINE],
}

impl Magazine {
    pub(crate) fn of(block: Block) -> Self {
        let mut magazine = Self::default();
        magazine.blocks[0] = Some(block);
        magazine
    }

    /// Has the CPU fetch the blocks' headers, all at a time.
    pub(crate) fn prefetch(&self) {
        self.blocks.iter().flatten().for_each(Block::prefetch);
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.iter().take_while(|block| block.is_some()).count()
    }

    /// Takes the block that was put in last, but not the first. Whoever leases the first and then the others from a bin leases
    /// them in the order in which they were returned. Then their headers stay side by side, and the CPU fetches the next one by
    /// itself.
    pub(super) fn pop_but_first(&mut self) -> Option<Block> {
        self.blocks[1..].iter_mut().rev().find_map(Option::take)
    }

    pub(crate) fn pop(&mut self) -> Option<Block> {
        self.blocks.iter_mut().rev().find_map(Option::take)
    }
}

/// Blocks of `class` that go to the shelf at a time.
pub(crate) fn magazine_of(class: SizeClass) -> usize {
    depth_of(class) / 2
}

/// Blocks of `class` that a thread which leases them keeps at most; none of the huge ones.
fn depth_of(class: SizeClass) -> usize {
    class.bytes().map_or(0, |bytes| (DEPTH_BYTES_MAX / bytes).clamp(2, DEPTH_MAX))
}

#[derive(Debug)]
pub(super) struct Bin {
    len: AtomicU32,
    /// Blocks before the bin is full: see [`Bin::widen`].
    room: AtomicU32,
    blocks: [AtomicPtr<Slot>; DEPTH_MAX],
}

impl Bin {
    /// A bin for a thread that has not leased any: it returns what others lease, and keeps what makes a magazine for them.
    pub(super) fn new(class: SizeClass) -> Self {
        let magazine = magazine_of(class);
        let room = if magazine > 1 { magazine } else { 0 };
        Self { len: AtomicU32::new(0), room: AtomicU32::new(room as u32), blocks: Default::default() }
    }

    /// The thread leases from this bin: it may keep more.
    pub(super) fn widen(&self, class: SizeClass) {
        self.room.store(depth_of(class) as u32, Relaxed);
    }

    /// Forgets the blocks.
    pub(super) fn abandon(&self) {
        self.len.store(0, Relaxed);
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed) as usize
    }

    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.len.load(Relaxed) >= self.room.load(Relaxed)
    }

    #[inline(always)]
    pub(super) fn pop(&self) -> Option<Block> {
        let top = self.len().checked_sub(1)?;
        self.len.store(top as u32, Relaxed);
        // SAFETY: `push` put it there, and with `len` below it nobody takes it again.
        unsafe { Block::from_raw(self.blocks.get(top)?.load(Relaxed)) }
    }

    /// Puts a block on top; gives it back when not even a full bin has a place for it.
    #[inline(always)]
    pub(super) fn push(&self, block: Block) -> Result<(), Block> {
        let len = self.len();
        match self.blocks.get(len) {
            Some(place) => {
                place.store(block.into_raw(), Relaxed);
                self.len.store(len as u32 + 1, Relaxed);
                Ok(())
            }
            None => Err(block),
        }
    }

    /// Takes `count` blocks, or as many as there are, from below: those that were used longest ago, but for what is left of a
    /// magazine, which lies the other way round ([`Magazine::pop_but_first`]).
    pub(super) fn take_oldest(&self, count: usize) -> Magazine {
        let len = self.len();
        let count = count.min(len).min(MAGAZINE);
        let mut magazine = Magazine::default();
        for (place, block) in self.blocks.iter().zip(&mut magazine.blocks).take(count) {
            // SAFETY: `push` put it there, and what lies above it is moved over it below.
            *block = unsafe { Block::from_raw(place.load(Relaxed)) };
        }
        for at in count..len {
            self.blocks[at - count].store(self.blocks[at].load(Relaxed), Relaxed);
        }
        self.len.store((len - count) as u32, Relaxed);
        magazine
    }
}
