//! All caches of one pool: sums over them, and visits to them.

use super::gate::{CLOSED, STRICT, VISITED, fence_for_visitors};
use super::{Inside, ThreadCache, local};
use crate::pool::accounts::Tally;
use crate::pool::admission::Admission;
use crate::pool::class::SizeClass;
use crate::pool::core::Core;
use crate::pool::owner::Owner;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Weak};

/// A list that only grows: of as many caches as threads used the pool at a time, and the shared one.
#[derive(Debug)]
pub(crate) struct Roster {
    /// For threads that have no cache of their own, or whose cache is being visited. Keeps no blocks.
    shared: Arc<ThreadCache>,
    /// Who holds this is inside the shared cache, and decides who may lease while the pool is strict.
    sharing: Mutex<Admission>,
    /// Who holds this may visit the others, and nobody joins or leaves.
    visiting: Mutex<()>,
    newest: AtomicPtr<ThreadCache>,
    /// Whether the gates are `STRICT`: to ask each of them would disturb its owner. Changed under `visiting`.
    strict: AtomicBool,
    /// Whether the pool has to stay strict, whatever it holds: as the admission says.
    needed: AtomicBool,
}

impl Roster {
    pub(crate) fn new() -> Self {
        let shared = Arc::new(ThreadCache::new(Weak::new(), 0));
        let newest = AtomicPtr::new(Arc::as_ptr(&shared).cast_mut());
        Self {
            shared,
            sharing: Mutex::default(),
            visiting: Mutex::new(()),
            newest,
            strict: AtomicBool::new(false),
            needed: AtomicBool::new(false),
        }
    }

