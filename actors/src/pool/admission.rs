//! Who may lease how much: exact counts, kept only while somebody needs them, and the decisions made of them.
//!
//! A pool is *calm* as long as no lease from a thread's cache can do harm: what it holds leaves room for every reservation,
//! nobody waits, and nobody measures. Then nothing here is used. It is *strict* otherwise: every lease and every release
//! comes here, under one lock (`strict.rs`). This file is plain data, without effects.
//!
//! Invariants, while the pool is strict:
//! 1. `committed`, the sum over all groups of the larger of what a group has and what is reserved for it, plus what the
//!    others have, plus what is saved for the first in line, is within the limit, unless it was not when the pool became
//!    strict, or the limit was lowered: then no lease makes it larger. So a reservation can always be used.
//! 2. Of every lease that ends while somebody waits, half is saved for the first in line, up to what that one wants.
//!    When all of it is saved there is room, by 1: the first in line is served at the latest when twice its size has been
//!    returned, although others lease meanwhile.

use super::class::SizeClass;
use super::measure::Scope;
use super::owner::Owner;
use super::reservation::{Group, Groups};
use std::sync::Arc;

/// What a request is refused for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The pool's room is leased, or kept for others: reserved, or saved for the first in line.
    Room {
        /// Bytes that are kept for others.
        kept: usize,
    },
    /// Its group has as much as it may.
    Cap {
        /// The group.
        name: Arc<str>,
        /// Bytes that it may have.
        cap: usize,
        /// Bytes that it has.
        live: usize,
    },
}

/// How a request stands in the line of those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It does not wait: it may have what is not kept for others.
    None,
    /// It is the first: what is saved is saved for it.
    First,
    /// It is not the first: it may have what is reserved for it, and no more.
    Reserved,
}

/// The first in line.
#[derive(Debug, Clone, Copy)]
struct First {
    owner: Owner,
    bytes: usize,
    saved: usize,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    strict: bool,
    pub(super) groups: Groups,
    /// Bytes leased or about to be, of those for whom nothing is reserved.
    common: usize,
    /// Leases that were granted and have not begun: until they have, the pool stays strict. No more than there are threads.
    pending: Vec<(Owner, usize)>,
    first: Option<First>,
    /// Requests that wait.
    waiting: usize,
    /// Whether the actor was told that somebody can be served, and has not looked yet.
    told: bool,
    scopes: Vec<Scope>,
}

impl Admission {
    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    /// Whether somebody needs the counts, whatever the pool holds.
    pub(crate) fn is_needed(&self) -> bool {
        self.waiting > 0 || !self.scopes.is_empty()
    }

    pub(crate) fn may_stop(&self) -> bool {
        !self.is_needed() && self.pending.is_empty()
    }

    /// Whether nothing is leased, granted or waited for, as far as this knows.
    #[cfg(all(test, ironcliw_shuttle))]
    pub(crate) fn is_idle(&self) -> bool {
        let is_free = self.common == 0 && self.groups.committed() == self.groups.reserved();
        self.may_stop() && (is_free || !self.strict)
    }

    /// Begins to count, from what every owner has, and what was granted besides.
    pub(crate) fn start(&mut self, live: impl Iterator<Item = (Owner, usize)>) {
        self.strict = true;
        self.common = 0;
        self.groups.forget_live();
        for (owner, bytes) in live {
            self.add(owner, bytes);
        }
        for at in 0..self.pending.len() {
            let (owner, bytes) = self.pending[at];
            self.add(owner, bytes);
        }
    }

    pub(crate) fn stop(&mut self) {
        debug_assert!(self.may_stop());
        self.strict = false;
        self.told = false;
    }

    /// In the child of a fork: nobody waits, and what was granted will not begin. The counts are to be taken anew.
    pub(crate) fn forget_waiters(&mut self) {
        self.pending.clear();
        (self.first, self.waiting, self.told) = (None, 0, false);
    }

    fn add(&mut self, owner: Owner, bytes: usize) {
        match self.groups.of(owner) {
            Some(group) => group.live += bytes,
            None => self.common += bytes,
        }
    }

