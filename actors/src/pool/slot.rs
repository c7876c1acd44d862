//! A slot of the lease table, which is its block's header: the generation of the block's lease, where the block's memory
//! is, and what the lease is for, in one cache line.
//!
//! Slots never move, so that a block, and a buffer, is a pointer to its slot, and whoever hands it on copies one word. Only
//! the holder of the block writes, so that nothing here is a read-modify-write; anybody may read the generation.

use super::class::SizeClass;
use super::core::Core;
use super::lease::LeaseKind;
use super::memory::Extent;
use super::owner::Owner;
use super::slots::{GENERATION_MASK, LeaseId, LiveLease};
use crate::leak::Lease;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// The generation of a block's lease, where the block's memory is, and what the lease is for.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Slot {
    generation: AtomicU64,
    start: AtomicPtr<u8>,
    bytes: AtomicUsize,
    core: AtomicPtr<Core>,
    len: AtomicUsize,
    index: u32,
    /// The lease's owner in the lower half, and marks in the upper one.
    terms: AtomicU32,
    /// Handles of a frozen lease.
    shares: AtomicU32,
    shift: AtomicU16,
    class: AtomicU8,
}

/// Of `terms`: the lease must be ended on purpose.
const EXPLICIT: u32 = 1 << 16;
/// The leak tracker heard of the lease's beginning.
const RECORDED: u32 = 1 << 17;
/// The record keeps touches.
const TRACED: u32 = 1 << 19;
/// The lease's holder ends it on purpose.
const RELEASED: u32 = 1 << 18;
/// Who it is counted for has given it to somebody else.
const HANDED_OVER: u32 = 1 << 20;

/// A count of handles from which it is never left again. Threads between its two steps may be as many again.
const SHARES_MAX: u32 = 1 << 31;

/// A lease's owner, and how it is meant to end and does, as far as its end is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms(u32);

impl Terms {
    #[inline]
    pub(crate) fn owner(self) -> Owner {
        Owner::at((self.0 & 0xFFFF) as usize)
    }

    #[inline]
    pub(crate) fn kind(self) -> LeaseKind {
        if self.0 & EXPLICIT != 0 { LeaseKind::Explicit } else { LeaseKind::Plain }
    }

    pub(crate) fn is_recorded(self) -> bool {
        self.0 & RECORDED != 0
    }

    #[inline]
    pub(crate) fn is_traced(self) -> bool {
        self.0 & TRACED != 0
    }

    pub(crate) fn is_released(self) -> bool {
        self.0 & RELEASED != 0
    }

    pub(crate) fn is_handed_over(self) -> bool {
        self.0 & HANDED_OVER != 0
    }

    /// Whether somebody may hear of the lease's end.
    #[inline]
    pub(crate) fn is_watched(self) -> bool {
        self.0 & (EXPLICIT | RECORDED) != 0
    }
}

impl Slot {
    pub(super) fn new(index: u32) -> Self {
        Self {
            generation: AtomicU64::new(0),
            start: AtomicPtr::default(),
            bytes: AtomicUsize::new(0),
            core: AtomicPtr::default(),
            len: AtomicUsize::new(0),
            index,
            terms: AtomicU32::new(0),
            shares: AtomicU32::new(0),
            shift: AtomicU16::new(0),
            class: AtomicU8::new(0),
        }
    }

    /// Describes the slot's new block, in the hands of whoever made it.
    pub(crate) fn describe(&self, core: &Core, class: SizeClass, extent: Extent) {
        self.core.store(std::ptr::from_ref(core).cast_mut(), Ordering::Relaxed);
        self.start.store(extent.start.as_ptr(), Ordering::Relaxed);
        self.bytes.store(extent.bytes, Ordering::Relaxed);
        self.shift.store(extent.shift, Ordering::Relaxed);
        self.class.store(class.index() as u8, Ordering::Relaxed);
    }

    /// The memory of the slot's block; `None` for a slot that never had one.
    pub(crate) fn extent(&self) -> Option<Extent> {
        let start = NonNull::new(self.start.load(Ordering::Relaxed))?;
        Some(Extent { start, bytes: self.bytes(), shift: self.shift.load(Ordering::Relaxed) })
    }

