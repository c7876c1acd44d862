//! The lease table: a slot a block, and in it the generation of the block's lease.
//!
//! A block keeps its slot while it is leased, returned and leased again; each step adds 1 to the slot's generation, so
//! that an odd generation is a live lease and an even one is none. A [`LeaseId`] is the slot's index and the generation
//! of one lease: it is live exactly while the table still shows that generation. Generations are never reset, not even
//! when a block goes back to the system and another takes over its slot, so an old id never comes to life again
//! (a slot would have to be leased 2^37 times in between).
//!
//! Who may write: only the holder of a slot's block opens and closes its lease, so that needs no read-modify-write.
//! Anybody may read.

use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Low bits of an id: the slot. 2^26 blocks of the smallest class are 4 GiB.
const INDEX_BITS: u32 = 26;
const GENERATION_MASK: u64 = (1 << (64 - INDEX_BITS)) - 1;
/// Slots of the first chunk; each further chunk doubles the table.
const FIRST_CHUNK: usize = 1 << 10;
const CHUNKS: usize = INDEX_BITS as usize - 10 + 1;

/// Where a block stands in the lease table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotIndex(u32);

impl SlotIndex {
    #[cfg(test)]
    pub(crate) const FIRST: Self = Self(0);
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

    fn new(slot: SlotIndex, generation: u64) -> Self {
        Self(generation << INDEX_BITS | u64::from(slot.0))
    }

    fn slot(self) -> SlotIndex {
        SlotIndex((self.0 & ((1 << INDEX_BITS) - 1)) as u32)
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
    chunks: [OnceLock<Box<[AtomicU64]>>; CHUNKS],
    unused: Mutex<Unused>,
}

/// Slots without a block. `retired` always has room for every slot ever made, so that retiring one never allocates.
#[derive(Debug, Default)]
struct Unused {
    next: usize,
    retired: Vec<u32>,
}

impl SlotTable {
    pub(crate) fn new() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS], unused: Mutex::default() }
    }

    /// A slot for a new block; `None` when the table is full or the system has no memory for it.
    pub(crate) fn claim(&self) -> Option<SlotIndex> {
        let mut unused = self.unused.lock();
        if let Some(index) = unused.retired.pop() {
            return Some(SlotIndex(index));
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
            slots.resize_with(len, || AtomicU64::new(0));
            cell.set(slots.into_boxed_slice()).ok()?;
        }
        unused.next += 1;
        Some(SlotIndex(index as u32))
    }

    /// Takes back the slot of a block that is being freed. Its lease is closed.
    pub(crate) fn retire(&self, slot: SlotIndex) {
        debug_assert!(self.generation(slot).is_some_and(|generation| generation % 2 == 0));
        self.unused.lock().retired.push(slot.0);
    }

    /// Starts a lease. The caller holds the slot's block, which is not leased.
    pub(crate) fn open(&self, slot: SlotIndex) -> LeaseId {
        LeaseId::new(slot, self.advance(slot))
    }

    /// Ends a lease. The caller still holds the slot's block.
    pub(crate) fn close(&self, id: LeaseId) {
        debug_assert!(self.is_live(id));
        self.advance(id.slot());
    }

    /// Whether this very lease has not ended.
    pub(crate) fn is_live(&self, id: LeaseId) -> bool {
        id.generation() % 2 == 1 && self.generation(id.slot()) == Some(id.generation())
    }

    fn advance(&self, slot: SlotIndex) -> u64 {
        let Some(cell) = self.cell(slot) else {
            return 0;
        };
        let generation = (cell.load(Ordering::Relaxed) + 1) & GENERATION_MASK;
        cell.store(generation, Ordering::Release);
        generation
    }

    fn generation(&self, slot: SlotIndex) -> Option<u64> {
        self.cell(slot).map(|cell| cell.load(Ordering::Acquire))
    }

    fn cell(&self, slot: SlotIndex) -> Option<&AtomicU64> {
        let (chunk, offset) = locate(slot.0 as usize);
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

    #[test]
    fn every_slot_of_the_table_is_distinct_and_reachable() {
        let table = SlotTable::new();
        let slots: Vec<SlotIndex> = (0..10_000).map(|_| table.claim().unwrap()).collect();
        let ids: Vec<LeaseId> = slots.iter().map(|&slot| table.open(slot)).collect();
        assert!(ids.iter().all(|&id| table.is_live(id) && id.get() != 0));
        let distinct: std::collections::HashSet<LeaseId> = ids.iter().copied().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn an_old_id_stays_dead_when_its_slot_is_leased_again() {
        let table = SlotTable::new();
        let slot = table.claim().unwrap();
        let first = table.open(slot);
        table.close(first);
        assert!(!table.is_live(first));
        table.retire(slot);
        assert_eq!(table.claim(), Some(slot));
        let second = table.open(slot);
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