    fn sub(&mut self, owner: Owner, bytes: usize) {
        let live = match self.groups.of(owner) {
            Some(group) => &mut group.live,
            None => &mut self.common,
        };
        // A thread that was stopped in the middle of a release for good may have been missed by `start`.
        *live = live.saturating_sub(bytes);
    }

    /// What is spoken for: leased, or reserved.
    fn committed(&self) -> usize {
        self.common.saturating_add(self.groups.committed())
    }

    /// By how much a lease raises [`Admission::committed`].
    fn growth(&mut self, owner: Owner, bytes: usize) -> usize {
        self.groups.of(owner).map_or(bytes, |group| group.growth(bytes))
    }

    pub(crate) fn is_capped(&mut self, owner: Owner, bytes: usize) -> bool {
        self.groups.of(owner).is_some_and(|group| group.is_capped(bytes))
    }

    /// Whether `owner` may lease a block of `bytes` now, and if not, why.
    pub(crate) fn judge(&mut self, owner: Owner, bytes: usize, limit: usize, turn: Turn) -> Result<(), Refusal> {
        if let Some(group) = self.groups.of(owner)
            && group.is_capped(bytes)
        {
            let (_, cap) = group.terms();
            return Err(Refusal::Cap { name: group.name(), cap, live: group.live });
        }
        let growth = self.growth(owner, bytes);
        let saved = if turn == Turn::First { 0 } else { self.first.map_or(0, |first| first.saved) };
        let fits = match turn {
            _ if growth == 0 => true,
            Turn::Reserved => false,
            Turn::None | Turn::First => {
                self.committed().saturating_add(growth).checked_add(saved).is_some_and(|sum| sum <= limit)
            }
        };
        if fits {
            return Ok(());
        }
        let unused = self.groups.unused();
        let own = bytes - growth;
        Err(Refusal::Room { kept: unused.saturating_sub(own).saturating_add(saved) })
    }

    /// Grants a lease that is about to begin, and ends in [`Admission::begin`] or [`Admission::cancel`]. Answers how much of
    /// what was saved it has.
    pub(crate) fn grant(&mut self, owner: Owner, bytes: usize, limit: usize, turn: Turn) -> Result<usize, Refusal> {
        self.judge(owner, bytes, limit, turn)?;
        // Without memory for this there is none for a lease.
        self.pending.try_reserve(1).map_err(|_| Refusal::Room { kept: 0 })?;
        let first = self.first.as_mut().filter(|_| turn == Turn::First);
        let saved = first.map_or(0, |first| std::mem::take(&mut first.saved));
        self.add(owner, bytes);
        self.pending.push((owner, bytes));
        Ok(saved)
    }

    /// A granted lease has begun or will not.
    fn settle(&mut self, owner: Owner, bytes: usize) {
        let granted = self.pending.iter().position(|&granted| granted == (owner, bytes));
        debug_assert!(granted.is_some(), "a lease that was not granted");
        if let Some(at) = granted {
            self.pending.swap_remove(at);
        }
    }

    /// A granted lease does not begin: the system has no memory, say. What it had of what was `saved` is saved again, as
    /// much of it as becomes free.
    pub(crate) fn cancel(&mut self, owner: Owner, bytes: usize, saved: usize) {
        self.settle(owner, bytes);
        let before = self.committed();
        self.sub(owner, bytes);
        let freed = before - self.committed();
        if let Some(first) = &mut self.first {
            first.saved = first.bytes.min(first.saved + saved.min(freed));
        }
    }

    /// A granted lease begins. `fresh`: with a new block.
    pub(crate) fn begin(&mut self, owner: Owner, bytes: usize, fresh: bool) {
        self.settle(owner, bytes);
        self.scopes.iter_mut().for_each(|scope| scope.begin(owner, bytes, fresh));
    }

    /// A request was refused.
    pub(crate) fn refuse(&mut self, owner: Owner) {
        self.scopes.iter_mut().for_each(|scope| scope.refuse(owner));
    }

    /// A lease has ended. Whether the actor is to be told that somebody who waits may be served.
    pub(crate) fn end(&mut self, owner: Owner, bytes: usize, limit: usize) -> bool {
        self.sub(owner, bytes);
        self.scopes.iter_mut().for_each(|scope| scope.end(owner, bytes));
        if let Some(first) = &mut self.first {
            first.saved = first.bytes.min(first.saved + bytes.div_ceil(2));
        }
        let in_group = self.groups.of(owner).is_some();
        self.may_serve(limit, in_group)
    }

