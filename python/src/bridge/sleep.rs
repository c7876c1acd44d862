//! Sleeping in `result()` without the GIL, and the wake-up of such a sleeper.
//!
//! The sleepers of all calls share a few condition variables, chosen by the call's address: a call that nobody
//! sleeps on, which is nearly every call, pays one bit for this and nothing else.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::node::{Life, Node};

/// Two sleepers that share a place wake each other for nothing, which is harmless; few do.
const PLACES: usize = 16;

struct Place {
    lock: Mutex<()>,
    changed: Condvar,
}

static SLEEPERS: [Place; PLACES] = [const { Place { lock: Mutex::new(()), changed: Condvar::new() } }; PLACES];

fn place(node: &Node) -> &'static Place {
    // The low bits of an address are its alignment.
    &SLEEPERS[(std::ptr::from_ref(node).addr() >> 6) % PLACES]
}

/// Sleeps until `node` is answered or cancelled, or `slice` has passed. The caller has announced itself on the
/// node, and does not hold the GIL.
pub(super) fn wait(node: &Node, slice: Duration) {
    let until = Instant::now() + slice;
    let place = place(node);
    let mut held = place.lock.lock();
    // Looking at the state under the lock that `wake` takes after changing it: the change is either seen
    // here or its notification comes after the wait has begun.
    while matches!(node.life(), Life::Pending | Life::Waiting) {
        if place.changed.wait_until(&mut held, until).timed_out() {
            return;
        }
    }
}

/// Wakes who sleeps on `node`, whose state is final by now.
pub(super) fn wake(node: &Node) {
    let place = place(node);
    drop(place.lock.lock());
    place.changed.notify_all();
}
