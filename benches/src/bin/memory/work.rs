//! What is done to every system: each function measures for about `time` and returns nanoseconds a buffer.

use std::array;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;

use crate::system::System;

/// Buffers between two looks at the clock.
const BATCH: u32 = 256;
/// Buffers that are alive in [`rotate`].
const LIVE: usize = 8;
/// Buffers that [`hand_over`] sends at a time.
pub const HANDED_OVER: usize = 32;
/// Batches on their way at most.
const ON_THEIR_WAY: usize = 6;
/// Looks at a queue before another thread may have the core.
const SPINS: u32 = 1000;

/// Runs `batch` of so many buffers again and again.
fn repeat(time: Duration, buffers: u32, mut batch: impl FnMut()) -> f64 {
    let (began, mut done) = (Instant::now(), 0u64);
    loop {
        batch();
        done += u64::from(buffers);
        let elapsed = began.elapsed();
        if elapsed >= time {
            return elapsed.as_nanos() as f64 / done as f64;
        }
    }
}

/// One thread takes a buffer and gives it back.
pub fn take_and_give<S: System>(system: &'static S, time: Duration) -> f64 {
    repeat(time, BATCH, || (0..BATCH).for_each(|_| drop(black_box(system.take()))))
}

/// One thread has eight buffers and replaces the oldest.
pub fn rotate<S: System>(system: &'static S, time: Duration) -> f64 {
    let mut live: [S::Held; LIVE] = array::from_fn(|_| system.take());
    repeat(time, BATCH, || {
        for turn in 0..BATCH as usize {
            live[turn % LIVE] = black_box(system.take());
        }
    })
}

/// One thread takes buffers and another gives them back, 32 at a time.
pub fn hand_over<S: System>(system: &'static S, time: Duration) -> f64 {
    let cores = ironcliw::allowed_cores();
    let pin = |which: usize| {
        if let Some(&id) = cores.get(which % cores.len().max(1)) {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
    };
    // The vectors go round, so that no batch costs an allocation that is not the system's; both sides spin, so that none
    // costs a wake-up.
    let (there, back) = (ArrayQueue::<Vec<S::Held>>::new(ON_THEIR_WAY), ArrayQueue::new(ON_THEIR_WAY));
    (0..ON_THEIR_WAY).for_each(|_| _ = back.push(Vec::with_capacity(HANDED_OVER)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            while let Some(mut batch) = await_batch(&there, &done) {
                batch.clear();
                let _ = back.push(batch);
            }
        });
        let producer = scope.spawn(|| {
            pin(0);
            let never = AtomicBool::new(false);
            let took = repeat(time, HANDED_OVER as u32, || {
                let mut batch = await_batch(&back, &never).unwrap_or_default();
                batch.extend((0..HANDED_OVER).map(|_| system.take()));
                let _ = there.push(batch);
            });
            done.store(true, Ordering::Release);
            took
        });
        producer.join().expect("it does not panic")
    })
}

/// The next batch; none when it is done.
fn await_batch<T>(queue: &ArrayQueue<T>, done: &AtomicBool) -> Option<T> {
    for turn in 1u32.. {
        if let Some(batch) = queue.pop() {
            return Some(batch);
        }
        if done.load(Ordering::Acquire) && queue.is_empty() {
            return None;
        }
        if turn % SPINS == 0 { std::thread::yield_now() } else { spin_loop() }
    }
    None
}

/// One thread takes a buffer, writes all of it, and gives it back.
pub fn fill<S: System>(system: &'static S, time: Duration) -> f64 {
    repeat(time, 1, || {
        let mut held = system.take();
        S::bytes(&mut held).fill(black_box(7));
        black_box(&held);
    })
}

/// The same on memory that the system has just given, and takes back.
pub fn fill_fresh<S: System>(system: &'static S, time: Duration) -> f64 {
    repeat(time, 1, || {
        let mut held = system.take();
        S::bytes(&mut held).fill(black_box(7));
        drop(black_box(held));
        system.forget();
    })
}
