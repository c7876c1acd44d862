//! What a supervisor's task keeps of its children beside what `step` decides on: their cells and their timers.
//!
//! There may be a hundred thousand, nearly all of them idle: what only a few need at a time is boxed. Their paths are in the
//! registry, under the same ids.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::command::Epoch;
use super::step::StopKind;
use crate::cell::Cell;
use crate::roll::Roll;

/// In the order of their start.
pub(super) type Children = Roll<Entry>;

pub(super) struct Entry {
    pub(super) cell: Arc<dyn Cell>,
    rare: Option<Box<Rare>>,
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
    /// A child of a batch, before its first start.
    pub(super) fn new(cell: Arc<dyn Cell>) -> Self {
        Self { cell, rare: None, epoch: Epoch::default(), in_batch: true, restarted: false, told: None, waits: false }
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

    /// The next incarnation is to begin.
    pub(super) fn begin_incarnation(&mut self) {
        // The first has no predecessor to end.
        self.restarted = self.epoch != Epoch::default();
        self.end_incarnation();
    }

    /// What comes late from the incarnation that was, its timers included, no longer counts.
    pub(super) fn end_incarnation(&mut self) {
        self.epoch = self.epoch.next();
        self.told = None;
        self.drop_timers();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_is_up_costs_its_supervisor_little() {
        assert!(size_of::<Option<Entry>>() <= 32, "{}", size_of::<Option<Entry>>());
    }
}
