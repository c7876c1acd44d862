//! What a supervisor's task keeps of its children beside what `step` decides on: their cells, their names, their timers.
//!
//! There may be a hundred thousand, nearly all of them idle: what only a few need at a time is boxed, and a path stands in
//! the child's cell alone.

use std::num::NonZeroU32;
use std::sync::Arc;

use hashbrown::HashTable;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::command::Epoch;
use super::step::{ChildId, StopKind};
use crate::cell::Cell;
use crate::registry::PathHash;
use crate::roll::{Roll, is_roomy};

/// Children that were spawned together and of which one has not started yet.
pub(super) type BatchId = NonZeroU32;

pub(super) struct Entry {
    pub(super) cell: Arc<dyn Cell>,
    pub(super) epoch: Epoch,
    /// Until its first start has succeeded or failed.
    pub(super) batch: Option<BatchId>,
    /// It has been told to start at least once.
    pub(super) started: bool,
    /// It has been told to start more than once.
    pub(super) restarted: bool,
    /// How this incarnation was told to end, if it was.
    pub(super) told: Option<StopKind>,
    /// It waits to be started again, and observers know.
    pub(super) waits: bool,
    rare: Option<Box<Rare>>,
}

#[derive(Default)]
pub(super) struct Rare {
    /// What the last start said, for the spawner.
    pub(super) last_failure: Option<String>,
    /// Those who wait for the child to be gone.
    pub(super) removers: Vec<oneshot::Sender<()>>,
    /// Waits that concern this incarnation alone.
    pub(super) timers: Vec<AbortHandle>,
}

impl Entry {
    fn new(cell: Arc<dyn Cell>, batch: BatchId) -> Self {
        Self {
            cell,
            epoch: Epoch::default(),
            batch: Some(batch),
            started: false,
            restarted: false,
            told: None,
            waits: false,
            rare: None,
        }
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn into_rare(self) -> Rare {
        self.rare.map(|rare| *rare).unwrap_or_default()
    }

    pub(super) fn drop_timers(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.timers.drain(..).for_each(|timer| timer.abort());
            if rare.removers.is_empty() && rare.last_failure.is_none() {
                self.rare = None;
            }
        }
    }

    /// What comes late from the incarnation that was, its timers included, no longer counts.
    pub(super) fn end_incarnation(&mut self) {
        self.epoch = self.epoch.next();
        self.told = None;
        self.drop_timers();
    }
}

#[derive(Default)]
pub(super) struct Children {
    entries: Roll<Entry>,
    /// By the hash of their paths.
    names: HashTable<ChildId>,
    next: ChildId,
}

impl Children {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn reserve(&mut self, more: usize) {
        let Self { entries, names, .. } = self;
        entries.reserve(more);
        names.reserve(more, |&id| PathHash::of(path_of(entries, id)).0);
    }

    /// The id of the next that is added.
    pub(super) fn next_id(&self) -> ChildId {
        self.next
    }

    /// Adds a child, unless its path is taken.
    pub(super) fn add(&mut self, cell: Arc<dyn Cell>, hash: PathHash, batch: BatchId) -> Option<ChildId> {
        let (Self { entries, names, next }, PathHash(hash)) = (self, hash);
        if names.find(hash, |&id| path_of(entries, id) == cell.info().path()).is_some() {
            return None;
        }
        let id = *next;
        *next += 1;
        entries.push(id, Entry::new(cell, batch));
        names.insert_unique(hash, id, |&id| PathHash::of(path_of(entries, id)).0);
        Some(id)
    }

    pub(super) fn remove(&mut self, id: ChildId) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        let PathHash(hash) = PathHash::of(entry.cell.info().path());
        if let Ok(found) = self.names.find_entry(hash, |&other| other == id) {
            found.remove();
        }
        let Self { entries, names, .. } = self;
        if is_roomy(names.len(), names.capacity()) {
            names.shrink_to(names.len() * 2, |&id| PathHash::of(path_of(entries, id)).0);
        }
        Some(entry)
    }

    pub(super) fn find(&self, path: &str) -> Option<ChildId> {
        self.names.find(PathHash::of(path).0, |&id| path_of(&self.entries, id) == path).copied()
    }

    pub(super) fn get(&self, id: ChildId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(super) fn get_mut(&mut self, id: ChildId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// In the order of their start.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (ChildId, &Entry)> {
        self.entries.iter()
    }
}

fn path_of(entries: &Roll<Entry>, id: ChildId) -> &str {
    entries.get(id).map_or("", |entry| entry.cell.info().path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_is_up_costs_its_supervisor_little() {
        assert!(size_of::<(ChildId, Option<Entry>)>() <= 48, "{}", size_of::<(ChildId, Option<Entry>)>());
    }
}
