//! The pool behind its handles: finding a block for a lease, and a place for a block that comes back.
//!
//! A lease first looks in its thread's cache, then on its class's shelf, and if the block is large in the other threads'
//! caches. Only then does it reserve room under the limit and ask the system; only if there is no room does it free idle
//! blocks of other classes, and it fails when there are none left. A returned block stays with the thread that returns it,
//! or goes to the shelf; if the pool then keeps more than it may, blocks of other classes make way, in turn, so that a
//! program whose sizes change does not keep yesterday's and pay the system for today's.
//!
//! A core lives as long as a handle of its pool or any of its blocks: each block owns a reference. Blocks that lie idle
//! in the core itself would keep it alive for ever, so the last handle closes it: from then on, nothing is kept (`purge`).

use super::accounts::Accounts;
use super::admission::{Admission, Refusal, Turn};
use super::block::Block;
use super::budget::Budget;
use super::cache::{self, Inside, Magazine, Refused, Roster, Sizes};
use super::class::SizeClass;
use super::decay::Decay;
use super::fork;
use super::memory;
use super::misuse::MisuseCounter;
use super::owner::Owner;
use super::patience::Patience;
use super::pressure::Board;
use super::shelf::Shelf;
use super::slots::SlotTable;
use super::strict::{Bell, Permit};
use super::sync::Mutex;
use super::waiting::WaitCounts;
use crate::leak::Recorder;
use crate::{Error, Result};
use crossbeam_utils::CachePadded;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// From this size a block is looked for in the other threads' caches before the system is asked for one: about where the
/// system's page faults begin to cost more than a visit to them.
const BORROWED_BYTES_MIN: usize = 64 << 10;

/// What is written now and then stands on lines of its own: the rest is read at every lease.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) budget: Budget,
    pub(crate) slots: SlotTable,
    pub(crate) caches: Roster,
    pub(crate) accounts: Accounts,
    pub(crate) shelves: Box<[CachePadded<Shelf>]>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) pressure: Board,
    pub(crate) misuse: Arc<MisuseCounter>,
    /// Allocations refused, ever.
    pub(crate) failures: CachePadded<AtomicU64>,
    /// The shelf that makes way next.
    pub(super) eviction: CachePadded<AtomicUsize>,
    pub(super) decay: Mutex<Decay>,
    pub(super) bell: Mutex<Option<Bell>>,
    /// Bytes ever purged.
    pub(crate) purged: AtomicU64,
    pub(crate) waits: WaitCounts,
    handles: CachePadded<AtomicUsize>,
    closed: AtomicBool,
}

/// A block for a lease, counted as leased, and what is to be known of it.
pub(crate) struct Found {
    pub(crate) block: Block,
    /// A word, as it comes through memory from `find`: two bytes, read as one, would have to wait until every store before
    /// them was done, those to other threads' lines included.
    marks: usize,
}

/// Its bytes are still the zeros it was made with.
const ZEROED: usize = 1;
/// Sampling wants the lease recorded.
const SAMPLE: usize = 2;

impl Found {
    #[inline(always)]
    fn new(block: Block, zeroed: bool, is_sample: bool) -> Self {
        Self { block, marks: if zeroed { ZEROED } else { 0 } | if is_sample { SAMPLE } else { 0 } }
    }

    #[inline(always)]
    pub(crate) fn zeroed(&self) -> bool {
        self.marks & ZEROED != 0
    }

    #[inline(always)]
    pub(crate) fn is_sample(&self) -> bool {
        self.marks & SAMPLE != 0
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        fork::forget(self);
    }
}

impl Core {
    /// A core with one handle.
    pub(crate) fn new(budget: Budget, decay: Decay, recorder: Arc<Recorder>) -> Arc<Self> {
        let core = Arc::new(Self {
            budget,
            slots: SlotTable::new(),
            caches: Roster::new(),
            accounts: Accounts::new(),
            shelves: SizeClass::all().map(|class| CachePadded::new(Shelf::new(class))).collect(),
            recorder,
            pressure: Board::default(),
            misuse: Arc::default(),
            failures: CachePadded::default(),
            eviction: CachePadded::default(),
            decay: Mutex::new(decay),
            bell: Mutex::new(None),
            purged: AtomicU64::new(0),
            waits: WaitCounts::default(),
            handles: CachePadded::new(AtomicUsize::new(1)),
            closed: AtomicBool::new(false),
        });
        let watched = Arc::downgrade(&core);
        core.recorder.watch_pace(Box::new(move || {
            if let Some(core) = watched.upgrade() {
                core.caches.restart_sampling();
            }
        }));
        fork::watch(&core);
        core
    }

