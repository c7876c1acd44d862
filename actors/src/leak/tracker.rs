//! The handle of leak tracking: the ledger, the scopes, growth and survivors of one pool, for any thread.
//!
//! The actor drives it; whoever wants to know something asks it directly. Its locks are held for the time of a look at what
//! is recorded, never while symbols are read or a report is written.
//!
//! In the child of a fork the tracker is the parent's, and its locks may be held by threads that are not there: it takes none
//! (`Tracker::lock`), and knows how it was made and what the pool's table says, and nothing else.

use super::event::{Lease, Record};
use super::group::{Finding, Group, Groups, Key};
use super::growth::{Growth, GrowthConfig, Live};
use super::ledger::{AgeLimits, Ledger};
use super::report::{LeakKind, LeakReport};
use super::scope::Scope;
use super::sites::name_sites;
use super::stack::Stack;
use super::survivors::Survivors;
use super::table::{Table, Total};
use crate::Result;
use crate::pool::{Owner, Pool};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// What is called a leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackerConfig {
    /// How old a lease may get.
    pub ages: AgeLimits,
    /// When growth is reported; `None` is never.
    pub growth: Option<GrowthConfig>,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self { ages: AgeLimits::default(), growth: Some(GrowthConfig::default()) }
    }
}

/// What somebody looks for leaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To tell of them: what is found is new no more.
    Tell,
    Look,
}

/// Says what leaks of a pool. Clones are handles of the same.
#[derive(Clone)]
pub struct Tracker(Arc<Inner>);

struct Inner {
    pool: Pool,
    /// As configured: what is known where the ledger's may not be asked.
    ages: AgeLimits,
    ledger: Mutex<Ledger>,
    /// Records that the ledger did not take in.
    refused: Arc<AtomicU64>,
    growth: Option<Mutex<Growth>>,
    survivors: Mutex<Survivors>,
    /// What the log was told of, and how often.
    logged: Mutex<HashMap<(LeakKind, Key), u64>>,
    /// Leaks by kind when somebody looked last.
    counts: Mutex<BTreeMap<LeakKind, u64>>,
}

impl std::fmt::Debug for Tracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracker").field("pool", &self.0.pool).finish_non_exhaustive()
    }
}

impl Tracker {
    /// One that knows of nothing yet. A pool has one, as it takes the pool's events.
    ///
    /// # Errors
    /// [`Error::InvalidInput`](crate::Error::InvalidInput) for a configuration that cannot be.
    pub fn new(pool: Pool, config: TrackerConfig) -> Result<Self> {
        let growth = config.growth.map(GrowthConfig::checked).transpose()?;
        let ledger = Ledger::new(config.ages);
        Ok(Self(Arc::new(Inner {
            pool,
            ages: config.ages,
            refused: ledger.refusals(),
            ledger: Mutex::new(ledger),
            growth: growth.map(|config| Mutex::new(Growth::new(config))),
            survivors: Mutex::default(),
            logged: Mutex::default(),
            counts: Mutex::default(),
        })))
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Whether this is the child of a fork, and the tracker was made before.
    pub(crate) fn is_parents(&self) -> bool {
        self.0.pool.recorder().is_orphan()
    }

    /// The only way to what is behind the locks; `None` in the child of a fork.
    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> Option<MutexGuard<'a, T>> {
        (!self.is_parents()).then(|| mutex.lock())
    }

