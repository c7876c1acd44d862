//! The data plane of leak tracking: which leases are recorded, and the ways to the ledger.
//!
//! A record waits at its lease's slot until the ledger takes it (`waiting`). What happens to a lease of which the ledger has
//! heard is told by events through a bounded channel; an event that finds it full is dropped and counted: a lease never
//! waits for its observer.

use super::event::{Event, Lease, Outcome, Record};
use super::level::{Level, LevelCell};
use super::origin::Origin;
use super::stack::Stack;
use super::touch::{Site, Touch, Touches};
use super::waiting::Waiting;
use crate::pool::LeaseId;
use crate::pool::fallible::try_box;
use crate::pool::sync::{Mutex, MutexGuard, lock};
use crate::{Error, Result};
use crossbeam_channel::{Receiver, Sender};
use crossbeam_utils::CachePadded;
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
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

/// Told when `pace` has changed, before whoever changed it goes on.
type PaceWatcher = Box<dyn Fn() + Send + Sync>;

/// Records leases as they begin and end. Shared by a pool and its ledger.
pub struct Recorder {
    level: LevelCell,
    sample_every: AtomicU32,
    /// What the two say of leases that need not be recorded: one in so many is; 0: none.
    pace: AtomicU32,
    /// Open scopes, for as long as which every lease is recorded. Held while the pace is set.
    scopes: Mutex<u32>,
    pace_watcher: OnceLock<PaceWatcher>,
    waiting: Waiting,
    /// This is the child of a fork: what the channel was in the middle of nobody knows, and nobody drains it.
    is_orphan: AtomicBool,
    sender: Sender<Event>,
    receiver: Receiver<Event>,
    recorded: CachePadded<AtomicU64>,
    dropped: CachePadded<AtomicU64>,
    /// For want of memory: records, and stacks of those that there are.
    unrecorded: AtomicU64,
    lost_stacks: AtomicU64,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("level", &self.level())
            .field("sample_every", &self.sample_every())
            .field("recorded_leases", &self.recorded_leases())
            .field("dropped_events", &self.dropped_events())
            .finish_non_exhaustive()
    }
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
            pace_watcher: OnceLock::new(),
            waiting: Waiting::new(),
            is_orphan: AtomicBool::new(false),
            sender,
            receiver,
            recorded: CachePadded::default(),
            dropped: CachePadded::default(),
            unrecorded: AtomicU64::new(0),
            lost_stacks: AtomicU64::new(0),
        };
        recorder.change(|_| ());
        Ok(recorder)
    }

    /// Has `watcher` called after each change of [`Recorder::pace`]. The first to ask is the only one.
    pub(crate) fn watch_pace(&self, watcher: PaceWatcher) {
        let _ = self.pace_watcher.set(watcher);
    }

    /// One lease in so many, of those that need not be recorded, is; 0: none.
    pub(crate) fn pace(&self) -> u32 {
        self.pace.load(Relaxed)
    }

    /// Changes what the pace follows from, and the pace, one change at a time.
    fn change(&self, change: impl FnOnce(&mut u32)) {
        let mut scopes = lock(&self.scopes);
        change(&mut scopes);
        let pace = match self.level() {
            _ if *scopes > 0 => 1,
            Level::Disabled => 0,
            Level::Paranoid => 1,
            Level::Simple | Level::Advanced => self.sample_every().get(),
        };
        if self.pace.swap(pace, Relaxed) != pace
            && let Some(watcher) = self.pace_watcher.get()
        {
            watcher();
        }
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
        *lock(&self.scopes)
    }

    /// Leases that carried a record, ever.
    pub fn recorded_leases(&self) -> u64 {
        self.recorded.load(Relaxed)
    }

    /// Events dropped because the channel was full, ever.
    pub fn dropped_events(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Leases that should carry a record for which the system had no memory as they began, ever. They are counted as all are.
    /// Further records are lost where the ledger takes them: [`Tracker::lost_records`](super::Tracker::lost_records) is all.
    pub fn unrecorded_leases(&self) -> u64 {
        self.unrecorded.load(Relaxed)
    }

    /// Records without the stack that they should carry, for which the system had no memory, ever.
    pub fn lost_stacks(&self) -> u64 {
        self.lost_stacks.load(Relaxed)
    }

    /// Events in the channel to the ledger. Records that wait at their slots are not counted.
    pub fn pending_events(&self) -> usize {
        self.receiver.len()
    }

    /// Takes the records that wait and then the events, each lease's in order, and no more events than the channel holds: it
    /// ends even while others keep sending.
    pub fn drain(&self) -> impl Iterator<Item = Event> {
        let most = if self.is_orphan() { 0 } else { self.receiver.capacity().unwrap_or(DEFAULT_CAPACITY) };
        let events = self.receiver.try_iter().take(most);
        self.waiting.drain().map(Event::Acquired).chain(events)
    }

    /// The level to record the lease at hand at, if any are recorded.
    pub(crate) fn recording(&self) -> Option<Level> {
        match self.level() {
            // As a scope is open, or none: without its lock, which this must not wait for.
            Level::Disabled if self.pace() == 0 => None,
            Level::Disabled => Some(Level::Simple),
            level => Some(level),
        }
    }

    /// Takes down a lease's beginning. False if that cannot be.
    pub(crate) fn acquired(&self, level: Level, lease: Lease, origin: Origin) -> bool {
        let Origin { site, task, frames } = origin;
        let stack = if level >= Level::Advanced { Stack::capture(&frames) } else { None };
        let lacks_stack = level >= Level::Advanced && stack.is_none();
        let record = Record { lease, site, task, at: Instant::now(), stack, touches: Touches::default() };
        // A record that the system has no memory for is none.
        let kept = try_box(record).is_some_and(|record| self.waiting.put(lease.id.slot(), record));
        let count = if kept { &*self.recorded } else { &self.unrecorded };
        count.fetch_add(1, Relaxed);
        if kept && lacks_stack {
            self.lost_stacks.fetch_add(1, Relaxed);
        }
        kept
    }

    /// Takes down what is done with a recorded lease's buffer.
    pub(crate) fn touched(&self, id: LeaseId, hint: &str, site: Option<Site>) {
        let touch = Touch::try_now(hint, site);
        match self.waiting.take(id.slot()) {
            Some(mut record) => {
                record.touches.push(touch);
                self.waiting.put(id.slot(), record);
            }
            None => _ = self.send(Event::Touched { id, touch }),
        }
    }

    /// A recorded lease ended as it was meant to: the ledger hears of it if it knows of the lease.
    pub(crate) fn returned(&self, lease: Lease) {
        if self.waiting.take(lease.id.slot()).is_none() {
            self.send(Event::Released { lease, at: Instant::now(), outcome: Outcome::Returned });
        }
    }

    /// Tells of a lease that was dropped unreleased, `recorded` or not. False if the channel was full.
    pub(crate) fn dropped_unreleased(&self, lease: Lease, recorded: bool) -> bool {
        if recorded && let Some(record) = self.waiting.take(lease.id.slot()) {
            self.send(Event::Acquired(record));
        }
        self.send(Event::Released { lease, at: Instant::now(), outcome: Outcome::DroppedUnreleased })
    }

    /// Keeps scopes and pace as they are: for a fork.
    pub(crate) fn hold(&self) -> MutexGuard<'_, u32> {
        lock(&self.scopes)
    }

    /// For the child of a fork: the channel is the parent's.
    pub(crate) fn forget_channel(&self) {
        self.is_orphan.store(true, Relaxed);
    }

    /// Whether this is the child of a fork, and the recorder was made before.
    pub(super) fn is_orphan(&self) -> bool {
        self.is_orphan.load(Relaxed)
    }

    fn send(&self, event: Event) -> bool {
        // We hold the receiver, so that the only other failure is a full channel.
        let sent = !self.is_orphan() && self.sender.try_send(event).is_ok();
        if !sent {
            self.dropped.fetch_add(1, Relaxed);
        }
        sent
    }
}
