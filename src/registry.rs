//! Who exists, by path. Written when children come and go; read by observers and by whoever looks an actor up.
//!
//! A supervisor adds a child before its first start and removes it once it is sealed; the number that a child has here is
//! its id there. Looking takes this list's own lock and no mailbox's.

#[cfg(feature = "testkit")]
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::RwLock;

use crate::cell::{Cell, Core};
#[cfg(feature = "testkit")]
use crate::observe::Info;
use crate::roll::{Roll, is_roomy};
use crate::{Actor, Address};

/// The hash of a path, the same in every table of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathHash(pub(crate) u64);

impl PathHash {
    pub(crate) fn of(path: &str) -> Self {
        static KEYS: OnceLock<RandomState> = OnceLock::new();
        Self(KEYS.get_or_init(RandomState::new).hash_one(path))
    }

    /// Bits that a table does not go by itself.
    fn tag(self) -> u64 {
        (self.0 >> 32) & ((1 << TAG_BITS) - 1)
    }
}

/// A child with the hash of its path.
pub(crate) type Listed = (Arc<dyn Cell>, PathHash);

/// Children that are added in one go: whoever looks somebody up waits for no more than these.
const AT_ONCE: usize = 1024;

#[derive(Default)]
pub(crate) struct Registry {
    cells: RwLock<Cells>,
    restarts: AtomicU64,
    /// Dead letters of those that are gone.
    buried: AtomicU64,
    /// The same by path, which only a test asks for.
    #[cfg(feature = "testkit")]
    graves: Option<parking_lot::Mutex<BTreeMap<String, u64>>>,
}

#[derive(Default)]
struct Cells {
    /// By the number of their spawning.
    in_order: Roll<Arc<dyn Cell>>,
    /// By the hash of the path, which stands in the actor alone.
    by_path: HashTable<Slot>,
    next: u64,
}

/// The number of whoever has a path, and as much of the path's hash as there is room for: one that has another path is
/// seldom looked at, which would take its memory from another thread.
#[derive(Clone, Copy)]
struct Slot(u64);

/// What is left for numbers lasts for 140 years at a million a second.
const TAG_BITS: u32 = 12;

impl Slot {
    fn new(number: u64, hash: PathHash) -> Self {
        debug_assert!(number < 1 << (u64::BITS - TAG_BITS), "numbers have room");
        Self(number << TAG_BITS | hash.tag())
    }

    fn number(self) -> u64 {
        self.0 >> TAG_BITS
    }

    /// Whether it may be that of a path with this hash.
    fn may_be(self, hash: PathHash) -> bool {
        self.0 & ((1 << TAG_BITS) - 1) == hash.tag()
    }
}

/// The hash by which a place was found.
fn rehash(in_order: &Roll<Arc<dyn Cell>>) -> impl Fn(&Slot) -> u64 {
    |place| PathHash::of(path_of(in_order, place.number())).0
}

fn path_of(in_order: &Roll<Arc<dyn Cell>>, number: u64) -> &str {
    in_order.get(number).map_or("", |cell| cell.info().path())
}

impl Cells {
    fn number(&self, path: &str) -> Option<u64> {
        let hash = PathHash::of(path);
        let is_it = |place: &Slot| place.may_be(hash) && path_of(&self.in_order, place.number()) == path;
        Some(self.by_path.find(hash.0, is_it)?.number())
    }

    /// Adds a child, unless a sibling has its path: then it is given back. Anybody else who has it is about to be removed,
    /// with a supervisor that is gone, and is not found any more.
    fn add(&mut self, (cell, hash): Listed, is_sibling: impl Fn(u64) -> bool) -> Result<(), Arc<dyn Cell>> {
        let Self { in_order, by_path, next } = self;
        let is_it = |place: &Slot| place.may_be(hash) && path_of(in_order, place.number()) == cell.info().path();
        match by_path.entry(hash.0, is_it, rehash(in_order)) {
            Entry::Occupied(earlier) if is_sibling(earlier.get().number()) => return Err(cell),
            Entry::Occupied(mut earlier) => *earlier.get_mut() = Slot::new(*next, hash),
            Entry::Vacant(free) => drop(free.insert(Slot::new(*next, hash))),
        }
        in_order.push(*next, cell);
        *next += 1;
        Ok(())
    }

    fn remove(&mut self, number: u64) -> Option<Arc<dyn Cell>> {
        let Self { in_order, by_path, .. } = self;
        let PathHash(hash) = PathHash::of(path_of(in_order, number));
        if let Ok(found) = by_path.find_entry(hash, |place| place.number() == number) {
            found.remove();
        }
        let removed = in_order.remove(number);
        if is_roomy(by_path.len(), by_path.capacity()) {
            by_path.shrink_to(by_path.len() * 2, rehash(in_order));
        }
        removed
    }
}

