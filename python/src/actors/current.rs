//! Which actor's Python code runs: whom a lease that it takes belongs to.
//!
//! While a hook or a handler is called, and in a coroutine's first step, its thread knows ([`enter`]). A coroutine that has
//! suspended is resumed by its event loop, which tells nobody: its asyncio task is known here until it is done, and is looked
//! for by who wants to know. Tasks that a handler begins itself are nobody's: they may outlive it.

use std::cell::Cell;
use std::collections::HashMap;
use std::ptr::{NonNull, null};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};

use ironcliw_actors::pool::Owner;
use parking_lot::Mutex;
use pyo3::prelude::*;

use super::record::Record;
use crate::caller;

thread_local! {
    /// Of the actor whose code runs on this thread, or null. Set by an [`Entered`], which borrows it.
    static CURRENT: Cell<*const Record> = const { Cell::new(null()) };
}

/// The tasks of handlers that have suspended, by address. They live as long as they are here: see [`Suspended`].
static SUSPENDED: LazyLock<Mutex<HashMap<usize, Arc<Record>>>> = LazyLock::new(Mutex::default);
/// How many there are, to be asked without the lock.
static SUSPENDED_COUNT: AtomicUsize = AtomicUsize::new(0);

/// An actor's code runs on this thread for as long as this lives.
pub(super) struct Entered<'a> {
    before: *const Record,
    _record: &'a Record,
}

pub(super) fn enter(record: &Record) -> Entered<'_> {
    Entered { before: CURRENT.replace(record), _record: record }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// A task of a handler that has suspended is known while this lives. Whoever has this has the task.
pub(super) struct Suspended(usize);

impl Suspended {
    pub(super) fn new(task: &Bound<'_, PyAny>, record: &Arc<Record>) -> Self {
        let key = task.as_ptr().addr();
        let mut suspended = SUSPENDED.lock();
        suspended.insert(key, record.clone());
        SUSPENDED_COUNT.store(suspended.len(), Relaxed);
        Self(key)
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        let mut suspended = SUSPENDED.lock();
        let record = suspended.remove(&self.0);
        SUSPENDED_COUNT.store(suspended.len(), Relaxed);
        drop(suspended);
        drop(record);
    }
}

/// The owner that the actor is whose Python code runs here, if one's does.
pub(crate) fn owner(py: Python<'_>) -> Option<Owner> {
    if let Some(record) = NonNull::new(CURRENT.get().cast_mut()) {
        // SAFETY: an `Entered` further up this thread's stack borrows it.
        return Some(unsafe { record.as_ref() }.owner());
    }
    if SUSPENDED_COUNT.load(Relaxed) == 0 {
        return None;
    }
    let task = caller::current_task(py)?;
    SUSPENDED.lock().get(&task.as_ptr().addr()).map(|record| record.owner())
}
