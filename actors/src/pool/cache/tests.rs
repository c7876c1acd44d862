//! What the threads' caches promise, tried through the pool's handles.

use crate::pool::{AllocOptions, Buffer, LeaseId, Owner, Pool, PoolConfig};
use proptest::prelude::*;
use std::cell::RefCell;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Weak};
use std::thread;

const MIB: usize = 1 << 20;

fn pool(limit_bytes: usize) -> Pool {
    Pool::new(PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(limit_bytes) }).unwrap()
}

fn owner() -> Owner {
    Owner::named("cache-test")
}

fn lease_many(pool: &Pool, len: usize, count: usize) -> Vec<Buffer> {
    (0..count).map(|_| pool.allocate_for_overwrite(len, owner()).unwrap()).collect()
}

#[test]
fn trim_leaves_no_byte_in_the_caches_of_idle_threads() {
    let pool = pool(256 * MIB);
    let (ready, stop) = (Barrier::new(5), Barrier::new(5));
    thread::scope(|scope| {
        for turn in 0..4 {
            let (pool, ready, stop) = (&pool, &ready, &stop);
            scope.spawn(move || {
                for len in [64, 1000, 70_000, 3 * MIB] {
                    drop(lease_many(pool, len, 3 + turn));
                }
                ready.wait();
                stop.wait();
                // Its cache is as good as before.
                drop(lease_many(pool, 1000, 3));
            });
        }
        ready.wait();
        let cached = pool.stats().cached_bytes;
        assert!(cached > 4 * 3 * MIB);
        assert_eq!(pool.trim(0), cached);
        assert_eq!((pool.stats().cached_bytes, pool.core.budget.held()), (0, 0));
        stop.wait();
    });
    assert_eq!(pool.stats().cached_bytes, pool.trim(0));
    assert_eq!(pool.core.budget.held(), 0);
}

#[test]
fn a_request_at_the_limit_gets_what_idle_threads_keep() {
    let pool = pool(MIB);
    let (ready, stop) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            drop(lease_many(&pool, 64 << 10, 16));
            ready.wait();
            stop.wait();
        });
        ready.wait();
        assert_eq!(pool.stats().cached_bytes, MIB);
        assert_eq!(pool.allocate(MIB, owner()).unwrap().len(), MIB);
        pool.set_limit(MIB / 2).unwrap();
        assert_eq!(pool.stats().cached_bytes, 0);
        stop.wait();
    });
}

#[test]
fn a_thread_that_ends_leaves_its_blocks_and_its_counts() {
    let _no_fork = crate::pool::tests::no_fork();
    let pool = pool(64 * MIB);
    for _ in 0..20 {
        // Joined: the end of the scope alone does not wait for a thread's locals to go.
        thread::scope(|scope| scope.spawn(|| drop(lease_many(&pool, 1000, 10))).join().unwrap());
    }
    let stats = pool.stats();
    assert_eq!((stats.allocations, stats.live_count), (200, 0));
    assert!(stats.fresh < 30, "{} fresh blocks for 10 at a time", stats.fresh);
    assert_eq!(pool.core.caches.count(), 2, "one thread at a time needs one cache beside the shared one");
}

thread_local! {
    static LATE: RefCell<Vec<(Pool, Buffer)>> = const { RefCell::new(Vec::new()) };
}

/// Leases and returns when the thread's locals are going.
struct Late(Pool);

impl Drop for Late {
    fn drop(&mut self) {
        let buffer = self.0.allocate(500, owner()).unwrap();
        assert!(buffer.iter().all(|&byte| byte == 0));
    }
}

#[test]
fn a_thread_whose_locals_are_gone_can_still_lease_and_return() {
    thread_local! { static LATER: RefCell<Option<Late>> = const { RefCell::new(None) }; }
    let pool = pool(64 * MIB);
    for cache_first in [false, true] {
        let pool = pool.clone();
        thread::spawn(move || {
            let touch = || drop(lease_many(&pool, 500, 2));
            if cache_first {
                touch();
            }
            LATER.with(|later| *later.borrow_mut() = Some(Late(pool.clone())));
            let buffer = pool.allocate(1000, owner()).unwrap();
            LATE.with(|late| late.borrow_mut().push((pool.clone(), buffer)));
            touch();
        })
        .join()
        .unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.live_count, stats.live_bytes), (0, 0));
    pool.trim(0);
    assert_eq!(pool.core.budget.held(), 0);
}

