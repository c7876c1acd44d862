//! What waits, by priority, and which is next. Pure: no lock, no clock, no thread.
//!
//! Invariants:
//! - within a level the order is that of arrival;
//! - `passed[l]` is the number of picks in a row that took a job of another level while level `l` had one waiting;
//! - a level whose `passed` has reached its patience is due, and the least urgent level that is due is picked. So the first
//!   of a level is passed over at most [`Priority::passed_over_max`] times;
//! - what is dead (cancelled, expired) is handed out beside the pick and counts as none: it costs nobody a turn.

use std::collections::VecDeque;

use super::Priority;

#[derive(Debug)]
pub(crate) struct Levels<T> {
    queues: [VecDeque<T>; 3],
    passed: [u32; 3],
}

impl<T> Default for Levels<T> {
    fn default() -> Self {
        Self { queues: Default::default(), passed: [0; 3] }
    }
}

impl<T> Levels<T> {
    pub(crate) fn push(&mut self, priority: Priority, item: T) {
        self.queues[priority as usize].push_back(item);
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    pub(crate) fn depth(&self, priority: Priority) -> usize {
        self.queues[priority as usize].len()
    }

    /// The next that is alive. Those in front of it that are dead go to `dead`.
    pub(crate) fn pick(&mut self, is_dead: impl Fn(&T) -> bool, dead: &mut Vec<T>) -> Option<T> {
        loop {
            let level = self.choose()?;
            let queue = &mut self.queues[level];
            while let Some(item) = queue.pop_front() {
                if is_dead(&item) {
                    dead.push(item);
                    continue;
                }
                self.count_pick(level);
                return Some(item);
            }
            self.passed[level] = 0;
        }
    }

    /// Takes out whatever is dead.
    pub(crate) fn sweep(&mut self, is_dead: impl Fn(&T) -> bool, dead: &mut Vec<T>) {
        for (queue, passed) in self.queues.iter_mut().zip(&mut self.passed) {
            let (ended, alive): (VecDeque<T>, VecDeque<T>) = queue.drain(..).partition(&is_dead);
            dead.extend(ended);
            *queue = alive;
            if queue.is_empty() {
                *passed = 0;
            }
        }
    }

    /// Takes out everything.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.passed = [0; 3];
        self.queues.iter_mut().flat_map(|queue| queue.drain(..)).collect()
    }

    fn choose(&self) -> Option<usize> {
        let waits = |level: &usize| !self.queues[*level].is_empty();
        let due = |level: &usize| self.passed[*level] >= Priority::ALL[*level].patience();
        let less_urgent = [Priority::Low as usize, Priority::Normal as usize];
        less_urgent.into_iter().filter(waits).find(due).or_else(|| (0..3).find(waits))
    }

    fn count_pick(&mut self, picked: usize) {
        for (level, passed) in self.passed.iter_mut().enumerate() {
            let is_passed_over = level != picked && !self.queues[level].is_empty();
            *passed = if is_passed_over { *passed + 1 } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::{Levels, Priority};

    fn pick<T>(levels: &mut Levels<T>) -> Option<T> {
        levels.pick(|_| false, &mut Vec::new())
    }

    #[test]
    fn under_permanent_load_from_above_each_level_gets_its_share() {
        let mut levels = Levels::default();
        let mut picks = [0; 3];
        for priority in [Priority::Normal, Priority::Low] {
            (0..1000).for_each(|_| levels.push(priority, priority));
        }
        for _ in 0..1700 {
            levels.push(Priority::High, Priority::High);
            picks[pick(&mut levels).unwrap() as usize] += 1;
        }
        let [high, normal, low] = picks;
        assert_eq!(low, 100);
        assert!((300..=340).contains(&normal), "{picks:?}");
        assert_eq!(high + normal + low, 1700);
    }

    #[test]
    fn the_dead_are_handed_out_and_cost_nobody_a_turn() {
        let mut levels = Levels::default();
        for n in 0..10 {
            levels.push(Priority::High, n);
        }
        levels.push(Priority::Low, 100);
        let mut dead = Vec::new();
        assert_eq!(levels.pick(|n| *n < 9, &mut dead), Some(9));
        assert_eq!((dead.len(), levels.len()), (9, 1));
        assert_eq!(levels.pick(|_| true, &mut dead), None);
        assert_eq!((dead.len(), levels.is_empty()), (10, true));
        (0..4).for_each(|n| levels.push(Priority::Normal, n));
        levels.sweep(|n| n % 2 == 0, &mut dead);
        assert_eq!(levels.drain(), [1, 3]);
    }

    proptest! {
        /// Whatever comes in: nothing is lost, each level is in order, and nobody is passed over too often.
        #[test]
        fn no_level_is_passed_over_more_often_than_it_is_promised(steps in prop::collection::vec(0..5_usize, 1..400)) {
            let mut levels = Levels::default();
            let mut model: [VecDeque<usize>; 3] = Default::default();
            let mut passed = [0; 3];
            for (id, step) in steps.into_iter().enumerate() {
                if let Some(&priority) = Priority::ALL.get(step) {
                    levels.push(priority, (priority, id));
                    model[priority as usize].push_back(id);
                    continue;
                }
                let Some((priority, picked)) = pick(&mut levels) else {
                    prop_assert!(model.iter().all(VecDeque::is_empty));
                    continue;
                };
                prop_assert_eq!(model[priority as usize].pop_front(), Some(picked));
                for level in Priority::ALL {
                    let waited = level != priority && !model[level as usize].is_empty();
                    passed[level as usize] = if waited { passed[level as usize] + 1 } else { 0 };
                    prop_assert!(passed[level as usize] <= level.passed_over_max(), "{level:?}");
                }
            }
        }
    }
}
