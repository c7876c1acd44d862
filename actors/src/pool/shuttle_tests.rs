//! Random schedules of whole programs (`make shuttle`): threads lease, pass on, release, trim, change the limit and end, and the
//! pool ends under them, while the scheduler changes threads at every step of gates, queues and locks.
//!
//! The queue of the shelves is ours and made of shuttle's atomics, so that shuttle sees into it. What it does not see are
//! relaxed orders, all of shuttle's accesses being sequentially consistent: for those there is loom (`make loom`).

use super::{Buffer, LeaseId, Measure, Owner, Pool, PoolConfig, Reservation, SizeClass};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

const SCHEDULES: usize = 20_000;
const STEPS: usize = 12;
/// Small and large: with magazines of eight blocks and of one, and one that is looked for in others' caches.
const SIZES: [usize; 3] = [64, 70_000, 3 << 20];

/// Runs a program under random schedules, half of them with few changes of threads.
pub(super) fn run(program: impl Fn() + Copy + Send + Sync + 'static, schedules: usize) {
    let mut config = Config::new();
    // shuttle's atomics are large, and a pool has many.
    config.stack_size = 1 << 20;
    let with = |scheduler: Box<dyn Scheduler + Send>| _ = Runner::new(scheduler, config.clone()).run(program);
    with(Box::new(RandomScheduler::new(schedules / 2)));
    with(Box::new(PctScheduler::new(3, schedules / 2)));
}

/// What all threads know. Its locks are never held where shuttle changes threads.
struct World {
    /// Room may be reserved for the second.
    owners: [Owner; 2],
    /// Who has the memory that begins there.
    places: Mutex<HashMap<usize, usize>>,
    ids: Mutex<HashSet<LeaseId>>,
    passed: Mutex<Vec<Buffer>>,
    granted: Mutex<u64>,
}

impl World {
    fn new() -> Self {
        let owners = ["shuttle", "shuttle-favoured"].map(Owner::named);
        let (places, ids, passed, granted) = Default::default();
        Self { owners, places, ids, passed, granted }
    }

    fn lease(&self, pool: &Pool, thread: usize, len: usize) -> Option<Buffer> {
        let buffer = pool.allocate_for_overwrite(len, self.owners[thread % 2]).ok()?;
        let taken = self.places.lock().unwrap().insert(buffer.as_ptr() as usize, thread);
        assert_eq!(taken, None, "a block has two owners");
        assert!(self.ids.lock().unwrap().insert(buffer.id()), "a generation came again");
        assert!(pool.is_live(buffer.id()));
        *self.granted.lock().unwrap() += 1;
        Some(buffer)
    }

    fn release(&self, buffer: Buffer) {
        assert!(self.places.lock().unwrap().remove(&(buffer.as_ptr() as usize)).is_some());
        drop(buffer);
    }

    fn work(&self, pool: &Pool, thread: usize) {
        let (mut held, mut measure): (_, Option<Measure>) = (Vec::new(), None);
        let mut random = shuttle::rand::thread_rng();
        for _ in 0..STEPS {
            match random.gen_range(0..13) {
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
                9 => _ = pool.set_limit(random.gen_range(1..16) << 20).unwrap(),
                // All of these make the pool strict, or let it be calm again.
                10 => {
                    let bytes = random.gen_range(0..2) << 19;
                    pool.reserve(Reservation::new(self.owners[1].name(), bytes)).unwrap();
                }
                11 => measure = measure.is_none().then(|| pool.measure(None)),
                _ => {
                    let bytes = SizeClass::block_bytes(SIZES[random.gen_range(0..SIZES.len())]).unwrap();
                    let waits = random.gen_range(0..2);
                    pool.core.line_up((waits > 0).then_some((self.owners[0], bytes)), waits);
                }
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
        let (pool, world) = (pool(), Arc::new(World::new()));
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let (pool, world) = (pool.clone(), world.clone());
                shuttle::thread::spawn(move || world.work(&pool, thread))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let passed = std::mem::take(&mut *world.passed.lock().unwrap());
        passed.into_iter().for_each(|buffer| world.release(buffer));
        pool.core.line_up(None, 0);
        let stats = pool.stats();
        assert_eq!((stats.live_count, stats.live_bytes), (0, 0));
        assert!(pool.core.caches.admission(|admission| admission.is_idle()), "what was admitted has not ended");
        assert_eq!(stats.allocations, *world.granted.lock().unwrap());
        let idle: usize = stats.classes.iter().map(|class| class.size * class.available).sum();
        assert_eq!(stats.cached_bytes, idle);
        pool.trim(0);
        assert_eq!(pool.core.budget.held(), 0, "a block is out of reach");
    };
    run(check, SCHEDULES);
}

#[test]
fn shuttle_a_lease_that_fits_beside_what_others_lease_is_never_refused() {
    const THREADS: usize = 3;
    const SHARE: usize = 1 << 20;
    let check = || {
        let pool = Pool::new(PoolConfig { retain_bytes: usize::MAX, ..PoolConfig::limited(THREADS * SHARE) }).unwrap();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let pool = pool.clone();
                shuttle::thread::spawn(move || {
                    let (mut held, mut random) = (Vec::new(), shuttle::rand::thread_rng());
                    for _ in 0..STEPS {
                        let len = [64 << 10, 320 << 10, SHARE][random.gen_range(0..3)];
                        while held.iter().map(Buffer::block_bytes).sum::<usize>() + len > SHARE {
                            held.swap_remove(random.gen_range(0..held.len()));
                        }
                        held.push(pool.allocate_for_overwrite(len, Owner::OTHER).expect("there is room"));
                        if random.gen_range(0..STEPS) == 0 {
                            // Strict, and calm again.
                            drop(pool.measure(None));
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    };
    run(check, SCHEDULES);
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
    run(check, SCHEDULES);
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
    run(check, 2 * SCHEDULES);
}
