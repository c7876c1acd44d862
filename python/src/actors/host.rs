//! The event loops that Python actors live on.
//!
//! A [`Host`] is the part of one loop that runs one runtime's actors. It is touched on the loop's thread only, with the GIL,
//! from the loop's drain and from the callbacks of asyncio tasks. It ends with its loop or with its runtime, whichever is first:
//! when the loop goes, the actors are told to stop for good before their thread is taken from them, so that none of them tries
//! to start again.

use std::cell::UnsafeCell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::{Arc, Weak};
use std::thread::ThreadId;

use futures_util::FutureExt;
use ironcliw::{EventLoop, Placement};
use parking_lot::Mutex;
use pyo3::prelude::*;

use super::Realm;
use super::record::Record;
use crate::bridge::{Home, Resident, home_of};
use crate::errors::{guard, to_py_err};

pub(crate) struct Host {
    realm: Weak<Realm>,
    /// The loop's address, by which its realm knows it.
    key: usize,
    thread: ThreadId,
    /// Taken when it is over.
    event_loop: UnsafeCell<Option<EventLoop>>,
    placement: Placement,
    /// A turn is under way. Set and looked at on the loop's thread.
    in_turn: AtomicBool,
    is_over: AtomicBool,
    /// Those who live here.
    tenants: Mutex<Vec<Weak<Record>>>,
    /// What a handler raised that must end the loop's run.
    interrupt: Mutex<Option<PyErr>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

// SAFETY: `event_loop` is borrowed on `thread` alone, which is checked, and there by one turn at a time, which is what `in_turn`
// says; it is taken out in no turn. Everything else may be used anywhere.
unsafe impl Sync for Host {}
// SAFETY: as above. Dropped on another thread, what is left in `event_loop` is abandoned and not dropped: see `Drop`.
unsafe impl Send for Host {}

/// The host of `event_loop`'s thread, which is the current one, for the actors of `realm`.
pub(super) fn host_of(realm: &Arc<Realm>, event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Host>> {
    let key = event_loop.as_ptr().addr();
    if let Some(present) = realm.hosts.lock().get(&key).filter(|host| host.is_usable()) {
        return Ok(present.clone());
    }
    let home = home_of(event_loop)?;
    let host = Host::open(realm, key, &home)?;
    let stale = realm.hosts.lock().insert(key, host.clone());
    drop(stale);
    home.move_in(host.clone());
    Ok(host)
}

impl Host {
    fn open(realm: &Arc<Realm>, key: usize, home: &Home) -> PyResult<Arc<Self>> {
        let name = format!("asyncio-{key:x}");
        let event_loop = EventLoop::new(&realm.handle, &name, home.waker()).map_err(to_py_err)?;
        Ok(Arc::new(Self {
            realm: Arc::downgrade(realm),
            key,
            thread: std::thread::current().id(),
            placement: event_loop.placement(),
            event_loop: UnsafeCell::new(Some(event_loop)),
            in_turn: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            tenants: Mutex::default(),
            interrupt: Mutex::default(),
            wake: Box::new(home.waker()),
        }))
    }

    pub(super) fn placement(&self) -> Placement {
        self.placement.clone()
    }

    fn is_here(&self) -> bool {
        std::thread::current().id() == self.thread
    }

    fn is_usable(&self) -> bool {
        !self.is_over() && self.is_here()
    }

    /// Notes an actor that is about to live here.
    pub(super) fn expect(&self, record: &Arc<Record>) {
        let mut tenants = self.tenants.lock();
        tenants.retain(|tenant| tenant.strong_count() > 0);
        tenants.push(Arc::downgrade(record));
    }

    /// Ends the loop's run with this when the turn is over.
    pub(super) fn interrupt(&self, error: PyErr) {
        *self.interrupt.lock() = Some(error);
    }

    /// Gives the actors a turn now, outside of the drain, and sees to the next.
    pub(super) fn turn_now(&self, py: Python<'_>) -> PyResult<()> {
        if self.turn(py)? {
            (self.wake)();
        }
        Ok(())
    }

    /// Ends it, because its loop has gone or its runtime has. What the actors were doing is dropped here if this is their thread.
    fn end(&self) {
        if self.in_turn.load(Acquire) && self.is_here() {
            // The turn that this came in ends it.
            self.is_over.store(true, Release);
            return;
        }
        self.is_over.store(true, Release);
        if let Some(realm) = self.realm.upgrade() {
            let mut hosts = realm.hosts.lock();
            if hosts.get(&self.key).is_some_and(|host| std::ptr::eq(host.as_ref(), self)) {
                let host = hosts.remove(&self.key);
                drop(hosts);
                drop(host);
            }
        }
        // SAFETY: see below; it is looked at where it would be taken.
        let is_closed_by_runtime = unsafe { (*self.event_loop.get()).as_ref() }.is_some_and(EventLoop::is_over);
        let tenants = std::mem::take(&mut *self.tenants.lock());
        for record in tenants.iter().filter_map(Weak::upgrade).filter(|_| !is_closed_by_runtime) {
            record.lose_home();
            // Its first poll gives the order, which is all that is wanted.
            let _ = record.parent.stop_child(&record.path).now_or_never();
        }
        // SAFETY: no turn is under way, and none begins once it is over: `turn` looks for that. On another thread the loop does
        // not run, or this would be its thread.
        if let Some(event_loop) = unsafe { (*self.event_loop.get()).take() } {
            if self.is_here() {
                drop(event_loop);
            } else {
                event_loop.abandon();
            }
        }
    }
}

/// Marks a turn for as long as it lasts.
struct Turn<'a>(&'a Host);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.in_turn.store(false, Release);
    }
}

impl Resident for Host {
    fn turn(&self, _py: Python<'_>) -> PyResult<bool> {
        if self.is_over() {
            return Ok(false);
        }
        if !self.is_here() {
            // The loop runs on another thread now. Actors cannot follow it.
            self.end();
            return Ok(false);
        }
        if self.in_turn.swap(true, AcqRel) {
            // A handler runs the loop: the turn it is in goes on when that is done.
            return Ok(false);
        }
        let turned = {
            let _turn = Turn(self);
            guard("a turn of actors", || {
                // SAFETY: this is the thread, and `in_turn` says that there is no other borrow.
                let event_loop = unsafe { (*self.event_loop.get()).as_mut() };
                Ok(event_loop.is_some_and(|event_loop| {
                    let is_left = event_loop.turn();
                    if event_loop.is_over() {
                        self.is_over.store(true, Release);
                    }
                    is_left
                }))
            })
        };
        if self.is_over() {
            self.end();
        }
        let interrupt = self.interrupt.lock().take();
        interrupt.map_or(turned, Err)
    }

    fn has_work(&self) -> bool {
        if self.is_over() || !self.is_here() || self.in_turn.load(Acquire) {
            return false;
        }
        // SAFETY: this is the thread, and no turn is under way.
        unsafe { (*self.event_loop.get()).as_ref() }.is_some_and(EventLoop::has_work)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Acquire)
    }

    fn close(&self) {
        self.end();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(event_loop) = self.event_loop.get_mut().take() {
            if self.is_here() {
                drop(event_loop);
            } else {
                event_loop.abandon();
            }
        }
    }
}
