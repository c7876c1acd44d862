//! Leases by owner and class as they are told, and those that were dropped where a release was demanded.
//!
//! The latter are rare and are counted here; all leases are counted where they begin and end, thread by thread
//! (`cache/tallies.rs`).

use super::class::SizeClass;
use super::fallible::OnceBox;
use super::owner::Owner;
use std::sync::atomic::{AtomicU64, Ordering};

/// Dropped leases of one owner, in one pool.
#[derive(Debug)]
pub(crate) struct Account {
    /// Ever.
    unreleased: AtomicU64,
    /// With no event that tells of them; since last asked for, by class.
    untold: [AtomicU64; SizeClass::COUNT],
    /// Their bytes in the class whose blocks differ in size, where a count is not enough.
    untold_huge_bytes: AtomicU64,
}

/// Leases of one owner and class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Ever.
    pub(crate) leases: u64,
    /// Not ended.
    pub(crate) live: u64,
    /// Bytes of the blocks of those not ended.
    pub(crate) live_bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.leases += other.leases;
        self.live += other.live;
        self.live_bytes += other.live_bytes;
    }
}

/// Dropped leases of one owner and class of which no event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Untold {
    pub(crate) owner: Owner,
    pub(crate) class: SizeClass,
    pub(crate) count: u64,
    /// Bytes of all their blocks.
    pub(crate) bytes: u64,
}

impl Account {
    fn new() -> Self {
        Self {
            unreleased: AtomicU64::new(0),
            untold: std::array::from_fn(|_| AtomicU64::new(0)),
            untold_huge_bytes: AtomicU64::new(0),
        }
    }
}

/// The accounts of all owners that ever dropped a lease of one pool so.
#[derive(Debug)]
pub(crate) struct Accounts {
    by_owner: Box<[OnceBox<Account>]>,
    /// Of those for whom the system had no memory.
    other: Account,
}

impl Accounts {
    pub(crate) fn new() -> Self {
        Self { by_owner: (0..Owner::MAX).map(|_| OnceBox::new()).collect(), other: Account::new() }
    }

    fn of(&self, owner: Owner) -> &Account {
        self.by_owner[owner.index()].get_or_try(|| Some(Account::new())).unwrap_or(&self.other)
    }

    /// Counts a lease that was dropped unreleased. `told`: an event of it is on its way to the ledger.
    pub(crate) fn unreleased(&self, owner: Owner, class: SizeClass, bytes: usize, told: bool) {
        let account = self.of(owner);
        account.unreleased.fetch_add(1, Ordering::Relaxed);
        if !told {
            if class == SizeClass::HUGE {
                account.untold_huge_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            account.untold[class.index()].fetch_add(1, Ordering::Release);
        }
    }

    /// Takes the counts of the untold: each is handed out once.
    pub(crate) fn take_untold(&self) -> Vec<Untold> {
        let mut all = Vec::new();
        for (owner, account) in self.iter() {
            for class in SizeClass::all() {
                let cell = &account.untold[class.index()];
                if cell.load(Ordering::Relaxed) == 0 {
                    continue;
                }
                let count = cell.swap(0, Ordering::Acquire);
                let bytes = match class.bytes() {
                    Some(bytes) => count * bytes as u64,
                    None => account.untold_huge_bytes.swap(0, Ordering::Relaxed),
                };
                all.push(Untold { owner, class, count, bytes });
            }
        }
        all
    }

    /// How many leases `owner` ever dropped unreleased.
    pub(crate) fn unreleased_of(&self, owner: Owner) -> u64 {
        let of_other = if owner == Owner::OTHER { self.other.unreleased.load(Ordering::Relaxed) } else { 0 };
        let own = self.by_owner[owner.index()].get();
        own.map_or(0, |account| account.unreleased.load(Ordering::Relaxed)) + of_other
    }

    /// The accounts that exist, by owner.
    fn iter(&self) -> impl Iterator<Item = (Owner, &Account)> {
        let named = self.by_owner.iter().enumerate().filter_map(|(index, cell)| Some((Owner::at(index), cell.get()?)));
        named.chain(std::iter::once((Owner::OTHER, &self.other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untold_drop_is_handed_out_once_and_stays_counted() {
        let accounts = Accounts::new();
        let owner = Owner::named("accounts-test");
        accounts.unreleased(owner, SizeClass::of(100), 128, false);
        accounts.unreleased(owner, SizeClass::of(100), 128, false);
        accounts.unreleased(owner, SizeClass::of(100), 128, true);
        accounts.unreleased(owner, SizeClass::HUGE, 8192, false);
        let untold = accounts.take_untold();
        assert_eq!(untold[0], Untold { owner, class: SizeClass::of(100), count: 2, bytes: 256 });
        assert_eq!(untold[1], Untold { owner, class: SizeClass::HUGE, count: 1, bytes: 8192 });
        assert_eq!(accounts.take_untold(), []);
        assert_eq!(accounts.unreleased_of(owner), 4);
    }
}
