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
