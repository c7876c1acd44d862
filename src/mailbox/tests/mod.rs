//! The mailbox against a model on one thread (`model.rs`), under many (`stress.rs`), and with a sender that is stopped on its
//! way (`halfway.rs`). `loom_tests.rs` is the same for few threads and every interleaving.

mod halfway;
mod model;
mod stress;

use std::any::Any;
use std::mem::MaybeUninit;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Mailbox, Sleeper, Stow, Window};

/// A number that knows whether it still exists. Odd ones need the wide part of a slot, even ones do not.
#[derive(Debug)]
pub(super) struct Item {
    id: u32,
    alive: Arc<()>,
}

impl Item {
    fn new(id: u32, alive: &Arc<()>) -> Self {
        Self { id, alive: alive.clone() }
    }

    fn is_wide(id: u32) -> bool {
        id % 2 == 1
    }
}

type Part = MaybeUninit<Arc<()>>;

impl Stow for Item {
    type Narrow = (u32, Part);
    type Wide = Part;

    unsafe fn stow(self, narrow: *mut (u32, Part), wide: *mut Part) {
        let alive = MaybeUninit::new(self.alive);
        // SAFETY: the caller's promise.
        unsafe {
            if Self::is_wide(self.id) {
                narrow.write((self.id, MaybeUninit::uninit()));
                wide.write(alive);
            } else {
                narrow.write((self.id, alive));
            }
        }
    }

    unsafe fn unstow(narrow: *const (u32, Part), wide: *const Part) -> Self {
        // SAFETY: the caller's promise: what `stow` has written, read once.
        unsafe {
            let (id, alive) = narrow.read();
            Self { id, alive: if Self::is_wide(id) { wide.read() } else { alive }.assume_init() }
        }
    }
}

/// What a mailbox wakes lives for ever. Kept where a checker of leaks finds it.
fn for_ever<T: Send + Sync>(sleeper: T) -> &'static T {
    static KEPT: Mutex<Vec<&'static (dyn Any + Send + Sync)>> = Mutex::new(Vec::new());
    let kept: &'static T = Box::leak(Box::new(sleeper));
    KEPT.lock().push(kept);
    kept
}

/// What an incarnation does for its next message.
fn take<S: Sleeper>(mailbox: &Mailbox<Item, S>, window: &Window<'_>) -> Option<Item> {
    let Some((narrow, wide)) = mailbox.front(window) else { return mailbox.take_from_deque(window) };
    // SAFETY: the front is moved out once, in its window.
    unsafe {
        let item = Item::unstow(narrow, wide);
        mailbox.pass_over(window);
        Some(item)
    }
}
