//! What the pool promises of memory pressure, tested from outside: with a machine of the test's own making, and in a real
//! control group where there is the right to make one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ironcliw::Runtime;
use ironcliw_actors::pool::{
    Alarm, AlarmStream, AllocOptions, AllocateWhenFree, Buffer, Cause, MemoryReading, MemorySource, Owner, Pool,
    Pressure, PressureChange, PressureSubscription, Sight, Stall, SystemMemory, Watch,
};
use ironcliw_actors::{Config, Error, Subsystems};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Longer than anything here takes; a promise that is not kept by then is broken.
const PATIENCE: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;
const LIMIT: usize = 64 * MIB;
/// What small leases may take while others are refused.
const RESERVE: usize = LIMIT / 16;

/// A machine whose memory is used by so many percent, and that raises alarms.
#[derive(Clone, Default)]
struct Machine {
    percent: Arc<AtomicUsize>,
    /// Of each life of the pool's actor.
    bells: Arc<Mutex<Vec<UnboundedSender<Alarm>>>>,
}

impl MemorySource for Machine {
    fn reading(&self) -> Option<MemoryReading> {
        Some(MemoryReading { used: self.percent.load(Ordering::Relaxed), limit: 100 })
    }

    fn alarms(&self) -> Vec<AlarmStream> {
        let (bell, mut rings) = unbounded_channel();
        self.bells.lock().unwrap().push(bell);
        vec![Box::pin(futures_util::stream::poll_fn(move |cx| rings.poll_recv(cx)))]
    }
}

struct House {
    runtime: Runtime,
    subsystems: Subsystems,
    machine: Machine,
}

impl House {
    fn new() -> Self {
        Self::with(LIMIT)
    }

    fn with(limit: usize) -> Self {
        let machine = Machine::default();
        let (runtime, subsystems) = start(limit, Some(Box::new(machine.clone())));
        Self { runtime, subsystems, machine }
    }

    fn pool(&self) -> &Pool {
        &self.subsystems.pool
    }

    fn lease(&self, bytes: usize) -> Result<Buffer, Error> {
        self.pool().allocate(bytes, owner())
    }

    /// Has the machine's memory used by so many percent, and the pool look; the level.
    fn used(&self, percent: usize) -> Pressure {
        self.machine.percent.store(percent, Ordering::Relaxed);
        self.look()
    }

    fn look(&self) -> Pressure {
        self.runtime.block_on(async { self.subsystems.keeper.ask(Watch).await }).unwrap()
    }

    /// An idle block of so many bytes.
    fn idle(&self, bytes: usize) {
        drop(self.lease(bytes).unwrap());
    }

    fn listen(&self) -> (Receiver<PressureChange>, PressureSubscription) {
        let (tell, told) = channel();
        let subscription = self.pool().on_pressure(move |change| tell.send(change).unwrap_or_default());
        (told, subscription)
    }

    fn close(self) {
        self.runtime.shutdown(PATIENCE).unwrap();
    }
}

fn start(limit: usize, source: Option<Box<dyn MemorySource>>) -> (Runtime, Subsystems) {
    let config = Config {
        image_workers: 1,
        scheduler_threads: 1,
        memory_limit: Some(limit),
        memory_source: source,
        pin: false,
        ..Config::default()
    };
    let runtime = Runtime::builder().workers(1).pin(false).build().unwrap();
    let subsystems = runtime.block_on(Subsystems::start(runtime.handle(), config)).unwrap();
    (runtime, subsystems)
}

