//! An actix actor as its supervisor holds it.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use parking_lot::Mutex;
use tracing::error;

use super::life::Life;
use super::queue::{Actor, Queue};
use super::{ActixChild, Factory, Restarting};
use crate::arbiters::{Arbiter, HandOver};
use crate::cell::Cell;
use crate::child::{Patience, Settings};
use crate::mailbox::Signal;
use crate::observe::{ActorSnapshot, ActorState, Info, Summary};
use crate::panics::{self, Panicked};
use crate::pulse::Tenant;
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
    niceness: Option<i32>,
    patience: Patience,
    /// The thread of the present incarnation; `None` until the first one starts.
    arbiter: Mutex<Option<Arc<Arbiter>>>,
    runtime: Handle,
}

impl<A: Actor> ActixCell<A> {
    pub(crate) fn new(child: ActixChild<A>, path: String, runtime: &Handle) -> (Addr<A>, Self) {
        let (queue, addr) = Queue::new(child.settings.capacity);
        let info = Arc::new(Info::new(path, std::any::type_name::<A>));
        let core = Core { queue, info, factory: child.factory, restarting: child.restarting };
        let Settings { placement, niceness, patience, .. } = child.settings;
        let arbiter = Mutex::new(None);
        (addr, Self { core: Arc::new(core), placement, niceness, patience, arbiter, runtime: runtime.clone() })
    }

    /// The thread to live on.
    fn arbiter(&self) -> Result<Arc<Arbiter>, Error> {
        let path = self.core.info.path();
        self.runtime.threads().settle(&self.arbiter, &self.placement, self.niceness, path)
    }
}

impl<A: Actor> Cell for ActixCell<A> {
    fn info(&self) -> &Arc<Info> {
        &self.core.info
    }

    fn start(self: Arc<Self>, report: Report, _: &mut HandOver) {
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
        self.runtime.watch(&arbiter, self.patience);
        let (core, pulse) = (self.core.clone(), arbiter.pulse().clone());
        // If the thread ends now the closure is dropped, and with it the report, which then says so.
        arbiter.spawn_actix(move || {
            pulse.begin(Tenant::of(&core));
            let life = Life::begin(core, claim, parts, pulse.clone(), report);
            pulse.end();
            if let Some(life) = life {
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
        self.core.info.set_stuck(false);
        self.core.queue.claim();
        // Not under the lock: the others that live there are looked for.
        let arbiter = self.arbiter.lock().take();
        if let Some(arbiter) = arbiter {
            self.runtime.lose_thread(&arbiter, self.core.info.path());
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
        if let Some(arbiter) = self.arbiter.lock().take() {
            self.runtime.threads().leave(&arbiter);
        }
        left
    }

    fn thread(&self) -> Option<Arc<Arbiter>> {
        self.arbiter.lock().clone()
    }

    fn tenant(&self) -> Option<Tenant> {
        Some(Tenant::of(&self.core))
    }

    fn patience(&self) -> Patience {
        self.patience
    }

    fn observe(&self) -> Option<ActorSnapshot> {
        let (info, queue) = (&self.core.info, &self.core.queue);
        let arbiter = self.arbiter.lock().clone();
        let depth = queue.depth();
        Some(ActorSnapshot {
            path: info.path().to_owned(),
            kind: info.kind(),
            state: info.seen_state(),
            depth,
            capacity: queue.capacity(),
            high_water: depth,
            handled: info.handled(),
            skipped: info.skipped(),
            stuck: info.stuck(),
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
