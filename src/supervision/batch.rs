//! Children that were spawned together: all of them start, or none stays.

use std::collections::BTreeMap;
use std::ops::Range;

use tokio::sync::oneshot;

use super::step::ChildId;
use crate::Error;

pub(super) struct Batch {
    /// Whichever of these are children of the supervisor.
    pub(super) members: Range<ChildId>,
    /// Those that have not started yet; once one has failed, those that are not gone yet.
    pub(super) open: usize,
    pub(super) failure: Option<Error>,
    pub(super) spawner: oneshot::Sender<Result<(), Error>>,
}

/// Members of a crowd: their supervisor alone takes some milliseconds for them.
const CROWD: usize = 4096;

/// Those whose spawners have not been answered, by their first members.
#[derive(Default)]
pub(super) struct Batches(BTreeMap<ChildId, Batch>);

impl Batches {
    pub(super) fn add(&mut self, batch: Batch) {
        self.0.insert(batch.members.start, batch);
    }

    /// Whether so many of the youngest have still to start that a millisecond is a small part of what it takes.
    pub(super) fn has_crowd(&self) -> bool {
        self.0.last_key_value().is_some_and(|(_, batch)| batch.failure.is_none() && batch.open >= CROWD)
    }

    /// The one that a child belongs to.
    pub(super) fn of(&mut self, child: ChildId) -> Option<&mut Batch> {
        let (_, batch) = self.0.range_mut(..=child).next_back()?;
        Some(batch).filter(|batch| batch.members.contains(&child))
    }

    /// Answers the spawner of the batch that a child belongs to.
    pub(super) fn answer(&mut self, child: ChildId, answer: Result<(), Error>) {
        let first = self.of(child).map(|batch| batch.members.start);
        if let Some(batch) = first.and_then(|first| self.0.remove(&first)) {
            let _ = batch.spawner.send(answer);
        }
    }
}
