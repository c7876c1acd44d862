//! Things in the order of their coming: found, added and taken out at a cost that hardly grows with their number.

/// Values under ids that grow. What is taken out leaves a hole; when half of it is holes, they are closed.
#[derive(Debug, Clone)]
pub(crate) struct Roll<T> {
    slots: Vec<(u64, Option<T>)>,
    holes: usize,
}

/// Holes that are not worth closing.
const HOLES_MIN: usize = 32;

/// Whether so much room is worth giving back: when seven eighths of it are unused.
pub(crate) fn is_roomy(used: usize, room: usize) -> bool {
    room > 4 * HOLES_MIN && used < room / 8
}

impl<T> Default for Roll<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), holes: 0 }
    }
}

impl<T> Roll<T> {
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.holes
    }

    /// Adds a value at the end. Ids must grow.
    pub(crate) fn push(&mut self, id: u64, value: T) {
        debug_assert!(self.slots.last().is_none_or(|&(last, _)| last < id), "ids grow");
        self.slots.push((id, Some(value)));
    }

    pub(crate) fn reserve(&mut self, more: usize) {
        self.slots.reserve(more);
    }

    /// Where the first id that is not smaller stands.
    fn place(&self, id: u64) -> usize {
        // Where nothing has been taken out yet, the id says it.
        let first = self.slots.first().map_or(0, |&(first, _)| first);
        let guess = usize::try_from(id.saturating_sub(first)).unwrap_or(usize::MAX);
        if self.slots.get(guess).is_some_and(|&(there, _)| there == id) {
            return guess;
        }
        self.slots.partition_point(|&(there, _)| there < id)
    }

    pub(crate) fn get(&self, id: u64) -> Option<&T> {
        let (there, value) = self.slots.get(self.place(id))?;
        value.as_ref().filter(|_| *there == id)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let place = self.place(id);
        let (there, value) = self.slots.get_mut(place)?;
        value.as_mut().filter(|_| *there == id)
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let place = self.place(id);
        let taken = self.slots.get_mut(place).filter(|(there, _)| *there == id)?.1.take()?;
        self.holes += 1;
        while self.slots.last().is_some_and(|(_, value)| value.is_none()) {
            self.slots.pop();
            self.holes -= 1;
        }
        if self.holes > HOLES_MIN && self.holes * 2 > self.slots.len() {
            self.slots.retain(|(_, value)| value.is_some());
            self.holes = 0;
        }
        if is_roomy(self.slots.len(), self.slots.capacity()) {
            self.slots.shrink_to(self.slots.len() * 2);
        }
        Some(taken)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &T)> {
        self.slots.iter().filter_map(|(id, value)| Some((*id, value.as_ref()?)))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|(_, value)| value.as_mut())
    }

    /// The last one before `id`.
    pub(crate) fn before(&self, id: u64) -> Option<(u64, &T)> {
        let earlier = &self.slots[..self.place(id)];
        earlier.iter().rev().find_map(|(id, value)| Some((*id, value.as_ref()?)))
    }

    /// The first one that is `id` or comes after it.
    pub(crate) fn from(&self, id: u64) -> Option<(u64, &T)> {
        let later = &self.slots[self.place(id)..];
        later.iter().find_map(|(id, value)| Some((*id, value.as_ref()?)))
    }

    /// The id that nothing has reached.
    pub(crate) fn end(&self) -> u64 {
        self.slots.last().map_or(0, |&(last, _)| last + 1)
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
            }
            prop_assert_eq!(roll.len(), map.len());
            prop_assert!(roll.iter().map(|(id, &n)| (id, n)).eq(map));
        }
    }
}
