//! The lease table: a slot a block, and in it the generation of the block's lease.
//!
//! A block keeps its slot while it is leased, returned and leased again; each step adds 1 to the slot's generation, so
//! that an odd generation is a live lease and an even one is none. A [`LeaseId`] is the slot's index and the generation
//! of one lease: it is live exactly while the table still shows that generation. Generations are never reset, not even
//! when a block goes back to the system and another takes over its slot, so an old id never comes to life again
//! (a slot would have to be leased 2^37 times in between).
//!
//! A slot is also its block's header: where the block's memory is and what its lease is for stand beside the generation,
//! in one cache line. Slots never move, so that a block, and a buffer, is a pointer to its slot, and whoever hands it on
//! copies one word.
//!
//! Who may write: only the holder of a slot's block opens and closes its lease and changes its header, so that needs no
//! read-modify-write. Anybody may read the generation.

use super::class::SizeClass;
use super::core::Core;
use super::lease::LeaseKind;
use super::owner::Owner;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Low bits of an id: the slot. 2^26 blocks of the smallest class are 4 GiB.
const INDEX_BITS: u32 = 26;
const GENERATION_MASK: u64 = (1 << (64 - INDEX_BITS)) - 1;
/// Slots of the first chunk; each further chunk doubles the table.
const FIRST_CHUNK: usize = 1 << 10;
const CHUNKS: usize = INDEX_BITS as usize - 10 + 1;

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
    shift: AtomicU16,
    class: AtomicU8,
}

/// Of `terms`: the lease must be ended on purpose.
const EXPLICIT: u32 = 1 << 16;
/// The leak tracker heard of the lease's beginning.
const RECORDED: u32 = 1 << 17;
/// The lease's holder ends it on purpose.
const RELEASED: u32 = 1 << 18;

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

    pub(crate) fn is_released(self) -> bool {
        self.0 & RELEASED != 0
    }

    /// Whether somebody may hear of the lease's end.
    #[inline]
    pub(crate) fn is_watched(self) -> bool {
        self.0 & (EXPLICIT | RECORDED) != 0
    }
}

/// Memory as a slot remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: NonNull<u8>,
    pub(crate) bytes: usize,
    /// Distance from the allocation's start to the block's.
    pub(crate) shift: u16,
}

impl Slot {
    fn new(index: u32) -> Self {
        Self {
            generation: AtomicU64::new(0),
            start: AtomicPtr::default(),
            bytes: AtomicUsize::new(0),
            core: AtomicPtr::default(),
            len: AtomicUsize::new(0),
            index,
            terms: AtomicU32::new(0),
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
        debug_assert_eq!(self.generation.load(Ordering::Relaxed) % 2, 0);
        self.len.store(len, Ordering::Relaxed);
        let explicit = if kind == LeaseKind::Explicit { EXPLICIT } else { 0 };
        self.terms.store(owner.index() as u32 | explicit, Ordering::Relaxed);
        self.advance();
    }

    /// Ends a lease. The caller still holds the slot's block.
    #[inline]
    pub(crate) fn close(&self) {
        debug_assert_eq!(self.generation.load(Ordering::Relaxed) % 2, 1);
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

    pub(crate) fn set_recorded(&self) {
        self.terms.store(self.terms().0 | RECORDED, Ordering::Relaxed);
    }

    pub(crate) fn set_released(&self) {
        self.terms.store(self.terms().0 | RELEASED, Ordering::Relaxed);
    }

    /// The id of the lease that the caller holds.
    #[inline]
    pub(crate) fn lease_id(&self) -> LeaseId {
        LeaseId::new(self.index, self.generation.load(Ordering::Relaxed))
    }
}

/// One lease of one block, for ever: no later lease has the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct LeaseId(u64);

impl LeaseId {
    /// The id as a number, never 0.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The id whose number this is. Any number is safe: one that never was a lease is never live.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    fn new(slot: u32, generation: u64) -> Self {
        Self(generation << INDEX_BITS | u64::from(slot))
    }

    fn slot(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }

    fn generation(self) -> u64 {
        self.0 >> INDEX_BITS
    }
}

impl std::fmt::Display for LeaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// All slots. Grows by chunks that never move, and never shrinks.
#[derive(Debug)]
pub(crate) struct SlotTable {
    chunks: [OnceLock<Box<[Slot]>>; CHUNKS],
    unused: CachePadded<Mutex<Unused>>,
}

/// Slots without a block. `retired` always has room for every slot ever made, so that retiring one never allocates.
#[derive(Debug, Default)]
struct Unused {
    next: usize,
    retired: Vec<u32>,
}

impl SlotTable {
    pub(crate) fn new() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS], unused: CachePadded::default() }
    }

    /// A slot for a new block; `None` when the table is full or the system has no memory for it.
    pub(crate) fn claim(&self) -> Option<&Slot> {
        let mut unused = self.unused.lock();
        if let Some(index) = unused.retired.pop() {
            return self.slot(index as usize);
        }
        let index = unused.next;
        let (chunk, offset) = locate(index);
        let cell = self.chunks.get(chunk)?;
        if offset == 0 {
            let len = chunk_len(chunk);
            // The table's size after this chunk is at most twice the chunk's.
            unused.retired.try_reserve_exact(2 * len).ok()?;
            let mut slots = Vec::new();
            slots.try_reserve_exact(len).ok()?;
            slots.extend((index..index + len).map(|index| Slot::new(index as u32)));
            cell.set(slots.into_boxed_slice()).ok()?;
        }
        unused.next += 1;
        self.slot(index)
    }

    /// Takes back the slot of a block that is being freed. Its lease is closed.
    pub(crate) fn retire(&self, slot: &Slot) {
        debug_assert_eq!(slot.generation.load(Ordering::Relaxed) % 2, 0);
        self.unused.lock().retired.push(slot.index);
    }

    /// Whether this very lease has not ended.
    pub(crate) fn is_live(&self, id: LeaseId) -> bool {
        id.generation() % 2 == 1
            && self.slot(id.slot()).is_some_and(|slot| slot.generation.load(Ordering::Acquire) == id.generation())
    }

    fn slot(&self, index: usize) -> Option<&Slot> {
        let (chunk, offset) = locate(index);
        self.chunks.get(chunk)?.get()?.get(offset)
    }
}

