//! Who exists, by path. Written when children come and go; read by observers and by whoever looks an actor up.
//!
//! A supervisor adds a child before its first start and removes it once it is sealed. Looking takes this list's own lock
//! and no mailbox's.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::cell::{Cell, Core};
use crate::observe::Info;
use crate::{Actor, Address};

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
    in_order: BTreeMap<u64, Arc<dyn Cell>>,
    by_path: HashMap<Path, u64>,
    next: u64,
}

/// The path, where the actor keeps it anyway.
struct Path(Arc<Info>);

impl Borrow<str> for Path {
    fn borrow(&self) -> &str {
        self.0.path()
    }
}

/// As `str` does, which `Borrow` asks for.
impl Hash for Path {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.path().hash(state);
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.0.path() == other.0.path()
    }
}

impl Eq for Path {}

impl Registry {
    /// Siblings' names are unique, so a path that is there already belongs to one that is about to be removed.
    pub(crate) fn add(&self, cell: Arc<dyn Cell>) {
        let mut cells = self.cells.write();
        let number = cells.next;
        cells.next += 1;
        let path = Path(cell.info().clone());
        // The key as well: it must not keep the one that goes.
        cells.by_path.remove(path.0.path());
        cells.by_path.insert(path, number);
        cells.in_order.insert(number, cell);
    }

    pub(crate) fn remove(&self, cell: &Arc<dyn Cell>) {
        self.buried.fetch_add(cell.info().dead_letters(), Ordering::Relaxed);
        #[cfg(feature = "testkit")]
        self.bury(cell.info());
        let mut cells = self.cells.write();
        let path = cell.info().path();
        let number = cells.by_path.get(path).copied();
        let is_it = |number: &u64| cells.in_order.get(number).is_some_and(|found| Arc::ptr_eq(found, cell));
        if let Some(number) = number.filter(is_it) {
            cells.by_path.remove(path);
            cells.in_order.remove(&number);
        } else {
            cells.in_order.retain(|_, other| !Arc::ptr_eq(other, cell));
        }
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
            cells.in_order.get(cells.by_path.get(path)?)?.clone()
        };
        let core: Arc<Core<A>> = cell.core()?.downcast().ok()?;
        Some(Address { core }).filter(Address::is_alive)
    }

    pub(crate) fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// In the order of their spawning.
    pub(crate) fn cells(&self) -> Vec<Arc<dyn Cell>> {
        self.cells.read().in_order.values().cloned().collect()
    }

    pub(crate) fn buried(&self) -> u64 {
        self.buried.load(Ordering::Relaxed)
    }
}
