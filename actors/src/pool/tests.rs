//! What the pool promises, tried through its handles.

use super::*;
use crate::Error;
use crate::leak::{Level, RecorderConfig};
use proptest::prelude::*;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const MIB: usize = 1 << 20;

fn pool(limit_bytes: usize) -> Pool {
    Pool::new(PoolConfig::limited(limit_bytes)).unwrap()
}

/// A pool that keeps all it can.
fn hoarding_pool(limit_bytes: usize) -> Pool {
    Pool::new(PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(limit_bytes) }).unwrap()
}

fn owner() -> Owner {
    Owner::named("pool-test")
}

/// Written while a test forks, which shuts the caches of all pools of the process for a moment; read where each block counts.
static FORKING: RwLock<()> = RwLock::new(());

/// `fork`, with nobody between the beginning and the end of a test that counts blocks.
///
/// # Safety
/// As `libc::fork`.
#[cfg(target_os = "linux")]
pub(super) unsafe fn fork() -> libc::pid_t {
    let _alone = FORKING.write();
    // SAFETY: the caller's.
    unsafe { libc::fork() }
}

/// While it lives no test forks.
pub(super) fn no_fork() -> impl Drop {
    FORKING.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn assert_send_sync<T: Send + Sync + 'static>() {}

#[test]
fn handles_cross_threads() {
    assert_send_sync::<Pool>();
    assert_send_sync::<Buffer>();
}

#[test]
fn a_buffer_of_every_edge_size_is_aligned_zeroed_and_as_long_as_asked() {
    let pool = pool(64 * MIB);
    for len in [0, 1, 63, 64, 65, 192, 193, 256, 257, 320, 4096, 4097, MIB - 1, MIB, MIB + 1] {
        let mut buffer = pool.allocate(len, owner()).unwrap();
        assert_eq!(buffer.len(), len);
        assert!(buffer.iter().all(|&byte| byte == 0));
        assert_eq!(buffer.as_ptr().align_offset(64), 0);
        assert!(pool.is_live(buffer.id()));
        buffer.fill(0xAB);
        assert!(buffer.iter().all(|&byte| byte == 0xAB));
    }
    assert_eq!(pool.stats().live_bytes, 0);
}

#[test]
fn impossible_sizes_are_typed_errors() {
    let pool = hoarding_pool(usize::MAX);
    assert!(matches!(pool.allocate(usize::MAX, owner()), Err(Error::InvalidInput(_))));
    assert!(matches!(pool.allocate(isize::MAX as usize, owner()), Err(Error::InvalidInput(_))));
    assert!(matches!(pool.allocate(SizeClass::MAX_LEN, owner()), Err(Error::PoolExhausted { .. })));
    // Within any limit, and more than any machine has.
    let system_has_none = pool.allocate(pool.stats().limit_bytes - MIB, owner()).unwrap_err();
    assert!(matches!(system_has_none, Error::PoolExhausted { live: 0, .. }));
    let stats = pool.stats();
    assert_eq!((stats.failures, stats.live_bytes, stats.cached_bytes), (4, 0, 0));
}

#[test]
fn a_limit_below_the_smallest_block_is_refused() {
    assert!(matches!(Pool::new(PoolConfig::limited(63)), Err(Error::InvalidInput(_))));
    assert!(pool(64).allocate(64, owner()).is_ok());
    assert!(matches!(pool(64).set_limit(0), Err(Error::InvalidInput(_))));
    assert!(Pool::new(PoolConfig::default()).unwrap().stats().limit_bytes >= MIB);
}

#[test]
fn recycled_memory_reads_as_zeros_unless_the_caller_overwrites() {
    let pool = pool(64 * MIB);
    for len in [100, 5000, 3 * MIB] {
        let mut first = pool.allocate(len, owner()).unwrap();
        first.fill(0xFF);
        let place = first.as_ptr();
        drop(first);
        let second = pool.allocate(len - 1, owner()).unwrap();
        assert_eq!(second.as_ptr(), place, "the block was not recycled");
        assert!(second.iter().all(|&byte| byte == 0));
        drop(second);
        let third = pool.allocate_for_overwrite(len, owner()).unwrap();
        assert_eq!(third.as_ptr(), place);
        assert_eq!(third[len - 1], 0xFF);
    }
    let stats = pool.stats();
    assert_eq!((stats.allocations, stats.fresh, stats.recycled), (9, 3, 6));
}

#[test]
fn an_id_is_live_exactly_while_its_buffer_is() {
    let pool = pool(MIB);
    let first = pool.allocate(64, owner()).unwrap();
    let stale = first.id();
    first.release();
    let second = pool.allocate(64, owner()).unwrap();
    assert_ne!(second.id(), stale);
    assert!(!pool.is_live(stale) && pool.is_live(second.id()));
    drop(second);
    pool.trim(0);
    let third = pool.allocate(4096, owner()).unwrap();
    assert!(!pool.is_live(stale) && pool.is_live(third.id()));
}

#[test]
fn free_blocks_make_way_before_an_allocation_is_refused() {
    let pool = hoarding_pool(MIB);
    let small: Vec<Buffer> = (0..4).map(|_| pool.allocate(256 << 10, owner()).unwrap()).collect();
    let refused = pool.allocate(1, owner()).unwrap_err();
    let full = Error::PoolExhausted { requested: 1, live: MIB, limit: MIB, kept: 0, waiting: 0, capped: None };
    assert_eq!(refused, full);
    drop(small);
    assert_eq!(pool.stats().cached_bytes, MIB);
    assert!(pool.allocate(MIB + 1, owner()).is_err());
    assert_eq!(pool.stats().cached_bytes, MIB, "the cache was given up for a request that never fits");
    let large = pool.allocate(MIB, owner()).unwrap();
    assert_eq!(pool.stats().cached_bytes, 0);
    drop(large);
}

#[test]
fn huge_buffers_count_and_go_straight_back() {
    let pool = hoarding_pool(4 << 30);
    let huge = pool.allocate(SizeClass::LARGEST_BYTES + 1, owner()).unwrap();
    assert_eq!(huge.class(), SizeClass::HUGE);
    assert_eq!(huge[SizeClass::LARGEST_BYTES], 0);
    let stats = pool.stats();
    assert_eq!(stats.live_bytes, SizeClass::LARGEST_BYTES + 4096);
    assert_eq!(stats.owner(owner()).unwrap().live_bytes, stats.live_bytes as u64);
    drop(huge);
    let stats = pool.stats();
    assert_eq!((stats.live_bytes, stats.cached_bytes), (0, 0));
    assert_eq!(stats.classes[0].size, 0);
}

#[test]
fn a_lowered_limit_is_met_as_leases_end() {
    let pool = hoarding_pool(MIB);
    let mut held: Vec<Buffer> = (0..8).map(|_| pool.allocate(64 << 10, owner()).unwrap()).collect();
    held.truncate(4);
    assert_eq!(pool.set_limit(128 << 10).unwrap(), 256 << 10);
    assert_eq!(pool.stats().cached_bytes, 0);
    assert!(pool.allocate(1, owner()).is_err());
    held.clear();
    let stats = pool.stats();
    assert_eq!((stats.live_bytes, stats.cached_bytes), (0, 128 << 10));
}

#[test]
fn a_block_that_came_back_while_the_limit_fell_is_not_leased_again() {
    let pool = hoarding_pool(MIB);
    drop([pool.allocate(MIB / 2, owner()).unwrap(), pool.allocate(MIB / 2, owner()).unwrap()]);
    // What a release leaves that looked at the limit just before it was lowered.
    pool.core.budget.set_limit(MIB / 4);
    pool.core.be_strict();
    assert!(pool.allocate(MIB / 2, owner()).is_err());
    assert_eq!((pool.stats().live_bytes, pool.stats().cached_bytes), (0, 0));
}

#[test]
fn the_cache_keeps_no_more_than_told_and_follows_a_change_of_sizes() {
    let _no_fork = no_fork();
    let pool = Pool::new(PoolConfig { retain_bytes: MIB, ..PoolConfig::limited(64 * MIB) }).unwrap();
    let batch = |len: usize, n: usize| drop((0..n).map(|_| pool.allocate(len, owner()).unwrap()).collect::<Vec<_>>());
    batch(64 << 10, 32);
    assert_eq!(pool.stats().cached_bytes, MIB);
    batch(128 << 10, 8);
    let fresh = pool.stats().fresh;
    batch(128 << 10, 8);
    assert_eq!(pool.stats().fresh, fresh, "the cache kept sizes that nobody asks for any more");
    assert!(pool.stats().cached_bytes <= MIB);
    batch(2 * MIB, 1);
    assert_eq!(pool.trim(512 << 10), 512 << 10);
    assert_eq!(pool.set_retain(0), 512 << 10);
}

#[test]
fn memory_outlives_the_pool() {
    let pool = pool(64 * MIB);
    let mut buffers: Vec<Buffer> = [1, 5000, 2 * MIB].map(|len| pool.allocate(len, owner()).unwrap()).into();
    drop(pool);
    buffers.iter_mut().for_each(|buffer| buffer.fill(1));
    assert!(buffers.iter().all(|buffer| buffer.iter().all(|&byte| byte == 1)));
}

#[test]
fn typed_views_share_the_bytes_and_refuse_what_does_not_fit() {
    let pool = pool(MIB);
    let mut buffer = pool.allocate(16, owner()).unwrap();
    buffer.as_f32_mut().unwrap()[3] = 1.5;
    assert_eq!(buffer.as_f32().unwrap(), [0.0, 0.0, 0.0, 1.5]);
    assert_eq!(buffer[12..], 1.5f32.to_ne_bytes());
    assert_eq!(buffer.elements::<u64>().unwrap().len(), 2);
    buffer.truncate(15);
    assert!(matches!(buffer.as_f32(), Err(Error::InvalidInput(_))));
    assert!(matches!(buffer.as_f32_mut(), Err(Error::InvalidInput(_))));
    buffer.truncate(100);
    assert_eq!(buffer.len(), 15);
    assert!(pool.allocate(0, owner()).unwrap().as_f32().unwrap().is_empty());
}

#[test]
fn counts_are_exact_at_every_leak_level() {
    for level in Level::ALL {
        let leaks = RecorderConfig { level, capacity: 4, ..RecorderConfig::default() };
        let pool = Pool::new(PoolConfig { leaks, ..PoolConfig::limited(MIB) }).unwrap();
        let (ours, theirs) = (Owner::named("pool-test/ours"), Owner::named("pool-test/theirs"));
        let held: Vec<Buffer> = (0..50).map(|_| pool.allocate(100, ours).unwrap()).collect();
        let other = pool.allocate(1000, theirs).unwrap();
        let stats = pool.stats();
        assert_eq!((stats.live_count, stats.live_bytes), (51, 50 * 128 + 1024));
        assert_eq!(stats.owner(ours).map(|owner| (owner.live_count, owner.live_bytes)), Some((50, 6400)));
        assert_eq!(stats.owner(theirs).map(|owner| (owner.live_count, owner.live_bytes)), Some((1, 1024)));
        drop((held, other));
        let stats = pool.stats();
        assert_eq!((stats.live_count, stats.live_bytes, stats.high_water_bytes), (0, 0, 7424));
        assert_eq!(stats.classes.iter().map(|class| class.high_water_mark).sum::<u64>(), 51);
        assert_eq!(stats.owner(ours).map(|owner| owner.live_count), Some(0));
    }
}

#[test]
fn buffers_released_on_another_thread_are_recycled_by_the_first() {
    let _no_fork = no_fork();
    let pool = pool(64 * MIB);
    let (send, receive) = crossbeam_channel::bounded::<Buffer>(16);
    std::thread::scope(|scope| {
        scope.spawn(move || receive.iter().for_each(|buffer| assert!(buffer.iter().all(|&byte| byte == 9))));
        for _ in 0..5000 {
            let mut buffer = pool.allocate_for_overwrite(1000, owner()).unwrap();
            buffer.fill(9);
            send.send(buffer).unwrap();
        }
        drop(send);
    });
    let stats = pool.stats();
    assert_eq!((stats.live_count, stats.allocations), (0, 5000));
    assert!(stats.fresh < 30, "{} fresh blocks for at most 18 at a time", stats.fresh);
}

#[test]
fn the_limit_holds_while_threads_compete_and_the_limit_moves() {
    const LIMIT: usize = 256 << 10;
    let pool = hoarding_pool(LIMIT);
    let done = AtomicBool::new(false);
    let (granted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4u32)
            .map(|seed| {
                let (pool, granted, refused) = (&pool, &granted, &refused);
                scope.spawn(move || {
                    let mut held = Vec::new();
                    let mut random = seed + 1;
                    for _ in 0..5000 {
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        match pool.allocate((random >> 8) as usize % (40 << 10), owner()) {
                            Ok(buffer) => {
                                granted.fetch_add(1, Ordering::Relaxed);
                                held.push(buffer);
                            }
                            Err(_) => {
                                refused.fetch_add(1, Ordering::Relaxed);
                                held.clear();
                            }
                        }
                        if random % 3 == 0 {
                            held.pop();
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert!(pool.core.budget.held() <= LIMIT);
                pool.set_limit(LIMIT / 2).unwrap();
                pool.trim(LIMIT / 8);
                pool.set_limit(LIMIT).unwrap();
                std::thread::yield_now();
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    let stats = pool.stats();
    assert_eq!(stats.live_bytes + stats.live_count as usize, 0);
    assert!(stats.high_water_bytes <= LIMIT);
    assert_eq!((stats.allocations, stats.failures), (granted.into_inner() as u64, refused.into_inner() as u64));
    assert_eq!(stats.cached_bytes, pool.trim(0));
    assert_eq!(pool.core.budget.held(), 0);
}

/// A step of a program that uses a pool.
#[derive(Debug, Clone)]
enum Step {
    Allocate { len: usize, zeroed: bool },
    Free(prop::sample::Index),
    Trim(usize),
    SetLimit(usize),
    SetRetain(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![0usize..600, 0usize..40_000];
    prop_oneof![
        5 => (len, any::<bool>()).prop_map(|(len, zeroed)| Step::Allocate { len, zeroed }),
        4 => any::<prop::sample::Index>().prop_map(Step::Free),
        1 => (0usize..100_000).prop_map(Step::Trim),
        1 => (64usize..200_000).prop_map(Step::SetLimit),
        1 => (0usize..100_000).prop_map(Step::SetRetain),
    ]
}

/// What a single thread can predict of a pool.
#[derive(Default)]
struct Model {
    held: Vec<(Buffer, u8)>,
    ended: Vec<LeaseId>,
    live_bytes: usize,
    high_water: usize,
    granted: u64,
    refused: u64,
}

impl Model {
    fn run(&mut self, pool: &Pool, step: Step) {
        match step {
            Step::Allocate { len, zeroed } => self.allocate(pool, len, zeroed),
            Step::Free(at) if !self.held.is_empty() => {
                let (buffer, mark) = self.held.swap_remove(at.index(self.held.len()));
                assert!(buffer.iter().all(|&byte| byte == mark), "somebody else wrote to a leased buffer");
                self.live_bytes -= buffer.block_bytes();
                self.ended.push(buffer.id());
            }
            Step::Free(_) => {}
            Step::Trim(target) => {
                let before = pool.stats().cached_bytes;
                let freed = pool.trim(target);
                assert_eq!(pool.stats().cached_bytes, before - freed);
                assert!(pool.stats().cached_bytes <= target);
            }
            Step::SetLimit(limit) => _ = pool.set_limit(limit).unwrap(),
            Step::SetRetain(retain) => _ = pool.set_retain(retain),
        }
    }

    fn allocate(&mut self, pool: &Pool, len: usize, zeroed: bool) {
        let block = SizeClass::block_bytes(len).unwrap();
        let fits = self.live_bytes + block <= pool.stats().limit_bytes;
        let result = pool.allocate_with(len, owner(), AllocOptions { zeroed, ..AllocOptions::default() });
        assert_eq!(result.is_ok(), fits, "{len} bytes beside {} live", self.live_bytes);
        let Ok(mut buffer) = result else {
            self.refused += 1;
            return;
        };
        assert!(!zeroed || buffer.iter().all(|&byte| byte == 0));
        self.granted += 1;
        self.live_bytes += block;
        self.high_water = self.high_water.max(self.live_bytes);
        let mark = (self.granted % 251) as u8 + 1;
        buffer.fill(mark);
        self.held.push((buffer, mark));
    }

    fn agrees_with(&self, pool: &Pool) {
        let stats = pool.stats();
        assert_eq!(stats.live_bytes, self.live_bytes);
        assert_eq!(stats.live_count, self.held.len() as u64);
        assert_eq!(stats.high_water_bytes, self.high_water);
        assert_eq!((stats.allocations, stats.failures), (self.granted, self.refused));
        assert!(stats.live_bytes + stats.cached_bytes <= stats.limit_bytes.max(stats.live_bytes));
        assert!(stats.cached_bytes <= stats.retain_bytes);
        let shelved: usize = stats.classes.iter().map(|class| class.size * class.available).sum();
        assert_eq!(stats.cached_bytes, shelved);
        let by_owner = stats.owner(owner()).map_or((0, 0), |owner| (owner.live_count, owner.live_bytes));
        assert_eq!(by_owner, (self.held.len() as u64, self.live_bytes as u64));
        assert!(self.held.iter().all(|(buffer, _)| pool.is_live(buffer.id())));
        assert!(self.ended.iter().all(|&id| !pool.is_live(id)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_pool_behaves_as_its_model(steps in prop::collection::vec(step(), 1..120), limit in 64usize..300_000) {
        let pool = pool(limit);
        let mut model = Model::default();
        for step in steps {
            model.run(&pool, step);
            model.agrees_with(&pool);
        }
        drop(model);
        pool.trim(0);
        prop_assert_eq!(pool.core.budget.held(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Threads allocate, check and free what they wrote, trim, and pass buffers on for another thread to free.
    #[test]
    fn threads_never_share_a_block_nor_pass_the_limit(
        programs in prop::collection::vec(prop::collection::vec(step(), 1..150), 2..4),
        limit in 10_000usize..300_000,
    ) {
        let pool = hoarding_pool(limit);
        let (pass, receive) = crossbeam_channel::unbounded::<(Buffer, u8)>();
        std::thread::scope(|scope| {
            for (thread, steps) in programs.into_iter().enumerate() {
                let (pool, pass, receive) = (&pool, pass.clone(), receive.clone());
                scope.spawn(move || {
                    let mark = thread as u8 + 1;
                    let mut held = Vec::new();
                    for step in steps {
                        match step {
                            Step::Allocate { len, zeroed } => {
                                let options = AllocOptions { zeroed, ..AllocOptions::default() };
                                if let Ok(mut buffer) = pool.allocate_with(len, owner(), options) {
                                    assert!(!zeroed || buffer.iter().all(|&byte| byte == 0));
                                    buffer.fill(mark);
                                    held.push((buffer, mark));
                                }
                            }
                            Step::Free(at) if !held.is_empty() => {
                                let (buffer, mark) = held.swap_remove(at.index(held.len()));
                                assert!(pool.is_live(buffer.id()));
                                pass.send((buffer, mark)).unwrap();
                                if let Ok((buffer, mark)) = receive.try_recv() {
                                    assert!(buffer.iter().all(|&byte| byte == mark));
                                }
                            }
                            Step::Trim(target) => _ = pool.trim(target),
                            _ => {}
                        }
                        assert!(pool.core.budget.held() <= limit);
                    }
                    assert!(held.iter().all(|(buffer, mark)| buffer.iter().all(|byte| byte == mark)));
                });
            }
        });
        drop((pass, receive));
        let stats = pool.stats();
        prop_assert_eq!((stats.live_count, stats.live_bytes), (0, 0));
        prop_assert!(stats.high_water_bytes <= limit);
        let shelved: usize = stats.classes.iter().map(|class| class.size * class.available).sum();
        prop_assert_eq!(stats.cached_bytes, shelved);
        pool.trim(0);
        prop_assert_eq!(pool.core.budget.held(), 0);
    }
}