fn owner() -> Owner {
    Owner::named("pressure test")
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "no {what} in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}

// ---- levels and actions ----

#[test]
fn each_level_has_its_action_and_every_change_is_told_with_its_cause() {
    let house = House::new();
    let (told, subscription) = house.listen();
    let stats = || house.pool().stats();
    // 14 MiB idle of the 16 that may be, in this thread's cache.
    let held: Vec<_> = (0..14).map(|_| house.lease(MIB).unwrap()).collect();
    drop(held);
    assert_eq!(stats().cached_bytes, 14 * MIB);

    assert_eq!(house.used(65), Pressure::Medium);
    assert_eq!((stats().cached_bytes, stats().retain_bytes), (8 * MIB, 8 * MIB), "half of what may be idle");
    assert_eq!(house.used(85), Pressure::High);
    assert_eq!((stats().cached_bytes, stats().retain_bytes), (0, 4 * MIB));
    house.idle(MIB);
    assert_eq!(house.used(97), Pressure::Critical);
    assert_eq!(stats().cached_bytes, 0);
    let pressure = house.pool().pressure_stats();
    assert_eq!((pressure.level, pressure.cause), (Pressure::Critical, Some(Cause::Machine)));
    assert_eq!((pressure.returned_bytes, pressure.refusing), (15 * MIB as u64, true));
    assert!(pressure.rises.values().all(|&count| count == 1), "{pressure:?}");
    assert_eq!(pressure.by_cause[&Cause::Pool], Pressure::Low);

    assert_eq!(house.used(10), Pressure::Low);
    assert_eq!(stats().retain_bytes, 16 * MIB);
    let change = |before, level, cause| PressureChange { before, level, cause };
    let machine = Some(Cause::Machine);
    let expected = [
        change(Pressure::Low, Pressure::Medium, machine),
        change(Pressure::Medium, Pressure::High, machine),
        change(Pressure::High, Pressure::Critical, machine),
        change(Pressure::Critical, Pressure::Low, None),
    ];
    assert_eq!(told.try_iter().collect::<Vec<_>>(), expected);
    drop(subscription);
    house.used(97);
    assert_eq!(told.try_recv(), Err(TryRecvError::Disconnected));
    house.close();
}

#[test]
fn at_medium_what_threads_keep_is_on_the_shelves() {
    let house = House::new();
    // More than a small thread's request could borrow: a block of 1 KiB in the cache of a thread that does not come back.
    let (go, stay) = channel::<()>();
    let (kept, is_kept) = channel();
    std::thread::scope(|scope| {
        let pool = house.pool().clone();
        scope.spawn(move || {
            drop(pool.allocate(1024, owner()).unwrap());
            kept.send(()).unwrap();
            let _ = stay.recv();
        });
        is_kept.recv().unwrap();
        house.used(65);
        let fresh = house.pool().stats().fresh;
        let _lease = house.lease(1024).unwrap();
        assert_eq!(house.pool().stats().fresh, fresh);
        drop(go);
    });
    house.close();
}

#[test]
fn a_callback_that_panics_or_ends_its_own_subscription_harms_nobody() {
    let house = House::new();
    let panicking = house.pool().on_pressure(|_| panic!("on purpose"));
    let own = Arc::new(Mutex::new(None));
    let (pool, held, calls) = (house.pool().clone(), own.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = calls.clone();
    *own.lock().unwrap() = Some(pool.on_pressure(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        drop(held.lock().unwrap().take());
    }));
    let (told, _subscription) = house.listen();
    house.used(97);
    house.used(10);
    assert_eq!(told.try_iter().count(), 2);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    drop(panicking);
    house.close();
}

#[test]
fn the_pool_can_be_told_to_mind_its_own_occupancy_alone() {
    let house = House::new();
    assert_eq!(house.used(97), Pressure::Critical);
    house.pool().set_watches_system(false);
    assert_eq!(house.look(), Pressure::Low);
    drop(house.lease(MIB).unwrap());
    house.pool().set_watches_system(true);
    assert_eq!(house.look(), Pressure::Critical);
    house.close();
}

#[test]
fn stalls_raise_the_level_and_their_end_lowers_it() {
    #[derive(Clone, Default)]
    struct Stalled(Arc<AtomicUsize>);
    impl MemorySource for Stalled {
        fn reading(&self) -> Option<MemoryReading> {
            None
        }
        fn look(&self) -> Sight {
            let full_total_us = self.0.load(Ordering::Relaxed) as u64;
            Sight { stalls: [Some(Stall { full_total_us, ..Stall::default() }), None], ..Sight::default() }
        }
    }
    let source = Stalled::default();
    let (runtime, Subsystems { pool, .. }) = start(LIMIT, Some(Box::new(source.clone())));
    let (tell, told) = channel();
    let _subscription = pool.on_pressure(move |change| tell.send(change).unwrap_or_default());
    // Not before there is something to compare with.
    std::thread::sleep(Duration::from_millis(500));
    source.0.store(500_000, Ordering::Relaxed);
    let rise = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((rise.level, rise.cause), (Pressure::High, Some(Cause::Psi)));
    let fall = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((fall.before, fall.level), (Pressure::High, Pressure::Low));
    runtime.shutdown(PATIENCE).unwrap();
}

// ---- refusal ----

#[test]
fn at_critical_what_needs_new_memory_is_refused_and_what_is_idle_is_leased() {
    let house = House::new();
    let held = house.lease(MIB).unwrap();
    assert_eq!(house.used(97), Pressure::Critical);
    let refused = house.lease(MIB).unwrap_err();
    assert_eq!(refused, Error::MemoryPressure { requested: MIB, cause: Cause::Machine });
    let text = refused.to_string();
    assert!(text.starts_with("memory pressure is Critical (machine)") && text.contains("1048576 bytes"), "{text}");
    // Recycled, also by another thread, and in exchange for idle memory of another size.
    drop(held);
    drop(house.lease(MIB).unwrap());
    let elsewhere = std::thread::scope(|scope| scope.spawn(|| house.lease(MIB)).join().unwrap()).unwrap();
    drop(elsewhere);
    let held_before = house.pool().stats();
    let smaller = house.lease(MIB / 2).unwrap();
    let held_after = house.pool().stats();
    let sum = |stats: &ironcliw_actors::pool::PoolStats| stats.live_bytes + stats.cached_bytes;
    assert!(sum(&held_after) <= sum(&held_before), "{} {}", sum(&held_before), sum(&held_after));
    drop(smaller);
    house.lease(2 * MIB).unwrap_err();
    assert_eq!(house.pool().pressure_stats().refused, 2);
    // When it is over, it is over.
    house.used(92);
    assert_eq!(house.used(88), Pressure::High);
    drop(house.lease(2 * MIB).unwrap());
    house.close();
}

#[test]
fn at_critical_a_block_that_another_thread_keeps_is_found() {
    let house = House::new();
    house.used(97);
    let (go, stay) = channel::<()>();
    let (kept, is_kept) = channel();
    std::thread::scope(|scope| {
        let pool = house.pool().clone();
        scope.spawn(move || {
            // Out of the reserve.
            drop(pool.allocate(32 << 10, owner()).unwrap());
            kept.send(()).unwrap();
            let _ = stay.recv();
        });
        is_kept.recv().unwrap();
        let fresh = house.pool().stats().fresh;
        let _lease = house.lease(32 << 10).unwrap();
        assert_eq!(house.pool().stats().fresh, fresh);
        drop(go);
    });
    house.close();
}

#[test]
fn small_leases_have_a_reserve_at_critical() {
    let house = House::new();
    house.used(97);
    const SMALL: usize = 64 << 10;
    let held: Vec<_> = std::iter::from_fn(|| house.lease(SMALL).ok()).take(1 << 20).collect();
    assert_eq!(held.len() * SMALL, RESERVE);
    assert!(matches!(house.lease(64), Err(Error::MemoryPressure { requested: 64, .. })));
    house.lease(SMALL + 1).unwrap_err();
    // The next spell has another.
    house.used(10);
    house.used(97);
    house.lease(64).unwrap();
    drop(held);
    house.close();
}

#[test]
fn refusal_can_be_turned_off() {
    let house = House::new();
    assert!(house.pool().refuses_under_pressure());
    house.pool().set_refuses_under_pressure(false);
    house.used(97);
    drop(house.lease(MIB).unwrap());
    assert!(!house.pool().pressure_stats().refusing);
    house.close();
}

#[test]
fn the_pools_own_occupancy_refuses_nothing_below_its_limit() {
    let house = House::with(32 * MIB);
    let most: Vec<_> = (0..31).map(|_| house.lease(MIB).unwrap()).collect();
    assert_eq!(house.look(), Pressure::Critical);
    assert_eq!(house.pool().pressure().cause(), Some(Cause::Pool));
    // New memory, and more than a small lease.
    let last = house.lease(MIB).unwrap();
    assert!(matches!(house.lease(1), Err(Error::PoolExhausted { .. })));
    drop(last);
    assert!(matches!(house.lease(16 * MIB), Err(Error::PoolExhausted { .. })));
    assert_eq!(house.pool().pressure_stats().refused, 0);
    drop(most);
    house.close();
}

#[test]
fn leases_of_many_threads_survive_levels_that_come_and_go() {
    let house = House::new();
    let (rounds, refused) = (2_000, AtomicUsize::new(0));
    let work = |seed: usize| {
        let mut held = Vec::new();
        for round in 0..rounds {
            // 64 B to 2 MiB.
            let bytes = 64 << ((round * 7 + seed) % 16);
            match house.lease(bytes) {
                Ok(mut buffer) => {
                    buffer[bytes - 1] = 1;
                    held.push(buffer);
                }
                Err(Error::MemoryPressure { .. } | Error::PoolExhausted { .. }) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(other) => panic!("{other}"),
            }
            if held.len() > 8 {
                held.swap_remove(round % 8);
            }
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..3).map(|seed| scope.spawn(move || work(seed))).collect();
        for percent in [97, 10, 85, 97, 65].into_iter().cycle() {
            house.used(percent);
            if threads.iter().all(|thread| thread.is_finished()) {
                break;
            }
        }
    });
    house.used(97);
    let stats = house.pool().stats();
    assert_eq!((stats.live_bytes, stats.live_count), (0, 0));
    assert_eq!(stats.failures, refused.into_inner() as u64);
    house.used(10);
    drop(house.lease(MIB).unwrap());
    house.close();
}

