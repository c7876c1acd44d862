//! One block of pool memory: aligned, always initialised, freed when dropped.
//!
//! Invariant: the `bytes` bytes at `start` are one live allocation, owned by this value alone, and every one of them is
//! initialised (they were zeroed when the block was made, and only bytes are ever written over them).

use super::class::{LINE_BYTES, PAGE_BYTES, SizeClass};
use super::slots::SlotIndex;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// From this size a block is asked for with the allocator's own small alignment and aligned to a page here. Allocators
/// have zero pages from the system at hand for plain zeroed requests, but clear aligned ones byte by byte, which
/// touches every page. 128 KiB is where glibc turns to the system.
const LAZY_BYTES: usize = 128 << 10;
/// What every allocator gives without extra work.
const NATURAL_ALIGN: usize = 16;

/// A block and the slot of the lease table that it keeps for its whole life.
#[derive(Debug)]
pub(crate) struct Block {
    start: NonNull<u8>,
    bytes: usize,
    slot: SlotIndex,
    /// Distance from the allocation's start to the block's.
    shift: u16,
    class: SizeClass,
}

// SAFETY: a block owns its memory exclusively and keeps nothing that belongs to a thread.
unsafe impl Send for Block {}
// SAFETY: a shared block gives access to its pointer only; whoever reads through it answers for that.
unsafe impl Sync for Block {}

impl Block {
    /// A zeroed block of `bytes` bytes, aligned to 64; `None` when the system has no memory.
    ///
    /// `bytes` is not 0 and comes from [`SizeClass::block_bytes`].
    pub(crate) fn zeroed(class: SizeClass, bytes: usize, slot: SlotIndex) -> Option<Self> {
        let layout = Self::layout(bytes)?;
        // SAFETY: the layout's size is `bytes` or more, which is not 0.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let shift = if bytes >= LAZY_BYTES { base.as_ptr().align_offset(PAGE_BYTES) } else { 0 };
        debug_assert!(shift < PAGE_BYTES);
        // SAFETY: `shift < PAGE_BYTES`, and the layout of a shifted block has PAGE_BYTES to spare.
        let start = unsafe { base.add(shift) };
        Some(Self { start, bytes, slot, shift: shift as u16, class })
    }

    fn layout(bytes: usize) -> Option<Layout> {
        let (size, align) =
            if bytes >= LAZY_BYTES { (bytes.checked_add(PAGE_BYTES)?, NATURAL_ALIGN) } else { (bytes, LINE_BYTES) };
        if bytes == 0 { None } else { Layout::from_size_align(size, align).ok() }
    }

    /// The first byte: aligned to 64, valid for [`Block::bytes`] initialised bytes while the block lives.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn class(&self) -> SizeClass {
        self.class
    }

    pub(crate) fn slot(&self) -> SlotIndex {
        self.slot
    }

    /// Clears the first `len` bytes, of at most [`Block::bytes`].
    pub(crate) fn clear(&mut self, len: usize) {
        let len = len.min(self.bytes);
        // SAFETY: `len` bytes at `start` belong to this block, which is borrowed exclusively.
        unsafe { self.start.write_bytes(0, len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Some(layout) = Self::layout(self.bytes) else {
            return;
        };
        // SAFETY: `zeroed` allocated `start - shift` with this very layout, and nobody else frees it.
        unsafe { dealloc(self.start.sub(usize::from(self.shift)).as_ptr(), layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_zeroed() {
        for len in [1, 64, 65, 4096, LAZY_BYTES - 1, LAZY_BYTES, 3 << 20] {
            let bytes = SizeClass::block_bytes(len).unwrap();
            let block = Block::zeroed(SizeClass::of(len), bytes, SlotIndex::FIRST).unwrap();
            assert_eq!(block.start().as_ptr().align_offset(LINE_BYTES), 0);
            // SAFETY: the block is alive and nobody writes to it.
            let content = unsafe { std::slice::from_raw_parts(block.start().as_ptr(), block.bytes()) };
            assert!(content.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn a_block_that_no_system_holds_is_refused() {
        for bytes in [SizeClass::MAX_LEN & !(PAGE_BYTES - 1), usize::MAX & !(PAGE_BYTES - 1), 0] {
            assert!(Block::zeroed(SizeClass::HUGE, bytes, SlotIndex::FIRST).is_none());
        }
    }
}
