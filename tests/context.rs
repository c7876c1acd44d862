//! What an actor sets going from its context: streams and timers.

mod cast;
#[path = "cast/host.rs"]
mod host;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cast::{SECOND, eventually, runtime};
use futures_util::{Stream, StreamExt, stream};
use host::*;
use ironcliw::{Overflow, Restart};

/// Counts up from wherever `next` stands, and is always ready.
fn counting(next: Arc<AtomicU64>, to: u64) -> impl Stream<Item = Note> {
    stream::iter(std::iter::from_fn(move || {
        let n = next.fetch_add(1, Ordering::Relaxed);
        (n < to).then(|| note(n))
    }))
}

fn numbers(to: u64) -> Vec<String> {
    (0..to).map(|n| n.to_string()).collect()
}

#[test]
fn a_stream_is_handled_in_order_and_its_end_is_told_behind_it() {
    let runtime = runtime();
    let (child, told) = host("host", |ctx| {
        ctx.attach_with_end(counting(Arc::default(), 1_000), note);
        Box::pin(async {})
    });
    runtime.block_on(runtime.spawn(child)).unwrap();
    eventually(|| told.lock().unwrap().len() == 1_001);
    let mut expected = numbers(1_000);
    expected.push("finished".to_owned());
    assert_eq!(texts(&told), expected);
}

#[test]
fn a_full_mailbox_holds_a_stream_back() {
    let runtime = runtime();
    let taken = Arc::new(AtomicU64::new(0));
    let (child, told) = idle("host");
    let host = runtime.block_on(runtime.spawn(child.mailbox(4, Overflow::Block))).unwrap();
    let (go, held) = tokio::sync::oneshot::channel();
    let counts = taken.clone();
    let attached = run(move |ctx| {
        ctx.attach(counting(counts, 100));
        Box::pin(async move { drop(held.await) })
    });
    host.try_tell(attached).unwrap();
    eventually(|| taken.load(Ordering::Relaxed) == 5);
    std::thread::sleep(SECOND / 50);
    // Four in the mailbox, one in line.
    assert_eq!((taken.load(Ordering::Relaxed), host.depth()), (5, 4));
    go.send(()).unwrap();
    eventually(|| told.lock().unwrap().len() == 100);
    assert_eq!(texts(&told), numbers(100));
}

#[test]
fn a_restart_renews_a_stream_and_loses_nothing_that_was_taken_from_it() {
    let runtime = runtime();
    let next = Arc::new(AtomicU64::new(0));
    let counts = next.clone();
    let (child, told) = host("host", move |ctx| {
        ctx.attach(counting(counts.clone(), 3_000));
        Box::pin(async {})
    });
    let host = runtime.block_on(runtime.root().unwrap().supervise(many_restarts())).unwrap();
    let host = runtime.block_on(host.spawn(child.mailbox(2, Overflow::Block))).unwrap();
    for _ in 0..20 {
        ask(&runtime, &host, trip()).unwrap_err();
    }
    eventually(|| told.lock().unwrap().len() == 3_000);
    assert_eq!(texts(&told), numbers(3_000));
    assert_eq!(runtime.snapshot().dead_letters, 0);
}

fn many_restarts() -> ironcliw::Supervisor {
    ironcliw::Supervisor::new("team").restarts(1_000, SECOND)
}

#[test]
fn a_stream_that_panics_is_contained_and_told() {
    let runtime = runtime();
    let (child, told) = host("host", |ctx| {
        ctx.attach_with_end(stream::iter(0..5).map(|n| if n == 3 { panic!("dry") } else { note(n) }), note);
        // Unheard, but as harmless.
        ctx.attach(stream::iter(0..1).map(|_| -> Note { panic!("dry") }));
        Box::pin(async {})
    });
    let host = runtime.block_on(runtime.spawn(child)).unwrap();
    eventually(|| told.lock().unwrap().len() == 4);
    let mut told = texts(&told);
    assert!(told.pop().unwrap().starts_with("panicked: dry"));
    assert_eq!(told, numbers(3));
    ask(&runtime, &host, note("alive")).unwrap();
    assert_eq!(runtime.snapshot().restarts, 0);
}

/// Notices that it is dropped, and does not like it.
struct Dropped(Arc<AtomicU64>);
impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("not dropped gladly");
    }
}