#[test]
fn who_waits_for_memory_waits_for_the_pressure_to_fall() {
    let house = House::new();
    house.used(97);
    let (tell, told) = channel();
    let request = AllocateWhenFree {
        len: MIB,
        owner: owner(),
        options: AllocOptions::default(),
        wait: PATIENCE,
        is_abandoned: Box::new(|| false),
        done: Box::new(move |outcome| tell.send(outcome).unwrap()),
    };
    house.runtime.block_on(async { house.subsystems.keeper.tell(request).await }).unwrap();
    let failures = house.pool().stats().failures;
    house.look();
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
    assert_eq!(house.pool().stats().failures, failures, "waiting is not one refusal after another");
    house.used(10);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().unwrap().len(), MIB);
    house.close();
}

// ---- alarms ----

#[test]
fn an_alarm_raises_the_level_before_the_next_look_and_holds_for_a_time() {
    let house = House::new();
    let (told, _subscription) = house.listen();
    let ring = |alarm| house.machine.bells.lock().unwrap().last().unwrap().send(alarm).unwrap();
    ring(Alarm { cause: Cause::Psi, level: Pressure::High });
    let heard = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((heard.level, heard.cause), (Pressure::High, Some(Cause::Psi)));
    let begun = Instant::now();
    // A worse one has its turn, and then the first is over as well.
    ring(Alarm { cause: Cause::Cgroup, level: Pressure::Critical });
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().cause, Some(Cause::Cgroup));
    assert!(matches!(house.lease(MIB), Err(Error::MemoryPressure { cause: Cause::Cgroup, .. })));
    let fall = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!((fall.before, fall.level), (Pressure::Critical, Pressure::Low));
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    house.close();
}