#[test]
fn pools_side_by_side_keep_apart_and_each_goes_with_its_last_handle_and_buffer() {
    let pools: Vec<Pool> = (0..5).map(|_| pool(MIB)).collect();
    for turn in 0..100 {
        for (number, pool) in pools.iter().enumerate() {
            let buffers = lease_many(pool, 100 * (number + 1), 1 + turn % 3);
            assert!(buffers.iter().all(|buffer| pool.is_live(buffer.id())));
            assert_eq!(pool.stats().live_count, 1 + turn as u64 % 3);
        }
    }
    let cores: Vec<Weak<_>> = pools.iter().map(|pool| Arc::downgrade(&pool.core)).collect();
    let last = pools[0].allocate(100, owner()).unwrap();
    drop(pools);
    assert!(cores[1..].iter().all(|core| core.strong_count() == 0), "a pool outlived its handles and buffers");
    assert_eq!(cores[0].strong_count(), 1);
    drop(last);
    assert_eq!(cores[0].strong_count(), 0);
}

#[test]
fn a_pool_may_end_while_other_threads_return_its_buffers() {
    for round in 0..200 {
        let pool = pool(16 * MIB);
        let core = Arc::downgrade(&pool.core);
        let start = Barrier::new(3);
        thread::scope(|scope| {
            let threads = [(); 2].map(|()| {
                let buffers = lease_many(&pool, 1000, 40);
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    buffers.into_iter().for_each(drop);
                })
            });
            start.wait();
            if round % 2 == 0 {
                thread::yield_now();
            }
            drop(pool);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert_eq!(core.strong_count(), 0, "round {round}");
    }
}

#[test]
fn what_a_thread_only_returns_soon_serves_those_who_lease() {
    let pool = pool(64 * MIB);
    let (send, receive) = channel::<Buffer>();
    let (answer, answered) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for buffer in receive {
                drop(buffer);
                answer.send(()).unwrap();
            }
        });
        for _ in 0..1000 {
            send.send(pool.allocate_for_overwrite(8 << 20, owner()).unwrap()).unwrap();
            answered.recv().unwrap();
        }
        drop(send);
    });
    assert_eq!(pool.stats().fresh, 1, "a large block stayed with a thread that never leases");
}

#[test]
fn large_blocks_that_lie_idle_with_other_threads_are_leased_again() {
    let pool = pool(256 * MIB);
    let (ready, stop) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            drop(lease_many(&pool, 3 * MIB, 2));
            ready.wait();
            stop.wait();
        });
        ready.wait();
        drop(lease_many(&pool, 3 * MIB, 1));
        assert_eq!(pool.stats().fresh, 2);
        stop.wait();
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_can_return_what_it_inherited_and_lease() {
    let pool = pool(64 * MIB);
    let inherited = lease_many(&pool, 1000, 20);
    drop(lease_many(&pool, 1000, 20));
    // SAFETY: the child allocates, which glibc allows after a fork, touches nothing but the pool, and ends at once.
    let child = unsafe { crate::pool::tests::fork() };
    if child == 0 {
        drop(inherited);
        let again = lease_many(&pool, 1000, 50);
        let fine = again.len() == 50 && pool.stats().live_count == 50;
        drop(again);
        pool.trim(0);
        let empty = pool.core.budget.held() == 0;
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(if fine && empty { 0 } else { 1 }) }
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; the status is ours.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((waited, status), (child, 0));
    assert_eq!(pool.stats().live_count, 20);
}

/// A step of one of several threads.
#[derive(Debug, Clone)]
enum Step {
    Allocate {
        len: usize,
        zeroed: bool,
    },
    Free(prop::sample::Index),
    PassOn(prop::sample::Index),
    Take,
    Truncate(prop::sample::Index, usize),
    Trim(usize),
    SetLimit(usize),
    SetRetain(usize),
    /// The thread ends, and another goes on with what it held.
    Succeed,
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<prop::sample::Index>;
    let len = prop_oneof![0usize..600, 0usize..40_000, Just(70_000), Just(0), Just(256), Just(257)];
    prop_oneof![
        8 => (len, any::<bool>()).prop_map(|(len, zeroed)| Step::Allocate { len, zeroed }),
        5 => at().prop_map(Step::Free),
        3 => at().prop_map(Step::PassOn),
        3 => Just(Step::Take),
        1 => (at(), 0usize..1000).prop_map(|(at, len)| Step::Truncate(at, len)),
        1 => (0usize..100_000).prop_map(Step::Trim),
        1 => (100_000usize..300_000).prop_map(Step::SetLimit),
        1 => (0usize..100_000).prop_map(Step::SetRetain),
        1 => Just(Step::Succeed),
    ]
}

/// What a thread holds and knows: each buffer with the byte it was filled with.
#[derive(Default)]
struct Held {
    buffers: Vec<(Buffer, u8)>,
    ended: Vec<LeaseId>,
    granted: u64,
    refused: u64,
}

impl Held {
    fn check(pool: &Pool, buffer: &Buffer, mark: u8) {
        assert!(buffer.iter().all(|&byte| byte == mark), "somebody else wrote to a leased buffer");
        assert!(pool.is_live(buffer.id()));
    }

