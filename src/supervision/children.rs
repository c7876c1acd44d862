//! What a supervisor's task keeps of its children beside what `step` decides on: what became of their incarnations.
//!
//! There may be a hundred thousand, nearly all of them idle: what only a few need at a time is kept apart. Their cells and
//! their paths are in the registry, under the same ids.

use std::collections::HashMap;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::command::Epoch;
use super::step::{ChildId, StopKind};
use crate::roll::Roll;

#[derive(Default)]
pub(super) struct Children {
    /// In the order of their start.
    entries: Roll<Entry>,
    rare: HashMap<ChildId, Rare>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) epoch: Epoch,
    /// It belongs to a batch whose spawner has not been answered: until its first start has succeeded or failed.
    pub(super) in_batch: bool,
    /// It has been told to start more than once.
    pub(super) restarted: bool,
    /// How this incarnation was told to end, if it was.
    pub(super) told: Option<StopKind>,
    /// It waits to be started again, and observers know.
    pub(super) waits: bool,
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
    fn end_incarnation(&mut self) {
        self.epoch = self.epoch.next();
        self.told = None;
    }
}

impl Children {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn reserve(&mut self, more: usize) {
        self.entries.reserve(more);
    }

    /// Adds a child of a batch, before its first start.
    pub(super) fn add(&mut self, id: ChildId) {
        let (epoch, told) = (Epoch::default(), None);
        self.entries.push(id, Entry { epoch, in_batch: true, restarted: false, told, waits: false });
    }

    /// Takes a child away, whose last incarnation has ended.
    pub(super) fn remove(&mut self, id: ChildId) -> Option<(Entry, Rare)> {
        self.drop_timers(id);
        Some((self.entries.remove(id)?, self.rare.remove(&id).unwrap_or_default()))
    }

    pub(super) fn get(&self, id: ChildId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub(super) fn get_mut(&mut self, id: ChildId) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// For one that is a child.
    pub(super) fn rare(&mut self, id: ChildId) -> &mut Rare {
        debug_assert!(self.get(id).is_some());
        self.rare.entry(id).or_default()
    }

    pub(super) fn drop_timers(&mut self, id: ChildId) {
        if let Some(rare) = self.rare.get_mut(&id) {
            rare.timers.drain(..).for_each(|timer| timer.abort());
            if rare.removers.is_empty() && rare.last_failure.is_none() {
                self.rare.remove(&id);
            }
        }
    }

    /// The next incarnation of a child is to begin.
    pub(super) fn begin_incarnation(&mut self, id: ChildId) -> Option<&mut Entry> {
        self.drop_timers(id);
        let entry = self.entries.get_mut(id)?;
        // The first has no predecessor.
        entry.restarted = entry.epoch != Epoch::default();
        entry.end_incarnation();
        Some(entry)
    }

    /// What comes late from the incarnation that was, its timers included, no longer counts.
    pub(super) fn end_incarnation(&mut self, id: ChildId) -> Option<&mut Entry> {
        self.drop_timers(id);
        let entry = self.entries.get_mut(id)?;
        entry.end_incarnation();
        Some(entry)
    }

    /// In the order of their start.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (ChildId, &Entry)> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_is_up_costs_its_supervisor_little() {
        assert!(size_of::<Option<Entry>>() <= 8, "{}", size_of::<Option<Entry>>());
    }
}