#[test]
fn a_crash_of_the_actor_costs_neither_the_callbacks_nor_the_alarms() {
    let house = House::new();
    let (told, _subscription) = house.listen();
    house.subsystems.crash("memory/pool", Box::new(Ignored)).unwrap();
    eventually("second life", || house.machine.bells.lock().unwrap().len() == 2);
    assert!(house.machine.bells.lock().unwrap()[0].is_closed(), "the first life's streams ended with it");
    let ring = |alarm| house.machine.bells.lock().unwrap()[1].send(alarm).unwrap();
    ring(Alarm { cause: Cause::Cgroup, level: Pressure::Medium });
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().level, Pressure::Medium);
    house.close();
}

struct Ignored;

impl ironcliw::ReplySink<()> for Ignored {
    fn send(self: Box<Self>, _: Result<(), ironcliw::Error>) {}
}

// ---- the end ----

#[test]
fn when_the_actor_has_ended_nothing_is_refused_and_callbacks_are_dropped() {
    let house = House::new();
    let (told, subscription) = house.listen();
    house.used(97);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().level, Pressure::Critical);
    let pool = house.pool().clone();
    house.close();
    assert!(told.recv_timeout(PATIENCE).is_err(), "the callback, and with it the sender, is gone");
    drop(pool.allocate(MIB, owner()).unwrap());
    drop(subscription);
    // Too late, and dropped at once.
    let (tell, told) = channel::<()>();
    let _late = pool.on_pressure(move |_| tell.send(()).unwrap_or_default());
    assert!(told.recv_timeout(PATIENCE).is_err());
}

#[test]
#[cfg(target_os = "linux")]
fn a_runtime_that_has_closed_has_no_descriptor_of_the_kernels_left() {
    let open = || {
        let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        all.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.ends_with("pressure/memory"))).count()
    };
    let (runtime, subsystems) = start(LIMIT, Some(Box::new(SystemMemory::detect().unwrap())));
    runtime.block_on(async { subsystems.keeper.ask(Watch).await }).unwrap();
    eprintln!("{} triggers", open());
    let keeper = subsystems.keeper.clone();
    runtime.shutdown(PATIENCE).unwrap();
    drop((keeper, subsystems));
    assert_eq!(open(), 0);
}

