//! All caches of one pool: sums over them, and visits to them.

use super::gate::{CLOSED, STRICT, VISITED, fence_for_visitors};
use super::tallies::{Sizes, Tallies};
use super::{Inside, ThreadCache, local};
use crate::pool::accounts::Tally;
use crate::pool::admission::Admission;
use crate::pool::class::SizeClass;
use crate::pool::core::Core;
use crate::pool::fallible::Counted;
use crate::pool::owner::Owner;
use crate::pool::sync::{Mutex, MutexGuard, lock};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A list that only grows: of as many caches as threads used the pool at a time, and the shared one.
#[derive(Debug)]
pub(crate) struct Roster {
    /// For threads that have no cache of their own, or whose cache is being visited. Keeps no blocks.
    shared: Box<ThreadCache>,
    /// Who holds this is inside the shared cache, and decides who may lease while the pool is strict.
    sharing: Mutex<Admission>,
    /// Who holds this may visit the others, and nobody joins or leaves.
    visiting: Mutex<()>,
    newest: AtomicPtr<ThreadCache>,
    /// Caches that a fork left half changed, whose content is lost.
    abandoned: AtomicU64,
    /// Whether the gates are `STRICT`: to ask each of them would disturb its owner. Changed under `visiting`.
    strict: AtomicBool,
    /// Whether the pool has to stay strict, whatever it holds: as the admission says.
    needed: AtomicBool,
}

/// What one thread keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The system's number for the thread, which Python calls its `native_id`. 0: unknown, or a thread that a fork left behind.
    pub(crate) thread: u64,
    /// Free blocks by class, where there are any.
    pub(crate) blocks: Vec<(SizeClass, usize)>,
}

/// The system's number for the calling thread, 0 where that is not known.
fn current_thread() -> u64 {
    #[cfg(target_os = "linux")]
    return rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs().into();
    #[cfg(not(target_os = "linux"))]
    return 0;
}

impl Roster {
    pub(crate) fn new() -> Self {
        let shared = Box::new(ThreadCache::new(Weak::new(), 0));
        let newest = AtomicPtr::new(std::ptr::from_ref(&*shared).cast_mut());
        Self {
            shared,
            sharing: Mutex::new(Admission::default()),
            visiting: Mutex::new(()),
            newest,
            abandoned: AtomicU64::new(0),
            strict: AtomicBool::new(false),
            needed: AtomicBool::new(false),
        }
    }