    /// The ledger, with all that the pool has to tell.
    fn told_ledger(&self) -> Option<MutexGuard<'_, Ledger>> {
        let mut ledger = self.lock(&self.0.ledger)?;
        ledger.take_in(&self.0.pool);
        Some(ledger)
    }

    /// How old leases may get. In the child of a fork what was configured, where nothing is held to it.
    pub fn age_limits(&self) -> AgeLimits {
        self.lock(&self.0.ledger).map_or(self.0.ages, |ledger| ledger.limits())
    }

    /// Changes that, for the leases that live as well. Nothing changes in the child of a fork.
    pub fn set_age_limits(&self, limits: AgeLimits) {
        if let Some(mut ledger) = self.lock(&self.0.ledger) {
            ledger.set_limits(limits);
        }
    }

    /// Begins a scope, which looks at everybody's leases or at one owner's.
    #[must_use = "a scope that is dropped has ended"]
    pub fn scope(&self, owner: Option<Owner>) -> Scope {
        Scope::begin(self.clone(), owner)
    }

    /// Every leak that is known, save what is out of a scope: that is the scope's to tell. What it reports is new no more.
    pub fn check(&self) -> Vec<LeakReport> {
        self.check_at(Instant::now())
    }

    /// The same, at another moment.
    pub(super) fn check_at(&self, now: Instant) -> Vec<LeakReport> {
        self.find(now, Purpose::Tell).iter().map(Finding::report).collect()
    }

    /// All that is known, as a table for people.
    pub fn table(&self) -> Table {
        let leaks = self.find(Instant::now(), Purpose::Look).iter().map(Finding::report).collect();
        let total = |(owner, class, tally): (Owner, crate::pool::SizeClass, _)| {
            let crate::pool::Tally { live, live_bytes, .. } = tally;
            Total { owner, class_size: class.bytes().unwrap_or(0), count: live, bytes: live_bytes }
        };
        let recorder = self.0.pool.recorder();
        Table {
            totals: self.0.pool.live_tallies().into_iter().map(total).collect(),
            leaks,
            level: recorder.level(),
            sample_every: recorder.sample_every().get(),
            scopes: recorder.scopes(),
            lost_events: recorder.dropped_events(),
            lost_records: self.lost_records(),
            lost_stacks: recorder.lost_stacks(),
        }
    }

    /// Every leak that is known besides the leases that are too old: the reports without their calls, and the stacks to read
    /// those from. Nothing counts as told by that.
    pub(crate) fn leaks_unread(&self) -> Vec<(LeakReport, Option<Stack>)> {
        let findings = self.find(Instant::now(), Purpose::Look);
        let findings = findings.iter().filter(|finding| finding.kind != LeakKind::TooOld);
        findings
            .map(|finding| {
                let (report, stack) = finding.report_unread();
                (report, stack.cloned())
            })
            .collect()
    }

    /// Copies what is wanted of the records of leases that live.
    pub(crate) fn copy_records<T>(&self, copy: impl Fn(&Record) -> T) -> Vec<T> {
        let Some(ledger) = self.told_ledger() else { return Vec::new() };
        // The event of a lease's end may be lost or on its way: the pool's table decides.
        ledger.outstanding().filter(|record| self.0.pool.is_live(record.lease.id)).map(copy).collect()
    }

    /// Leases that should have a record and have none, as the system had no memory for it or there were too many, ever.
    pub fn lost_records(&self) -> u64 {
        self.0.pool.recorder().unrecorded_leases() + self.0.refused.load(Relaxed)
    }

    /// Leaks by kind, of those kinds of which there were any when somebody looked last.
    pub fn counts(&self) -> BTreeMap<LeakKind, u64> {
        self.lock(&self.0.counts).map(|counts| counts.clone()).unwrap_or_default()
    }

    /// What counts as told is marked under the lock under which it was found: what others take in meanwhile is not.
    fn find(&self, now: Instant, purpose: Purpose) -> Vec<Finding> {
        self.find_if_ours(now, purpose).unwrap_or_default()
    }

    /// `None` in the child of a fork.
    fn find_if_ours(&self, now: Instant, purpose: Purpose) -> Option<Vec<Finding>> {
        let pool = &self.0.pool;
        let is_told = purpose == Purpose::Tell;
        let mut known_survivors = self.lock(&self.0.survivors)?;
        let survivors = known_survivors.find(now, pool);
        if is_told {
            known_survivors.mark_told(now);
        }
        drop(known_survivors);
        let mut growing = Vec::new();
        if let Some(mut growth) = self.0.growth.as_ref().and_then(|growth| self.lock(growth)) {
            growing = growth.find();
            if is_told {
                growth.mark_told();
            }
        }
        let known: HashSet<_> = survivors.iter().map(|survivor| survivor.lease.id).collect();
        let mut ledger = self.lock(&self.0.ledger)?;
        let mut findings = ledger.find(now, pool, &known);
        if is_told {
            ledger.mark_told();
        }
        name_sites(&mut growing, ledger.outstanding(), now);
        let mut outlived = Groups::default();
        for survivor in &survivors {
            let lease = &survivor.lease;
            outlived.add_live(lease, ledger.record(lease.id), now, Some(survivor.incarnation), survivor.new);
        }
        drop(ledger);
        findings.extend(outlived.into_findings(LeakKind::OutlivedOwner));
        findings.extend(growing);
        let mut counts = BTreeMap::new();
        for Finding { kind, group, .. } in &findings {
            *counts.entry(*kind).or_default() += group.count;
        }
        *self.lock(&self.0.counts)? = counts;
        Some(findings)
    }

    /// Leases in groups, with what their records say.
    pub(super) fn describe(&self, leases: &[Lease], now: Instant) -> Groups {
        let mut groups = Groups::default();
        let ledger = self.told_ledger();
        let record = |lease: &Lease| ledger.as_ref()?.record(lease.id);
        leases.iter().for_each(|lease| groups.add_live(lease, record(lease), now, None, true));
        groups
    }

    /// The leases dropped unreleased that are known by now.
    pub(super) fn dropped(&self) -> BTreeMap<Key, Group> {
        self.told_ledger().map(|ledger| ledger.dropped().clone()).unwrap_or_default()
    }

    /// Takes the pool's events and looks whether something grows. Several times a second.
    pub(super) fn absorb(&self, now: Instant) {
        let pool = &self.0.pool;
        let Some(mut ledger) = self.lock(&self.0.ledger) else { return };
        ledger.absorb(pool.recorder().drain());
        drop(ledger);
        let Some(mut growth) = self.0.growth.as_ref().and_then(|growth| self.lock(growth)) else { return };
        if growth.is_due(now) {
            let live = pool.live_tallies().into_iter();
            growth.look(
                now,
                live.map(|(owner, class, tally)| Live { owner, class, count: tally.live, bytes: tally.live_bytes }),
            );
        }
    }

    /// How many recorded leases are not known to have ended.
    pub(super) fn outstanding(&self) -> usize {
        self.told_ledger().map_or(0, |ledger| ledger.outstanding().len())
    }

    /// An incarnation of the actor at `path` has crashed; its state is gone, and the next one has not begun.
    pub(crate) fn crashed(&self, path: &str, incarnation: u64) {
        if let Some(owner) = Owner::known(path)
            && let Some(mut survivors) = self.lock(&self.0.survivors)
        {
            survivors.crashed(Instant::now(), owner, incarnation, &self.0.pool);
        }
    }

    /// What the log was not told yet, each leak once: equal ones and how many of them are new. Growth is told again when it
    /// has doubled.
    pub(super) fn find_unlogged(&self, now: Instant) -> Vec<(Finding, u64)> {
        let findings = self.find(now, Purpose::Look);
        let Some(mut logged) = self.lock(&self.0.logged) else { return Vec::new() };
        let before = std::mem::take(&mut *logged);
        let unlogged = findings.into_iter().filter_map(|finding| {
            let key = (finding.kind, finding.key.clone());
            let (known, count) = (before.get(&key).copied().unwrap_or(0), finding.group.count);
            let is_due = if finding.kind == LeakKind::Growing { count >= 2 * known.max(1) } else { count > known };
            // What is not found any more is forgotten, and told again should it come back.
            logged.insert(key, if is_due { count } else { known });
            is_due.then(|| (finding, count.saturating_sub(known)))
        });
        unlogged.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::PoolConfig;
    use crate::snapshot::{History, Observer};
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn in_a_child_nothing_that_is_asked_waits_for_what_the_parents_threads_had_locked() {
        let pool = Pool::new(PoolConfig::limited(1 << 20)).unwrap();
        let ages = AgeLimits { plain: None, explicit: Some(Duration::from_secs(7)) };
        let tracker = Tracker::new(pool.clone(), TrackerConfig { ages, ..TrackerConfig::default() }).unwrap();
        let owner = Owner::named("tracker-test/child");
        let _held = pool.allocate(1000, owner).unwrap();
        let Inner { ledger, growth, survivors, logged, counts, .. } = &*tracker.0;
        // As if a thread had been in all of it at the fork.
        let _theirs = (ledger.lock(), growth.as_ref().map(Mutex::lock), survivors.lock(), logged.lock(), counts.lock());
        pool.recorder().forget_channel();
        let (asked, answer) = mpsc::channel();
        let of_child = tracker.clone();
        std::thread::spawn(move || {
            let (tracker, now) = (of_child, Instant::now());
            tracker.absorb(now);
            tracker.crashed(owner.name(), 1);
            tracker.set_age_limits(AgeLimits::default());
            assert_eq!(tracker.age_limits(), ages);
            assert!(tracker.check().is_empty() && tracker.leaks_unread().is_empty() && tracker.counts().is_empty());
            assert!(tracker.find_unlogged(now).is_empty() && tracker.copy_records(|_| ()).is_empty());
            assert!(tracker.dropped().is_empty() && tracker.outstanding() == 0);
            let table = tracker.table();
            assert_eq!((table.totals.len(), table.totals[0].count, table.lost_records), (1, 1, 0));
            asked.send(()).unwrap();
        });
        answer.recv_timeout(Duration::from_secs(60)).expect("something waits, or is not as it should be");
    }

    #[test]
    fn lost_records_are_those_of_the_recorder_and_of_the_ledger_wherever_they_are_told() {
        let pool = Pool::new(PoolConfig::limited(1 << 20)).unwrap();
        let tracker = Tracker::new(pool.clone(), TrackerConfig::default()).unwrap();
        let observer = Observer::new(pool, tracker.clone(), Arc::<History>::default());
        // As of a ledger that is full.
        tracker.0.ledger.lock().refusals().fetch_add(3, Relaxed);
        assert_eq!(tracker.0.ledger.lock().refused(), 3);
        let snapshot = observer.snapshot(&[]).tracking;
        let table = tracker.table();
        assert_eq!((tracker.lost_records(), table.lost_records, snapshot.lost_records), (3, 3, 3));
        assert_eq!((table.lost_stacks, snapshot.lost_stacks), (0, 0));
    }
}
