//! For how many leases a recorded one stands.
//!
//! The pool counts every lease by owner and class, and records a sample. Within an owner and class the sample is random,
//! so each sampled lease stands for an equal part of what was counted there: a stratified estimate, of which the sums over
//! an owner or a class are not estimates but the counts themselves. Leases that must be released always carry a record, and
//! stand for themselves. What is left where nothing was sampled has no record.

use crate::pool::{LeaseKind, Owner, SizeClass};
use std::collections::HashMap;

/// Of one owner and class.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    /// Bytes leased, all of them.
    pub(super) live_bytes: u64,
    /// Bytes of blocks of the recorded leases that stand for themselves.
    own_bytes: u64,
    /// Bytes of blocks of the sampled ones.
    sampled_bytes: u64,
    /// Recorded leases.
    pub(super) recorded: u64,
}

impl Cell {
    fn left(&self) -> u64 {
        self.live_bytes.saturating_sub(self.own_bytes)
    }

    /// Bytes for which no record stands.
    pub(super) fn unrecorded_bytes(&self) -> u64 {
        if self.sampled_bytes == 0 { self.left() } else { 0 }
    }

    pub(super) fn recorded_bytes(&self) -> u64 {
        self.own_bytes + self.sampled_bytes
    }
}

/// All cells.
#[derive(Debug, Default)]
pub(super) struct Cells(HashMap<(Owner, SizeClass), Cell>);

impl Cells {
    /// Notes what was counted.
    pub(super) fn count(&mut self, owner: Owner, class: SizeClass, live_bytes: u64) {
        self.0.entry((owner, class)).or_default().live_bytes = live_bytes;
    }

    /// Notes a recorded lease.
    pub(super) fn record(&mut self, owner: Owner, class: SizeClass, kind: LeaseKind, block_bytes: u64) {
        let cell = self.0.entry((owner, class)).or_default();
        match kind {
            LeaseKind::Explicit => cell.own_bytes += block_bytes,
            LeaseKind::Plain => cell.sampled_bytes += block_bytes,
        }
        cell.recorded += 1;
    }

    /// A lease may have ended before its owner's leases were counted: what is recorded was leased a moment before.
    pub(super) fn settle(&mut self) {
        for cell in self.0.values_mut() {
            cell.live_bytes = cell.live_bytes.max(cell.recorded_bytes());
        }
    }

    pub(super) fn get(&self, owner: Owner, class: SizeClass) -> Cell {
        self.0.get(&(owner, class)).copied().unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Owner, SizeClass, &Cell)> {
        self.0.iter().map(|(&(owner, class), cell)| (owner, class, cell))
    }

    /// How many leases one of these stands for, itself included.
    pub(super) fn weight(&self, owner: Owner, class: SizeClass, kind: LeaseKind) -> f64 {
        let cell = self.get(owner, class);
        match kind {
            LeaseKind::Explicit => 1.0,
            LeaseKind::Plain if cell.sampled_bytes == 0 => 1.0,
            LeaseKind::Plain => cell.left() as f64 / cell.sampled_bytes as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever was recorded: records with their weights and the rest without one are what was counted.
        #[test]
        fn records_and_the_rest_are_the_exact_bytes(
            counted in 0u64..1000,
            plain in 0u64..20,
            explicit in 0u64..20,
        ) {
            let (owner, class) = (Owner::OTHER, SizeClass::of(1000));
            let mut cells = Cells::default();
            cells.count(owner, class, counted * 1024);
            (0..plain).for_each(|_| cells.record(owner, class, LeaseKind::Plain, 1024));
            (0..explicit).for_each(|_| cells.record(owner, class, LeaseKind::Explicit, 1024));
            cells.settle();
            let cell = cells.get(owner, class);
            let stood_for = plain as f64 * 1024.0 * cells.weight(owner, class, LeaseKind::Plain)
                + explicit as f64 * 1024.0 * cells.weight(owner, class, LeaseKind::Explicit);
            prop_assert!((stood_for + cell.unrecorded_bytes() as f64 - cell.live_bytes as f64).abs() < 1e-6);
            prop_assert!(cell.live_bytes >= counted * 1024 && cell.live_bytes >= (plain + explicit) * 1024);
            prop_assert!(plain == 0 || cells.weight(owner, class, LeaseKind::Plain) >= 1.0);
        }
    }
}