    fn step(&mut self, pool: &Pool, step: Step, mark: u8, mail: &crossbeam_queue::SegQueue<(Buffer, u8)>) {
        let at =
            |at: prop::sample::Index, held: &Self| (!held.buffers.is_empty()).then(|| at.index(held.buffers.len()));
        match step {
            Step::Allocate { len, zeroed } => {
                let options = AllocOptions { zeroed, ..AllocOptions::default() };
                match pool.allocate_with(len, owner(), options) {
                    Ok(mut buffer) => {
                        assert!(buffer.len() == len && (!zeroed || buffer.iter().all(|&byte| byte == 0)));
                        buffer.fill(mark);
                        self.granted += 1;
                        self.buffers.push((buffer, mark));
                    }
                    Err(_) => self.refused += 1,
                }
            }
            Step::Free(which) => {
                if let Some(at) = at(which, self) {
                    let (buffer, mark) = self.buffers.swap_remove(at);
                    Self::check(pool, &buffer, mark);
                    self.ended.push(buffer.id());
                }
            }
            Step::PassOn(which) => {
                if let Some(at) = at(which, self) {
                    mail.push(self.buffers.swap_remove(at));
                }
            }
            Step::Take => {
                if let Some((buffer, mark)) = mail.pop() {
                    Self::check(pool, &buffer, mark);
                    self.buffers.push((buffer, mark));
                }
            }
            Step::Truncate(which, len) => {
                if let Some(at) = at(which, self) {
                    self.buffers[at].0.truncate(len);
                    Self::check(pool, &self.buffers[at].0, self.buffers[at].1);
                }
            }
            Step::Trim(target) => _ = pool.trim(target),
            Step::SetLimit(limit) => _ = pool.set_limit(limit).unwrap(),
            Step::SetRetain(retain) => _ = pool.set_retain(retain),
            Step::Succeed => {}
        }
    }

    /// Runs the steps up to the next `Succeed` on a thread of its own, and the rest on others.
    fn run(mut self, pool: &Pool, steps: &[Step], mark: u8, mail: &crossbeam_queue::SegQueue<(Buffer, u8)>) -> Self {
        let mut rest = steps;
        while !rest.is_empty() {
            let end = rest.iter().position(|step| matches!(step, Step::Succeed)).map_or(rest.len(), |at| at + 1);
            let (now, later) = rest.split_at(end);
            self = thread::scope(|scope| {
                let work = move || {
                    now.iter().for_each(|step| self.step(pool, step.clone(), mark, mail));
                    self
                };
                scope.spawn(work).join().unwrap()
            });
            rest = later;
        }
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Threads come and go, allocate, check what they wrote, pass buffers on, shorten them, trim and change the limits.
    #[test]
    fn threads_never_share_a_block_and_every_count_comes_out(
        programs in prop::collection::vec(prop::collection::vec(step(), 1..200), 2..5),
        limit in 100_000usize..300_000,
    ) {
        let pool = pool(limit);
        let mail = crossbeam_queue::SegQueue::new();
        let held: Vec<Held> = thread::scope(|scope| {
            let threads: Vec<_> = (1u8..).zip(&programs)
                .map(|(mark, steps)| {
                    let (pool, mail) = (&pool, &mail);
                    scope.spawn(move || Held::default().run(pool, steps, mark, mail))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let granted: u64 = held.iter().map(|held| held.granted).sum();
        let refused: u64 = held.iter().map(|held| held.refused).sum();
        let mut live: Vec<(Buffer, u8)> = std::iter::from_fn(|| mail.pop()).collect();
        let mut ended = Vec::new();
        for held in held {
            live.extend(held.buffers);
            ended.extend(held.ended);
        }
        let stats = pool.stats();
        prop_assert_eq!((stats.allocations, stats.failures), (granted, refused));
        prop_assert_eq!(stats.live_count, live.len() as u64);
        prop_assert_eq!(stats.live_bytes, live.iter().map(|(buffer, _)| buffer.block_bytes()).sum::<usize>());
        prop_assert!(stats.live_bytes <= stats.high_water_bytes && stats.high_water_bytes <= 300_000);
        let idle: usize = stats.classes.iter().map(|class| class.size * class.available).sum();
        prop_assert_eq!(stats.cached_bytes, idle);
        for (buffer, mark) in &live {
            Held::check(&pool, buffer, *mark);
        }
        prop_assert!(ended.iter().all(|&id| !pool.is_live(id)));
        live.clear();
        pool.trim(0);
        prop_assert_eq!(pool.core.budget.held(), 0);
        let core = Arc::downgrade(&pool.core);
        drop(pool);
        prop_assert_eq!(core.strong_count(), 0);
    }
}
