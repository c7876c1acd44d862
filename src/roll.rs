//! Things in the order of their coming: found, added and taken out at a cost that hardly grows with their number.

/// Values under ids that grow. What is taken out leaves a hole; when half of it is holes, they are closed.
///
/// Most ids follow one another, so an id is kept only where a run of them begins: a value costs its own size.
#[derive(Debug, Clone)]
pub(crate) struct Roll<T> {
    slots: Vec<Option<T>>,
    /// In their order; no run is empty.
    runs: Vec<Run>,
    holes: usize,
}

/// From this slot on, up to the next run, each id is one more than that of the slot before.
#[derive(Debug, Clone, Copy)]
struct Run {
    id: u64,
    slot: usize,
}

impl Run {
    fn id_at(self, slot: usize) -> u64 {
        self.id + (slot - self.slot) as u64
    }
}

/// Holes that are not worth closing.
const HOLES_MIN: usize = 32;

/// Whether so much room is worth giving back: when seven eighths of it are unused.
pub(crate) fn is_roomy(used: usize, room: usize) -> bool {
    room > 4 * HOLES_MIN && used < room / 8
}

impl<T> Default for Roll<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), runs: Vec::new(), holes: 0 }
    }
}

impl<T> Roll<T> {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.holes
    }

    /// Adds a value at the end. Ids must grow.
    pub(crate) fn push(&mut self, id: u64, value: T) {
        let slot = self.slots.len();
        let next = self.runs.last().map(|run| run.id_at(slot));
        debug_assert!(next.is_none_or(|next| next <= id), "ids grow");
        if next != Some(id) {
            self.runs.push(Run { id, slot });
        }
        self.slots.push(Some(value));
    }

    pub(crate) fn reserve(&mut self, more: usize) {
        self.slots.reserve(more);
    }

    /// Where the first id that is not smaller stands, and whether it is this one.
    fn place(&self, id: u64) -> (usize, bool) {
        let after = self.runs.partition_point(|run| run.id <= id);
        let Some(run) = after.checked_sub(1).map(|at| self.runs[at]) else { return (0, false) };
        let end = self.runs.get(after).map_or(self.slots.len(), |next| next.slot);
        let past = usize::try_from(id - run.id).unwrap_or(usize::MAX);
        if past < end - run.slot { (run.slot + past, true) } else { (end, false) }
    }

    /// Where this id stands.
    fn slot(&self, id: u64) -> Option<usize> {
        let (slot, is_it) = self.place(id);
        is_it.then_some(slot)
    }

    pub(crate) fn get(&self, id: u64) -> Option<&T> {
        self.slots[self.slot(id)?].as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let slot = self.slot(id)?;
        self.slots[slot].as_mut()
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let slot = self.slot(id)?;
        let taken = self.slots[slot].take()?;
        self.holes += 1;
        while self.slots.pop_if(|value| value.is_none()).is_some() {
            self.holes -= 1;
        }
        while self.runs.pop_if(|run| run.slot >= self.slots.len()).is_some() {}
        if self.holes > HOLES_MIN && self.holes * 2 > self.slots.len() {
            self.close_holes();
        }
        if is_roomy(self.slots.len(), self.slots.capacity()) {
            self.slots.shrink_to(self.slots.len() * 2);
        }
        Some(taken)
    }

    fn close_holes(&mut self) {
        let mut runs: Vec<Run> = Vec::new();
        for (slot, (id, _)) in self.iter().enumerate() {
            if runs.last().is_none_or(|run| run.id_at(slot) != id) {
                runs.push(Run { id, slot });
            }
        }
        self.slots.retain(Option::is_some);
        (self.runs, self.holes) = (runs, 0);
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &T)> {
        (0..self.runs.len()).flat_map(move |at| {
            let (run, next) = (self.runs[at], self.runs.get(at + 1));
            let slots = run.slot..next.map_or(self.slots.len(), |next| next.slot);
            slots.filter_map(move |slot| Some((run.id_at(slot), self.slots[slot].as_ref()?)))
        })
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten()
    }

    /// What stands in this slot, with its id.
    fn entry(&self, slot: usize) -> Option<(u64, &T)> {
        let value = self.slots[slot].as_ref()?;
        let run = self.runs[self.runs.partition_point(|run| run.slot <= slot) - 1];
        Some((run.id_at(slot), value))
    }

    /// The last one before `id`.
    pub(crate) fn before(&self, id: u64) -> Option<(u64, &T)> {
        let (slot, _) = self.place(id);
        (0..slot).rev().find_map(|slot| self.entry(slot))
    }

    /// The first one that is `id` or comes after it.
    pub(crate) fn from(&self, id: u64) -> Option<(u64, &T)> {
        let (slot, _) = self.place(id);
        (slot..self.slots.len()).find_map(|slot| self.entry(slot))
    }

    /// The id that nothing has reached.
    pub(crate) fn end(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.id_at(self.slots.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn it_is_an_ordered_map_whatever_is_taken_out(acts in prop::collection::vec((any::<bool>(), 0_u64..200), 0..400)) {
            let (mut roll, mut map, mut next) = (Roll::default(), BTreeMap::new(), 0);
            for (add, n) in acts {
                if add {
                    // Ids grow, not always by one.
                    next += 1 + n % 3;
                    roll.push(next, n);
                    map.insert(next, n);
                } else {
                    prop_assert_eq!(roll.remove(n), map.remove(&n));
                }
                prop_assert_eq!(roll.get(n), map.get(&n));
                prop_assert_eq!(roll.before(n).map(|(id, _)| id), map.range(..n).next_back().map(|(&id, _)| id));
                prop_assert_eq!(roll.from(n).map(|(id, _)| id), map.range(n..).next().map(|(&id, _)| id));
                prop_assert!(roll.holes <= HOLES_MIN || roll.holes * 2 <= roll.slots.len());
                prop_assert!(roll.runs.len() <= roll.slots.len());
                prop_assert_eq!(roll.end(), map.last_key_value().map_or(0, |(&last, _)| last + 1));
            }
            prop_assert_eq!(roll.len(), map.len());
            prop_assert!(roll.iter().map(|(id, &n)| (id, n)).eq(map));
        }
    }
}