    /// Whether the actor is to look: the first in line fits, or something else changed for those of a group.
    pub(crate) fn may_serve(&mut self, limit: usize, of_group: bool) -> bool {
        if self.waiting == 0 || self.told {
            return false;
        }
        self.told = of_group
            || self.first.is_none_or(|First { owner, bytes, .. }| self.judge(owner, bytes, limit, Turn::First).is_ok());
        self.told
    }

    /// Names the first in line; the saved bytes are handed on to the next.
    pub(crate) fn line_up(&mut self, first: Option<(Owner, usize)>, waiting: usize) {
        let saved = self.first.map_or(0, |first| first.saved);
        self.first = first.map(|(owner, bytes)| First { owner, bytes, saved: saved.min(bytes) });
        self.waiting = waiting;
    }

    /// The actor looks at those who wait: the next change is told again.
    pub(crate) fn looking(&mut self) {
        self.told = false;
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether `owner` could lease so much if nothing else were leased.
    pub(crate) fn can_ever(&mut self, owner: Owner, bytes: usize, limit: usize) -> bool {
        let others = self.groups.reserved();
        let (own, cap) = self.groups.of(owner).map_or((0, usize::MAX), |group: &mut Group| group.terms());
        bytes <= cap && bytes.saturating_add(others - own) <= limit
    }

    pub(crate) fn open(&mut self, scope: Scope) {
        self.scopes.push(scope);
    }

    pub(crate) fn scope(&self, number: u64) -> Option<&Scope> {
        self.scopes.iter().find(|scope| scope.number() == number)
    }

    pub(crate) fn close(&mut self, number: u64) {
        self.scopes.retain(|scope| scope.number() != number);
    }
}

/// The most that may be held while the pool is calm: what leaves room for every reservation, and lets nobody pass a cap.
pub(crate) fn ceiling(groups: &Groups, limit: usize) -> usize {
    limit.saturating_sub(groups.reserved()).min(groups.smallest_cap()).min(SizeClass::MAX_LEN)
}

#[cfg(test)]
mod tests {
    use super::super::reservation::Reservation;
    use super::*;
    use proptest::prelude::*;

    fn owners() -> [Owner; 4] {
        ["admission-a", "admission-a/0", "admission-b", "admission-c"].map(Owner::named)
    }

    fn admission(reservations: &[(&str, usize, Option<usize>)], limit: usize) -> Admission {
        let mut admission = Admission::default();
        for &(name, bytes, cap) in reservations {
            admission.groups.set(Reservation { name: name.to_owned(), bytes, cap }, limit).unwrap();
        }
        admission.start(std::iter::empty());
        admission
    }

    fn lease(admission: &mut Admission, owner: Owner, bytes: usize, limit: usize) -> bool {
        let granted = admission.grant(owner, bytes, limit, Turn::None).is_ok();
        if granted {
            admission.begin(owner, bytes, false);
        }
        granted
    }

    #[test]
    fn what_is_reserved_is_kept_from_others_and_counted_with_those_below() {
        let [a, a0, b, _] = owners();
        let mut admission = admission(&[("admission-a", 40, None)], 100);
        assert!(!lease(&mut admission, b, 61, 100));
        assert!(lease(&mut admission, b, 60, 100));
        assert_eq!(admission.judge(b, 1, 100, Turn::None), Err(Refusal::Room { kept: 40 }));
        assert!(lease(&mut admission, a, 20, 100) && lease(&mut admission, a0, 20, 100));
        assert_eq!(admission.judge(a, 1, 100, Turn::None), Err(Refusal::Room { kept: 0 }));
        admission.end(a0, 20, 100);
        assert!(!lease(&mut admission, b, 1, 100) && lease(&mut admission, a, 20, 100));
    }