impl Registry {
    /// So many are about to be added.
    pub(crate) fn reserve(&self, more: usize) {
        let mut cells = self.cells.write();
        let Cells { in_order, by_path, .. } = &mut *cells;
        in_order.reserve(more);
        by_path.reserve(more, rehash(in_order));
    }

    /// Adds the next of the children of one supervisor, which take successive numbers, up to the first whose path one of
    /// them has or a child that `is_sibling`: that one is returned.
    pub(crate) fn add(
        &self,
        children: &mut std::vec::IntoIter<Listed>,
        is_sibling: impl Fn(u64) -> bool,
    ) -> (Range<u64>, Option<Arc<dyn Cell>>) {
        let mut cells = self.cells.write();
        let first = cells.next;
        // The places of all of them are asked for before the first is needed.
        for (_, PathHash(hash)) in children.as_slice().iter().take(AT_ONCE) {
            black_box(cells.by_path.find(*hash, |_| false));
        }
        for child in children.take(AT_ONCE) {
            if let Err(taken) = cells.add(child, |number| number >= first || is_sibling(number)) {
                return (first..cells.next, Some(taken));
            }
        }
        (first..cells.next, None)
    }

    /// Takes away a child that has been sealed.
    pub(crate) fn remove(&self, number: u64) {
        let mut cells = self.cells.write();
        if let Some(cell) = cells.in_order.get(number) {
            self.buried.fetch_add(cell.info().dead_letters(), Ordering::Relaxed);
            #[cfg(feature = "testkit")]
            self.bury(cell.info());
        }
        let removed = cells.remove(number);
        drop(cells);
        drop(removed);
    }

    /// Adds one that snapshots show and nobody finds: the supervisor of an actor's children has that actor's path.
    pub(crate) fn show(&self, cell: Arc<dyn Cell>) -> u64 {
        let mut cells = self.cells.write();
        let number = cells.next;
        cells.next += 1;
        cells.in_order.push(number, cell);
        number
    }

    /// Takes away what [`Registry::show`] has added under this number.
    pub(crate) fn hide(&self, number: u64) {
        let hidden = self.cells.write().in_order.remove(number);
        drop(hidden);
    }

    /// One that remembers whose dead letters there were.
    #[cfg(feature = "testkit")]
    pub(crate) fn with_graves() -> Self {
        Self { graves: Some(parking_lot::Mutex::default()), ..Self::default() }
    }

    #[cfg(feature = "testkit")]
    fn bury(&self, info: &Info) {
        if let Some(graves) = self.graves.as_ref().filter(|_| info.dead_letters() > 0) {
            *graves.lock().entry(info.path().to_owned()).or_default() += info.dead_letters();
        }
    }

    /// Dead letters by path, of those that are gone and of those that are there.
    #[cfg(feature = "testkit")]
    pub(crate) fn dead_letters(&self) -> BTreeMap<String, u64> {
        let mut letters = self.graves.as_ref().map(|graves| graves.lock().clone()).unwrap_or_default();
        for cell in self.cells() {
            let count = cell.info().dead_letters();
            if count > 0 {
                *letters.entry(cell.info().path().to_owned()).or_default() += count;
            }
        }
        letters
    }

    /// The actor at `path`, if it is an `A` and may still take messages.
    pub(crate) fn find<A: Actor>(&self, path: &str) -> Option<Address<A>> {
        let cell = {
            let cells = self.cells.read();
            cells.in_order.get(cells.number(path)?)?.clone()
        };
        let core: Arc<Core<A>> = cell.core()?.downcast().ok()?;
        Some(Address { core }).filter(Address::is_alive)
    }

    /// The number of whoever is at `path`.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.cells.read().number(path)
    }

    pub(crate) fn cell(&self, number: u64) -> Option<Arc<dyn Cell>> {
        self.cells.read().in_order.get(number).cloned()
    }

    /// Whoever is at `path`.
    pub(crate) fn at(&self, path: &str) -> Option<Arc<dyn Cell>> {
        let cells = self.cells.read();
        cells.in_order.get(cells.number(path)?).cloned()
    }

    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// In the order of their spawning.
    pub(crate) fn cells(&self) -> Vec<Arc<dyn Cell>> {
        self.cells.read().in_order.iter().map(|(_, cell)| cell.clone()).collect()
    }

    pub(crate) fn buried(&self) -> u64 {
        self.buried.load(Ordering::Relaxed)
    }
}
