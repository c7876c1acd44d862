//! Slots, and how a value lies in one.

use std::mem::MaybeUninit;
use std::ptr;

use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, UnsafeCell};

/// Slots between the one that is taken and the one whose cache lines are asked for.
pub(super) const AHEAD: u64 = 16;

#[inline(always)]
fn prefetch(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// How a value lies in a slot.
pub(crate) trait Stow: Sized {
    /// The part that every value has.
    type Narrow;
    /// The part that only some have.
    type Wide;

    /// # Safety
    /// Both must be valid for writes; `narrow` is written whole, `wide` as far as the value needs it.
    unsafe fn stow(self, narrow: *mut Self::Narrow, wide: *mut Self::Wide);

    /// # Safety
    /// Both must be as `stow` has left them, and of one value only one may be made.
    unsafe fn unstow(narrow: *const Self::Narrow, wide: *const Self::Wide) -> Self;
}

/// What becomes a `T` when it is written into a slot: a value that need not be packed up before its place is known.
pub(crate) trait Put<T: Stow>: Sized {
    /// # Safety
    /// As [`Stow::stow`].
    unsafe fn put(self, narrow: *mut T::Narrow, wide: *mut T::Wide);
}

impl<T: Stow> Put<T> for T {
    #[inline]
    unsafe fn put(self, narrow: *mut T::Narrow, wide: *mut T::Wide) {
        // SAFETY: the caller's promise.
        unsafe { self.stow(narrow, wide) };
    }
}

pub(super) type Part<T> = UnsafeCell<MaybeUninit<T>>;

pub(super) struct Slot<'a, T: Stow> {
    pub(super) stamp: &'a AtomicU32,
    pub(super) narrow: &'a Part<T::Narrow>,
    pub(super) wide: &'a Part<T::Wide>,
}

/// What a slot's stamp is once the value of `position` is there. One lap of a segment is shorter than 2³² positions, and
/// every lap stamps every slot, so the low half tells one from another.
#[inline(always)]
pub(super) fn stamp_of(position: u64) -> u32 {
    (position as u32).wrapping_add(1)
}

pub(super) struct Segment<T: Stow> {
    /// 1 is the first; 0 in the tail word means none yet.
    pub(super) number: u64,
    /// The position of its first message. Written before its number is in the tail word.
    pub(super) base: AtomicU64,
    stamps: Box<[AtomicU32]>,
    narrow: Box<[Part<T::Narrow>]>,
    wide: Box<[Part<T::Wide>]>,
    pub(super) previous: *mut Segment<T>,
    pub(super) next: AtomicPtr<Segment<T>>,
}

impl<T: Stow> Segment<T> {
    pub(super) fn new(number: u64, base: u64, size: u64, previous: *mut Self) -> Self {
        // As far from any stamp of the first lap as can be.
        let never = stamp_of(base).wrapping_sub(1 << 31);
        Self {
            number,
            base: AtomicU64::new(base),
            stamps: (0..size).map(|_| AtomicU32::new(never)).collect(),
            narrow: (0..size).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
            wide: (0..size).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
            previous,
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.stamps.len() as u64
    }

    /// Asks for the cache lines of slots that follow soon, which another core has written: the processor does not foresee it.
    #[inline]
    pub(super) fn prefetch(&self, position: u64) {
        if position & 3 == 0 {
            let at = ((position + AHEAD) & (self.size() - 1)) as usize;
            prefetch(self.narrow.as_ptr().wrapping_add(at).cast());
            if position & 15 == 0 {
                prefetch(self.stamps.as_ptr().wrapping_add(at).cast());
            }
        }
    }

    #[inline]
    pub(super) fn slot(&self, position: u64) -> Slot<'_, T> {
        let at = (position & (self.size() - 1)) as usize;
        debug_assert!(at < self.stamps.len() && at < self.narrow.len() && at < self.wide.len());
        // SAFETY: the number of slots is a power of two, so the mask keeps the index below it.
        unsafe {
            Slot {
                stamp: self.stamps.get_unchecked(at),
                narrow: self.narrow.get_unchecked(at),
                wide: self.wide.get_unchecked(at),
            }
        }
    }
}
