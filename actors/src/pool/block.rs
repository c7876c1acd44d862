//! One block of pool memory, in somebody's hands.
//!
//! Invariant: a [`Block`] owns the memory that its slot describes, alone, and every byte of it is initialised (it was
//! zeroed when the block was made, and only bytes are ever written over it). It also owns the slot, and one reference to
//! the core that the slot belongs to (`core`), so that neither goes away before the block is freed. A block that is merely
//! dropped leaks all three, which is why only `core` makes blocks and frees them.

use super::class::SizeClass;
use super::core::Core;
use super::memory;
use super::slot::Slot;
use std::ptr::NonNull;

/// A block: one word, which points to its header.
#[derive(Debug)]
#[must_use = "a block that is dropped is lost"]
pub(crate) struct Block(NonNull<Slot>);

// SAFETY: a block owns its memory exclusively and keeps nothing that belongs to a thread.
unsafe impl Send for Block {}
// SAFETY: a shared block gives access to its pointer only; whoever reads through it answers for that.
unsafe impl Sync for Block {}

impl Block {
    /// A zeroed block of `bytes` bytes that takes over `slot`; `None` when the system has no memory.
    ///
    /// `bytes` is not 0 and comes from [`SizeClass::block_bytes`].
    ///
    /// # Safety
    /// The slot has no block, and stays where it is until this one is freed.
    pub(crate) unsafe fn zeroed(core: &Core, class: SizeClass, bytes: usize, slot: &Slot) -> Option<Self> {
        slot.describe(core, class, memory::zeroed(bytes)?);
        Some(Self(NonNull::from(slot)))
    }

    /// Gives the memory back to the system and the slot to the caller.
    ///
    /// # Safety
    /// The slot lives as long as `'a`.
    pub(crate) unsafe fn free<'a>(self) -> &'a Slot {
        // SAFETY: the caller says so.
        let slot = unsafe { self.0.as_ref() };
        if let Some(extent) = slot.extent() {
            // SAFETY: the memory came from `memory::zeroed`, and we own it: nobody else frees or touches it.
            unsafe { memory::free(extent) }
        }
        slot
    }

    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        // SAFETY: the slot stays where it is while its block lives: `zeroed`'s promise.
        unsafe { self.0.as_ref() }
    }

    /// As a word, for a place that keeps it. The block is not freed.
    #[inline]
    pub(crate) fn into_raw(self) -> *mut Slot {
        self.0.as_ptr()
    }

    /// # Safety
    /// `raw` came from [`Block::into_raw`], and this is the only block made of it since.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: *mut Slot) -> Option<Self> {
        NonNull::new(raw).map(Self)
    }

    /// The core that the slot belongs to, of which the block has a reference.
    #[inline]
    pub(crate) fn core(&self) -> NonNull<Core> {
        // SAFETY: a slot that has a block has a core: `zeroed` saw to it.
        unsafe { NonNull::new_unchecked(self.slot().core()) }
    }

    #[inline]
    pub(crate) fn start(&self) -> NonNull<u8> {
        // SAFETY: a slot that has a block has a start, which `memory::zeroed` made from one that is not null.
        unsafe { NonNull::new_unchecked(self.slot().start()) }
    }

    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.slot().bytes()
    }

    #[inline]
    pub(crate) fn class(&self) -> SizeClass {
        self.slot().class()
    }

    /// Has the CPU fetch the header, which another thread wrote last, before it is needed.
    #[inline]
    pub(crate) fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 has the instruction, and it changes nothing that a program can see.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(self.0.as_ptr().cast_const().cast());
        }
    }

    /// Clears the first `len` bytes, of at most [`Block::bytes`].
    pub(crate) fn clear(&mut self, len: usize) {
        let len = len.min(self.bytes());
        // SAFETY: `len` bytes at `start` belong to this block, which is borrowed exclusively.
        unsafe { self.start().write_bytes(0, len) }
    }
}
