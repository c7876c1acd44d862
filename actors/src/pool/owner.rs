//! Owners: who a lease is counted for.
//!
//! Names are interned once for the whole process, so that an [`Owner`] is two bytes and a pool keeps its counts in a
//! table. The table is bounded: names come from users, and a program that makes up a new one for every request must not
//! grow without limit. Beyond [`Owner::MAX`] names all further ones are counted together as [`Owner::OTHER`].

use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Longer names are cut, at a character's boundary: 4,096 of these are 1 MiB.
const NAME_BYTES_MAX: usize = 256;

/// Who holds a lease: an actor's path such as `images/0`, or `python`. Cheap to copy and compare.
///
/// ```
/// use ironcliw_actors::pool::Owner;
/// let owner = Owner::named("images/0");
/// assert_eq!(owner, Owner::named("images/0"));
/// assert_eq!(owner.name(), "images/0");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u16);

struct Names {
    by_owner: Vec<&'static str>,
    by_name: HashMap<&'static str, Owner>,
}

static NAMES: LazyLock<RwLock<Names>> = LazyLock::new(|| RwLock::new(Names::new()));

/// The names. They are whole at every step: a panic does not spoil them.
fn names() -> RwLockReadGuard<'static, Names> {
    NAMES.read().unwrap_or_else(PoisonError::into_inner)
}

fn names_mut() -> RwLockWriteGuard<'static, Names> {
    NAMES.write().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the names as they are: for a fork.
pub(super) fn hold() -> impl Sized + 'static + use<> {
    names_mut()
}

impl Names {
    fn new() -> Self {
        Self { by_owner: vec!["other"], by_name: HashMap::from([("other", Owner::OTHER)]) }
    }

    fn intern(&mut self, name: &str) -> Owner {
        if let Some(&owner) = self.by_name.get(name) {
            return owner;
        }
        if self.by_owner.len() >= Owner::MAX {
            return Owner::OTHER;
        }
        let owner = Owner(self.by_owner.len() as u16);
        // Leaked on purpose, at most MAX times: an owner's name is valid wherever the owner is.
        let name: &'static str = Box::leak(name.into());
        self.by_owner.push(name);
        self.by_name.insert(name, owner);
        owner
    }
}

/// As much of a name as is kept.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
}

impl Owner {
    /// All names that came after the table was full.
    pub const OTHER: Self = Self(0);
    /// The number of different owners a process can tell apart.
    pub const MAX: usize = 4096;

    /// The owner of this name. Takes a lock: ask once and keep the answer. Names of more than 256 bytes are cut.
    pub fn named(name: &str) -> Self {
        let name = cut(name);
        if let Some(&owner) = names().by_name.get(name) {
            return owner;
        }
        names_mut().intern(name)
    }

    /// The owner of this name, if there is one already.
    pub(crate) fn known(name: &str) -> Option<Self> {
        names().by_name.get(cut(name)).copied()
    }

    /// The name it was made with.
    pub fn name(self) -> &'static str {
        names().by_owner[self.index()]
    }

    /// All that were ever named.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..names().by_owner.len()).map(Self::at)
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The owner at this place of a table of [`Owner::MAX`] places.
    #[inline]
    pub(crate) fn at(index: usize) -> Self {
        debug_assert!(index < Self::MAX);
        Self(index as u16)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl serde::Serialize for Owner {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_owner_and_an_overlong_name_is_cut() {
        let owner = Owner::named("owner-test/a");
        assert_eq!(Owner::named("owner-test/a"), owner);
        assert_ne!(Owner::named("owner-test/b"), owner);
        assert_eq!(owner.to_string(), "owner-test/a");
        let long = "ä".repeat(500);
        assert_eq!(Owner::named(&long).name().len(), NAME_BYTES_MAX);
        assert_eq!(Owner::OTHER.name(), "other");
    }

    #[test]
    fn names_beyond_the_table_are_counted_together() {
        // Static as the real one is: what it leaks stays reachable.
        static FULL: LazyLock<RwLock<Names>> = LazyLock::new(|| RwLock::new(Names::new()));
        let mut names = FULL.write().unwrap();
        let owners: Vec<Owner> = (0..Owner::MAX + 10).map(|n| names.intern(&n.to_string())).collect();
        assert_eq!(names.by_owner.len(), Owner::MAX);
        assert!(owners[..Owner::MAX - 1].iter().all(|&owner| owner != Owner::OTHER));
        assert!(owners[Owner::MAX - 1..].iter().all(|&owner| owner == Owner::OTHER));
        assert_eq!(names.intern("7"), owners[7]);
    }
}
