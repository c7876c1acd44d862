//! Actors written in Python, under the runtime's own supervision.
//!
//! An actor of this kind is a Rust actor like any other, a [`PyActor`]: the same mailbox, the same restarts, the same place in
//! the tree. What is special is where it lives: not on a thread of the runtime but on an asyncio event loop's, as a guest
//! ([`ironcliw::EventLoop`]). So its handler can call Python, and no thread of the runtime ever enters Python for it.
//!
//! ```text
//!  any thread                             the loop's thread, in the drain of `bridge/loops.rs`
//!
//!  ref.ask(m) ── mailbox ── was it idle?  write the loop's descriptor
//!                             ┌────────── Drain ◀── descriptor readable
//!                             ▼
//!                     Host::turn: the executor polls the actor, which takes m
//!                             │ on_message(m), in the sender's context
//!                 ┌───────────┴──────────────┐
//!        a value at once               a coroutine: an asyncio task, its first step right here where asyncio can
//!                 │                          │ suspends: the Rust future waits, other actors and the loop go on
//!                 │                          │ done: its callback gives the actor a turn
//!                 └───────────┬──────────────┘
//!                  the answer: Completer ── the asker's task is resumed in the same drain
//! ```
//!
//! One message at a time, because the Rust future of the one before is not done. What a Python exception means is said by one
//! line, in [`PyActor::crash`]: the handler's Rust future panics with the traceback as its reason, and supervision goes on from
//! there as for any panic.
//!
//! | file | what |
//! | --- | --- |
//! | `actor.rs` | the actor: its hooks and its handler |
//! | `running.rs` | a Python call that is under way |
//! | `host.rs` | the loops that actors live on, and what follows when one closes |
//! | `message.rs`, `answer.rs` | what travels to the actor, and the way back |
//! | `current.rs` | whose code runs |
//! | `record.rs` | what is known of an actor across its incarnations |
//! | `feed.rs` | a Rust actor that asks a Python one |
//! | `spawn.rs`, `options.rs` | from keywords to a child |
//! | `reference.rs`, `group.rs`, `context.rs` | what Python sees |

mod actor;
mod answer;
mod context;
mod current;
mod feed;
mod group;
pub(crate) mod handing;
mod host;
mod message;
mod options;
mod record;
mod reference;
mod running;
mod spawn;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::bridge::{Call, Keep, Outcome};
use crate::errors;

pub(crate) use actor::PyActor;
pub(crate) use context::ActorContext;
pub(crate) use current::owner;
pub(crate) use group::{Supervisor, new_group};
pub(crate) use reference::ActorRef;
pub(crate) use spawn::{Parent, spawn};

use host::Host;

/// What the Python actors of one runtime share. It does not keep the runtime alive.
pub(crate) struct Realm {
    pub(crate) handle: ironcliw::Handle,
    /// By the loop's address; a host that is over has left.
    hosts: Mutex<HashMap<usize, Arc<Host>>>,
    /// A weak reference to the `Runtime`, for the actors' contexts.
    runtime: Mutex<Option<Arc<Keep>>>,
    process: u32,
}

impl Realm {
    pub(crate) fn new(handle: ironcliw::Handle) -> Arc<Self> {
        Arc::new(Self { handle, hosts: Mutex::default(), runtime: Mutex::default(), process: std::process::id() })
    }

    /// Says so if the runtime's threads are another process's.
    pub(crate) fn check(&self) -> PyResult<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let message = "this actor was made before the process forked: its threads are the parent's";
        Err(errors::classes::RuntimeClosed::new_err(message))
    }

    pub(crate) fn know(&self, runtime: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut known = self.runtime.lock();
        if known.is_none() {
            *known = Some(Arc::new(Keep::new(pyo3::types::PyWeakrefReference::new(runtime)?.as_any())));
        }
        Ok(())
    }

    /// The weak reference.
    fn runtime(&self) -> Option<Arc<Keep>> {
        self.runtime.lock().clone()
    }
}

/// Makes the Python actor at `path` crash, if there is one.
pub(crate) fn crash<'py>(py: Python<'py>, realm: &Realm, path: &str) -> PyResult<Option<Bound<'py, Call>>> {
    let Some(address) = realm.handle.find::<PyActor>(path) else { return Ok(None) };
    reference::crash_at(py, address).map(Some)
}

/// Has the actor asked to hear each supervision event from now on.
pub(crate) fn feed<'py>(realm: &Realm, to: &Bound<'py, ActorRef>) -> PyResult<Bound<'py, Call>> {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let (handle, to, py) = (realm.handle.clone(), to.get().address.clone(), to.py());
    spawn::on_clock(py, "supervision_events", &realm.handle, async move {
        let fed = feed::spawn(&handle, to, NUMBERS.fetch_add(1, Relaxed)).await;
        Outcome::from_result(fed, |()| Outcome::Unit)
    })
}
