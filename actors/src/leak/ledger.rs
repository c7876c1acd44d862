//! The control plane's memory of recorded leases, and the judgement what is a leak.
//!
//! A plain value for one thread. Events may be missing (the channel is bounded), so the ledger trusts the pool's lease
//! table and not the absence of an event: a record whose lease has ended is closed quietly, and only a lease that is
//! live in the table can be too old. What was dropped unreleased is a leak by the event that says so, or by the pool's
//! exact count where that event was lost; never twice.

use super::event::{Event, Lease, Outcome, Record};
use super::report::{LeakKind, LeakReport};
use super::stack::Stack;
use crate::pool::{LeaseId, LeaseKind, Owner, Pool, SizeClass};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
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
}

/// What makes leaks equal. Ordered, so that reports come in a stable order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    owner: Owner,
    class: SizeClass,
    site: Option<Arc<str>>,
}

/// Equal leaks.
#[derive(Debug, Default)]
struct Group {
    first: Option<LeaseId>,
    count: u64,
    new: u64,
    bytes: u64,
    age: Duration,
    stack: Option<Arc<Stack>>,
}

impl Group {
    fn add(&mut self, lease: &Lease, age: Duration, is_new: bool, stack: Option<&Arc<Stack>>) {
        self.first.get_or_insert(lease.id);
        self.count += 1;
        self.new += u64::from(is_new);
        self.bytes += lease.bytes as u64;
        self.age = self.age.max(age);
        if self.stack.is_none() {
            self.stack = stack.cloned();
        }
    }

    fn report(&self, kind: LeakKind, key: &Key) -> LeakReport {
        LeakReport {
            id: self.first,
            kind,
            equal: self.count,
            new: self.new,
            bytes: self.bytes,
            class_size: key.class.bytes().unwrap_or(0),
            owner: key.owner,
            site: key.site.as_deref().map(str::to_owned),
            age: self.age,
            frames: self.stack.as_ref().map(|stack| stack.frames()).unwrap_or_default(),
        }
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
    refused: u64,
}

impl Ledger {
    /// An empty ledger with these limits.
    pub fn new(limits: AgeLimits) -> Self {
        Self { limits, ..Self::default() }
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
        if self.outstanding.len() >= RECORDS_MAX {
            self.refused += 1;
            return;
        }
        self.outstanding.insert(record.lease.id, Outstanding { record, reported: false });
    }

    fn count_dropped(&mut self, lease: Lease, at: Instant, record: Option<Record>) {
        let age = record.as_ref().map_or(Duration::ZERO, |record| at.saturating_duration_since(record.at));
        let site = record.as_ref().and_then(|record| record.site.clone());
        let stack = record.as_ref().and_then(|record| record.stack.as_ref());
        self.dropped_group(lease.owner, lease.class, site).add(&lease, age, true, stack);
    }

    fn dropped_group(&mut self, owner: Owner, class: SizeClass, site: Option<Arc<str>>) -> &mut Group {
        let mut key = Key { owner, class, site };
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
        self.absorb(pool.recorder().drain());
        self.absorb_untold(pool);
        let too_old = self.find_too_old(now, pool);
        let dropped = self.dropped.iter().map(|(key, group)| group.report(LeakKind::DroppedUnreleased, key));
        let too_old = too_old.iter().map(|(key, group)| group.report(LeakKind::TooOld, key));
        let reports = dropped.chain(too_old).collect();
        self.dropped.values_mut().for_each(|group| group.new = 0);
        reports
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

    fn find_too_old(&mut self, now: Instant, pool: &Pool) -> BTreeMap<Key, Group> {
        let mut groups = BTreeMap::<Key, Group>::new();
        let before = self.outstanding.len();
        self.outstanding.retain(|&id, outstanding| {
            // The slot's generation decides first: the release event may be lost or still on its way.
            if !pool.is_live(id) {
                return false;
            }
            let Record { lease, site, at, stack } = &outstanding.record;
            let age = now.saturating_duration_since(*at);
            if self.limits.of(lease.kind).is_some_and(|limit| age > limit) {
                let is_new = !std::mem::replace(&mut outstanding.reported, true);
                let key = Key { owner: lease.owner, class: lease.class, site: site.clone() };
                groups.entry(key).or_default().add(lease, age, is_new, stack.as_ref());
            }
            true
        });
        self.closed_quietly += (before - self.outstanding.len()) as u64;
        groups
    }

    /// Forgets the leases that were dropped unreleased, once somebody has acted on them. Returns how many there were.
    pub fn forget_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped).values().map(|group| group.count).sum()
    }

    /// Records of leases that are not known to have ended, in no order.
    pub fn outstanding(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.outstanding.values().map(|outstanding| &outstanding.record)
    }

    /// The limits in force.
    pub fn limits(&self) -> AgeLimits {
        self.limits
    }

    /// The leaks of dropped leases as [`Ledger::check`] reports them, without the frames: whoever asks reads the stacks when
    /// the ledger is not locked.
    pub(crate) fn dropped_unread(&self) -> Vec<(LeakReport, Option<Arc<Stack>>)> {
        let unread = |(key, group): (&Key, &Group)| {
            let Group { first, count, new, bytes, age, .. } = *group;
            let bare = Group { first, count, new, bytes, age, stack: None };
            (bare.report(LeakKind::DroppedUnreleased, key), group.stack.clone())
        };
        self.dropped.iter().map(unread).collect()
    }

    /// Leases dropped unreleased that the ledger knows of.
    pub fn dropped_unreleased(&self) -> u64 {
        self.dropped.values().map(|group| group.count).sum()
    }

    /// Records closed by the lease table, because the event of their end was missing or late; ever.
    pub fn closed_quietly(&self) -> u64 {
        self.closed_quietly
    }

    /// Records not taken in because there were too many already, ever.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}
