//! Room that is kept for a subsystem, and room that it may not pass.

use super::class::LINE_BYTES;
use super::fallible::place;
use super::owner::Owner;
use crate::{Error, Result};
use std::sync::Arc;

/// Reservations that a pool keeps apart: each is looked at by every lease that has to ask.
const RESERVATIONS_MAX: usize = 64;

/// Room for a group of owners: `images` is the owner of this name and all whose name begins with `images/`. An owner that
/// several reservations name belongs to the longest of these names, and to no other.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reservation {
    /// The owner, or what its name begins with, up to a slash.
    pub name: String,
    /// Bytes of blocks that nobody else takes, idle or not: the group can always lease so much.
    pub bytes: usize,
    /// The most bytes of blocks that the group leases; `None` is up to the pool's limit.
    pub cap: Option<usize>,
}

impl Reservation {
    /// `bytes` for `name`, without a cap.
    pub fn new(name: impl Into<String>, bytes: usize) -> Self {
        Self { name: name.into(), bytes, cap: None }
    }
}

/// Whether the owner of this name belongs to the group of that one.
pub(crate) fn belongs(owner: &str, group: &str) -> bool {
    owner.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The place of the longest of these names that an owner belongs to.
pub(crate) fn group_of<'a>(owner: &str, names: impl Iterator<Item = &'a str>) -> Option<usize> {
    let ours = names.enumerate().filter(|(_, name)| belongs(owner, name));
    ours.max_by_key(|(_, name)| name.len()).map(|(at, _)| at)
}

/// A reservation, and what the group has. The latter counts while the pool is strict.
#[derive(Debug)]
pub(crate) struct Group {
    reservation: Reservation,
    /// Its name, for an error that may have no memory for a copy.
    name: Arc<str>,
    pub(crate) live: usize,
}

impl Group {
    fn new(reservation: Reservation) -> Self {
        Self { name: reservation.name.as_str().into(), reservation, live: 0 }
    }

    pub(crate) fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    pub(crate) fn is_capped(&self, bytes: usize) -> bool {
        self.reservation.cap.is_some_and(|cap| self.live.saturating_add(bytes) > cap)
    }

    /// What is reserved, and the cap.
    pub(crate) fn terms(&self) -> (usize, usize) {
        (self.reservation.bytes, self.reservation.cap.unwrap_or(usize::MAX))
    }

    fn unused(&self) -> usize {
        self.reservation.bytes.saturating_sub(self.live)
    }

    pub(crate) fn growth(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.unused())
    }
}

/// All of a pool, and which owner belongs to which.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    list: Vec<Group>,
    /// Of each owner that asked: its place in `list`, and whether it has one. Looked up by name once.
    of_owner: Vec<Option<Option<usize>>>,
}

impl Groups {
    /// Adds or changes a reservation; one of nothing, without a cap, ends it.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] when it is more than the limit holds beside the others, and for impossible names and caps.
    pub(crate) fn set(&mut self, reservation: Reservation, limit: usize) -> Result<()> {
        let Reservation { name, bytes, cap } = &reservation;
        if name.is_empty() {
            return Err(Error::invalid("a reservation needs the name of an owner"));
        }
        if let Some(cap) = *cap
            && (cap < *bytes || cap < LINE_BYTES)
        {
            return Err(Error::invalid(format!(
                "the cap of {name:?} must be at least {LINE_BYTES} bytes and what is reserved ({bytes}), not {cap}"
            )));
        }
        let at = self.list.iter().position(|group| group.reservation.name == *name);
        let others = self.reserved() - at.map_or(0, |at| self.list[at].reservation.bytes);
        if others.checked_add(*bytes).is_none_or(|sum| sum > limit) {
            return Err(Error::invalid(format!(
                "{bytes} bytes cannot be reserved for {name:?}: the limit is {limit} and {others} are reserved for others"
            )));
        }
        if at.is_none() && self.list.len() == RESERVATIONS_MAX {
            return Err(Error::invalid(format!("a pool keeps at most {RESERVATIONS_MAX} reservations")));
        }
        let ends = *bytes == 0 && cap.is_none();
        match (at, ends) {
            (Some(at), true) => _ = self.list.remove(at),
            (Some(at), false) => self.list[at].reservation = reservation,
            (None, true) => {}
            (None, false) => self.list.push(Group::new(reservation)),
        }
        self.of_owner.clear();
        Ok(())
    }

    pub(crate) fn of(&mut self, owner: Owner) -> Option<&mut Group> {
        if self.list.is_empty() {
            return None;
        }
        let find = || group_of(owner.name(), self.list.iter().map(|group| group.reservation.name.as_str()));
        let at = match place(&mut self.of_owner, owner.index()) {
            Some(known) => *known.get_or_insert_with(find),
            None => find(),
        };
        at.map(|at| &mut self.list[at])
    }

    pub(crate) fn forget_live(&mut self) {
        self.list.iter_mut().for_each(|group| group.live = 0);
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Reservation> {
        self.list.iter().map(|group| &group.reservation)
    }

    /// Bytes reserved for all. Within the limit, as `set` sees to.
    pub(crate) fn reserved(&self) -> usize {
        self.list.iter().map(|group| group.reservation.bytes).sum()
    }

    pub(crate) fn smallest_cap(&self) -> usize {
        self.list.iter().filter_map(|group| group.reservation.cap).min().unwrap_or(usize::MAX)
    }

    /// Of each group the larger of what it has and what is reserved for it.
    pub(crate) fn committed(&self) -> usize {
        self.list.iter().map(|group| group.live.max(group.reservation.bytes)).sum()
    }

    /// Bytes reserved that their groups have not leased.
    pub(crate) fn unused(&self) -> usize {
        self.list.iter().map(Group::unused).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_belongs_to_the_longest_name_and_to_no_neighbour() {
        let mut groups = Groups::default();
        for name in ["reserve-test", "reserve-test/0"] {
            groups.set(Reservation::new(name, 10), 100).unwrap();
        }
        for (owner, group) in [
            ("reserve-test", Some("reserve-test")),
            ("reserve-test/1", Some("reserve-test")),
            ("reserve-test/0", Some("reserve-test/0")),
            ("reserve-test/0/x", Some("reserve-test/0")),
            ("reserve-tests", None),
            ("reserve", None),
        ] {
            let found = groups.of(Owner::named(owner)).map(|group| group.name());
            assert_eq!(found.as_deref(), group, "{owner}");
        }
    }

    #[test]
    fn impossible_reservations_are_refused_and_change_nothing() {
        let mut groups = Groups::default();
        groups.set(Reservation::new("a", 60), 100).unwrap();
        let cap = |bytes, cap| Reservation { cap: Some(cap), ..Reservation::new("b", bytes) };
        for wrong in [
            Reservation::new("", 1),
            Reservation::new("b", 41),
            Reservation::new("b", usize::MAX),
            cap(20, 10),
            cap(0, 63),
        ] {
            assert!(matches!(groups.set(wrong.clone(), 100), Err(Error::InvalidInput(_))), "{wrong:?}");
        }
        assert_eq!((groups.reserved(), groups.smallest_cap()), (60, usize::MAX));
        groups.set(Reservation::new("a", 100), 100).unwrap();
        groups.set(Reservation::new("a", 0), 100).unwrap();
        assert_eq!(groups.all().count(), 0);
    }
}
