//! Who holds what: exact counts by owner and class, kept at every lease and release.
//!
//! One counter of beginnings and one of ends for each owner and class, so that either step costs a single addition, and
//! everything else is a sum made when somebody looks. Ends are read before beginnings: a reader may miss the latest
//! steps but never sees a lease that ended before it began.

use super::class::SizeClass;
use super::owner::Owner;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Leases of one owner and class, ever.
#[derive(Debug, Default)]
struct Leases {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Ended by a drop where a release was demanded, with no event that tells of it; since last asked for.
    untold: AtomicU64,
}

/// Bytes of the class whose blocks differ in size, where a count is not enough; ever, or as [`Leases::untold`].
#[derive(Debug, Default)]
struct HugeBytes {
    begun: AtomicU64,
    ended: AtomicU64,
    untold: AtomicU64,
}

/// One owner's counts, in one pool.
#[derive(Debug)]
pub(crate) struct Account {
    classes: [Leases; SizeClass::COUNT],
    huge_bytes: HugeBytes,
    /// Leases that had to be released explicitly and were only dropped, ever.
    unreleased: AtomicU64,
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
            classes: std::array::from_fn(|_| Leases::default()),
            huge_bytes: HugeBytes::default(),
            unreleased: AtomicU64::new(0),
        }
    }

    pub(crate) fn tally(&self, class: SizeClass) -> Tally {
        let between = |ended: &AtomicU64, begun: &AtomicU64| {
            let ended = ended.load(Ordering::Acquire);
            let begun = begun.load(Ordering::Relaxed);
            (begun, begun.saturating_sub(ended))
        };
        let of_class = &self.classes[class.index()];
        let (leases, live) = between(&of_class.ended, &of_class.begun);
        let live_bytes = match class.bytes() {
            Some(bytes) => live * bytes as u64,
            None => between(&self.huge_bytes.ended, &self.huge_bytes.begun).1,
        };
        Tally { leases, live, live_bytes }
    }

    pub(crate) fn unreleased(&self) -> u64 {
        self.unreleased.load(Ordering::Relaxed)
    }
}

/// The accounts of all owners that ever leased from one pool.
#[derive(Debug)]
pub(crate) struct Accounts(Box<[OnceLock<Box<Account>>]>);

impl Accounts {
    pub(crate) fn new() -> Self {
        Self((0..Owner::MAX).map(|_| OnceLock::new()).collect())
    }

    fn of(&self, owner: Owner) -> &Account {
        self.0[owner.index()].get_or_init(|| Box::new(Account::new()))
    }

    pub(crate) fn lease(&self, owner: Owner, class: SizeClass, bytes: usize) {
        let account = self.of(owner);
        account.classes[class.index()].begun.fetch_add(1, Ordering::Relaxed);
        if class == SizeClass::HUGE {
            account.huge_bytes.begun.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn release(&self, owner: Owner, class: SizeClass, bytes: usize) {
        let account = self.of(owner);
        // Release: whoever sees the end sees the beginning, which another thread may have counted.
        account.classes[class.index()].ended.fetch_add(1, Ordering::Release);
        if class == SizeClass::HUGE {
            account.huge_bytes.ended.fetch_add(bytes as u64, Ordering::Release);
        }
    }

    /// Counts a lease that was dropped unreleased. `told`: an event of it is on its way to the ledger.
    pub(crate) fn unreleased(&self, owner: Owner, class: SizeClass, bytes: usize, told: bool) {
        let account = self.of(owner);
        account.unreleased.fetch_add(1, Ordering::Relaxed);
        if !told {
            if class == SizeClass::HUGE {
                account.huge_bytes.untold.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            account.classes[class.index()].untold.fetch_add(1, Ordering::Release);
        }
    }

    /// Takes the counts of the untold: each is handed out once.
    pub(crate) fn take_untold(&self) -> Vec<Untold> {
        let mut all = Vec::new();
        for (owner, account) in self.iter() {
            for class in SizeClass::all() {
                let cell = &account.classes[class.index()].untold;
                if cell.load(Ordering::Relaxed) == 0 {
                    continue;
                }
                let count = cell.swap(0, Ordering::Acquire);
                let bytes = match class.bytes() {
                    Some(bytes) => count * bytes as u64,
                    None => account.huge_bytes.untold.swap(0, Ordering::Relaxed),
                };
                all.push(Untold { owner, class, count, bytes });
            }
        }
        all
    }

    /// The accounts that exist, by owner.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Owner, &Account)> {
        self.0.iter().enumerate().filter_map(|(index, cell)| Some((Owner::at(index), &**cell.get()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_differing_sizes_are_counted_by_their_bytes() {
        let accounts = Accounts::new();
        let owner = Owner::named("accounts-test");
        let sizes = [64, 1 << 30, (1 << 40) + 4096, (1 << 41) + 4096];
        sizes.iter().for_each(|&bytes| accounts.lease(owner, SizeClass::of(bytes), bytes));
        let (_, account) = accounts.iter().next().unwrap();
        assert_eq!(account.tally(SizeClass::HUGE), Tally { leases: 2, live: 2, live_bytes: (3 << 40) + 8192 });
        assert_eq!(account.tally(SizeClass::of(64)), Tally { leases: 1, live: 1, live_bytes: 64 });
        sizes.iter().for_each(|&bytes| accounts.release(owner, SizeClass::of(bytes), bytes));
        assert_eq!(account.tally(SizeClass::HUGE), Tally { leases: 2, live: 0, live_bytes: 0 });
        assert!(SizeClass::all().all(|class| account.tally(class).live == 0));
    }

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
        assert_eq!(accounts.iter().next().unwrap().1.unreleased(), 4);
    }
}
