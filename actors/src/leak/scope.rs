//! Scopes: what began within one must have ended when it ends.
//!
//! A scope compares the pool's lease table at its two ends: a lease that is live at the end and was not at the beginning
//! began within. Ids are never used twice, so that is exact, at every leak level and whatever events were lost. While a
//! scope is open every lease is recorded, so that a report can say where what is out was leased; the level itself stays
//! what it is, and may be changed meanwhile. Scopes nest and overlap, on any threads.
//!
//! A scope sees the whole pool, so also what others lease at the same time: give it an owner to look at one only.

use super::event::Lease;
use super::group::{Finding, Group, Groups, Key};
use super::recorder::Recorder;
use super::report::{LeakKind, LeakReport};
use super::table::Findings;
use super::tracker::Tracker;
use crate::pool::{LeaseId, Owner};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A stretch of a program's time, or of a test's, after which everything must be back.
///
/// ```
/// use ironcliw_actors::leak::{Tracker, TrackerConfig};
/// use ironcliw_actors::pool::{Owner, Pool, PoolConfig};
/// let pool = Pool::new(PoolConfig::limited(1 << 20))?;
/// let tracker = Tracker::new(pool.clone(), TrackerConfig::default())?;
///
/// let scope = tracker.scope(None);
/// let kept = pool.allocate(1000, Owner::named("example"))?;
/// assert_eq!(scope.check()[0].bytes, 1000);
/// drop(kept);
/// scope.assert_clean();
/// # Ok::<_, ironcliw_actors::Error>(())
/// ```
#[derive(Debug)]
pub struct Scope {
    tracker: Tracker,
    owner: Option<Owner>,
    live_before: HashSet<LeaseId>,
    dropped_before: BTreeMap<Key, Group>,
    open: Option<EveryLease>,
    ended: Option<Ended>,
}

/// What was found at the end.
#[derive(Debug)]
struct Ended {
    out: Vec<Lease>,
    dropped: Vec<Finding>,
}

/// Has every lease recorded for as long as it lives.
#[derive(Debug)]
struct EveryLease(Arc<Recorder>);

impl EveryLease {
    fn of(recorder: &Arc<Recorder>) -> Self {
        recorder.begin_scope();
        Self(recorder.clone())
    }
}

impl Drop for EveryLease {
    fn drop(&mut self) {
        self.0.end_scope();
    }
}

impl Scope {
    pub(super) fn begin(tracker: Tracker, owner: Option<Owner>) -> Self {
        // First: a lease that began after the look at the table has a record.
        let open = EveryLease::of(tracker.pool().recorder());
        let mut scope = Self {
            tracker,
            owner,
            live_before: HashSet::new(),
            dropped_before: BTreeMap::new(),
            open: Some(open),
            ended: None,
        };
        scope.dropped_before = scope.tracker.dropped();
        scope.live_before = scope.live().into_iter().map(|lease| lease.id).collect();
        scope
    }

    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whose leases it looks at; everybody's if nobody is named.
    pub fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// Ends it: what is out now is what [`Scope::check`] reports from now on, for as long as it stays out. A scope that is
    /// dropped ends as well.
    pub fn end(&mut self) {
        if self.is_open() {
            self.ended = Some(Ended { out: self.out(), dropped: self.dropped() });
            self.open = None;
        }
    }

    /// The leases that began within it and are out, and those that had to be released and were dropped within it. After
    /// its end, only what was out then.
    pub fn check(&self) -> Vec<LeakReport> {
        self.find().iter().map(Finding::report).collect()
    }

    /// The same, without a report's cost.
    pub fn is_clean(&self) -> bool {
        match &self.ended {
            Some(ended) => ended.dropped.is_empty() && !ended.out.iter().any(|lease| self.is_live(lease)),
            None => self.out().is_empty() && self.dropped().is_empty(),
        }
    }

    /// Fails if [`Scope::check`] has something to report.
    ///
    /// # Panics
    /// With the reports, in words.
    #[track_caller]
    pub fn assert_clean(&self) {
        let reports = self.check();
        assert!(reports.is_empty(), "{}", Findings(&reports));
    }

    fn find(&self) -> Vec<Finding> {
        let (out, mut findings) = match &self.ended {
            Some(Ended { out, dropped }) => {
                (out.iter().copied().filter(|lease| self.is_live(lease)).collect(), dropped.clone())
            }
            None => (self.out(), self.dropped()),
        };
        let groups: Groups = self.tracker.describe(&out, Instant::now());
        findings.extend(groups.into_findings(LeakKind::StillOut));
        findings
    }

    fn is_live(&self, lease: &Lease) -> bool {
        self.tracker.pool().is_live(lease.id)
    }

    fn live(&self) -> Vec<Lease> {
        let owner = self.owner;
        let live = self.tracker.pool().live_leases(|live| owner.is_none_or(|owner| live.lease.owner == owner));
        live.into_iter().map(|live| live.lease).collect()
    }

    fn out(&self) -> Vec<Lease> {
        let mut live = self.live();
        live.retain(|lease| !self.live_before.contains(&lease.id));
        live
    }

    /// What was dropped unreleased since the beginning.
    fn dropped(&self) -> Vec<Finding> {
        let now = self.tracker.dropped();
        let of_owner = now.into_iter().filter(|(key, _)| self.owner.is_none_or(|owner| key.owner == owner));
        let since = of_owner.filter_map(|(key, mut group)| {
            if let Some(before) = self.dropped_before.get(&key) {
                group.count = group.count.saturating_sub(before.count);
                group.bytes = group.bytes.saturating_sub(before.bytes);
                // What is known of the first is of one that was dropped before the scope began.
                group.first = group.last.filter(|_| group.last != before.last);
                group.age = Duration::ZERO;
                group.details = None;
            }
            group.new = group.count;
            let kind = LeakKind::DroppedUnreleased;
            (group.count > 0).then_some(Finding { kind, key, group, growth: None })
        });
        since.collect()
    }
}