/// Chunk and place in it. Chunk 0 holds [0, 1024), chunk k the 2^(9+k) slots from 2^(9+k) on.
fn locate(index: usize) -> (usize, usize) {
    let chunk = (index / FIRST_CHUNK).checked_ilog2().map_or(0, |log| log as usize + 1);
    (chunk, if chunk == 0 { index } else { index - chunk_len(chunk) })
}

fn chunk_len(chunk: usize) -> usize {
    FIRST_CHUNK << chunk.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(slot: &Slot) -> LeaseId {
        slot.open(1, Owner::OTHER, LeaseKind::Plain);
        slot.lease_id()
    }

    #[test]
    fn a_slot_is_a_cache_line() {
        assert_eq!(size_of::<Slot>(), 64);
    }

    #[test]
    fn every_slot_of_the_table_is_distinct_and_reachable() {
        let table = SlotTable::new();
        let slots: Vec<&Slot> = (0..10_000).map(|_| table.claim().unwrap()).collect();
        let ids: Vec<LeaseId> = slots.iter().map(|slot| open(slot)).collect();
        assert!(ids.iter().all(|&id| table.is_live(id) && id.get() != 0));
        let distinct: std::collections::HashSet<LeaseId> = ids.iter().copied().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn an_old_id_stays_dead_when_its_slot_is_leased_again() {
        let table = SlotTable::new();
        let slot = table.claim().unwrap();
        let first = open(slot);
        slot.close();
        assert!(!table.is_live(first));
        table.retire(slot);
        assert!(std::ptr::eq(table.claim().unwrap(), slot));
        let second = open(slot);
        assert_ne!(first, second);
        assert!(table.is_live(second) && !table.is_live(first));
    }

    #[test]
    fn numbers_that_never_were_leases_are_not_live() {
        let table = SlotTable::new();
        table.claim().unwrap();
        for raw in [0, 1, 1 << INDEX_BITS, (1 << INDEX_BITS) + 70_000, u64::MAX, u64::MAX - 1] {
            assert!(!table.is_live(LeaseId::from_raw(raw)), "{raw}");
        }
    }

    #[test]
    fn chunks_tile_the_table() {
        let mut expected = 0;
        for chunk in 0..CHUNKS {
            assert_eq!(locate(expected), (chunk, 0));
            assert_eq!(locate(expected + chunk_len(chunk) - 1), (chunk, chunk_len(chunk) - 1));
            expected += chunk_len(chunk);
        }
        assert_eq!(expected, 1 << INDEX_BITS);
    }
}
