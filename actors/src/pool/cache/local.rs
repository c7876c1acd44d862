//! Which cache is this thread's, for each pool.
//!
//! The pool used last is remembered in a thread-local without a destructor, so that finding it is a comparison. The
//! others are in a list whose destructor gives the blocks of a thread that ends back to their pools. What that thread
//! still leases or returns after that, from other destructors, goes through the pool's shared cache.

use super::{Inside, ThreadCache};
use crate::pool::core::Core;
use crate::pool::fallible::{Counted, try_box};
use crate::pool::sync::thread_local;
use std::cell::{Cell, RefCell};
use std::ptr::null;
use std::sync::Arc;

/// The pool used last, and this thread's cache of it: alive, as `Mine` holds it. The cache has a weak reference to its core,
/// so that no other core comes to lie at this address meanwhile.
struct Last {
    core: Cell<*const Core>,
    cache: Cell<*const ThreadCache>,
    /// Whether the destructor of `MINE` is registered.
    is_registered: Cell<bool>,
}

/// This thread's caches.
struct Mine(RefCell<Vec<Counted<ThreadCache>>>);

thread_local! {
    static LAST: Last = const { Last { core: Cell::new(null()), cache: Cell::new(null()), is_registered: Cell::new(false) } };
    static MINE: Mine = const { Mine(RefCell::new(Vec::new())) };
}

impl Drop for Mine {
    fn drop(&mut self) {
        forget_last();
        for cache in self.0.take() {
            if let Some(core) = cache.core.upgrade() {
                core.retire(&cache);
            }
        }
    }
}

/// `LAST` has no destructor and so is never gone, which `try_with` finds out at no cost; under shuttle it may be.
fn forget_last() {
    _ = LAST.try_with(|last| {
        last.core.set(null());
        last.cache.set(null());
    });
}

/// This thread's cache of that pool, if it has one, nobody visits it, and it need not ask first.
#[inline(always)]
pub(crate) fn enter(core: *const Core) -> Option<Inside<'static>> {
    LAST.try_with(|last| {
        if last.core.get() != core {
            return None;
        }
        // SAFETY: `MINE` holds the cache as long as `LAST` names it, and forgets `LAST` first. `'static` is a lie that
        // does no harm: an `Inside` is used up within the call that made it, on this thread (the pointer makes it neither
        // Send nor Sync), and nothing within such a call changes `MINE`.
        let cache = unsafe { &*last.cache.get() };
        cache.gate.enter().then_some(Inside { cache, by_gate: true, keeps: true })
    })
    .ok()?
}

/// Makes this pool the one that was used last, with a cache if the thread has none. False if the thread is ending, or if
/// the system has no memory for a cache.
#[cold]
pub(super) fn attach(core: &Arc<Core>) -> bool {
    let address = Arc::as_ptr(core);
    if !can_register() {
        return false;
    }
    MINE.try_with(|mine| {
        let mut mine = mine.0.borrow_mut();
        let found = mine.iter().find(|cache| cache.core.as_ptr() == address).cloned();
        let cache = found.or_else(|| {
            // A pool that has ended left nothing in its caches.
            forget_last();
            mine.retain(|cache| !cache.is_closed());
            mine.try_reserve(1).ok()?;
            let cache = core.caches.join(core)?;
            mine.push(cache.clone());
            Some(cache)
        });
        let Some(cache) = cache else { return false };
        LAST.with(|last| {
            last.core.set(address);
            last.cache.set(Counted::as_ptr(&cache));
        });
        true
    })
    .unwrap_or(false)
}

/// Whether the system has memory to register a destructor: glibc ends the process where it has not. What is taken and given
/// back here is what it then finds, on the same thread: more than glibc keeps for requests of just this size.
fn can_register() -> bool {
    LAST.try_with(|last| {
        let can = last.is_registered.get() || try_box([0_u8; 4096]).is_some();
        last.is_registered.set(can);
        can
    })
    .unwrap_or(false)
}

/// Whether this thread has that cache.
pub(super) fn is_mine(cache: &ThreadCache) -> bool {
    MINE.try_with(|mine| {
        mine.0.try_borrow().is_ok_and(|mine| mine.iter().any(|own| std::ptr::eq(Counted::as_ptr(own), cache)))
    })
    .unwrap_or(false)
}