    /// Newest first, the shared one last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ThreadCache> {
        let at = |cache: &std::sync::atomic::AtomicPtr<ThreadCache>| {
            // SAFETY: the list holds a reference to each of its caches until it is dropped.
            unsafe { cache.load(Ordering::Acquire).as_ref() }
        };
        std::iter::successors(at(&self.newest), move |cache| at(&cache.next))
    }

    /// A cache for the calling thread: one that a thread left behind, or a new one.
    pub(super) fn join(&self, core: &Arc<Core>) -> Arc<ThreadCache> {
        let _visiting = self.visiting.lock();
        let unowned = |cache: &&ThreadCache| !cache.owned.swap(true, Ordering::Acquire);
        if let Some(cache) = self.iter().find(unowned) {
            // SAFETY: the list's caches are all from `Arc::into_raw`, save the shared one, which is never unowned.
            return unsafe {
                Arc::increment_strong_count(cache);
                Arc::from_raw(cache)
            };
        }
        // As all the others have it.
        let strict = if self.strict.load(Ordering::Relaxed) { STRICT } else { 0 };
        let attention = strict | if core.is_closed() { CLOSED } else { 0 };
        let cache = Arc::new(ThreadCache::new(Arc::downgrade(core), attention));
        cache.next.store(self.newest.load(Ordering::Acquire), Ordering::Relaxed);
        self.newest.store(Arc::into_raw(cache.clone()).cast_mut(), Ordering::Release);
        cache
    }

    /// Empties the cache of the calling thread, which is ending, and leaves it to another.
    pub(crate) fn leave(&self, cache: &ThreadCache, mut empty: impl FnMut(&Inside<'_>)) {
        // Against visitors; against its owner it need not be guarded, who is here.
        let _visiting = self.visiting.lock();
        empty(&Inside { cache, by_gate: false, keeps: true });
        cache.owned.store(false, Ordering::Release);
    }

    /// Does `work` in a cache: this thread's, or the shared one. With the admission if the pool is strict: then it is always
    /// the shared one.
    pub(crate) fn with<R>(&self, core: &Arc<Core>, work: impl FnOnce(&Inside<'_>, Option<&mut Admission>) -> R) -> R {
        let own = local::enter(Arc::as_ptr(core))
            .or_else(|| if local::attach(core) { local::enter(Arc::as_ptr(core)) } else { None });
        match own {
            Some(inside) => work(&inside, None),
            None => {
                let mut sharing = self.sharing.lock();
                let inside = Inside { cache: &self.shared, by_gate: false, keeps: false };
                let admission = sharing.is_strict().then_some(&mut *sharing);
                work(&inside, admission)
            }
        }
    }

    /// Visits every thread's cache. Those threads do without for about a microsecond.
    pub(crate) fn visit(&self, mut each: impl FnMut(&Inside<'_>)) {
        let _visiting = self.visiting.lock();
        self.iter().for_each(|cache| cache.gate.raise(VISITED));
        fence_for_visitors();
        for cache in self.iter().filter(|cache| !std::ptr::eq(*cache, &*self.shared)) {
            if cache.gate.wait() {
                each(&Inside { cache, by_gate: false, keeps: true });
            }
        }
        self.iter().for_each(|cache| cache.gate.lower(VISITED));
    }

    /// Every thread's next lease asks anew whether it is one to be recorded.
    pub(crate) fn restart_sampling(&self) {
        self.visit(|inside| inside.restart_sampling());
        let _sharing = self.sharing.lock();
        Inside { cache: &self.shared, by_gate: false, keeps: false }.restart_sampling();
    }

    /// Shuts every owner out for good: the pool has ended. False if a thread did not come out of its cache.
    pub(crate) fn close(&self) -> bool {
        let _visiting = self.visiting.lock();
        self.iter().for_each(|cache| cache.gate.raise(CLOSED));
        fence_for_visitors();
        // Waits for each, also after one that does not come.
        self.iter().filter(|cache| !cache.gate.wait()).count() == 0
    }

    /// Makes the pool strict, if it is not, and does `work` with the admission, whose counts are exact from then on: no
    /// thread is inside its own cache, and who is inside the shared one holds the admission's lock.
    pub(crate) fn make_strict<R>(&self, work: impl FnOnce(&Self, &mut Admission) -> R) -> R {
        let _visiting = self.visiting.lock();
        if !self.strict.swap(true, Ordering::Relaxed) {
            self.iter().for_each(|cache| cache.gate.raise(STRICT));
            fence_for_visitors();
            self.iter().for_each(|cache| _ = cache.gate.wait());
        }
        let mut admission = self.sharing.lock();
        if !admission.is_strict() {
            admission.start(self.live().map(|(owner, _, bytes)| (owner, bytes)));
        }
        let done = work(self, &mut admission);
        self.needed.store(admission.is_needed(), Ordering::Relaxed);
        done
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.strict.load(Ordering::Relaxed)
    }

    /// Whether somebody needs the pool to be strict, whatever it holds.
    pub(crate) fn is_needed(&self) -> bool {
        self.needed.load(Ordering::Relaxed)
    }

    /// Makes the pool calm again if nothing needs it to be strict and `may` agrees.
    pub(crate) fn relax(&self, may: impl Fn() -> bool) {
        let _visiting = self.visiting.lock();
        let mut admission = self.sharing.lock();
        if admission.is_strict() && admission.may_stop() && may() {
            admission.stop();
            self.strict.store(false, Ordering::Relaxed);
            self.iter().for_each(|cache| cache.gate.lower(STRICT));
        }
    }

    /// The admission, strict or not, for what changes no gate.
    pub(crate) fn admission<R>(&self, work: impl FnOnce(&mut Admission) -> R) -> R {
        let mut admission = self.sharing.lock();
        let done = work(&mut admission);
        self.needed.store(admission.is_needed(), Ordering::Relaxed);
        done
    }

    /// Leases of every owner that has any: their number, and the bytes of their blocks.
    pub(crate) fn live(&self) -> impl Iterator<Item = (Owner, u64, usize)> {
        Owner::all().filter(|&owner| self.knows(owner)).map(|owner| {
            let mut sum = Tally::default();
            SizeClass::all().for_each(|class| sum.add(self.tally(owner, class)));
            (owner, sum.live, sum.live_bytes as usize)
        })
    }

    /// Bytes in all bins.
    pub(crate) fn cached(&self) -> usize {
        self.iter().map(|cache| cache.cached.load(Ordering::Relaxed)).sum()
    }

    /// The least that was in all bins since [`Roster::forget_lows`]: see the module's documentation.
    pub(crate) fn low(&self) -> isize {
        self.iter().map(|cache| cache.low.load(Ordering::Relaxed)).sum()
    }

    /// A thread that leases at this moment may be missed; it is seen at its next lease.
    pub(crate) fn forget_lows(&self) {
        self.iter().for_each(|cache| cache.low.store(cache.cached.load(Ordering::Relaxed) as isize, Ordering::Relaxed));
    }

    /// Blocks of `class` that all threads keep.
    pub(crate) fn kept(&self, class: SizeClass) -> usize {
        self.iter().map(|cache| cache.bins[class.index()].len()).sum()
    }

    /// How many caches there are.
    pub(crate) fn count(&self) -> usize {
        self.iter().count()
    }

    /// Whether `owner` ever leased or returned anything.
    pub(crate) fn knows(&self, owner: Owner) -> bool {
        self.iter().any(|cache| cache.tallies.knows(owner))
    }

    /// Leases of one owner and class. Ends are read before beginnings: a reader may miss the latest steps but never sees
    /// a lease that ended before it began.
    pub(crate) fn tally(&self, owner: Owner, class: SizeClass) -> Tally {
        let sum = |count: fn(&ThreadCache, Owner, SizeClass) -> u64| -> u64 {
            self.iter().map(|cache| count(cache, owner, class)).sum()
        };
        let ended = sum(|cache, owner, class| cache.tallies.ended(owner, class));
        let leases = sum(|cache, owner, class| cache.tallies.begun(owner, class));
        let live = leases.saturating_sub(ended);
        let live_bytes = match class.bytes() {
            Some(bytes) => live * bytes as u64,
            None => {
                let ended = sum(|cache, owner, _| cache.tallies.huge_bytes_ended(owner));
                sum(|cache, owner, _| cache.tallies.huge_bytes_begun(owner)).saturating_sub(ended)
            }
        };
        Tally { leases, live, live_bytes }
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        let mut at = *self.newest.get_mut();
        while !std::ptr::eq(at, &*self.shared) {
            // SAFETY: all but the shared one come from `Arc::into_raw` and are dropped here, once.
            let cache = unsafe { Arc::from_raw(at) };
            at = cache.next.load(Ordering::Relaxed);
        }
    }
}