    pub(crate) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn drop_handle(self: &Arc<Self>) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.closed.store(true, Ordering::SeqCst);
            self.close();
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn shelf(&self, class: SizeClass) -> &Shelf {
        &self.shelves[class.index()]
    }

    /// Bytes of free blocks. What moves once meanwhile may be counted twice and is not missed; what moves to and fro may be.
    pub(crate) fn idle(&self) -> usize {
        let before = self.budget.shelved.get();
        let cached = self.caches.cached();
        cached + before.max(self.budget.shelved.get())
    }

    /// Bytes leased, as near as a reader comes who stops nobody. What is held is read before and after, as idle blocks may
    /// go back to the system meanwhile.
    pub(crate) fn live(&self) -> usize {
        let before = self.budget.held();
        let idle = self.idle();
        before.min(self.budget.held()).saturating_sub(idle)
    }

    /// Bytes leased, or fewer, from the counts of all owners and threads.
    pub(super) fn live_at_least(&self) -> usize {
        let used = self.shelves.iter().filter(|shelf| shelf.made() > 0).map(|shelf| shelf.class());
        self.caches.live_at_least(&Sizes::of(used))
    }

    /// Whether no more than `bytes` are leased. Never false where it was true all the time: where the short way says no, the
    /// long one is asked.
    pub(super) fn leases_at_most(&self, bytes: usize) -> bool {
        self.live() <= bytes || self.live_at_least() + self.budget.lost() <= bytes
    }

    /// Remembers the most bytes that were leased since this was last called or `held` changed.
    pub(crate) fn note_high_water(&self) {
        let shelved = self.budget.shelved.get() as isize;
        let leased = (self.budget.held() as isize - shelved - self.caches.low()).max(0) as usize;
        self.budget.raise_high_water(leased.min(self.budget.held()));
        self.caches.forget_lows();
    }

    /// A block of at least `len` bytes, leased to `owner`.
    #[inline(always)]
    pub(crate) fn lease(self: &Arc<Self>, len: usize, owner: Owner) -> Result<Found> {
        let class = SizeClass::of(len);
        if let Some(inside) = cache::enter(Arc::as_ptr(self))
            && let Some(block) = inside.lease(class, owner)
        {
            let is_sample = inside.is_sample(|| self.recorder.pace());
            return Ok(Found::new(block, false, is_sample));
        }
        self.find(len, owner, Turn::None)
    }