#[test]
fn a_stream_goes_when_it_is_detached_or_with_its_incarnation_and_not_with_its_handle() {
    let runtime = runtime();
    let drops = Arc::new(AtomicU64::new(0));
    let counts = drops.clone();
    let (child, _) = host("host", move |ctx| {
        let keeps = Dropped(counts.clone());
        drop(ctx.attach(stream::pending().map(move |n: u64| {
            let _keeps = &keeps;
            note(n)
        })));
        Box::pin(async {})
    });
    let host = runtime.block_on(runtime.spawn(child)).unwrap();
    let (tell, items) = futures_channel();
    let attached = ask(&runtime, &host, act(move |ctx| ctx.attach(items))).unwrap();
    tell.send(note("first")).unwrap();
    attached.detach();
    eventually(|| attached.is_finished() && tell.send(note("late")).is_err());
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    ask(&runtime, &host, trip()).unwrap_err();
    eventually(|| drops.load(Ordering::Relaxed) == 1);
    runtime.shutdown(SECOND).unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), 2);
}

fn futures_channel() -> (tokio::sync::mpsc::UnboundedSender<Note>, impl Stream<Item = Note> + Send) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let items = stream::unfold(told, |mut told| async move { Some((told.recv().await?, told)) });
    (tell, items)
}

#[test]
fn what_a_mailbox_refuses_of_a_stream_is_counted() {
    for (overflow, place) in [(Overflow::Reject, 0), (Overflow::DropNewest, 0), (Overflow::DropOldest, 96)] {
        let runtime = runtime();
        let (child, told) = idle("host");
        let host = runtime.block_on(runtime.spawn(child.mailbox(4, overflow))).unwrap();
        let (go, held) = tokio::sync::oneshot::channel();
        let attach = run(move |ctx| {
            let attached = ctx.attach(counting(Arc::default(), 100));
            Box::pin(async move {
                let _ = held.await;
                attached
            })
        });
        let sent = host.clone();
        let attached = runtime.block_on(async move {
            let answer = tokio::spawn(async move { sent.ask(attach).await.unwrap() });
            tokio::task::spawn_blocking({
                let runtime = host.clone();
                move || eventually(|| runtime.depth() == 4)
            })
            .await
            .unwrap();
            tokio::time::sleep(SECOND / 50).await;
            go.send(()).unwrap();
            answer.await.unwrap()
        });
        eventually(|| {
            attached.is_finished() && told.lock().unwrap().len() as u64 + runtime.snapshot().dead_letters == 100
        });
        assert_eq!(texts(&told)[0], place.to_string(), "{overflow:?}");
    }
}

#[test]
fn an_actor_that_stops_ends_its_streams() {
    let runtime = runtime();
    let (child, _) = idle("host");
    let host = runtime.block_on(runtime.spawn(child.restart(Restart::Transient))).unwrap();
    let (tell, items) = futures_channel();
    ask(&runtime, &host, act(move |ctx| drop(ctx.attach(items)))).unwrap();
    ask(&runtime, &host, act(|ctx| ctx.stop())).unwrap();
    runtime.block_on(host.stopped());
    eventually(|| tell.is_closed());
}

#[test]
fn a_cancelled_timer_tells_no_more() {
    let runtime = runtime();
    let (child, told) = idle("host");
    let host = runtime.block_on(runtime.spawn(child)).unwrap();
    let set = act(|ctx| {
        let soon = Duration::from_millis(1);
        let late = ctx.after(Duration::from_secs(3600), note("late"));
        // Cancelled by the actor itself, it cannot have fired since.
        let never = ctx.after(Duration::ZERO, note("never"));
        never.cancel();
        drop(ctx.after(soon, note("once")));
        (ctx.every(soon, || note("beat")), late, never)
    });
    let (every, late, never) = ask(&runtime, &host, set).unwrap();
    let beats = || texts(&told).iter().filter(|text| *text == "beat").count();
    eventually(|| beats() >= 3 && texts(&told).contains(&"once".to_owned()));
    assert!(!late.is_finished());
    late.cancel();
    every.cancel();
    eventually(|| late.is_finished() && every.is_finished() && never.is_finished());
    // What it had told before is handled by now.
    ask(&runtime, &host, note("last")).unwrap();
    let heard = beats();
    std::thread::sleep(SECOND / 50);
    assert_eq!(beats(), heard);
    assert!(!texts(&told).contains(&"never".to_owned()));
}

