//! The lease table: a slot a block, and in it the generation of the block's lease.
//!
//! A block keeps its slot while it is leased, returned and leased again; each step adds 1 to the slot's generation, so
//! that an odd generation is a live lease and an even one is none. A [`LeaseId`] is the slot's index and the generation
//! of one lease: it is live exactly while the table still shows that generation. Generations are never reset, not even
//! when a block goes back to the system and another takes over its slot, so an old id never comes to life again
//! (a slot would have to be leased 2^37 times in between).
//!
//! Who may write: only the holder of a slot's block opens and closes its lease and changes its header, so that needs no
//! read-modify-write. Anybody may read the generation.

use super::slot::Slot;
use super::sync::{Mutex, MutexGuard, lock};
use crate::leak::Lease;
use crossbeam_utils::CachePadded;
use std::sync::OnceLock;

/// Low bits of an id: the slot. 2^26 blocks of the smallest class are 4 GiB.
const INDEX_BITS: u32 = 26;
pub(super) const GENERATION_MASK: u64 = (1 << (64 - INDEX_BITS)) - 1;
/// Slots of the first chunk; each further chunk doubles the table.
const FIRST_CHUNK: usize = 1 << 10;
const CHUNKS: usize = INDEX_BITS as usize - 10 + 1;

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

    pub(super) fn new(slot: u32, generation: u64) -> Self {
        Self(generation << INDEX_BITS | u64::from(slot))
    }

    /// The slot's place in the table.
    pub(crate) fn slot(self) -> usize {
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

/// A lease that has not ended, as the table shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiveLease {
    pub(crate) lease: Lease,
    /// Who it is counted for has given it to somebody else.
    pub(crate) handed_over: bool,
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
        Self { chunks: [const { OnceLock::new() }; CHUNKS], unused: CachePadded::new(Mutex::new(Unused::default())) }
    }

    /// A slot for a new block; `None` when the table is full or the system has no memory for it.
    pub(crate) fn claim(&self) -> Option<&Slot> {
        let mut unused = lock(&self.unused);
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
        debug_assert!(!slot.is_open());
        lock(&self.unused).retired.push(slot.index());
    }

    /// Keeps every slot as it is: for a fork.
    pub(super) fn hold(&self) -> MutexGuard<'_, impl Sized> {
        lock(&self.unused)
    }

    /// Whether this very lease has not ended.
    pub(crate) fn is_live(&self, id: LeaseId) -> bool {
        id.generation() % 2 == 1 && self.slot(id.slot()).is_some_and(|slot| slot.generation() == id.generation())
    }

    /// The leases that have not ended and that `wanted` picks. Each was live during the call, and every lease is there
    /// that was live all the while.
    pub(crate) fn live(&self, mut wanted: impl FnMut(&LiveLease) -> bool) -> Vec<LiveLease> {
        let slots = self.chunks.iter().map_while(|chunk| chunk.get()).flatten();
        let mut live: Vec<_> = slots.filter_map(Slot::peek).filter(|lease| wanted(lease)).collect();
        // Holders write without fences. When this is over, whoever wrote what was read of a later lease has also published
        // that the earlier one had ended.
        ironcliw::fence::heavy();
        live.retain(|live| self.is_live(live.lease.id));
        live
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
    use super::super::lease::LeaseKind;
    use super::super::owner::Owner;
    use super::*;

    fn open(slot: &Slot) -> LeaseId {
        slot.open(1, Owner::OTHER, LeaseKind::Plain);
        slot.lease_id()
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
