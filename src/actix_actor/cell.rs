//! An actix actor as its supervisor holds it.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use parking_lot::Mutex;
use tracing::error;

use super::life::Life;
use super::queue::{Actor, Queue};
use super::{ActixChild, Factory, Restarting};
use crate::arbiters::Arbiter;
use crate::cell::Cell;
use crate::mailbox::Signal;
use crate::observe::{ActorSnapshot, ActorState, Info, Summary};
use crate::panics::{self, Panicked};
use crate::supervision::Report;
use crate::{Error, Handle, Placement, clock};

/// What the cell and the incarnations share.
pub(super) struct Core<A: Actor> {
    pub(super) queue: Queue<A>,
    pub(super) info: Arc<Info>,
    pub(super) factory: Factory<A>,
    pub(super) restarting: Option<Restarting<A>>,
}

pub(crate) struct ActixCell<A: Actor> {
    core: Arc<Core<A>>,
    placement: Placement,
    /// The thread of the present incarnation; `None` until the first one starts.
    arbiter: Mutex<Option<Arc<Arbiter>>>,
    runtime: Handle,
}

impl<A: Actor> ActixCell<A> {
    pub(crate) fn new(child: ActixChild<A>, path: String, runtime: &Handle) -> (Addr<A>, Self) {
        let (queue, addr) = Queue::new(child.settings.capacity);
        let info = Arc::new(Info::new(path, std::any::type_name::<A>));
        let core = Core { queue, info, factory: child.factory, restarting: child.restarting };
        let placement = child.settings.placement;
        (addr, Self { core: Arc::new(core), placement, arbiter: Mutex::new(None), runtime: runtime.clone() })
    }

    /// The thread to live on: the one there is, or another if that is gone.
    fn arbiter(&self) -> Result<Arc<Arbiter>, Error> {
        let mut arbiter = self.arbiter.lock();
        if let Some(present) = arbiter.as_ref().filter(|arbiter| arbiter.is_alive()) {
            return Ok(present.clone());
        }
        if let Some(gone) = arbiter.take() {
            self.runtime.threads().close(&gone);
        }
        let found = self.runtime.threads().assign(self.placement, self.core.info.path())?;
        Ok(arbiter.insert(found).clone())
    }
}

impl<A: Actor> Cell for ActixCell<A> {
    fn info(&self) -> &Arc<Info> {
        &self.core.info
    }

    fn start(&self, report: Report) {
        self.core.info.set_state(ActorState::Starting);
        let (claim, parts) = self.core.queue.claim();
        let Some(parts) = parts else {
            return report.start_failed("its mailbox is closed".to_owned());
        };
        let arbiter = match self.arbiter() {
            Ok(arbiter) => arbiter,
            Err(Error::Setup { reason }) => return report.start_failed(reason),
            Err(error) => return report.start_failed(error.to_string()),
        };
        let core = self.core.clone();
        // If the thread ends now the closure is dropped, and with it the report, which then says so.
        arbiter.spawn_actix(move || {
            if let Some(life) = Life::begin(core, claim, parts, report) {
                actix::spawn(life);
            }
        });
    }

    fn stop(&self, signal: Signal, _bound: Duration) {
        if signal == Signal::Restart {
            self.core.info.set_state(ActorState::Restarting);
        } else {
            self.core.info.set_state(ActorState::Stopping);
            self.core.queue.close();
        }
        self.core.queue.signal(signal);
    }

    fn halt(&self) {
        self.core.queue.signal(Signal::Halt);
    }

    /// Whoever waits for the message in hand goes on waiting for the handler: actix keeps the reply with it.
    fn give_up(&self) {
        self.core.queue.claim();
        if let Some(arbiter) = self.arbiter.lock().take() {
            self.runtime.threads().lose(&arbiter, self.core.info.path());
        }
    }

    fn seal(&self) -> u64 {
        self.core.info.set_state(ActorState::Stopped);
        self.core.queue.close();
        let mut left = 0;
        while let Some(message) = self.core.queue.take_left() {
            left += 1;
            // Dropped, it tells its asker that the mailbox is closed.
            if let Err(Panicked(reason)) = panics::catch(move || drop(message)) {
                error!(path = self.core.info.path(), reason, "a message panicked as it was dropped");
            }
        }
        self.core.info.count_dead_letters(left);
        if matches!(self.placement, Placement::Dedicated | Placement::Core(_))
            && let Some(arbiter) = self.arbiter.lock().take()
        {
            self.runtime.threads().close(&arbiter);
        }
        left
    }

    fn observe(&self) -> Option<ActorSnapshot> {
        let (info, queue) = (&self.core.info, &self.core.queue);
        let arbiter = self.arbiter.lock().clone();
        let depth = queue.depth();
        Some(ActorSnapshot {
            path: info.path().to_owned(),
            kind: info.kind(),
            state: info.state(),
            depth,
            capacity: queue.capacity(),
            high_water: depth,
            handled: info.handled(),
            skipped: info.skipped(),
            failures: info.failures(),
            restarts: info.restarts(),
            dead_letters: info.dead_letters(),
            last_exit: info.last_exit(),
            busy_s: clock::seconds(info.busy().sum_ns()),
            busy_ratio: 0.0,
            // actix runs the handlers, and does not say when.
            handler: Summary::default(),
            mailbox_wait: Summary::default(),
            arbiter: arbiter.as_ref().map(|arbiter| arbiter.name().to_owned()).unwrap_or_default(),
            core: arbiter.and_then(|arbiter| arbiter.pinned_core()),
        })
    }
}
