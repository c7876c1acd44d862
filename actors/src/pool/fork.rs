//! Forks: the child finds every pool whole, and may lease, release and trim, whatever other threads were doing.
//!
//! The child of a fork has one thread. What the others held at that instant is held for ever: locks, and thread caches and
//! queues that were being changed. So, as POSIX has it (`pthread_atfork`), whoever forks first takes all of it:
//!
//! 1. *before*: the list of pools, the open scopes of the leak tracking (whose changes visit caches), what is known of idle
//!    memory (whose purge does), each pool's right to visit, the gates of all caches (`cache/gate`), the shared caches with
//!    what is admitted, the lease tables, the names of owners, and then what nobody holds together with another: the bells of
//!    those who wait, the callbacks for pressure, the kept stacks, and the right to ask the dynamic linker
//!    something, whose lock nobody mends. In this order, in which nobody else holds two of them the
//!    other way round.
//! 2. *after, in the parent*: gives it back.
//! 3. *after, in the child*: the caches of the threads that are not here become nobody's, with what is in them, for new
//!    threads to take over. The shelves' queues, which nobody was kept from, are mended. A cache whose owner did not come out
//!    of it in time (`Gate::wait`) is emptied without a look: its blocks are lost to the child, and it is counted.
//! 4. *then, in the child*: what only threads of the parent could end is ended. Nobody waits for memory, no lease is granted
//!    that has not begun, and the counts of a strict pool are taken anew; the pool's pressure is `Low`, as of one that has no
//!    actor; and what the leak tracking has to tell is dropped: the channel to the ledger is the parent's.
//!
//! Blocks in the hands of other threads at that instant, and their buffers, stay leased in the child: those threads never
//! return them. Locks are the standard library's, which in the child are unlocked by storing a word; a fair lock would be
//! handed to a thread that is not there.
//!
//! An open measurement stays open in the child: who has it may be the thread that forked.

use super::core::Core;
use super::{owner, sync};
use crate::leak::{interner, unwind};
use std::any::Any;
use std::cell::UnsafeCell;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// Every pool that exists.
static POOLS: Mutex<Vec<Place>> = Mutex::new(Vec::new());

/// Where a core is, until it is dropped.
#[derive(PartialEq, Eq)]
struct Place(*const Core);

// SAFETY: a core is shared by threads.
unsafe impl Send for Place {}

fn pools() -> MutexGuard<'static, Vec<Place>> {
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread that forks has taken.
struct Held {
    locks: Vec<Box<dyn Any>>,
    pools: MutexGuard<'static, Vec<Place>>,
}

impl Held {
    fn cores(&self) -> impl Iterator<Item = &'static Core> {
        // SAFETY: a core takes itself off the list before it goes, and the list is held. Nobody keeps the reference longer.
        self.pools.iter().map(|place| unsafe { &*place.0 })
    }

    /// Takes one lock of each pool.
    fn take<G: Any>(&mut self, lock: impl Fn(&'static Core) -> G) {
        let taken: Vec<Box<dyn Any>> = self.cores().map(|core| Box::new(lock(core)) as _).collect();
        self.locks.extend(taken);
    }
}

/// Where it is kept from before a fork until after it.
struct Cell(UnsafeCell<Option<Held>>);

// SAFETY: only the thread that holds the list of pools uses it.
unsafe impl Sync for Cell {}

static HELD: Cell = Cell(UnsafeCell::new(None));

/// Has a new pool kept whole by forks, until [`forget`].
pub(super) fn watch(core: &Core) {
    static REGISTERED: Once = Once::new();
    // SAFETY: the three are `extern "C"` functions that do not unwind into the C library: a panic in one ends the process.
    // It fails only when there is no memory: then forks are what they are without.
    REGISTERED.call_once(|| _ = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) });
    pools().push(Place(core));
}

/// For the end of a pool. Waits for a fork that is under way.
pub(super) fn forget(core: &Core) {
    pools().retain(|place| !std::ptr::eq(place.0, core));
}

extern "C" fn before() {
    let mut held = Held { locks: Vec::new(), pools: pools() };
    held.take(|core| core.recorder.hold());
    held.take(|core| sync::lock(&core.decay));
    held.take(|core| core.caches.hold_visits());
    held.cores().for_each(|core| core.caches.close_gates());
    sync::heavy();
    held.cores().for_each(|core| core.caches.wait_at_gates());
    held.take(|core| core.caches.hold_shared());
    held.take(|core| core.slots.hold());
    held.locks.push(Box::new(owner::hold()));
    held.take(|core| sync::lock(&core.bell));
    held.take(|core| core.pressure.hold());
    held.locks.push(Box::new(interner::hold()));
    held.locks.push(Box::new(unwind::hold()));
    // SAFETY: we hold the list.
    unsafe { *HELD.0.get() = Some(held) };
}

