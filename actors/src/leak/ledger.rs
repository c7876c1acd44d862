//! The control plane's memory of recorded leases, and the judgement what is a leak.
//!
//! A plain value for one thread. Events may be missing (the channel is bounded), so the ledger trusts the pool's lease
//! table and not the absence of an event: a record whose lease has ended is closed quietly, and only a lease that is
//! live in the table can be too old. What was dropped unreleased is a leak by the event that says so, or by the pool's
//! exact count where that event was lost; never twice.

use super::event::{Event, Lease, Outcome, Record};
use super::group::{Finding, Group, Groups, Key};
use super::report::{LeakKind, LeakReport};
use crate::pool::{LeaseId, LeaseKind, Owner, Pool, SizeClass};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Records kept at most: some 150 MB of them.
const RECORDS_MAX: usize = 1 << 20;
/// Different leaks of dropped leases kept at most; further sites of an owner and class are counted without a site, of
/// which there are few.
const DROPPED_MAX: usize = 4096;
/// A lease this old is a leak by default.
const AGE_MAX: Duration = Duration::from_secs(300);

/// How long a lease may live; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgeLimits {
    /// Of plain leases. Default: 300 s.
    pub plain: Option<Duration>,
    /// Of leases that must be released explicitly. Default: 300 s.
    pub explicit: Option<Duration>,
}

impl Default for AgeLimits {
    fn default() -> Self {
        Self { plain: Some(AGE_MAX), explicit: Some(AGE_MAX) }
    }
}

impl AgeLimits {
    /// The limit for leases of this kind.
    pub fn of(&self, kind: LeaseKind) -> Option<Duration> {
        match kind {
            LeaseKind::Plain => self.plain,
            LeaseKind::Explicit => self.explicit,
        }
    }

    pub(crate) fn is_exceeded(&self, record: &Record, now: Instant) -> bool {
        self.of(record.lease.kind).is_some_and(|limit| now.saturating_duration_since(record.at) > limit)
    }
}

/// A recorded lease that the ledger has not seen end.
#[derive(Debug)]
struct Outstanding {
    record: Record,
    reported: bool,
}

/// The recorded leases and the leaks among them.
#[derive(Debug, Default)]
pub struct Ledger {
    limits: AgeLimits,
    outstanding: HashMap<LeaseId, Outstanding>,
    dropped: BTreeMap<Key, Group>,
    closed_quietly: u64,
    refused: Arc<AtomicU64>,
    checked_at: Option<Instant>,
}

impl Ledger {
    /// An empty ledger with these limits.
    pub fn new(limits: AgeLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The limits in force.
    pub fn limits(&self) -> AgeLimits {
        self.limits
    }

    /// Changes the limits, for the leases that live as well.
    pub fn set_limits(&mut self, limits: AgeLimits) {
        self.limits = limits;
    }

    /// Takes in events, in the order they were sent: [`Recorder::drain`](super::Recorder::drain)'s.
    pub fn absorb(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            match event {
                Event::Acquired(record) => self.open(*record),
                Event::Touched { id, touch } => {
                    if let Some(outstanding) = self.outstanding.get_mut(&id) {
                        outstanding.record.touches.push(touch);
                    }
                }
                Event::Released { lease, at, outcome } => {
                    let record = self.outstanding.remove(&lease.id).map(|outstanding| outstanding.record);
                    if outcome == Outcome::DroppedUnreleased {
                        self.count_dropped(lease, at, record);
                    }
                }
            }
        }
    }

    fn open(&mut self, record: Record) {
        if self.outstanding.len() >= RECORDS_MAX || self.outstanding.try_reserve(1).is_err() {
            self.refused.fetch_add(1, Relaxed);
            return;
        }
        self.outstanding.insert(record.lease.id, Outstanding { record, reported: false });
    }

    fn count_dropped(&mut self, lease: Lease, at: Instant, record: Option<Record>) {
        let age = record.as_ref().map_or(Duration::ZERO, |record| at.saturating_duration_since(record.at));
        let site = record.as_ref().and_then(|record| record.site.clone());
        self.dropped_group(lease.owner, lease.class, site).add(&lease, age, true, record.as_ref());
    }

    fn dropped_group(&mut self, owner: Owner, class: SizeClass, site: Option<Arc<str>>) -> &mut Group {
        let mut key = Key::new(owner, class, site);
        if self.dropped.len() >= DROPPED_MAX && !self.dropped.contains_key(&key) {
            key.site = None;
        }
        self.dropped.entry(key).or_default()
    }