/// Never done; it holds what says when it is dropped.
async fn standing(held: Dropped) {
    std::future::pending::<()>().await;
    drop(held);
}

#[test]
fn what_an_actor_spawns_runs_beside_it_and_ends_with_its_incarnation() {
    let runtime = runtime();
    let dropped = Arc::new(AtomicU64::new(0));
    let counts = dropped.clone();
    let (child, told) = host("host", move |ctx| {
        let own = ctx.address();
        ctx.spawn(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            own.tell(note("from beside")).await.expect("it runs");
        });
        ctx.spawn(standing(Dropped(counts.clone())));
        Box::pin(async {})
    });
    let host = runtime.block_on(runtime.spawn(child)).unwrap();
    // While a handler waits, too.
    let (go, held) = tokio::sync::oneshot::channel();
    host.try_tell(run(move |_| Box::pin(async move { drop(held.await) }))).unwrap();
    eventually(|| host.depth() == 1);
    go.send(()).unwrap();
    eventually(|| texts(&told) == ["from beside"]);
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    ask(&runtime, &host, trip()).unwrap_err();
    eventually(|| texts(&told) == ["from beside", "from beside"]);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    runtime.shutdown(10 * SECOND).unwrap();
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
}

#[test]
fn a_task_that_is_cancelled_is_dropped_and_one_that_panics_costs_its_actor_nothing() {
    let runtime = runtime();
    let (child, told) = idle("host");
    let host = runtime.block_on(runtime.spawn(child)).unwrap();
    let dropped = Arc::new(AtomicU64::new(0));
    let counts = dropped.clone();
    let spawned = ask(
        &runtime,
        &host,
        act(move |ctx| {
            (ctx.spawn(standing(Dropped(counts))), ctx.spawn(async { panic!("beside") }), ctx.spawn(async {}))
        }),
    );
    let (stands, panics, done) = spawned.unwrap();
    eventually(|| panics.is_finished() && done.is_finished());
    assert!(!stands.is_finished());
    // From another thread.
    stands.cancel();
    eventually(|| stands.is_finished());
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    ask(&runtime, &host, note("goes on")).unwrap();
    assert_eq!((texts(&told), runtime.snapshot().actors[0].failures), (vec!["goes on".to_owned()], 0));
}

#[test]
fn a_handler_may_spawn_local_tasks_of_tokios() {
    let runtime = runtime();
    let (child, _) = idle("host");
    let host = runtime.block_on(runtime.spawn(child)).unwrap();
    let spawns = run(|_| {
        Box::pin(async {
            let local = std::rc::Rc::new(7);
            let task = tokio::task::spawn_local(async move {
                tokio::task::yield_now().await;
                *local
            });
            task.await.expect("it does not panic")
        })
    });
    assert_eq!(ask(&runtime, &host, spawns).unwrap(), 7);
}

#[test]
fn a_handler_whose_channel_is_always_ready_lets_its_neighbours_and_their_timers_go_on() {
    let runtime = runtime();
    let at = |name| {
        let (child, told) = idle(name);
        let child = child.placement(ironcliw::Placement::Shared("together"));
        (runtime.block_on(runtime.spawn(child)).unwrap(), told)
    };
    let ((busy, _), (neighbour, _)) = (at("busy"), at("neighbour"));
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = is_over.clone();
    let spins = run(move |_| {
        Box::pin(async move {
            let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
            let mut taken = 0_u64;
            while !seen.load(Ordering::Relaxed) {
                to.send(()).expect("it is open");
                from.recv().await.expect("it is open");
                taken += 1;
            }
            taken
        })
    });
    let spun = std::thread::scope(|scope| {
        let spun = scope.spawn(|| ask(&runtime, &busy, spins).unwrap());
        eventually(|| runtime.snapshot().actors.iter().any(|actor| actor.path == "user/busy" && actor.busy_s > 1e-3));
        for _ in 0..10 {
            let naps = run(|_| Box::pin(async { tokio::time::sleep(Duration::from_millis(1)).await }));
            ask(&runtime, &neighbour, naps).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        spun.join().unwrap()
    });
    assert!(spun > 128, "{spun}");
}
