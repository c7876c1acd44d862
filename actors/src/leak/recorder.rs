//! The data plane of leak tracking: which leases are recorded, and the bounded way to the ledger.
//!
//! An event that finds the channel full is dropped and counted: a lease never waits for its observer.

use super::event::{Event, Lease, Outcome, Record};
use super::level::{Level, LevelCell};
use super::sampler;
use super::stack::Stack;
use crate::{Error, Result};
use crossbeam_channel::{Receiver, Sender};
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Events on their way at most: about a megabyte of them.
const DEFAULT_CAPACITY: usize = 16_384;
/// The most a channel may be asked to hold; its memory is taken at once.
const MAX_CAPACITY: usize = 1 << 24;
/// One lease in so many is recorded by default.
const DEFAULT_SAMPLE_EVERY: NonZeroU32 = NonZeroU32::new(128).unwrap();

/// Which leases leave a record, and how many events may wait for the ledger.
#[derive(Debug, Clone)]
pub struct RecorderConfig {
    /// The level to begin with. Default: `Simple`.
    pub level: Level,
    /// One lease in so many is recorded at `Simple` and `Advanced`. Default: 128.
    pub sample_every: NonZeroU32,
    /// Events that wait for the ledger at most, 1 to 2^24. Default: 16,384.
    pub capacity: usize,
}

impl Default for RecorderConfig {
    fn default() -> Self {
        Self { level: Level::default(), sample_every: DEFAULT_SAMPLE_EVERY, capacity: DEFAULT_CAPACITY }
    }
}

/// Records leases as they begin and end. Shared by a pool and its ledger.
#[derive(Debug)]
pub struct Recorder {
    level: LevelCell,
    sample_every: AtomicU32,
    /// What the two say of leases that need not be recorded: one in so many is; 0: none.
    pace: AtomicU32,
    /// Open scopes, for as long as which every lease is recorded. Held while the pace is set.
    scopes: Mutex<u32>,
    sender: Sender<Event>,
    receiver: Receiver<Event>,
    recorded: CachePadded<AtomicU64>,
    dropped: CachePadded<AtomicU64>,
}

impl Recorder {
    /// A recorder whose channel is empty.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a capacity out of its range.
    pub fn new(config: &RecorderConfig) -> Result<Self> {
        if !(1..=MAX_CAPACITY).contains(&config.capacity) {
            let capacity = config.capacity;
            return Err(Error::invalid(format!("an event channel holds 1 to {MAX_CAPACITY} events, not {capacity}")));
        }
        let (sender, receiver) = crossbeam_channel::bounded(config.capacity);
        let recorder = Self {
            level: LevelCell::new(config.level),
            sample_every: AtomicU32::new(config.sample_every.get()),
            pace: AtomicU32::new(0),
            scopes: Mutex::new(0),
            sender,
            receiver,
            recorded: CachePadded::default(),
            dropped: CachePadded::default(),
        };
        recorder.change(|_| ());
        Ok(recorder)
    }

    /// Changes what the pace follows from, and the pace, one change at a time.
    fn change(&self, change: impl FnOnce(&mut u32)) {
        let mut scopes = self.scopes.lock();
        change(&mut scopes);
        let pace = match self.level() {
            _ if *scopes > 0 => 1,
            Level::Disabled => 0,
            Level::Paranoid => 1,
            Level::Simple | Level::Advanced => self.sample_every().get(),
        };
        self.pace.store(pace, Relaxed);
    }

    /// The level in force.
    pub fn level(&self) -> Level {
        self.level.get()
    }

    /// Changes the level for the leases to come. Leases that carry a record keep it.
    pub fn set_level(&self, level: Level) {
        self.change(|_| self.level.set(level));
    }

    /// One lease in so many is recorded at `Simple` and `Advanced`.
    pub fn sample_every(&self) -> NonZeroU32 {
        NonZeroU32::new(self.sample_every.load(Relaxed)).unwrap_or(NonZeroU32::MIN)
    }

    /// Changes the sampling for the leases to come.
    pub fn set_sample_every(&self, every: NonZeroU32) {
        self.change(|_| self.sample_every.store(every.get(), Relaxed));
    }

    /// From now on every lease is recorded, until as many scopes have ended as have begun.
    pub(super) fn begin_scope(&self) {
        self.change(|scopes| *scopes += 1);
    }

    pub(super) fn end_scope(&self) {
        self.change(|scopes| *scopes -= 1);
    }

    /// Scopes that are open.
    pub fn scopes(&self) -> u32 {
        *self.scopes.lock()
    }

    /// Leases whose beginning was sent to the ledger, ever.
    pub fn recorded_leases(&self) -> u64 {
        self.recorded.load(Relaxed)
    }

    /// Events dropped because the channel was full, ever.
    pub fn dropped_events(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Events waiting for the ledger.
    pub fn pending_events(&self) -> usize {
        self.receiver.len()
    }

    /// Takes the waiting events, in order, and no more than the channel holds: it ends even while others keep sending.
    pub fn drain(&self) -> impl Iterator<Item = Event> {
        self.receiver.try_iter().take(self.receiver.capacity().unwrap_or(DEFAULT_CAPACITY))
    }

    /// The level to record the lease at hand at, if it is to be recorded.
    #[inline]
    pub(crate) fn wants(&self, force: bool) -> Option<Level> {
        let pace = self.pace.load(Relaxed);
        if force || pace != 0 && sampler::is_sample(pace) { self.wanted() } else { None }
    }

    #[cold]
    fn wanted(&self) -> Option<Level> {
        match self.level() {
            Level::Disabled if self.scopes() == 0 => None,
            Level::Disabled => Some(Level::Simple),
            level => Some(level),
        }
    }

    /// Tells of a lease's beginning. False if the channel was full.
    pub(crate) fn acquired(&self, level: Level, lease: Lease, site: Option<Arc<str>>) -> bool {
        let stack = (level >= Level::Advanced).then(Stack::capture);
        let sent = self.send(Event::Acquired(Box::new(Record { lease, site, at: Instant::now(), stack })));
        if sent {
            self.recorded.fetch_add(1, Relaxed);
        }
        sent
    }

    /// Tells of a lease's end. False if the channel was full.
    pub(crate) fn released(&self, lease: Lease, outcome: Outcome) -> bool {
        self.send(Event::Released { lease, at: Instant::now(), outcome })
    }

    fn send(&self, event: Event) -> bool {
        // We hold the receiver, so that the only failure is a full channel.
        let sent = self.sender.try_send(event).is_ok();
        if !sent {
            self.dropped.fetch_add(1, Relaxed);
        }
        sent
    }
}
