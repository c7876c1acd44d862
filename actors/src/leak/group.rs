//! Equal leaks, put together.

use super::event::{Lease, Record};
use super::report::{LeakKind, LeakReport};
use super::sites::{Rise, SiteCount};
use super::stack::Stack;
use super::touch::TouchReport;
use crate::pool::{LeaseId, Owner, SizeClass};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What makes leaks equal. Ordered, so that reports come in a stable order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) owner: Owner,
    pub(super) class: SizeClass,
    pub(super) site: Option<Arc<str>>,
    /// Of the owner, where that matters.
    pub(super) incarnation: Option<u64>,
}

impl Key {
    pub(super) fn new(owner: Owner, class: SizeClass, site: Option<Arc<str>>) -> Self {
        Self { owner, class, site, incarnation: None }
    }
}

/// Equal leaks.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) first: Option<LeaseId>,
    pub(super) last: Option<LeaseId>,
    pub(super) count: u64,
    pub(super) new: u64,
    pub(super) bytes: u64,
    pub(super) age: Duration,
    /// Not of growth, where each place has its own.
    pub(super) details: Option<Details>,
}

/// What is known of the first of equal leaks beyond what makes them equal; of growth, of the newest lease at a place.
#[derive(Debug, Clone)]
pub(super) struct Details {
    task: Option<Arc<str>>,
    pub(super) stack: Option<Stack>,
    touches: Vec<TouchReport>,
    touches_dropped: u64,
}

impl Details {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            task: record.task.clone(),
            stack: record.stack.clone(),
            touches: record.touches.report(record.at),
            touches_dropped: record.touches.dropped(),
        }
    }
}

impl Group {
    pub(super) fn add(&mut self, lease: &Lease, age: Duration, is_new: bool, record: Option<&Record>) {
        self.first.get_or_insert(lease.id);
        self.last = Some(lease.id);
        self.count += 1;
        self.new += u64::from(is_new);
        self.bytes += lease.bytes as u64;
        self.age = self.age.max(age);
        if self.details.is_none() {
            self.details = record.map(Details::of);
        }
    }
}

/// Groups by what makes their members equal.
#[derive(Debug, Default)]
pub(super) struct Groups(pub(super) BTreeMap<Key, Group>);

impl Groups {
    /// Adds a lease that lives, with what its record says, if it has one.
    pub(super) fn add_live(
        &mut self,
        lease: &Lease,
        record: Option<&Record>,
        now: Instant,
        incarnation: Option<u64>,
        is_new: bool,
    ) {
        let site = record.and_then(|record| record.site.clone());
        let age = record.map_or(Duration::ZERO, |record| now.saturating_duration_since(record.at));
        let key = Key { incarnation, ..Key::new(lease.owner, lease.class, site) };
        self.0.entry(key).or_default().add(lease, age, is_new, record);
    }

    pub(super) fn into_findings(self, kind: LeakKind) -> impl Iterator<Item = Finding> {
        self.0.into_iter().map(move |(key, group)| Finding { kind, key, group, growth: None })
    }
}

/// Equal leaks of a kind. Making a report of it reads the program's symbols, which takes a while: hold no lock meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) kind: LeakKind,
    pub(super) key: Key,
    pub(super) group: Group,
    /// How, if it is growth.
    pub(super) growth: Option<Rise>,
}

impl Finding {
    /// What is reported, with the calls that led to it.
    pub(super) fn report(&self) -> LeakReport {
        let (sites, details) = self.named(true);
        let frames = details.and_then(|details| details.stack.as_ref()).map(Stack::frames).unwrap_or_default();
        LeakReport { frames, ..self.of(sites, details) }
    }

    /// The first place that is named: of growth, where most of it began.
    pub(super) fn site(&self) -> Option<String> {
        let first = || self.named(true).0.into_iter().next()?.site;
        self.key.site.as_deref().map(str::to_owned).or_else(first)
    }

    /// The report without the calls, and without the sites that only a call tells, and the stack to read those from: reads no
    /// symbols.
    pub(super) fn report_unread(&self) -> (LeakReport, Option<&Stack>) {
        let (sites, details) = self.named(false);
        (self.of(sites, details), details.and_then(|details| details.stack.as_ref()))
    }

    /// The places of what grows, and what is known of one lease.
    fn named(&self, reads: bool) -> (Vec<SiteCount>, Option<&Details>) {
        self.growth.as_ref().map_or_else(|| (Vec::new(), self.group.details.as_ref()), |rise| rise.sites(reads))
    }

    fn of(&self, sites: Vec<SiteCount>, details: Option<&Details>) -> LeakReport {
        let Self { kind, key, group, growth } = self;
        LeakReport {
            id: group.first,
            kind: *kind,
            equal: group.count,
            new: group.new,
            bytes: group.bytes,
            class_size: key.class.bytes().unwrap_or(0),
            owner: key.owner,
            incarnation: key.incarnation,
            site: key.site.as_deref().map(str::to_owned),
            task: details.and_then(|details| details.task.as_deref()).map(str::to_owned),
            age: group.age,
            counts: growth.as_ref().map(|rise| rise.counts.clone()).unwrap_or_default(),
            window: growth.as_ref().map(|rise| rise.window).unwrap_or_default(),
            sites,
            frames: Vec::new(),
            touches: details.map(|details| details.touches.clone()).unwrap_or_default(),
            touches_dropped: details.map_or(0, |details| details.touches_dropped),
        }
    }
}