extern "C" fn in_parent() {
    after(|_| (), |_| ());
}

extern "C" fn in_child() {
    // SAFETY: this is the child's one thread, and the caches are held.
    after(|core| unsafe { core.mend_after_fork() }, Core::forget_the_others);
}

/// Gives everything back; `held` is done to each pool before and `free` after it.
fn after(held: impl Fn(&Core), free: impl Fn(&Core)) {
    // SAFETY: this thread put it there, and holds the list.
    let Some(mut all) = (unsafe { (*HELD.0.get()).take() }) else { return };
    for core in all.cores() {
        held(core);
        core.caches.open_gates();
    }
    all.locks.clear();
    all.cores().for_each(free);
}

impl Core {
    /// Makes the pool whole in the child of a fork.
    ///
    /// # Safety
    /// The process has this thread only, which holds what `before` takes.
    unsafe fn mend_after_fork(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.caches.take_over();
            let shelved = self.shelves.iter().map(|shelf| shelf.mend()).sum();
            self.budget.shelved.reset(shelved);
        }
        // Nobody changes anything now, so that the difference is exact. It counts as leased: nobody waits for it to come.
        self.budget.set_lost(self.live().saturating_sub(self.live_at_least()));
    }

    /// Ends what only threads of the parent could.
    fn forget_the_others(&self) {
        self.caches.forget_waiters();
        // Kept for ever: it is a way to the parent's threads.
        std::mem::forget(sync::lock(&self.bell).take());
        self.forget_pressure();
        self.recorder.forget_channel();
    }
}

