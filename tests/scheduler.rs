//! What the scheduler promises, tested from outside. Every test is an example.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use ironcliw::{Error as Refusal, Runtime};
use ironcliw_actors::scheduler::{
    CancelToken, DEFAULT_POOL, Pool, PoolSpec, PoolStats, Priority, Remaining, Scheduler, SchedulerStatistics, join,
};
use ironcliw_actors::{Config, Crash, Error, Subsystems};

/// Longer than anything here takes; a promise that is not kept by then is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct House {
    runtime: Runtime,
    scheduler: Scheduler,
}

/// A runtime whose default pool has two threads.
fn house() -> House {
    let config =
        Config { image_workers: 1, scheduler_threads: 2, memory_source: None, pin: false, ..Config::default() };
    let runtime = Runtime::builder().workers(1).pin(false).build().unwrap();
    let subsystems = runtime.block_on(Subsystems::start(runtime.handle(), config)).unwrap();
    House { runtime, scheduler: subsystems.scheduler }
}

impl House {
    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("an answer in time") })
    }

    fn pool(&self, spec: PoolSpec) -> Pool {
        self.run(self.scheduler.create_pool(spec)).unwrap()
    }

    fn resize(&self, pool: &Pool, threads: usize) {
        self.run(self.scheduler.resize_pool(pool.name(), threads)).unwrap();
    }

    /// Returns when whatever was queued before, at normal priority, has been reached.
    fn pass(&self, pool: &Pool) {
        self.run(pool.run(|| ())).unwrap();
    }

    fn close(self) {
        self.runtime.shutdown(PATIENCE).unwrap();
    }
}

/// Keeps all threads of a pool until it is dropped.
struct Held(#[expect(dead_code)] Vec<Sender<()>>);

fn hold(pool: &Pool) -> Held {
    let (begun, holding) = channel();
    let hold = |_| {
        let (go, held) = channel::<()>();
        let begun = begun.clone();
        let job = move |_: &CancelToken| {
            begun.send(()).unwrap();
            let _ = held.recv();
        };
        pool.spawn(job).unwrap().detach();
        go
    };
    let held = (0..pool.threads()).map(hold).collect();
    (0..pool.threads()).for_each(|_| told(&holding));
    Held(held)
}

fn told<T>(answer: &Receiver<T>) -> T {
    answer.recv_timeout(PATIENCE).expect("an answer in time")
}

fn eventually(what: &str, is: impl Fn() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !is() {
        assert!(std::time::Instant::now() < end, "{what} did not come");
        std::thread::yield_now();
    }
}

fn is_deadline<T>(outcome: &Result<T, Error>, at: &str) -> bool {
    matches!(outcome, Err(Error::Runtime(Refusal::DeadlineExceeded { path, .. })) if path == at)
}

fn is_stopped<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Runtime(Refusal::ActorStopped { .. })))
}

/// Every job is in one place.
fn assert_adds_up(stats: &PoolStats) {
    assert_eq!(stats.submitted, stats.ended(), "{stats:#?}");
    assert_eq!((stats.running, stats.queued.total(), stats.async_alive), (0, 0, 0), "{stats:#?}");
}

/// Sleeps until it is woken for the end of its sender.
async fn until_closed(gone: tokio::sync::oneshot::Receiver<()>) {
    let _ = gone.await;
}

// ---- priorities ----

#[test]
fn what_is_more_urgent_is_begun_first_and_equals_in_their_order() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let order = Arc::new(Mutex::new(Vec::new()));
    let held = hold(&pool);
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        for n in 0..2 {
            let order = order.clone();
            let job = move |_: &CancelToken| order.lock().unwrap().push((priority, n));
            pool.priority(priority).spawn(job).unwrap().detach();
        }
    }
    let queued = pool.stats().queued;
    assert_eq!((queued.high, queued.normal, queued.low), (2, 2, 2));
    drop(held);
    house.run(pool.priority(Priority::Low).run(|| ())).unwrap();
    let expected: Vec<_> = Priority::ALL.into_iter().flat_map(|priority| [(priority, 0), (priority, 1)]).collect();
    assert_eq!(*order.lock().unwrap(), expected);
    house.close();
}

/// A job that leaves two more behind each time, until told to stop: the queue is never without an urgent one.
fn load(pool: &Pool, picks: &Arc<AtomicUsize>, stop: &Arc<AtomicBool>) {
    let (again, picked, stopped) = (pool.clone(), picks.clone(), stop.clone());
    let job = move |_: &CancelToken| {
        picked.fetch_add(1, Ordering::SeqCst);
        if !stopped.load(Ordering::SeqCst) {
            load(&again, &picked, &stopped);
        }
    };
    pool.spawn(job).unwrap().detach();
}

#[test]
fn under_permanent_urgent_load_the_others_are_begun_within_a_bounded_number_of_picks() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let (picks, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let held = hold(&pool);
    let count = |priority| {
        let picks = picks.clone();
        pool.priority(priority).spawn(move |_| picks.load(Ordering::SeqCst)).unwrap()
    };
    let (low, normal) = (count(Priority::Low), count(Priority::Normal));
    (0..2).for_each(|_| load(&pool.priority(Priority::High), &picks, &stop));
    drop(held);
    let (before_normal, before_low) = (house.run(normal).unwrap(), house.run(low).unwrap());
    // Not first, and not never.
    assert!((1..=Priority::Normal.passed_over_max() as usize).contains(&before_normal), "{before_normal}");
    assert!((1..=Priority::Low.passed_over_max() as usize).contains(&before_low), "{before_low}");
    stop.store(true, Ordering::SeqCst);
    house.close();
}

