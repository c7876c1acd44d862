//! Random schedules of whole programs (`make shuttle`): threads lease, pass on, release, trim, change the limit and end, and the
//! pool ends under them, while the scheduler changes threads at every step of gates, queues and locks.
//!
//! The queue of the shelves is ours and made of shuttle's atomics, so that shuttle sees into it. What it does not see are
//! relaxed orders, all of shuttle's accesses being sequentially consistent: for those there is loom (`make loom`).

use super::{Buffer, LeaseId, Owner, Pool, PoolConfig};
use shuttle::rand::Rng;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

const SCHEDULES: usize = 20_000;
const STEPS: usize = 12;
/// Small and large: with magazines of eight blocks and of one, and one that is looked for in others' caches.
const SIZES: [usize; 3] = [64, 70_000, 3 << 20];

/// What all threads know. Its locks are never held where shuttle changes threads.
#[derive(Default)]
struct World {
    /// Who has the memory that begins there.
    owners: Mutex<HashMap<usize, usize>>,
    ids: Mutex<HashSet<LeaseId>>,
    passed: Mutex<Vec<Buffer>>,
    granted: Mutex<u64>,
}

impl World {
    fn lease(&self, pool: &Pool, thread: usize, len: usize) -> Option<Buffer> {
        let buffer = pool.allocate_for_overwrite(len, Owner::OTHER).ok()?;
        let taken = self.owners.lock().unwrap().insert(buffer.as_ptr() as usize, thread);
        assert_eq!(taken, None, "a block has two owners");
        assert!(self.ids.lock().unwrap().insert(buffer.id()), "a generation came again");
        assert!(pool.is_live(buffer.id()));
        *self.granted.lock().unwrap() += 1;
        Some(buffer)
    }

    fn release(&self, buffer: Buffer) {
        assert!(self.owners.lock().unwrap().remove(&(buffer.as_ptr() as usize)).is_some());
        drop(buffer);
    }

    fn work(&self, pool: &Pool, thread: usize) {
        let mut held = Vec::new();
        let mut random = shuttle::rand::thread_rng();
        for _ in 0..STEPS {
            match random.gen_range(0..10) {
                0..4 => held.extend(self.lease(pool, thread, SIZES[random.gen_range(0..SIZES.len())])),
                4 | 5 => {
                    if let Some(buffer) = held.pop() {
                        self.release(buffer);
                    }
                }
                6 => self.passed.lock().unwrap().extend(held.pop()),
                7 => {
                    let passed = self.passed.lock().unwrap().pop();
                    if let Some(buffer) = passed {
                        self.release(buffer);
                    }
                }
                8 => _ = pool.trim(random.gen_range(0..4) << 20),
                _ => _ = pool.set_limit(random.gen_range(1..16) << 20).unwrap(),
            }
        }
        held.into_iter().for_each(|buffer| self.release(buffer));
    }
}

fn pool() -> Pool {
    Pool::new(PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(8 << 20) }).unwrap()
}

#[test]
fn shuttle_no_block_has_two_owners_and_nothing_is_lost() {
    let check = || {
        let (pool, world) = (pool(), Arc::new(World::default()));
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let (pool, world) = (pool.clone(), world.clone());
                shuttle::thread::spawn(move || world.work(&pool, thread))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let passed = std::mem::take(&mut *world.passed.lock().unwrap());
        passed.into_iter().for_each(|buffer| world.release(buffer));
        let stats = pool.stats();
        assert_eq!((stats.live_count, stats.live_bytes), (0, 0));
        assert_eq!(stats.allocations, *world.granted.lock().unwrap());
        let idle: usize = stats.classes.iter().map(|class| class.size * class.available).sum();
        assert_eq!(stats.cached_bytes, idle);
        pool.trim(0);
        assert_eq!(pool.core.budget.held(), 0, "a block is out of reach");
    };
    shuttle::check_random(check, SCHEDULES);
    shuttle::check_pct(check, SCHEDULES, 3);
}

#[test]
fn shuttle_a_pool_that_ends_under_its_threads_leaves_nothing() {
    let check = || {
        let pool = pool();
        let core = Arc::downgrade(&pool.core);
        let threads: Vec<_> = (0..3)
            .map(|thread: usize| {
                let buffers: Vec<Buffer> =
                    (0..6).filter_map(|at| pool.allocate(SIZES[(thread + at) % 2], Owner::OTHER).ok()).collect();
                let pool = (thread == 0).then(|| pool.clone());
                shuttle::thread::spawn(move || {
                    if let Some(pool) = pool {
                        drop(pool.allocate(64, Owner::OTHER));
                        drop(pool);
                    }
                    buffers.into_iter().for_each(drop);
                })
            })
            .collect();
        drop(pool);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(core.strong_count(), 0, "a block was put away after the end");
    };
    shuttle::check_random(check, SCHEDULES);
    shuttle::check_pct(check, SCHEDULES, 3);
}

#[test]
fn shuttle_a_queue_gives_each_value_once() {
    let check = || {
        let queue = Arc::new(super::queue::Queue::try_new(2).unwrap());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let threads: Vec<_> = (0..4u32)
            .map(|thread| {
                let (queue, taken) = (queue.clone(), taken.clone());
                shuttle::thread::spawn(move || {
                    let mut put = Vec::new();
                    for n in 0..4 {
                        if thread % 2 == 0 {
                            put.extend(queue.push(thread * 4 + n).is_ok().then_some(thread * 4 + n));
                        } else if let Some(value) = queue.pop() {
                            taken.lock().unwrap().push(value);
                        }
                    }
                    put
                })
            })
            .collect();
        let mut put: Vec<u32> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let mut taken = std::mem::take(&mut *taken.lock().unwrap());
        taken.extend(std::iter::from_fn(|| queue.pop()));
        taken.sort_unstable();
        put.sort_unstable();
        assert_eq!(taken, put);
    };
    shuttle::check_random(check, 5 * SCHEDULES);
}