#[cfg(test)]
mod tests {
    use crate::Error;
    use crate::leak::{Level, Tracker, TrackerConfig};
    use crate::pool::admission::Turn;
    use crate::pool::pressure::Barometer;
    use crate::pool::{AllocOptions, MemoryReading, Owner, Pool, PoolConfig, Pressure, Sight};
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    /// Runs `work` in a child and waits for it; whether it ended, within a minute, with true.
    fn succeeds_in_a_child(work: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child allocates, which glibc allows after a fork, touches nothing but pools, and ends at once.
        let child = unsafe { crate::pool::tests::fork() };
        if child == 0 {
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(!fine)) }
        }
        assert!(child > 0);
        let (mut status, end) = (0, Instant::now() + Duration::from_secs(60));
        loop {
            // SAFETY: waits for the child just made; the status is ours.
            match unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } {
                0 if Instant::now() < end => std::thread::sleep(Duration::from_micros(200)),
                // SAFETY: the child is ours and hangs.
                0 => return unsafe { libc::kill(child, libc::SIGKILL) == i32::MIN },
                ended => return (ended, status) == (child, 0),
            }
        }
    }

    fn churn(pool: &Pool, seed: u32, turns: u32, owners: [Owner; 2]) {
        let (mut held, mut random) = (Vec::new(), seed);
        for turn in 0..turns {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let len = [64, 1000, 5000, 70_000, 300_000][(random >> 8) as usize % 5];
            let options = AllocOptions { zeroed: false, ..AllocOptions::default() };
            held.extend(pool.allocate_with(len, owners[random as usize >> 16 & 1], options));
            if held.len() > 20 || random >> 28 == 0 {
                held.drain(..held.len() / 2);
            }
            match turn % 64 {
                7 => _ = pool.trim(random as usize % (1 << 20)),
                21 => _ = pool.set_limit((2 << 20) + random as usize % (2 << 20)),
                40 => _ = pool.stats(),
                50 => pool.recorder().set_level([Level::Simple, Level::Paranoid][random as usize >> 20 & 1]),
                // Strict, for a while.
                60 => _ = pool.measure(None),
                _ => {}
            }
        }
    }

    #[test]
    fn every_child_of_a_busy_parent_can_lease_release_and_trim() {
        const FORKS: u32 = 200;
        let pool = Pool::new(PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(4 << 20) }).unwrap();
        let owners = [Owner::named("fork-test/a"), Owner::named("fork-test/b")];
        let done = AtomicBool::new(false);
        let failed = std::thread::scope(|scope| {
            for seed in 1..5 {
                let (pool, done) = (&pool, &done);
                scope.spawn(move || {
                    for turn in 0.. {
                        // A thread of its own: they come and go as well.
                        std::thread::scope(|scope| {
                            scope.spawn(|| churn(pool, seed * 7919 + turn, 500, owners)).join().unwrap()
                        });
                        Owner::named(&format!("fork-test/{seed}/{}", turn % 8));
                        if done.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                });
            }
            let failed = (0..FORKS)
                .filter(|&turn| {
                    !succeeds_in_a_child(|| {
                        pool.set_limit(64 << 20).unwrap();
                        churn(&pool, turn, 300, [Owner::named("fork-test/child"), owners[0]]);
                        std::thread::scope(|scope| scope.spawn(|| churn(&pool, turn, 300, owners)).join().unwrap());
                        pool.set_limit(64 << 20).unwrap();
                        pool.trim(0);
                        let stats = pool.stats();
                        stats.cached_bytes == 0 && Pool::new(PoolConfig::limited(1 << 20)).is_ok()
                    })
                })
                .count();
            done.store(true, Ordering::Relaxed);
            failed
        });
        assert_eq!(failed, 0, "of {FORKS} children");
        let stats = pool.stats();
        assert_eq!(
            (stats.live_count, stats.live_bytes, stats.abandoned_caches),
            (0, 0, 0),
            "the parent lost something"
        );
    }

    #[test]
    fn a_child_waits_for_nobody_whom_only_the_parent_could_serve() {
        let pool = Pool::new(PoolConfig::limited(8 << 20)).unwrap();
        let [first, other] = ["fork-test/first", "fork-test/other"].map(Owner::named);
        let core = &pool.core;
        // One waits; for it all is saved of a lease that ended; and another was granted a lease that does not begin.
        core.line_up(Some((first, 4 << 20)), 1);
        drop(pool.allocate(8 << 20, other).unwrap());
        std::mem::forget(core.ask(other, 2 << 20, Turn::None).unwrap().expect("the pool is strict"));
        let has_room = || pool.allocate(8 << 20, other).is_ok();
        assert!(!has_room());
        assert!(succeeds_in_a_child(|| has_room() && !core.caches.is_needed()));
        assert!(!has_room() && core.caches.is_needed(), "the parent has changed");
        core.line_up(None, 0);
    }

    /// Its owner is in the middle of it for so long that the fork gives it up.
    #[test]
    fn a_cache_that_a_thread_was_changing_is_given_up_by_the_child_and_taken_over_by_its_thread() {
        const KEPT: usize = 4;
        let pool = Pool::new(PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(8 << 20) }).unwrap();
        let owner = Owner::named("fork-test/inside");
        let (ready, stop) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        let succeeds = std::thread::scope(|scope| {
            scope.spawn(|| {
                drop([(); KEPT].map(|()| pool.allocate(1 << 20, owner).unwrap()));
                let inside = crate::pool::cache::enter(std::sync::Arc::as_ptr(&pool.core)).expect("it has a cache");
                ready.wait();
                stop.wait();
                drop(inside);
            });
            ready.wait();
            let succeeds = succeeds_in_a_child(|| {
                let caches = pool.core.caches.count();
                let lost = pool.stats();
                // The counts stay exact: nobody leases what is lost, and it stays under the limit.
                let is_lost = (lost.abandoned_caches, lost.live_count, lost.cached_bytes) == (1, 0, 0)
                    && lost.live_bytes == KEPT << 20;
                // A request that they leave no room for does not wait for them.
                let counts_as_leased = !pool.core.leases_at_most((KEPT << 20) - 1);
                let rest = pool.allocate(4 << 20, owner);
                let is_all = rest.is_ok() && pool.allocate(64, owner).is_err();
                // This thread has that very cache now, and found nothing in it.
                let is_taken_over = pool.core.caches.count() == caches;
                drop(rest);
                let lease = || (0..10).all(|_| pool.allocate(1 << 20, owner).is_ok());
                let is_usable = std::thread::scope(|scope| scope.spawn(lease).join().unwrap());
                pool.trim(0);
                let is_given_back = pool.core.budget.held() == KEPT << 20;
                is_lost && counts_as_leased && is_all && is_taken_over && is_usable && is_given_back
            });
            stop.wait();
            succeeds
        });
        assert!(succeeds);
        let stats = pool.stats();
        assert_eq!((stats.abandoned_caches, stats.live_bytes), (0, 0), "the parent lost something");
        assert_eq!(pool.trim(0), KEPT << 20);
    }

    #[test]
    fn a_child_of_a_parent_under_pressure_refuses_nothing_and_tells_nobody() {
        let pool = Pool::new(PoolConfig::limited(8 << 20)).unwrap();
        let owner = Owner::named("fork-test/pressed");
        let told = std::sync::Arc::new(AtomicU32::new(0));
        let counts = told.clone();
        let subscription = pool.on_pressure(move |_| _ = counts.fetch_add(1, Ordering::Relaxed));
        let press = |percent: usize| {
            let (mut barometer, now) = (Barometer::default(), Instant::now());
            let machine = Some(MemoryReading { used: percent, limit: 100 });
            barometer.see(MemoryReading { used: 0, limit: 1 }, Sight { machine, ..Sight::default() }, now);
            pool.core.press(barometer.verdict(now))
        };
        assert_eq!(press(99), Pressure::Critical);
        let refuses = || matches!(pool.allocate(1 << 20, owner), Err(Error::MemoryPressure { .. }));
        assert!(refuses() && told.load(Ordering::Relaxed) == 1);
        assert!(succeeds_in_a_child(|| {
            let stats = pool.pressure_stats();
            let is_over = (stats.level, stats.cause, stats.refusing) == (Pressure::Low, None, false)
                && stats.by_cause.values().all(|&level| level == Pressure::Low);
            let may_keep = pool.stats().retain_bytes == (8 << 20) / 4;
            let leases = pool.allocate(8 << 20, owner).is_ok();
            // What the parent's callbacks hold belongs to its threads.
            let is_quiet = press(85) == Pressure::High && told.load(Ordering::Relaxed) == 1;
            is_over && may_keep && leases && is_quiet
        }));
        assert!(refuses() && pool.pressure().get() == Pressure::Critical, "the parent has changed");
        assert_eq!((press(10), told.load(Ordering::Relaxed)), (Pressure::Low, 2));
        drop(subscription);
    }

    #[test]
    fn a_child_that_asks_the_parents_tracker_is_answered_though_a_thread_was_in_it() {
        let pool = Pool::new(PoolConfig::limited(64 << 20)).unwrap();
        pool.recorder().set_level(Level::Paranoid);
        let (tracker, owner) =
            (Tracker::new(pool.clone(), TrackerConfig::default()).unwrap(), Owner::named("fork-test/a"));
        // So many that the tracker is locked nearly all the time.
        let held: Vec<_> = (0..50_000).map(|_| pool.allocate(64, owner).unwrap()).collect();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    tracker.check();
                }
            });
            let fine = (0..5).all(|_| {
                succeeds_in_a_child(|| {
                    let mut scope = tracker.scope(Some(owner));
                    let kept = pool.allocate(1000, owner).unwrap();
                    scope.end();
                    let is_seen = scope.check().iter().map(|report| report.bytes).sum::<u64>() == 1000;
                    drop(kept);
                    is_seen && scope.is_clean() && tracker.check().is_empty() && tracker.table().leaks.is_empty()
                })
            });
            done.store(true, Ordering::Relaxed);
            assert!(fine);
        });
        assert_eq!(pool.stats().live_count, held.len() as u64);
    }

    #[test]
    fn a_child_has_what_the_caches_of_the_parents_threads_held() {
        let pool = Pool::new(PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(4 << 20) }).unwrap();
        let owner = Owner::named("fork-test/a");
        let (ready, stop) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                drop([(); 4].map(|()| pool.allocate(1 << 20, owner).unwrap()));
                ready.wait();
                stop.wait();
            });
            ready.wait();
            let all = || pool.allocate(4 << 20, owner).is_ok() && pool.trim(0) == 4 << 20;
            assert!(succeeds_in_a_child(all));
            stop.wait();
        });
    }

    #[test]
    fn a_child_knows_which_cache_its_thread_has_and_which_nobody() {
        let pool = Pool::new(PoolConfig::limited(4 << 20)).unwrap();
        let owner = Owner::named("fork-test/a");
        let me = || u64::from(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
        let (ready, stop) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        drop(pool.allocate(1000, owner).unwrap());
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                drop(pool.allocate(5000, owner).unwrap());
                ready.wait();
                stop.wait();
                me()
            });
            ready.wait();
            let mine = me();
            let of = |len: usize| pool.kept_by_thread().into_iter().find(|kept| kept.blocks[0].0.bytes() >= Some(len));
            assert!(succeeds_in_a_child(|| me() != mine
                && of(5000).is_some_and(|kept| kept.thread == 0)
                && pool.kept_by_thread().iter().any(|kept| kept.thread == me())));
            let kept: Vec<u64> = pool.kept_by_thread().iter().map(|kept| kept.thread).collect();
            stop.wait();
            assert_eq!(kept, [other.join().unwrap(), mine]);
        });
    }
}
