//! Every interleaving of two threads that wake tasks and the executor that polls them, by loom: `make loom`.

use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::sync::Notify;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::place::RunQueue;

/// The executor's thread, as its runtime wakes it.
struct Sleeper(Notify);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Each of two wakers leaves word and wakes; the task counts the words. Should the executor wait for ever, loom says so.
fn assert_every_word_is_heard(tasks: usize) {
    loom::model(move || {
        let queue: &'static RunQueue = Box::leak(Box::new(RunQueue::new()));
        let executor = Arc::new(Sleeper(Notify::new()));
        let waker = Waker::from(executor.clone());
        let words = Arc::new(AtomicUsize::new(0));
        let places: Vec<_> = (0..tasks).map(|_| queue.stand_in()).collect();
        let wakers: Vec<_> = (0..2)
            .map(|waker| {
                let (words, place) = (words.clone(), places[waker % tasks]);
                thread::spawn(move || {
                    words.fetch_add(1, Ordering::Relaxed);
                    place.wake();
                })
            })
            .collect();
        let mut heard = 0;
        while heard < 2 {
            queue.bell.attend(&waker);
            queue.bell.begin_round();
            queue.take_in_called();
            while queue.poll_first() {
                heard = words.load(Ordering::Relaxed);
            }
            if heard < 2 && !queue.bell.is_rung() && queue.bell.park() {
                executor.0.wait();
            }
        }
        wakers.into_iter().for_each(|waker| waker.join().expect("no waker panics"));
    });
}

#[test]
fn task_that_two_threads_wake_hears_both() {
    assert_every_word_is_heard(1);
}

#[test]
fn no_ring_is_lost_between_a_look_and_a_wait() {
    assert_every_word_is_heard(2);
}