    /// Its place in the table.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Of the lease that was opened last: odd while it is live.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn is_open(&self) -> bool {
        self.generation() % 2 == 1
    }

    /// The core of the slot's block, or null.
    #[inline]
    pub(crate) fn core(&self) -> *mut Core {
        self.core.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn class(&self) -> SizeClass {
        SizeClass::at(self.class.load(Ordering::Relaxed))
    }

    /// Starts a lease. The caller holds the slot's block, which is not leased.
    #[inline]
    pub(crate) fn open(&self, len: usize, owner: Owner, kind: LeaseKind) {
        debug_assert!(!self.is_open());
        self.len.store(len, Ordering::Relaxed);
        let explicit = if kind == LeaseKind::Explicit { EXPLICIT } else { 0 };
        self.terms.store(owner.index() as u32 | explicit, Ordering::Relaxed);
        self.advance();
    }

    /// Ends a lease. The caller still holds the slot's block.
    #[inline]
    pub(crate) fn close(&self) {
        debug_assert!(self.is_open());
        self.advance();
    }

    #[inline]
    fn advance(&self) {
        let generation = (self.generation.load(Ordering::Relaxed) + 1) & GENERATION_MASK;
        self.generation.store(generation, Ordering::Release);
    }

    /// Bytes of the lease.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn set_len(&self, len: usize) {
        self.len.store(len, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn terms(&self) -> Terms {
        Terms(self.terms.load(Ordering::Relaxed))
    }

    pub(crate) fn set_recorded(&self, traced: bool) {
        let traced = if traced { TRACED } else { 0 };
        self.terms.store(self.terms().0 | RECORDED | traced, Ordering::Relaxed);
    }

    pub(crate) fn set_released(&self) {
        self.terms.store(self.terms().0 | RELEASED, Ordering::Relaxed);
    }

    pub(crate) fn set_handed_over(&self) {
        self.terms.store(self.terms().0 | HANDED_OVER, Ordering::Relaxed);
    }

    /// The lease that is live now, for anybody to read. What it says beside the id may be a later lease's if this one ends
    /// meanwhile: it holds if the id is live afterwards.
    pub(super) fn peek(&self) -> Option<LiveLease> {
        let generation = self.generation();
        if generation.is_multiple_of(2) {
            return None;
        }
        let terms = self.terms();
        Some(LiveLease {
            lease: Lease {
                id: LeaseId::new(self.index, generation),
                class: self.class(),
                bytes: self.len(),
                block_bytes: self.bytes(),
                owner: terms.owner(),
                kind: terms.kind(),
            },
            handed_over: terms.is_handed_over(),
        })
    }

    /// The lease has one handle that is shared. The caller holds the slot's block.
    pub(super) fn share(&self) {
        self.shares.store(1, Ordering::Relaxed);
    }

    /// And another one. So many that the count is in danger are one for ever: they can only be such as were forgotten.
    pub(super) fn share_again(&self) {
        if self.shares.fetch_add(1, Ordering::Relaxed) >= SHARES_MAX {
            self.shares.store(SHARES_MAX, Ordering::Relaxed);
        }
    }

    /// One less; whether it was the last, which then holds the slot's block.
    pub(super) fn unshare(&self) -> bool {
        match self.shares.fetch_sub(1, Ordering::Release) {
            1 => {
                fence(Ordering::Acquire);
                true
            }
            many if many >= SHARES_MAX => {
                self.shares.store(SHARES_MAX, Ordering::Relaxed);
                false
            }
            _ => false,
        }
    }

    /// Whether the caller's handle is the only one.
    pub(super) fn is_shared_once(&self) -> bool {
        self.shares.load(Ordering::Acquire) == 1
    }

    /// The id of the lease that the caller holds.
    #[inline]
    pub(crate) fn lease_id(&self) -> LeaseId {
        LeaseId::new(self.index, self.generation.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_a_cache_line_and_a_buffer_a_word() {
        assert_eq!((size_of::<Slot>(), align_of::<Slot>()), (64, 64));
        assert_eq!(size_of::<super::super::Buffer>(), size_of::<usize>());
    }
}