// ---- a real control group ----

/// Names the control group that the process is to enter, for the half of the test that runs in it.
const GROUP: &str = "IRONCLIW_TEST_GROUP";
const GROUP_LIMIT: usize = 256 * MIB;

/// The folder of a new group below our own, and its file for the limit; `None` where we may not.
#[cfg(target_os = "linux")]
fn make_group() -> Option<(PathBuf, PathBuf)> {
    let all = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = |is_it: &dyn Fn(&str) -> bool| {
        let line = all.lines().find(|line| line.split(':').nth(1).is_some_and(is_it))?;
        Some(line.splitn(3, ':').nth(2)?.trim_start_matches('/').to_owned())
    };
    let name = format!("ironcliw-test-{}", std::process::id());
    let version_1 = own(&|names| names.split(',').any(|name| name == "memory"));
    let version_1 = version_1.map(|own| (Path::new("/sys/fs/cgroup/memory").join(own), "memory.limit_in_bytes"));
    let version_2 = own(&str::is_empty).map(|own| (Path::new("/sys/fs/cgroup").join(own), "memory.max"));
    [version_1, version_2].into_iter().flatten().find_map(|(parent, limit)| {
        let folder = parent.join(&name);
        std::fs::create_dir(&folder).ok()?;
        let limit = folder.join(limit);
        if !limit.exists() || std::fs::write(&limit, GROUP_LIMIT.to_string()).is_err() {
            let _ = std::fs::remove_dir(&folder);
            return None;
        }
        Some((folder, limit))
    })
}

#[test]
#[cfg(target_os = "linux")]
fn in_a_control_group_the_level_rises_towards_its_limit_and_falls_again() {
    if let Some(folder) = std::env::var_os(GROUP) {
        return inside(Path::new(&folder));
    }
    let Some((folder, _)) = make_group() else {
        return eprintln!("left out: no right to make a control group with a limit on memory here");
    };
    let own = std::env::current_exe().unwrap();
    let name = "in_a_control_group_the_level_rises_towards_its_limit_and_falls_again";
    let mut child = Command::new(own);
    child.args(["--exact", name, "--nocapture", "--test-threads", "1"]).env(GROUP, &folder);
    let outcome = child.stdin(Stdio::null()).output();
    let begun = Instant::now();
    while std::fs::remove_dir(&folder).is_err() && folder.exists() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    let outcome = outcome.unwrap();
    let text = String::from_utf8_lossy(&outcome.stdout) + String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success() && text.contains("1 passed"), "{}: {text}", outcome.status);
    assert!(text.contains("it rose and fell"), "{text}");
}

/// In the group, as a program that knows nothing of it.
#[cfg(target_os = "linux")]
fn inside(folder: &Path) {
    std::fs::write(folder.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    let source = SystemMemory::detect().unwrap();
    assert_eq!(source.limit(), GROUP_LIMIT);
    let Sight { cgroup, .. } = source.look();
    assert_eq!(cgroup.unwrap().limit, GROUP_LIMIT);
    let (runtime, Subsystems { pool, keeper, .. }) = start(GROUP_LIMIT / 2, Some(Box::new(source)));
    let (tell, told) = channel();
    let _subscription = pool.on_pressure(move |change| tell.send(change).unwrap_or_default());
    // Not the pool's memory, and touched: towards the limit until somebody says that this is enough.
    let mut held: Vec<Vec<u8>> = Vec::new();
    let highest = loop {
        assert!(held.len() < GROUP_LIMIT / MIB, "more than the limit was held");
        held.push(vec![1; MIB]);
        runtime.block_on(async { keeper.ask(Watch).await }).unwrap();
        if pool.pressure().get() >= Pressure::Critical {
            break told.try_iter().last().unwrap();
        }
    };
    assert_eq!((highest.level, highest.cause), (Pressure::Critical, Some(Cause::Cgroup)));
    assert!(held.len() > GROUP_LIMIT / MIB / 2, "{} MiB", held.len());
    assert!(matches!(pool.allocate(MIB, owner()), Err(Error::MemoryPressure { cause: Cause::Cgroup, .. })));
    drop(held);
    let begun = Instant::now();
    let mut last = highest;
    while last.level > Pressure::Low {
        last = told.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())).expect("a fall in time");
    }
    drop(pool.allocate(MIB, owner()).unwrap());
    eprintln!("it rose and fell: {:?}", pool.pressure_stats());
    runtime.shutdown(PATIENCE).unwrap();
}
