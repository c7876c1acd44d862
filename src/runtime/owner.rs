//! [`Runtime`]: the one who may end it.

use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Builder, Handle, State};
use crate::Error;
use crate::arbiters::{SystemThread, allowed_cores};
use crate::supervision::LEAVING;
use crate::threads::ThreadSettings;

/// Threads, a tree of supervised actors, and the one who may end them.
///
/// It derefs to its [`Handle`]. Dropped without [`Runtime::shutdown`], it stops its actors in the background, in order, and
/// says nothing.
pub struct Runtime {
    handle: Handle,
    system: Mutex<Option<SystemThread>>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Runtime({})", self.handle.state_name())
    }
}

impl Deref for Runtime {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

/// How long a thread spins by default: as long as it takes to wake one that waits, which is when waiting has paid (Karlin,
/// Manasse, McGeoch and Owicki, "Competitive randomized algorithms for nonuniform problems", 1994, after "ski rental").
const SPIN: Duration = Duration::from_micros(20);

/// What a runtime that is dropped without a word gives its actors.
const DROPPED_BOUND: Duration = Duration::from_secs(5);

impl Runtime {
    pub(super) fn over(handle: Handle, system: SystemThread) -> Self {
        Self { handle, system: Mutex::new(Some(system)) }
    }

    /// A runtime to be configured.
    pub fn builder() -> Builder {
        Builder {
            threads: ThreadSettings {
                workers: allowed_cores().len(),
                pin: true,
                niceness: None,
                worker_niceness: None,
                spin: SPIN,
                #[cfg(feature = "testkit")]
                in_place: false,
            },
            on_root_failure: None,
        }
    }

    /// One as it comes.
    ///
    /// # Errors
    /// Those of [`Builder::build`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A handle that can be given away.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Stops everything: each actor takes no more messages, handles those it has, and ends, the last started first; then
    /// the threads end. Blocks for `bound` at the most, and then until the threads have ended: at once, unless one is held by
    /// foreign work or the machine is very busy, and 5 s at the most. A later call waits until the first is done, no
    /// longer than its own bound, and has nothing to say.
    ///
    /// # Errors
    /// [`Error::Abandoned`] with the actors whose handlers did not come back in time. Their threads are left behind.
    /// [`Error::OwnThread`] on a thread of this runtime, as in a handler: the runtime then ends in the background.
    pub fn shutdown(&self, bound: Duration) -> Result<(), Error> {
        let asked = Instant::now();
        let system = self.system.lock().take();
        if self.handle.shared.threads.own_this_one() {
            if let Some(system) = system {
                self.end_in_background(system, bound);
            }
            return Err(Error::OwnThread);
        }
        let Some(system) = system else {
            while self.handle.state() != State::Closed && asked.elapsed() < bound {
                std::thread::sleep(Duration::from_millis(1));
            }
            return Ok(());
        };
        // Of those that were lost before, the threads that have come back are nobody's concern now.
        self.handle.shared.threads.forget_the_returned();
        let (tell, drained) = mpsc::channel::<()>();
        let drain = self.handle.drain(bound);
        system.timers().spawn(async move {
            drain.await;
            drop(tell);
        });
        // Nothing is ever sent: the task's end, of whatever kind, hangs up.
        let _ = drained.recv();
        let limit = Instant::now() + LEAVING;
        let abandoned = self.handle.shared.threads.join_all(limit);
        system.stop(limit);
        self.handle.shared.state.store(State::Closed as u8, Ordering::Release);
        if abandoned.is_empty() { Ok(()) } else { Err(Error::Abandoned { actors: abandoned, after: asked.elapsed() }) }
    }

    fn end_in_background(&self, system: SystemThread, bound: Duration) {
        let (drain, shared) = (self.drain(bound), self.handle.shared.clone());
        system.timers().clone().spawn(async move {
            drain.await;
            shared.threads.close_all();
            shared.state.store(State::Closed as u8, Ordering::Release);
            system.stop_detached();
        });
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let system = self.system.lock().take();
        if let Some(system) = system {
            self.end_in_background(system, DROPPED_BOUND);
        }
        self.handle.forget_sections();
    }
}