// ---- deadlines ----

#[test]
fn a_job_whose_deadline_passed_before_it_began_is_not_run() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let held = hold(&pool);
    let ran = Arc::new(AtomicBool::new(false));
    let runs = ran.clone();
    let late = pool.deadline(Duration::ZERO).spawn(move |_| runs.store(true, Ordering::SeqCst)).unwrap();
    assert!(is_deadline(&house.run(late), "scheduler/one"));
    drop(held);
    house.pass(&pool);
    assert!(!ran.load(Ordering::SeqCst));
    let stats = pool.stats();
    assert_eq!((stats.expired, stats.cancelled, stats.started), (1, 0, 2));
    assert_adds_up(&stats);
    house.close();
}

#[test]
fn whoever_waits_hears_of_the_deadline_while_the_job_still_waits_or_runs() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let soon = pool.deadline(Duration::from_millis(20));
    let (go, release) = channel::<()>();
    let running = soon.spawn(move |_| release.recv()).unwrap();
    let waiting = soon.spawn(|_| ()).unwrap();
    // The thread is held all the time.
    assert!(is_deadline(&house.run(running), "scheduler/one"));
    assert!(is_deadline(&house.run(waiting), "scheduler/one"));
    drop(go);
    house.close();
}

#[test]
fn a_job_that_runs_learns_of_its_deadline_from_its_token() {
    let house = house();
    let job = |token: &CancelToken| {
        assert!(token.deadline().is_some());
        loop {
            token.check()?;
            std::hint::spin_loop();
        }
    };
    let pool = house.scheduler.default_pool().deadline(Duration::from_millis(5));
    // The waiter hears the same, of the job itself if that is faster.
    let outcome: Result<(), Error> = house.run(pool.spawn(job).unwrap()).flatten();
    assert!(is_deadline(&outcome, "scheduler"), "{outcome:?}");
    eventually("the job's end", || pool.stats().running == 0);
    assert_adds_up(&pool.stats());
    house.close();
}

#[test]
fn a_deadline_that_no_clock_reaches_is_none() {
    let house = house();
    let pool = house.scheduler.default_pool().deadline(Duration::MAX);
    assert_eq!(house.run(pool.spawn(|token| token.deadline()).unwrap()), Ok(None));
    house.close();
}

// ---- cancelling ----

#[test]
fn dropping_or_cancelling_what_waits_for_a_queued_job_skips_it() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let held = hold(&pool);
    let ran = Arc::new(AtomicUsize::new(0));
    let job = || {
        let ran = ran.clone();
        move |_: &CancelToken| ran.fetch_add(1, Ordering::SeqCst)
    };
    drop(pool.spawn(job()).unwrap());
    let cancelled = pool.spawn(job()).unwrap();
    cancelled.cancel();
    // Whoever waits hears at once, though the thread is held.
    assert_eq!(house.run(cancelled), Err(Error::Cancelled));
    pool.spawn(job()).unwrap().detach();
    drop(held);
    house.pass(&pool);
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    let stats = pool.stats();
    assert_eq!((stats.cancelled, stats.started, stats.completed), (2, 3, 3));
    assert_adds_up(&stats);
    house.close();
}

#[test]
fn a_job_that_is_asked_for_and_not_wanted_any_more_is_counted_as_cancelled() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let held = hold(&pool);
    let wanted = Arc::new(AtomicBool::new(true));
    let (tell, told) = channel();
    for result in 0..2 {
        let (wanted, tell) = (wanted.clone(), tell.clone());
        let is_wanted = move || wanted.load(Ordering::SeqCst) || result == 0;
        pool.submit_if(is_wanted, move || result, move |answer| tell.send(answer).unwrap());
    }
    let tell_panic = tell.clone();
    pool.submit_if(|| panic!("cannot say"), || 2, move |answer| tell_panic.send(answer).unwrap());
    wanted.store(false, Ordering::SeqCst);
    drop(held);
    house.pass(&pool);
    let answers: Vec<_> = told.try_iter().collect();
    assert_eq!(answers, [Ok(0), Err(Error::Cancelled), Err(Error::Cancelled)]);
    let stats = pool.stats();
    assert_eq!((stats.cancelled, stats.completed), (2, 3));
    assert_adds_up(&stats);
    house.close();
}

#[test]
fn a_running_job_learns_from_its_token_that_its_waiter_has_gone() {
    let house = house();
    let ((begin, begun), (tell, learnt)) = (channel(), channel());
    let job = move |token: &CancelToken| {
        begin.send(()).unwrap();
        while !token.is_cancelled() {
            std::thread::yield_now();
        }
        tell.send(token.check()).unwrap();
    };
    let waits = house.scheduler.default_pool().spawn(job).unwrap();
    told(&begun);
    drop(waits);
    assert_eq!(told(&learnt), Err(Error::Cancelled));
    house.close();
}

#[test]
fn a_token_given_to_many_jobs_ends_them_all_and_one_alone_ends_alone() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let held = hold(&pool);
    let group = CancelToken::new();
    let grouped = pool.token(&group);
    let alone = grouped.spawn(|_| ()).unwrap();
    let others: Vec<_> = (0..10).map(|_| grouped.spawn(|_| ()).unwrap()).collect();
    let stranger = pool.spawn(|_| 7).unwrap();
    alone.cancel();
    assert!(!group.is_cancelled() && others.iter().all(|job| !job.token().is_cancelled()));
    group.cancel();
    for job in others {
        assert_eq!(house.run(job), Err(Error::Cancelled));
    }
    // One that comes later as well.
    assert_eq!(house.run(grouped.run(|| ())), Err(Error::Cancelled));
    drop(held);
    assert_eq!(house.run(stranger), Ok(7));
    house.close();
}