    #[test]
    fn beyond_its_reservation_a_group_takes_from_the_common_room_up_to_its_cap() {
        let [a, _, b, _] = owners();
        let mut admission = admission(&[("admission-a", 10, Some(70))], 100);
        assert!(lease(&mut admission, a, 70, 100));
        assert!(matches!(admission.judge(a, 1, 100, Turn::None), Err(Refusal::Cap { cap: 70, live: 70, .. })));
        assert!(lease(&mut admission, b, 30, 100));
        assert!(!admission.can_ever(a, 71, 100) && admission.can_ever(a, 70, 100));
        assert!(!admission.can_ever(b, 91, 100) && admission.can_ever(b, 90, 100));
    }

    #[test]
    fn what_was_granted_and_has_not_begun_is_counted_anew_with_the_rest() {
        let [a, _, b, c] = owners();
        let mut admission = admission(&[], 100);
        admission.grant(b, 40, 100, Turn::None).unwrap();
        // A reservation comes meanwhile, and everything is counted again: nothing has begun.
        admission.groups.set(Reservation { name: "admission-a".to_owned(), bytes: 50, cap: None }, 100).unwrap();
        admission.start(std::iter::empty());
        assert_eq!(admission.judge(c, 11, 100, Turn::None), Err(Refusal::Room { kept: 50 }));
        admission.begin(b, 40, true);
        assert!(lease(&mut admission, a, 50, 100) && lease(&mut admission, c, 10, 100));
        assert!(!admission.end(b, 40, 100) && lease(&mut admission, c, 40, 100) && !lease(&mut admission, c, 1, 100));
    }

    proptest! {
        /// Whatever the others do, the first in line is served when twice its size has been returned.
        #[test]
        fn the_first_in_line_is_served_when_twice_its_size_came_back(
            wanted in 1usize..=1000,
            steps in prop::collection::vec((any::<bool>(), 1usize..200, any::<prop::sample::Index>()), 1..400),
        ) {
            let (limit, [.., b, c]) = (1000, owners());
            let mut admission = admission(&[], limit);
            let mut held = Vec::new();
            while lease(&mut admission, b, 50, limit) {
                held.push(50);
            }
            admission.line_up(Some((c, wanted)), 1);
            let mut returned = 0;
            for (takes, bytes, which) in steps {
                if takes {
                    if lease(&mut admission, b, bytes, limit) {
                        held.push(bytes);
                    }
                } else if !held.is_empty() {
                    let bytes = held.swap_remove(which.index(held.len()));
                    admission.end(b, bytes, limit);
                    returned += bytes;
                }
                let served = admission.judge(c, wanted, limit, Turn::First).is_ok();
                prop_assert!(served || returned < 2 * wanted, "{returned} returned, {wanted} wanted");
                prop_assert!(admission.common <= limit);
            }
        }

        /// At any moment, each group gets all that is reserved for it.
        #[test]
        fn a_reservation_can_be_used_whatever_the_others_lease(
            reserved in prop::collection::vec(0usize..300, 2),
            steps in prop::collection::vec((any::<bool>(), 0usize..4, 1usize..200, any::<prop::sample::Index>()), 1..200),
        ) {
            let (limit, owners) = (1000, owners());
            let mut admission =
                admission(&[("admission-a", reserved[0], None), ("admission-b", reserved[1], None)], limit);
            let mut held: Vec<(usize, usize)> = Vec::new();
            for (takes, who, bytes, which) in steps {
                if takes {
                    if lease(&mut admission, owners[who], bytes, limit) {
                        held.push((who, bytes));
                    }
                } else if !held.is_empty() {
                    let (who, bytes) = held.swap_remove(which.index(held.len()));
                    admission.end(owners[who], bytes, limit);
                }
                let live: usize = held.iter().map(|(_, bytes)| bytes).sum();
                let of = |group: &[usize]| held.iter().filter(|(who, _)| group.contains(who)).map(|(_, n)| n).sum::<usize>();
                let unused = [reserved[0].saturating_sub(of(&[0, 1])), reserved[1].saturating_sub(of(&[2]))];
                prop_assert!(live + unused[0] + unused[1] <= limit);
                for (who, unused) in [(1, unused[0]), (2, unused[1])] {
                    prop_assert!(unused == 0 || admission.judge(owners[who], unused, limit, Turn::None).is_ok());
                }
            }
        }
    }
}