    /// Newest first, the shared one last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ThreadCache> {
        // SAFETY: the list holds a reference to each of its caches until it is dropped.
        self.places().map(|cache| unsafe { cache.as_ref() })
    }

    fn places(&self) -> impl Iterator<Item = NonNull<ThreadCache>> {
        let at = |cache: &AtomicPtr<ThreadCache>| NonNull::new(cache.load(Ordering::Acquire));
        // SAFETY: as in `iter`.
        std::iter::successors(at(&self.newest), move |cache| at(unsafe { &cache.as_ref().next }))
    }

    /// A cache for the calling thread: one that a thread left behind, or a new one. `None` when the system has no memory.
    pub(super) fn join(&self, core: &Arc<Core>) -> Option<Counted<ThreadCache>> {
        let _visiting = lock(&self.visiting);
        // SAFETY: as in `iter`.
        let is_unowned = |cache: &NonNull<ThreadCache>| unsafe { !cache.as_ref().owned.swap(true, Ordering::Acquire) };
        if let Some(cache) = self.places().find(is_unowned) {
            // SAFETY: the list's caches are all from `Counted::into_raw`, save the shared one, which is never unowned.
            let cache = unsafe { Counted::again(cache) };
            cache.thread.store(current_thread(), Ordering::Relaxed);
            return Some(cache);
        }
        // As all the others have it.
        let strict = if self.strict.load(Ordering::Relaxed) { STRICT } else { 0 };
        let attention = strict | if core.is_closed() { CLOSED } else { 0 };
        let cache = Counted::try_new(ThreadCache::new(Arc::downgrade(core), attention))?;
        cache.thread.store(current_thread(), Ordering::Relaxed);
        cache.next.store(self.newest.load(Ordering::Acquire), Ordering::Relaxed);
        self.newest.store(cache.clone().into_raw().as_ptr(), Ordering::Release);
        Some(cache)
    }

    /// Empties the cache of the calling thread, which is ending, and leaves it to another.
    pub(crate) fn leave(&self, cache: &ThreadCache, mut empty: impl FnMut(&Inside<'_>)) {
        // Against visitors; against its owner it need not be guarded, who is here.
        let _visiting = lock(&self.visiting);
        empty(&Inside { cache, by_gate: false, keeps: true });
        cache.thread.store(0, Ordering::Relaxed);
        cache.owned.store(false, Ordering::Release);
    }

    /// Makes room to count for `owner`, on this thread if possible and in the shared cache in any case, and does `work` in the
    /// cache of this thread. `None` when the system has no memory for it.
    pub(crate) fn open<R>(&self, core: &Arc<Core>, owner: Owner, work: impl FnOnce(&Inside<'_>) -> R) -> Option<R> {
        // Then it was let in, here and in the shared cache.
        if let Some(inside) = self.own(core).filter(|inside| inside.counted_last_for(owner)) {
            return Some(work(&inside));
        }
        self.shared.tallies.open(owner).then(|| self.with_count(core, owner, |inside, _| work(inside)))
    }

    /// As [`Roster::with`], in a cache that can count for `owner`: where the system has no memory for that on this thread, the
    /// shared one, where there is room since [`Roster::open`].
    pub(crate) fn with_count<R>(
        &self,
        core: &Arc<Core>,
        owner: Owner,
        work: impl FnOnce(&Inside<'_>, Option<&mut Admission>) -> R,
    ) -> R {
        match self.own(core).filter(|inside| inside.open(owner)) {
            Some(inside) => work(&inside, None),
            None => self.share(work),
        }
    }

    /// Does `work` in a cache: this thread's, or the shared one. With the admission if the pool is strict: then it is always
    /// the shared one.
    pub(crate) fn with<R>(&self, core: &Arc<Core>, work: impl FnOnce(&Inside<'_>, Option<&mut Admission>) -> R) -> R {
        match self.own(core) {
            Some(inside) => work(&inside, None),
            None => self.share(work),
        }
    }

    fn own(&self, core: &Arc<Core>) -> Option<Inside<'static>> {
        let enter = || local::enter(Arc::as_ptr(core));
        enter().or_else(|| if local::attach(core) { enter() } else { None })
    }

    fn share<R>(&self, work: impl FnOnce(&Inside<'_>, Option<&mut Admission>) -> R) -> R {
        let mut sharing = lock(&self.sharing);
        let inside = Inside { cache: &self.shared, by_gate: false, keeps: false };
        let admission = sharing.is_strict().then_some(&mut *sharing);
        work(&inside, admission)
    }

    /// Visits every thread's cache. Those threads do without for about a microsecond. False if one of them was stopped inside
    /// its own, which was left alone.
    pub(crate) fn visit(&self, mut each: impl FnMut(&Inside<'_>)) -> bool {
        let _visiting = lock(&self.visiting);
        self.iter().for_each(|cache| cache.gate.raise(VISITED));
        fence_for_visitors();
        let mut all = true;
        for cache in self.iter().filter(|cache| !std::ptr::eq(*cache, &*self.shared)) {
            if cache.gate.wait() {
                each(&Inside { cache, by_gate: false, keeps: true });
            } else {
                all = false;
            }
        }
        self.iter().for_each(|cache| cache.gate.lower(VISITED));
        all
    }

    /// Every thread's next lease asks anew whether it is one to be recorded.
    pub(crate) fn restart_sampling(&self) {
        self.visit(|inside| inside.restart_sampling());
        let _sharing = lock(&self.sharing);
        Inside { cache: &self.shared, by_gate: false, keeps: false }.restart_sampling();
    }

    /// Shuts every owner out for good: the pool has ended. False if a thread did not come out of its cache.
    pub(crate) fn close(&self) -> bool {
        let _visiting = lock(&self.visiting);
        self.iter().for_each(|cache| cache.gate.raise(CLOSED));
        fence_for_visitors();
        // Waits for each, also after one that does not come.
        self.iter().filter(|cache| !cache.gate.wait()).count() == 0
    }

    /// Makes the pool strict, if it is not, and does `work` with the admission, whose counts are exact from then on: no
    /// thread is inside its own cache, and who is inside the shared one holds the admission's lock.
    pub(crate) fn make_strict<R>(&self, work: impl FnOnce(&Self, &mut Admission) -> R) -> R {
        let _visiting = lock(&self.visiting);
        if !self.strict.swap(true, Ordering::Relaxed) {
            self.iter().for_each(|cache| cache.gate.raise(STRICT));
            fence_for_visitors();
            self.iter().for_each(|cache| _ = cache.gate.wait());
        }
        let mut admission = lock(&self.sharing);
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
        let _visiting = lock(&self.visiting);
        let mut admission = lock(&self.sharing);
        if admission.is_strict() && admission.may_stop() && may() {
            admission.stop();
            self.strict.store(false, Ordering::Relaxed);
            self.iter().for_each(|cache| cache.gate.lower(STRICT));
        }
    }

    /// The admission, strict or not, for what changes no gate.
    pub(crate) fn admission<R>(&self, work: impl FnOnce(&mut Admission) -> R) -> R {
        let mut admission = lock(&self.sharing);
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

    /// Bytes leased of the classes of `sizes`, or fewer: beginnings are read before ends, so that at the moment between the
    /// two no less was leased.
    pub(crate) fn live_at_least(&self, sizes: &Sizes) -> usize {
        let sum = |bytes: fn(&Tallies, &Sizes) -> u64| {
            self.iter().map(|cache| bytes(&cache.tallies, sizes)).fold(0, u64::wrapping_add)
        };
        let begun = sum(Tallies::bytes_begun);
        let live = begun.wrapping_sub(sum(Tallies::bytes_ended)) as i64;
        // More may have ended since than was leased then.
        live.max(0) as usize
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

    /// What each thread keeps, without those that keep nothing. Each number is one that there was at its moment; nobody is
    /// stopped meanwhile, so that a block on its way may be missed or met twice.
    pub(crate) fn kept_by_thread(&self) -> Vec<Kept> {
        let kept = self.iter().map(|cache| {
            let blocks = SizeClass::all().map(|class| (class, cache.bins[class.index()].len()));
            Kept { thread: cache.thread.load(Ordering::Relaxed), blocks: blocks.filter(|&(_, len)| len > 0).collect() }
        });
        kept.filter(|kept| !kept.blocks.is_empty()).collect()
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

/// For a fork: see `fork`.
impl Roster {
    /// Keeps visitors out, and threads from joining and leaving.
    pub(crate) fn hold_visits(&self) -> MutexGuard<'_, ()> {
        lock(&self.visiting)
    }

    /// Shuts all owners out, after a heavy fence and [`Roster::wait_at_gates`].
    pub(crate) fn close_gates(&self) {
        self.iter().for_each(|cache| cache.gate.raise(VISITED));
    }

    pub(crate) fn wait_at_gates(&self) {
        self.iter().for_each(|cache| _ = cache.gate.wait());
    }

    pub(crate) fn hold_shared(&self) -> MutexGuard<'_, Admission> {
        lock(&self.sharing)
    }

    pub(crate) fn open_gates(&self) {
        self.iter().for_each(|cache| cache.gate.lower(VISITED));
    }

    /// Takes the caches over from threads that are no more. They keep what is in them, for whoever joins next; one that its
    /// owner was in the middle of is emptied without a look.
    ///
    /// # Safety
    /// The process has this thread only.
    pub(crate) unsafe fn take_over(&self) {
        for cache in self.iter().filter(|cache| !std::ptr::eq(*cache, &*self.shared) && !local::is_mine(cache)) {
            if cache.gate.reopen() {
                cache.abandon();
                self.abandoned.fetch_add(1, Ordering::Relaxed);
            }
            cache.thread.store(0, Ordering::Relaxed);
            cache.owned.store(false, Ordering::Relaxed);
        }
        // The system numbers the thread anew.
        for cache in self.iter().filter(|cache| local::is_mine(cache)) {
            cache.thread.store(current_thread(), Ordering::Relaxed);
        }
    }

    /// The same for those that waited, and for leases that were granted and will not begin.
    pub(crate) fn forget_waiters(&self) {
        self.admission(|admission| {
            admission.forget_waiters();
            if admission.is_strict() {
                admission.start(self.live().map(|(owner, _, bytes)| (owner, bytes)));
            }
        });
    }

    /// Caches that a fork found half changed.
    pub(crate) fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        let mut at = NonNull::new(*self.newest.get_mut());
        while let Some(place) = at.filter(|place| !std::ptr::eq(place.as_ptr(), &*self.shared)) {
            // SAFETY: all but the shared one come from `Counted::into_raw` and are dropped here, once.
            let cache = unsafe { Counted::from_raw(place) };
            at = NonNull::new(cache.next.load(Ordering::Relaxed));
        }
    }
}