#[test]
fn a_detached_job_runs_on() {
    let house = house();
    let (tell, done) = channel();
    house.scheduler.default_pool().spawn(move |token| tell.send(token.is_cancelled())).unwrap().detach();
    assert!(!told(&done));
    house.close();
}

// ---- panics ----

#[test]
fn panics_are_typed_errors_and_cost_no_thread() {
    let house = house();
    let pool = house.pool(PoolSpec::new("two").threads(2));
    for n in 0..50 {
        let outcome = house.run(pool.run(move || -> u32 { panic!("number {n}") }));
        let expected = format!("number {n}");
        assert!(
            matches!(&outcome, Err(Error::Runtime(Refusal::ActorPanicked { path, reason }))
                if path == "scheduler/two" && reason.starts_with(&expected)),
            "{outcome:?}"
        );
    }
    // Two jobs that wait for each other need both threads.
    let both = Arc::new(Barrier::new(2));
    let meet = |both: Arc<Barrier>| pool.spawn(move |_| both.wait().is_leader()).unwrap();
    let (one, other) = (meet(both.clone()), meet(both));
    house.run(one).unwrap();
    house.run(other).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.panicked, stats.completed), (50, 2));
    assert_adds_up(&stats);
    house.close();
}

#[test]
fn a_panic_in_what_a_skipped_job_had_captured_costs_nothing_but_a_line_in_the_log() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let held = hold(&pool);
    let bomb = Bomb;
    drop(pool.spawn(move |_| drop(bomb)).unwrap());
    drop(held);
    house.pass(&pool);
    assert_adds_up(&pool.stats());
    house.close();
}

// ---- async jobs ----

#[test]
fn an_async_job_is_polled_on_the_pools_threads_and_holds_none_while_it_sleeps() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let (inside, (first, receiver)) = (pool.clone(), tokio::sync::oneshot::channel());
    let job = pool
        .spawn_async(async move {
            let got: u32 = receiver.await.unwrap();
            (got, inside.is_current_thread())
        })
        .unwrap();
    // The only thread is free for this.
    house.pass(&pool);
    assert_eq!(pool.stats().async_alive, 1);
    first.send(42).unwrap();
    assert_eq!(house.run(job), Ok((42, true)));
    assert_adds_up(&pool.stats());
    house.close();
}

#[test]
fn an_async_job_may_wait_for_other_jobs_and_for_timers_on_a_single_thread() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let inner = pool.clone();
    let sum = async move {
        let job = async {
            let mut sum = 0;
            for n in 0..10 {
                sum += inner.run(move || n).await?;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok::<_, Error>(sum)
        };
        job.await
    };
    // Spawned inside the runtime, whose timers it then has.
    assert_eq!(house.run(async { pool.spawn_async(sum).unwrap().await }), Ok(Ok(45)));
    house.close();
}

#[test]
fn no_wake_of_an_async_job_is_lost_and_no_poll_overlaps_another() {
    const SENDERS: usize = 3;
    const EACH: usize = 2000;
    let house = house();
    let pool = house.pool(PoolSpec::new("two").threads(2));
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let is_inside = Arc::new(AtomicBool::new(false));
    let mut receive = Box::pin(async move {
        let mut got = 0;
        while receiver.recv().await.is_some() {
            got += 1;
        }
        got
    });
    let counted = std::future::poll_fn(move |cx| {
        assert!(!is_inside.swap(true, Ordering::SeqCst), "two threads at once");
        let polled = receive.as_mut().poll(cx);
        is_inside.store(false, Ordering::SeqCst);
        polled
    });
    let job = pool.spawn_async(counted).unwrap();
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let sender = sender.clone();
            std::thread::spawn(move || (0..EACH).for_each(|n| sender.blocking_send(n).unwrap()))
        })
        .collect();
    drop(sender);
    assert_eq!(house.run(job), Ok(SENDERS * EACH));
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    assert_adds_up(&pool.stats());
    house.close();
}

#[test]
fn cancelling_an_async_job_that_sleeps_drops_its_future_on_the_pool() {
    struct Witness(Pool, Sender<bool>);
    impl Drop for Witness {
        fn drop(&mut self) {
            self.1.send(self.0.is_current_thread()).unwrap();
        }
    }
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let (tell, dropped) = channel();
    let asleep = |pool: &Pool| {
        let witness = Witness(pool.clone(), tell.clone());
        pool.spawn_async(async move {
            let _witness = witness;
            std::future::pending::<()>().await;
        })
        .unwrap()
    };
    let job = asleep(&pool);
    house.pass(&pool);
    drop(job);
    assert!(told(&dropped));
    // A deadline does the same, with nobody who waits.
    asleep(&pool.deadline(Duration::from_millis(1))).detach();
    assert!(told(&dropped));
    house.pass(&pool);
    let stats = pool.stats();
    assert_eq!((stats.cancelled, stats.expired), (1, 1));
    assert_adds_up(&stats);
    house.close();
}