    /// The same, when the thread's cache has none or must not be used.
    #[cold]
    #[inline(never)]
    pub(crate) fn find(self: &Arc<Self>, len: usize, owner: Owner, turn: Turn) -> Result<Found> {
        let Some(bytes) = SizeClass::block_bytes(len) else {
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.caches.admission(|admission| admission.refuse(owner));
            return Err(Error::invalid(format!("no buffer can have {len} bytes")));
        };
        let class = SizeClass::of(len);
        // The first lease of this owner on this thread comes here, whatever the thread keeps.
        let again = |inside: &Inside<'_>| {
            let block = inside.lease(class, owner)?;
            Some((block, inside.is_sample(|| self.recorder.pace())))
        };
        match self.caches.open(self, owner, again) {
            Some(None) => {}
            Some(Some((block, is_sample))) => return Ok(Found::new(block, false, is_sample)),
            None => return Err(self.exhausted(len, owner)),
        }
        self.relax();
        let (mut permit, mut patience) = (None, Patience::new());
        let (mut is_admitted, mut is_recalled) = (false, false);
        loop {
            let is_over_limit = self.budget.is_over_limit();
            if is_over_limit && self.idle() > 0 {
                // A release may have kept a block after it had looked at a limit that was lowered since.
                self.settle();
            }
            if permit.is_none() {
                permit = self.ask(owner, bytes, turn).map_err(|refusal| self.refused(len, owner, refusal))?;
            }
            if is_over_limit {
                // What is left is leased, or on its way.
            } else if let Some(magazine) = self.shelf(class).take() {
                match self.lease_from(magazine, class, owner, &mut permit) {
                    Some((block, is_sample)) => return Ok(Found::new(block, false, is_sample)),
                    None => continue,
                }
            } else if bytes >= BORROWED_BYTES_MIN && self.borrow(class) {
                continue;
            }
            if !is_admitted {
                // While the system is short of memory what is idle anywhere comes first, and a new block may be refused.
                if self.pressure.is_refusing() && !std::mem::replace(&mut is_recalled, true) && self.recall(class) {
                    continue;
                }
                is_admitted = self.admit(bytes);
                if !is_admitted {
                    return Err(self.under_pressure(len, owner));
                }
            }
            // What was leased until now is measured against what was held until now.
            self.note_high_water();
            let (limit, ceiling) = (self.budget.limit(), self.budget.ceiling());
            let most = if permit.is_some() { limit } else { ceiling };
            if self.budget.try_reserve(bytes, most) {
                let block = self.make(class, bytes).ok_or_else(|| self.exhausted(len, owner))?;
                self.keep_soft_limit();
                if let Some(is_sample) = self.begin_fresh(class, bytes, owner, &mut permit) {
                    return Ok(Found::new(block, true, is_sample));
                }
                // The pool has become strict.
                self.put_away(block);
            } else if permit.is_none() && ceiling < limit {
                self.be_strict();
            } else if !self.make_room(bytes, &mut patience) && (permit.is_none() || !patience.looks_again()) {
                // One that was granted has room, unless a block is lost: others are between making theirs and beginning.
                return Err(self.exhausted(len, owner));
            }
        }
    }

    /// Begins the lease of a new block, or not, if nobody granted it and now somebody must. Answers whether sampling wants it
    /// recorded.
    fn begin_fresh(
        self: &Arc<Self>,
        class: SizeClass,
        bytes: usize,
        owner: Owner,
        permit: &mut Option<Permit<'_>>,
    ) -> Option<bool> {
        let begun = self.caches.with_count(self, owner, |inside, admission| {
            may_begin(admission, permit, owner, bytes, true).then(|| {
                inside.widen(class);
                inside.begin(owner, class, bytes);
                inside.is_sample(|| self.recorder.pace())
            })
        });
        if begun.is_some()
            && let Some(permit) = permit.take()
        {
            permit.used();
        }
        begun
    }

    fn lease_from(
        self: &Arc<Self>,
        mut magazine: Magazine,
        class: SizeClass,
        owner: Owner,
        permit: &mut Option<Permit<'_>>,
    ) -> Option<(Block, bool)> {
        magazine.prefetch();
        let bytes = class.bytes().unwrap_or(0);
        let leased = self.caches.with_count(self, owner, |inside, admission| {
            if magazine.len() == 0 || !may_begin(admission, permit, owner, bytes, false) {
                return None;
            }
            let block = inside.lease_from(&mut magazine, class, &self.budget.shelved)?;
            inside.begin(owner, class, bytes);
            Some((block, inside.is_sample(|| self.recorder.pace())))
        });
        if leased.is_some()
            && let Some(permit) = permit.take()
        {
            permit.used();
        }
        if let Err(rest) = self.shelf(class).put(magazine) {
            self.free_shelved(rest);
        }
        leased
    }

    /// A new block, in room that was reserved for it.
    fn make(self: &Arc<Self>, class: SizeClass, bytes: usize) -> Option<Block> {
        let made = self.slots.claim().and_then(|slot| {
            // SAFETY: the slot is new or was retired, and it stays where it is while the core lives, of which the block
            // gets a reference below.
            let zeroed = || unsafe { Block::zeroed(self, class, bytes, slot) };
            let block = zeroed().or_else(|| {
                // The system has no memory; what lies idle, here and in the allocator, may be enough.
                self.trim(0);
                memory::give_back();
                zeroed()
            });
            if block.is_none() {
                self.slots.retire(slot);
            }
            block
        });
        match &made {
            Some(_) => {
                let _blocks = ManuallyDrop::new(Arc::clone(self));
                self.shelf(class).block_made();
            }
            None => self.budget.unreserve(bytes),
        }
        made
    }

    /// The limit, or the system, has no room.
    fn exhausted(&self, requested: usize, owner: Owner) -> Error {
        self.refused(requested, owner, Refusal::Room { kept: 0 })
    }

    /// Ends a lease, whose slot was closed.
    #[inline]
    pub(crate) fn give_back(block: Block, owner: Owner) {
        let block = match cache::enter(block.core().as_ptr()) {
            // When it is kept the block is anybody's, and the core may go with it; the cache does not.
            Some(inside) => match inside.give_back(block, owner) {
                Ok(()) => return,
                Err(Refused::Full(block)) => return Self::give_back_by_shelf(inside, block, owner),
                Err(Refused::Allowance(block) | Refused::Uncounted(block)) => block,
            },
            None => block,
        };
        Self::give_back_slowly(block, owner);
    }

    /// The same, when the thread keeps as many of this class as it may.
    #[cold]
    #[inline(never)]
    fn give_back_by_shelf(inside: Inside<'_>, block: Block, owner: Owner) {
        let (this, class) = (block.core(), block.class());
        inside.end(owner, class, block.bytes());
        // SAFETY: a block owns a reference to its core. When it is on the shelf the core cannot go before we are outside:
        // who ends it visits this cache first.
        let core = unsafe { this.as_ref() };
        let rest = inside.overflow(block, core.shelf(class), &core.budget.shelved);
        drop(inside);
        if let Err(rest) = rest {
            // SAFETY: what the shelf did not take owns a reference, so that there is one to be had.
            let core = unsafe { Self::referenced(this) };
            core.free_shelved(rest);
        }
    }

    /// # Safety
    /// The core lives.
    pub(super) unsafe fn referenced(this: NonNull<Self>) -> Arc<Self> {
        // SAFETY: every core is made in an `Arc`, and the caller says that this one lives.
        unsafe {
            Arc::increment_strong_count(this.as_ptr());
            Arc::from_raw(this.as_ptr())
        }
    }

    /// The same, when the thread's cache must ask first, or must not be used.
    #[cold]
    #[inline(never)]
    fn give_back_slowly(block: Block, owner: Owner) {
        // SAFETY: a block owns a reference to its core.
        unsafe { Self::referenced(block.core()) }.take_back(block, owner);
    }

    fn take_back(self: &Arc<Self>, block: Block, owner: Owner) {
        let (class, bytes) = (block.class(), block.bytes());
        // First the block, then the word that it is there: who is let in by that finds it.
        self.put_away(block);
        let wakes = self.caches.with_count(self, owner, |inside, admission| {
            inside.end(owner, class, bytes);
            admission.is_some_and(|admission| admission.end(owner, bytes, self.budget.limit()))
        });
        if wakes {
            self.wake();
        }
        // The pool may have ended while we held what nobody else saw.
        if self.is_closed() && self.idle() > 0 {
            self.close();
        }
    }

    fn put_away(self: &Arc<Self>, block: Block) {
        let (bytes, class) = (block.bytes(), block.class());
        if class == SizeClass::HUGE || self.is_closed() || self.budget.is_over_limit() {
            return self.free_leased(block);
        }
        self.relax();
        let (idle, retain) = (self.idle() + bytes, self.budget.retain());
        let surplus = idle.saturating_sub(retain);
        if surplus > 0 && (bytes > retain || !self.evict_others(class, surplus)) {
            return self.free_leased(block);
        }
        // Each thread may take its part of half of what is left, before it has to come here again.
        let extra = retain.saturating_sub(idle) / (2 * self.caches.count());
        let rest = self.caches.with(self, |inside, _| {
            inside.allow(bytes, extra);
            match inside.keep(block, class) {
                Ok(()) => Ok(()),
                Err(Refused::Full(block) | Refused::Allowance(block) | Refused::Uncounted(block)) => {
                    inside.overflow(block, self.shelf(class), &self.budget.shelved)
                }
            }
        });
        if let Err(rest) = rest {
            self.free_shelved(rest);
        }
    }
}

/// Whether a lease may begin: in a calm pool always. One that was granted before the pool became calm again is as good.
fn may_begin(
    admission: Option<&mut Admission>,
    permit: &Option<Permit<'_>>,
    owner: Owner,
    bytes: usize,
    fresh: bool,
) -> bool {
    let Some(admission) = admission else { return true };
    if permit.is_some() {
        admission.begin(owner, bytes, fresh);
    }
    permit.is_some()
}
