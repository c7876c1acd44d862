//! What each owner holds: exact counts, kept by atomics at every lease and release.

use super::class::{LINE_BYTES, SizeClass};
use super::owner::Owner;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Low bits of [`Account::live`]: the number of leases, of which the lease table holds 2^26 at most.
const COUNT_BITS: u32 = 27;

/// One owner's counts, in one pool.
#[derive(Debug)]
pub(crate) struct Account {
    /// Leases in the low bits, their blocks' bytes in units of a line above: one addition keeps both, and a reader never
    /// sees one without the other. 37 bits of lines are 8 TiB, which [`Account::LIVE_BYTES_MAX`] passes on to the limit.
    live: AtomicU64,
    /// Leases that had to be released explicitly and were only dropped, ever.
    unreleased: AtomicU64,
    /// Of these, those of which no event tells, since they were last asked for; by class.
    untold: [AtomicU64; SizeClass::COUNT],
    /// Bytes of the untold ones of the class whose blocks differ in size.
    untold_huge_bytes: AtomicU64,
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
    /// No pool's limit is higher than this many bytes, for the sake of `live`.
    pub(crate) const LIVE_BYTES_MAX: u64 = ((1 << (64 - COUNT_BITS)) - 1) * LINE_BYTES as u64;

    fn new() -> Self {
        Self {
            live: AtomicU64::new(0),
            unreleased: AtomicU64::new(0),
            untold: [const { AtomicU64::new(0) }; SizeClass::COUNT],
            untold_huge_bytes: AtomicU64::new(0),
        }
    }

    /// Leases and bytes of their blocks, of the same moment.
    pub(crate) fn live(&self) -> (u64, u64) {
        let live = self.live.load(Ordering::Relaxed);
        (
            live & ((1 << COUNT_BITS) - 1),
            (live >> COUNT_BITS) * LINE_BYTES as u64,
        )
    }

    pub(crate) fn unreleased(&self) -> u64 {
        self.unreleased.load(Ordering::Relaxed)
    }

    fn one_lease(bytes: usize) -> u64 {
        ((bytes / LINE_BYTES) as u64) << COUNT_BITS | 1
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

    pub(crate) fn lease(&self, owner: Owner, bytes: usize) {
        self.of(owner)
            .live
            .fetch_add(Account::one_lease(bytes), Ordering::Relaxed);
    }

    pub(crate) fn release(&self, owner: Owner, bytes: usize) {
        self.of(owner)
            .live
            .fetch_sub(Account::one_lease(bytes), Ordering::Relaxed);
    }

    /// Counts a lease that was dropped unreleased. `told`: an event of it is on its way to the ledger.
    pub(crate) fn unreleased(&self, owner: Owner, class: SizeClass, bytes: usize, told: bool) {
        let account = self.of(owner);
        account.unreleased.fetch_add(1, Ordering::Relaxed);
        if !told {
            if class == SizeClass::HUGE {
                account
                    .untold_huge_bytes
                    .fetch_add(bytes as u64, Ordering::Relaxed);
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
                all.push(Untold {
                    owner,
                    class,
                    count,
                    bytes,
                });
            }
        }
        all
    }

    /// The accounts that exist, by owner.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Owner, &Account)> {
        self.0
            .iter()
            .enumerate()
            .filter_map(|(index, cell)| Some((Owner::at(index), &**cell.get()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_bytes_do_not_disturb_each_other() {
        let accounts = Accounts::new();
        let owner = Owner::named("accounts-test");
        let sizes = [64, 1 << 30, (1 << 40) + 4096, 320];
        for bytes in sizes {
            accounts.lease(owner, bytes);
        }
        let (_, account) = accounts.iter().next().unwrap();
        assert_eq!(account.live(), (4, sizes.iter().sum::<usize>() as u64));
        for bytes in sizes {
            accounts.release(owner, bytes);
        }
        assert_eq!(account.live(), (0, 0));
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
        assert_eq!(
            untold[0],
            Untold {
                owner,
                class: SizeClass::of(100),
                count: 2,
                bytes: 256
            }
        );
        assert_eq!(
            untold[1],
            Untold {
                owner,
                class: SizeClass::HUGE,
                count: 1,
                bytes: 8192
            }
        );
        assert_eq!(accounts.take_untold(), []);
        assert_eq!(accounts.iter().next().unwrap().1.unreleased(), 4);
    }
}