#[test]
fn an_async_job_that_panics_is_a_typed_error() {
    let house = house();
    let job = house.scheduler.default_pool().spawn_async(async {
        std::future::ready(()).await;
        panic!("asynchronously")
    });
    let outcome: Result<(), Error> = house.run(job.unwrap());
    assert!(
        matches!(&outcome, Err(Error::Runtime(Refusal::ActorPanicked { reason, .. })) if reason.contains("asynch"))
    );
    assert_adds_up(&house.scheduler.default_pool().stats());
    house.close();
}

// ---- map, scope, join ----

#[test]
fn a_map_gives_every_result_in_the_order_of_the_items() {
    let house = house();
    let pool = house.pool(PoolSpec::new("three").threads(3));
    for count in [0, 1, 2, 11, 12, 13, 5000] {
        let results = house.run(pool.map(0..count, |n: usize| n * 2)).unwrap();
        assert_eq!(results, (0..count).map(|n| n * 2).collect::<Vec<_>>());
    }
    assert_adds_up(&pool.stats());
    house.close();
}

#[test]
fn the_first_piece_of_a_map_that_panics_ends_the_others_and_is_what_is_told() {
    let house = house();
    let pool = house.pool(PoolSpec::new("two").threads(2));
    let done = Arc::new(AtomicUsize::new(0));
    let counted = done.clone();
    // Only the last item panics, the others wait for that as long as the map is wanted.
    let (gone, wait) = channel::<()>();
    let (gone, wait) = (Mutex::new(Some(gone)), Mutex::new(wait));
    let outcome = house.run(pool.map(0..2, move |n| {
        if n == 1 {
            drop(gone.lock().unwrap().take());
            panic!("the last one");
        }
        let _ = wait.lock().unwrap().recv();
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    assert!(
        matches!(&outcome, Err(Error::Runtime(Refusal::ActorPanicked { reason, .. })) if reason.starts_with("the last")),
        "{outcome:?}"
    );
    house.close();
}

#[test]
fn something_urgent_waits_for_a_piece_of_a_map_and_not_for_all_of_it() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let done = Arc::new(AtomicUsize::new(0));
    let (counted, (begin, begun), (go, held)) = (done.clone(), channel(), channel::<()>());
    let held = Mutex::new(held);
    let map = pool.map(0..400_usize, move |n| {
        if n == 0 {
            begin.send(()).unwrap();
            let _ = held.lock().unwrap().recv();
        }
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let urgent = async {
        // The first piece has begun; it ends when the urgent job is queued behind it.
        tokio::task::yield_now().await;
        told(&begun);
        let seen = done.clone();
        let job = pool.priority(Priority::High).spawn(move |_| seen.load(Ordering::SeqCst)).unwrap();
        drop(go);
        job.await
    };
    let (all, before_urgent) = house.run(async { tokio::join!(map, urgent) });
    assert_eq!(all.unwrap().len(), 400);
    // A piece is a fourth.
    assert_eq!(before_urgent, Ok(100));
    house.close();
}

#[test]
fn a_map_that_is_dropped_ends_between_two_items() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let ((begin, begun), (go, held)) = (channel(), channel::<()>());
    let held = Mutex::new(held);
    let mut map = Box::pin(pool.map(0..400, move |n| {
        begin.send(n).unwrap();
        let _ = held.lock().unwrap().recv();
    }));
    assert!(map.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending());
    assert_eq!(told(&begun), 0);
    drop(map);
    drop(go);
    house.pass(&pool);
    // The sender went with the work: nothing after the first was begun.
    assert!(begun.recv_timeout(PATIENCE).is_err());
    assert_eq!(pool.stats().cancelled, 3);
    house.close();
}

#[test]
fn a_scope_borrows_what_its_caller_has() {
    let house = house();
    let pool = house.scheduler.default_pool();
    let words = ["a", "bb", "ccc"];
    let mut lens = [0; 3];
    let total = pool.scope(|scope| {
        for (word, len) in words.iter().zip(&mut lens) {
            scope.spawn(move |inner| inner.spawn(move |_| *len = word.len()));
        }
        words.len()
    });
    assert_eq!((total, lens), (Ok(3), [1, 2, 3]));
    // A panic in a task is the scope's, after all of its tasks.
    let mut touched = false;
    let outcome = pool.scope(|scope| {
        scope.spawn(|_| touched = true);
        scope.spawn(|_| panic!("a task"));
    });
    assert!(matches!(&outcome, Err(Error::Runtime(Refusal::ActorPanicked { .. }))), "{outcome:?}");
    assert!(touched);
    assert_adds_up(&pool.stats());
    house.close();
}

#[test]
fn a_scope_waits_for_its_turn_like_a_job_and_inside_a_job_it_has_it() {
    let house = house();
    let pool = house.pool(PoolSpec::new("one").threads(1));
    let held = hold(&pool);
    assert!(is_deadline(&expired_scope(&pool, held), "scheduler/one"));
    let cancelled = CancelToken::new();
    cancelled.cancel();
    assert_eq!(pool.token(&cancelled).scope(|_| ()), Err(Error::Cancelled));
    // Were it queued, it would wait for the thread that it is on.
    let inner = pool.clone();
    let nested = pool.run(move || inner.scope(|_| inner.scope(|_| 7)));
    assert_eq!(house.run(nested), Ok(Ok(Ok(7))));
    assert_adds_up(&pool.stats());
    house.close();
}

/// A scope whose deadline is over before the thread is free.
fn expired_scope(pool: &Pool, held: Held) -> Result<(), Error> {
    let late = pool.deadline(Duration::ZERO);
    std::thread::scope(|threads| {
        let scope = threads.spawn(|| late.scope(|_| panic!("not run")));
        eventually("the scope in the queue", || pool.stats().queued.total() == 1);
        drop(held);
        scope.join().unwrap()
    })
}

#[test]
fn a_join_splits_over_idle_threads_and_the_theft_is_counted() {
    let house = house();
    let pool = house.pool(PoolSpec::new("two").threads(2));
    // Both halves wait for each other: only with a theft do they end.
    let both = Arc::new(Barrier::new(2));
    let ids = house.run(pool.run(move || {
        let id = || {
            both.wait();
            std::thread::current().id()
        };
        join(id, id)
    }));
    let (one, other) = ids.unwrap();
    assert_ne!(one, other);
    assert_eq!(pool.stats().steals.joins, 1);
    // Elsewhere nobody is there to help.
    assert_eq!(join(|| 1, || 2), (1, 2));
    house.close();
}

#[test]
fn a_job_that_one_thread_offers_and_another_takes_is_counted_as_stolen() {
    let house = house();
    let pool = house.pool(PoolSpec::new("two").threads(2));
    let inner = pool.clone();
    let ids = pool.run(move || {
        let (tell, told_by) = channel();
        inner.spawn(move |_| tell.send(std::thread::current().id())).unwrap().detach();
        // This thread is busy until the other has it.
        (std::thread::current().id(), told(&told_by))
    });
    let (one, other) = house.run(ids).unwrap();
    assert_ne!(one, other);
    assert_eq!(pool.stats().steals.jobs, 1);
    house.close();
}

#[test]
fn ten_thousand_jobs_that_split_themselves_neither_overflow_a_stack_nor_lose_one() {
    fn sum(from: u64, to: u64) -> u64 {
        if to - from < 8 {
            return (from..to).sum();
        }
        let middle = from.midpoint(to);
        let (left, right) = join(|| sum(from, middle), || sum(middle, to));
        left + right
    }
    let house = house();
    let pool = house.pool(PoolSpec::new("four").threads(4));
    let jobs: Vec<_> = (0..10_000).map(|n| pool.spawn(move |_| sum(n, n + 100)).unwrap()).collect();
    for (n, job) in (0..).zip(jobs) {
        assert_eq!(house.run(job), Ok((n..n + 100).sum()));
    }
    assert_adds_up(&pool.stats());
    house.close();
}

// ---- pools that come, change and go ----

#[test]
fn pools_are_made_listed_and_removed_at_run_time() {
    let house = house();
    let io = house.pool(PoolSpec::new("io").threads(3));
    let names = || house.scheduler.pools().iter().map(|pool| pool.name().to_owned()).collect::<Vec<_>>();
    house.pool(PoolSpec::new("a").threads(1));
    assert_eq!(names(), [DEFAULT_POOL, "a", "io"]);
    assert_eq!((io.threads(), house.scheduler.pool("io").unwrap().threads()), (3, 3));
    let name = house.run(io.run(|| std::thread::current().name().unwrap().to_owned())).unwrap();
    assert!(name.starts_with("scheduler/io/"), "{name}");
    assert!(house.run(io.spawn(|_| ()).unwrap()).is_ok());

    let taken = house.run(house.scheduler.create_pool(PoolSpec::new("io")));
    assert!(matches!(taken, Err(Error::PoolExists { name }) if name == "io"));
    house.run(house.scheduler.remove_pool("io", Remaining::Run)).unwrap();
    assert_eq!(names(), [DEFAULT_POOL, "a"]);
    assert!(matches!(house.scheduler.pool("io"), Err(Error::NoSuchPool { name }) if name == "io"));
    // Whoever still holds it is told.
    assert!(is_stopped(&house.run(io.run(|| ()))));
    assert!(is_stopped(&io.scope(|_| ())));
    assert!(is_stopped(&house.run(io.map(0..3, |n| n))));
    assert_eq!((io.threads(), io.stats().completed), (0, 2));
    // The name is free again.
    assert_eq!(house.run(house.pool(PoolSpec::new("io").threads(1)).run(|| 1)), Ok(1));
    house.close();
}

#[test]
fn what_cannot_be_is_refused_with_a_typed_error() {
    let house = house();
    let create = |spec| house.run(house.scheduler.create_pool(spec)).map(drop);
    let spec = || PoolSpec::new("x").threads(1);
    let bad = [PoolSpec::new(""), PoolSpec::new("a/b"), PoolSpec::new("é"), PoolSpec::new("x".repeat(65))];
    let bad = bad.into_iter().chain([spec().threads(0), spec().threads(1025), spec().queue(0), spec().cores([])]);
    for spec in bad {
        let refused = create(spec.clone());
        assert!(matches!(refused, Err(Error::InvalidInput(_))), "{spec:?}: {refused:?}");
    }
    assert!(matches!(create(PoolSpec::new(DEFAULT_POOL)), Err(Error::PoolExists { .. })));
    let removed = house.run(house.scheduler.remove_pool(DEFAULT_POOL, Remaining::Run));
    assert!(matches!(removed, Err(Error::InvalidInput(_))));
    let resized = house.run(house.scheduler.resize_pool("none", 1));
    assert!(matches!(resized, Err(Error::NoSuchPool { .. })));
    for threads in [0, 1025] {
        assert!(matches!(house.run(house.scheduler.resize_pool(DEFAULT_POOL, threads)), Err(Error::InvalidInput(_))));
    }
    for n in 0..64 {
        create(PoolSpec::new(n.to_string()).threads(1)).unwrap();
    }
    assert!(matches!(create(spec()), Err(Error::InvalidInput(_))));
    house.close();
}

#[test]
fn a_resize_takes_effect_while_jobs_run_and_wait() {
    let house = house();
    let pool = house.pool(PoolSpec::new("p").threads(1));
    let held = hold(&pool);
    // Three jobs that wait for each other: one thread would never end them.
    let three = Arc::new(Barrier::new(3));
    let meet = |three: Arc<Barrier>| pool.spawn(move |_| three.wait().is_leader()).unwrap();
    let waiting = [meet(three.clone()), meet(three.clone()), meet(three)];
    assert_eq!(pool.stats().queued.normal, 3);
    house.resize(&pool, 3);
    for job in waiting {
        house.run(job).unwrap();
    }
    assert_eq!((pool.threads(), pool.stats().resizes, pool.stats().running), (3, 1, 1));
    // The job on the old thread knows where it is, and ends.
    drop(held);
    house.resize(&pool, 1);
    house.pass(&pool);
    eventually("the end of the held job", || pool.stats().running == 0);
    assert_adds_up(&pool.stats());
    house.close();
}

#[test]
fn however_often_a_pool_is_resized_every_job_runs_once() {
    const JOBS: usize = 20_000;
    let house = house();
    let pool = house.pool(PoolSpec::new("p").threads(1));
    let runs: Arc<Vec<AtomicUsize>> = Arc::new((0..JOBS).map(|_| AtomicUsize::new(0)).collect());
    let done = Arc::new(AtomicBool::new(false));
    let submitter = std::thread::spawn({
        let (pool, runs, done) = (pool.clone(), runs.clone(), done.clone());
        move || {
            for n in 0..JOBS {
                let runs = runs.clone();
                let pool = pool.priority(Priority::ALL[n % 3]);
                pool.spawn(move |_| runs[n].fetch_add(1, Ordering::SeqCst)).unwrap().detach();
            }
            done.store(true, Ordering::SeqCst);
        }
    });
    for threads in [2, 4, 1, 3].into_iter().cycle() {
        house.resize(&pool, threads);
        if done.load(Ordering::SeqCst) {
            break;
        }
    }
    submitter.join().unwrap();
    eventually("the end of all jobs", || pool.stats().completed == JOBS as u64);
    assert!(runs.iter().all(|runs| runs.load(Ordering::SeqCst) == 1));
    assert_adds_up(&pool.stats());
    house.close();
}

#[test]
fn a_removed_pool_runs_what_it_had_or_refuses_it_as_it_is_told() {
    let house = house();
    for (remaining, is_run) in [(Remaining::Run, true), (Remaining::Refuse, false)] {
        let pool = house.pool(PoolSpec::new("p").threads(1));
        let held = hold(&pool);
        let waiting: Vec<_> = (0..10).map(|n| pool.spawn(move |_| n).unwrap()).collect();
        house.run(house.scheduler.remove_pool("p", remaining)).unwrap();
        drop(held);
        for (n, job) in waiting.into_iter().enumerate() {
            let outcome = house.run(job);
            assert!(if is_run { outcome == Ok(n) } else { is_stopped(&outcome) }, "{remaining:?}: {outcome:?}");
        }
        eventually("the held job", || pool.stats().running == 0);
        assert_adds_up(&pool.stats());
        assert_eq!(pool.stats().refused, if is_run { 0 } else { 10 });
    }
    house.close();
}

#[test]
#[cfg(target_os = "linux")]
fn the_threads_of_a_removed_or_resized_pool_end() {
    let house = house();
    let pool = house.pool(PoolSpec::new("gone").threads(2));
    let count = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with("scheduler/gone")).count()
    };
    assert_eq!(count(), 2);
    house.pass(&pool);
    house.resize(&pool, 1);
    eventually("the end of the old threads", || count() == 1);
    house.run(house.scheduler.remove_pool("gone", Remaining::Run)).unwrap();
    eventually("the end of the last thread", || count() == 0);
    house.close();
}

#[test]
fn an_async_job_that_sleeps_for_ever_ends_with_its_pool() {
    let house = house();
    let pool = house.pool(PoolSpec::new("p").threads(1));
    let (_never, gone) = tokio::sync::oneshot::channel();
    let job = pool.spawn_async(until_closed(gone)).unwrap();
    house.pass(&pool);
    house.run(house.scheduler.remove_pool("p", Remaining::Run)).unwrap();
    assert!(is_stopped(&house.run(job)));
    assert_adds_up(&pool.stats());
    house.close();
}

#[test]
fn a_crash_of_the_actor_loses_no_pool_and_no_job() {
    let house = house();
    let pool = house.pool(PoolSpec::new("p").threads(1));
    let held = hold(&pool);
    let waiting = pool.spawn(|_| 7).unwrap();
    let crashed = house.run(async { house.scheduler.address().ask(Crash).await });
    assert!(matches!(crashed.map_err(Refusal::from), Err(Refusal::ActorPanicked { .. })));
    // Submitted while the actor may be down: no actor is asked.
    let meanwhile = pool.spawn(|_| 8).unwrap();
    drop(held);
    assert_eq!((house.run(waiting), house.run(meanwhile)), (Ok(7), Ok(8)));
    // The next incarnation knows the pool.
    house.resize(&pool, 2);
    let stats = house.run(async { house.scheduler.address().ask(SchedulerStatistics).await }).map_err(Refusal::from);
    let names: Vec<_> = stats.unwrap().pools.into_iter().map(|pool| (pool.name, pool.threads)).collect();
    assert_eq!(names, [(DEFAULT_POOL.to_owned(), 2), ("p".to_owned(), 2)]);
    house.close();
}

#[test]
fn after_the_shutdown_what_was_queued_is_run_and_what_comes_is_refused() {
    let house = house();
    let pool = house.pool(PoolSpec::new("p").threads(1));
    let held = hold(&pool);
    let waiting = pool.spawn(|_| 7).unwrap();
    let asleep = pool.spawn_async(std::future::pending::<()>()).unwrap();
    house.runtime.shutdown(PATIENCE).unwrap();
    assert!(is_stopped(&pool.spawn(|_| ()).map(drop)));
    assert!(is_stopped(&pool.spawn_async(async {}).map(drop)));
    let (tell, outcome) = channel();
    pool.submit(|| (), move |told| tell.send(told).unwrap());
    assert!(is_stopped(&told(&outcome)));
    drop(held);
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (ran, ended) = clock
        .block_on(async { tokio::time::timeout(PATIENCE, async { (waiting.await, asleep.await) }).await })
        .unwrap();
    assert!(ran == Ok(7) && is_stopped(&ended));
    assert_eq!(pool.threads(), 0);
}

// ---- limits ----

#[test]
fn a_full_queue_refuses_with_a_typed_error_and_first_sheds_what_is_dead() {
    let house = house();
    let pool = house.pool(PoolSpec::new("small").threads(1).queue(3));
    let held = hold(&pool);
    let waiting: Vec<_> = (0..3).map(|_| pool.spawn(|_| ()).unwrap()).collect();
    let full = Error::QueueFull { pool: "small".into(), capacity: 3 };
    assert_eq!(pool.spawn(|_| ()).map(drop), Err(full.clone()));
    assert_eq!(house.run(pool.map(0..2, |n| n)), Err(full.clone()));
    assert_eq!(pool.spawn_async(async {}).map(drop), Err(full.clone()));
    assert_eq!(pool.scope(|_| ()), Err(full.clone()));
    let (tell, outcome) = channel();
    pool.submit(|| (), move |told| tell.send(told).unwrap());
    assert_eq!(told(&outcome), Err(full));
    assert_eq!((pool.stats().rejected, pool.stats().submitted), (6, 4));
    // Two are cancelled: there is room for two, while the thread is still held.
    let mut waiting = waiting.into_iter();
    drop((waiting.next(), waiting.next()));
    let late = [pool.spawn(|_| 1).unwrap(), pool.spawn(|_| 2).unwrap()];
    assert!(pool.spawn(|_| ()).is_err());
    drop(held);
    assert_eq!(late.map(|job| house.run(job)), [Ok(1), Ok(2)]);
    house.run(waiting.next().unwrap()).unwrap();
    assert_adds_up(&pool.stats());
    house.close();
}

#[test]
fn the_async_jobs_that_are_alive_are_bounded_too_and_their_wakes_are_never_refused() {
    let house = house();
    let pool = house.pool(PoolSpec::new("small").threads(1).queue(2));
    let asleep = || {
        let (wake, gone) = tokio::sync::oneshot::channel();
        (wake, pool.spawn_async(until_closed(gone)).unwrap())
    };
    let (one, other) = (asleep(), asleep());
    eventually("both asleep", || pool.stats().run.count == 2);
    assert!(matches!(pool.spawn_async(async {}), Err(Error::QueueFull { .. })));
    let held = hold(&pool);
    let waiting: Vec<_> = (0..2).map(|_| pool.spawn(|_| ()).unwrap()).collect();
    // The queue is full, and they wake.
    drop((one.0, other.0));
    drop(held);
    assert_eq!((house.run(one.1), house.run(other.1)), (Ok(()), Ok(())));
    for job in waiting {
        house.run(job).unwrap();
    }
    assert_adds_up(&pool.stats());
    house.close();
}

// ---- statistics ----

#[test]
fn a_pools_statistics_say_what_happened() {
    let house = house();
    let pool = house.pool(PoolSpec::new("p").threads(2).queue(10));
    let idle = pool.stats();
    assert_eq!((idle.utilisation, idle.wait.p50_s, idle.run.quantile(0.99)), (0.0, None, None));
    let held = hold(&pool);
    let waiting = pool.spawn(|_| ()).unwrap();
    let busy = pool.stats();
    // Both threads are held, and that is seen before the jobs end.
    assert_eq!((busy.running, busy.queued.normal, busy.queue_capacity), (2, 1, 10));
    eventually("a busy pool", || pool.stats().busy_s > busy.busy_s);
    drop(held);
    house.run(waiting).unwrap();
    eventually("the end of the held jobs", || pool.stats().running == 0);
    let stats = pool.stats();
    assert_eq!((stats.submitted, stats.started, stats.completed), (3, 3, 3));
    assert_eq!((stats.wait.count, stats.run.count), (3, 3));
    assert!(stats.busy_s > 0.0 && stats.utilisation > 0.0 && stats.utilisation <= 1.0, "{stats:?}");
    assert!(stats.run.p50_s.unwrap() <= stats.run.p99_s.unwrap());
    assert!(stats.run.mean().unwrap() <= stats.run.quantile(1.0).unwrap());
    assert_eq!((stats.threads, stats.workers.len()), (2, 2));
    house.close();
}

#[test]
fn a_pool_is_pinned_where_it_is_told_and_says_what_came_of_it() {
    let house = house();
    let core = ironcliw::allowed_cores()[0];
    let pool = house.pool(PoolSpec::new("pinned").threads(3).cores([core]));
    for worker in pool.stats().workers {
        assert_eq!(worker.wanted_core, Some(core));
        assert!(worker.pinned_core.is_none_or(|pinned| pinned == core));
    }
    let unpinned = house.pool(PoolSpec::new("unpinned").threads(1).pin(false));
    assert!(unpinned.stats().workers.iter().all(|worker| worker.wanted_core.is_none() && worker.pinned_core.is_none()));
    house.close();
}

#[test]
fn every_pool_is_in_the_snapshot_and_in_the_metrics() {
    let house = house();
    let pool = house.pool(PoolSpec::new("io").threads(3));
    let held = hold(&pool);
    let low = pool.priority(Priority::Low).spawn(|_| ()).unwrap();
    house.run(house.scheduler.run(|| ())).unwrap();
    let sections: BTreeMap<_, _> = house.runtime.sections().into_iter().collect();
    let json = sections["scheduler"].snapshot();
    assert_eq!((&json["active_workers"], &json["pools"][0]["name"]), (&2.into(), &"default".into()));
    assert_eq!((&json["pools"][1]["queued"]["low"], &json["pools"][1]["running"]), (&1.into(), &3.into()));
    let metrics = sections["scheduler"].metrics();
    let value = |name: &str, labels: &[(&'static str, &str)]| {
        let labels: Vec<_> = labels.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
        metric.samples.iter().find(|(of, _)| *of == labels).map(|(_, value)| *value)
    };
    let io = ("pool", "io");
    assert_eq!(value("scheduler_pool_threads", &[io]), Some(3.0));
    assert_eq!(value("scheduler_pool_queue_depth", &[io, ("priority", "low")]), Some(1.0));
    assert_eq!(value("scheduler_pool_ended", &[("pool", "default"), ("end", "completed")]), Some(1.0));
    assert!(value("scheduler_pool_run_seconds", &[("pool", "default"), ("quantile", "0.99")]).is_some());
    assert_eq!(value("scheduler_pool_run_seconds", &[io, ("quantile", "0.99")]), None);
    drop(held);
    house.run(low).unwrap();
    house.close();
}

// ---- all at once ----

#[test]
fn with_everything_at_once_every_job_is_answered_and_counted_once() {
    const EACH: usize = 1500;
    let house = house();
    let pool = house.pool(PoolSpec::new("p").threads(2).queue(500));
    let group = CancelToken::new();
    let tally = Arc::new([const { AtomicUsize::new(0) }; 6]);
    let clients: Vec<_> = (0..3)
        .map(|client| {
            let (pool, group, tally) = (pool.clone(), group.clone(), tally.clone());
            let handle = house.runtime.handle().clone();
            std::thread::spawn(move || {
                for n in 0..EACH {
                    let pool = pool.priority(Priority::ALL[n % 3]);
                    let pool = match n % 7 {
                        0 => pool.deadline(Duration::from_micros(50)),
                        1 => pool.token(&group),
                        _ => pool,
                    };
                    let outcome = match n % 11 {
                        0 => pool.spawn(|_| panic!("now and then")),
                        1 | 2 => pool.spawn_async(async { tokio::task::yield_now().await }),
                        3 => {
                            let (tell, outcome) = channel();
                            pool.submit(|| (), move |told| tell.send(told).unwrap());
                            count(&tally, told(&outcome));
                            continue;
                        }
                        4 => {
                            count(&tally, pool.scope(|scope| scope.spawn(|_| ())));
                            continue;
                        }
                        _ => pool.spawn(|_| ()),
                    };
                    match outcome {
                        Ok(job) if n % 13 == 0 => drop(job),
                        Ok(job) => count(&tally, handle.block_on(job)),
                        Err(error) => count(&tally, Err(error)),
                    }
                    if (client, n) == (0, EACH / 2) {
                        group.cancel();
                    }
                }
            })
        })
        .collect();
    for threads in [3, 1, 2].into_iter().cycle() {
        house.resize(&pool, threads);
        if clients.iter().all(std::thread::JoinHandle::is_finished) {
            break;
        }
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    eventually("the end of all jobs", || pool.stats().submitted == pool.stats().ended());
    let stats = pool.stats();
    assert_adds_up(&stats);
    let [completed, panicked, cancelled, expired, full, other] =
        tally.each_ref().map(|n| n.load(Ordering::SeqCst) as u64);
    assert_eq!((other, full), (0, stats.rejected));
    // Jobs whose waiter was dropped, or heard before the job ended, are counted by the pool alone.
    assert!(completed <= stats.completed && panicked <= stats.panicked, "{stats:#?}");
    assert!(completed + panicked + cancelled + expired <= stats.submitted, "{stats:#?}");
    house.close();
}

fn count(tally: &[AtomicUsize; 6], outcome: Result<(), Error>) {
    let which = match outcome {
        Ok(()) => 0,
        Err(Error::Runtime(Refusal::ActorPanicked { .. })) => 1,
        Err(Error::Cancelled) => 2,
        Err(Error::Runtime(Refusal::DeadlineExceeded { .. })) => 3,
        Err(Error::QueueFull { .. }) => 4,
        Err(_) => 5,
    };
    tally[which].fetch_add(1, Ordering::SeqCst);
}