    /// Takes in what the pool has to tell and reports every leak that is known: the leases dropped unreleased since
    /// [`Ledger::forget_dropped`], and the recorded ones that are live and too old now. Records of leases that have
    /// ended meanwhile are closed.
    ///
    /// `pool` is the one whose events this ledger absorbs.
    pub fn check(&mut self, now: Instant, pool: &Pool) -> Vec<LeakReport> {
        let reports = self.find(now, pool, &HashSet::new()).iter().map(Finding::report).collect();
        self.mark_told();
        reports
    }

    /// The same, not yet told to anybody. `known` are leases that are found to be leaks for another reason.
    pub(super) fn find(&mut self, now: Instant, pool: &Pool, known: &HashSet<LeaseId>) -> Vec<Finding> {
        self.take_in(pool);
        let too_old = self.find_too_old(now, pool, known);
        let dropped = self.dropped.iter().map(|(key, group)| Finding {
            kind: LeakKind::DroppedUnreleased,
            key: key.clone(),
            group: group.clone(),
            growth: None,
        });
        dropped.chain(too_old.into_findings(LeakKind::TooOld)).collect()
    }

    /// Everything that was found has been told: it is new no more.
    pub(super) fn mark_told(&mut self) {
        self.dropped.values_mut().for_each(|group| group.new = 0);
        let limits = self.limits;
        let now = self.checked_at;
        for Outstanding { record, reported } in self.outstanding.values_mut() {
            *reported |= now.is_some_and(|now| limits.is_exceeded(record, now));
        }
    }

    /// Absorbs all that the pool has to tell.
    pub(super) fn take_in(&mut self, pool: &Pool) {
        self.absorb(pool.recorder().drain());
        self.absorb_untold(pool);
    }

    /// Takes in the drops that only the pool's counts know of.
    fn absorb_untold(&mut self, pool: &Pool) {
        for untold in pool.take_untold() {
            let group = self.dropped_group(untold.owner, untold.class, None);
            group.count += untold.count;
            group.new += untold.count;
            group.bytes += untold.bytes;
        }
    }

    fn find_too_old(&mut self, now: Instant, pool: &Pool, known: &HashSet<LeaseId>) -> Groups {
        let mut groups = Groups::default();
        let before = self.outstanding.len();
        self.checked_at = Some(now);
        self.outstanding.retain(|&id, Outstanding { record, reported }| {
            // The slot's generation decides first: the release event may be lost or still on its way.
            if !pool.is_live(id) {
                return false;
            }
            if self.limits.is_exceeded(record, now) && !known.contains(&id) {
                let age = now.saturating_duration_since(record.at);
                let key = Key::new(record.lease.owner, record.lease.class, record.site.clone());
                groups.0.entry(key).or_default().add(&record.lease, age, !*reported, Some(record));
            }
            true
        });
        self.closed_quietly += (before - self.outstanding.len()) as u64;
        groups
    }

    /// What is known of the beginning of this lease.
    pub(super) fn record(&self, id: LeaseId) -> Option<&Record> {
        self.outstanding.get(&id).map(|outstanding| &outstanding.record)
    }

    /// The leases dropped unreleased that are known, and what they have in common.
    pub(super) fn dropped(&self) -> &BTreeMap<Key, Group> {
        &self.dropped
    }

    /// Forgets the leases that were dropped unreleased, once somebody has acted on them. Returns how many there were.
    pub fn forget_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped).values().map(|group| group.count).sum()
    }

    /// Records of leases that are not known to have ended, in no order.
    pub fn outstanding(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.outstanding.values().map(|outstanding| &outstanding.record)
    }

    /// Leases dropped unreleased that the ledger knows of.
    pub fn dropped_unreleased(&self) -> u64 {
        self.dropped.values().map(|group| group.count).sum()
    }

    /// Records closed by the lease table, because the event of their end was missing or late; ever.
    pub fn closed_quietly(&self) -> u64 {
        self.closed_quietly
    }

    /// Records not taken in because there were too many already, or no memory for one more, ever.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// The same as it grows, for those who must not wait for the ledger.
    pub(super) fn refusals(&self) -> Arc<AtomicU64> {
        self.refused.clone()
    }
}
