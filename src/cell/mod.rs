//! An actor as its supervisor holds it: the parts that outlive an incarnation. `incarnation.rs` is one of its lives.

mod incarnation;
mod turn;

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle as Timers;

use crate::arbiters::Arbiter;
use crate::child::{Factory, Settings};
use crate::envelope::Fate;
use crate::in_hand::InHand;
use crate::mailbox::{Mailbox, Signal};
use crate::observe::{self, ActorSnapshot, ActorState, Info, SupervisorSnapshot};
use crate::parcel::Parcel;
use crate::supervision::Report;
use crate::{Actor, Error, Handle, clock};

use incarnation::Incarnation;

/// What addresses and incarnations share. It outlives every incarnation.
pub(crate) struct Core<A: Actor> {
    pub(crate) mailbox: Mailbox<Parcel<A>>,
    pub(crate) info: Arc<Info>,
    pub(crate) in_hand: InHand,
    /// The thread of the present incarnation; `None` until the first one starts and once none will.
    pub(crate) arbiter: Mutex<Option<Arc<Arbiter>>>,
    /// The clock of the runtime's own thread, for senders that are on no executor of tokio's.
    pub(crate) timers: Timers,
}

impl<A: Actor> Core<A> {
    pub(crate) fn stopped(&self) -> Error {
        Error::ActorStopped { path: self.info.path().to_owned() }
    }

    /// Why the message in hand gets no answer of its own.
    pub(crate) fn ended(&self) -> Error {
        if self.info.is_final() { self.stopped() } else { Error::ActorRestarting { path: self.info.path().to_owned() } }
    }

    /// Takes no more messages; what is queued stays.
    fn close(&self) {
        for parcel in self.mailbox.close() {
            parcel.fail(self.stopped());
        }
    }

    /// The lease ends, and whoever waits for the message in hand hears.
    fn answer_for_a_lost_handler(&self) {
        let left = self.in_hand.take_left(&self.mailbox.revoke());
        if let Some(replier) = left {
            replier.fail(self.ended());
        }
    }

    pub(crate) fn full(&self) -> Error {
        Error::MailboxFull { path: self.info.path().to_owned(), capacity: self.mailbox.capacity() }
    }
}

/// An actor as one that lives beside it knows it.
pub(crate) trait Neighbour: Send + Sync {
    /// Where it lives now.
    fn thread(&self) -> Option<Arc<Arbiter>>;
}

impl<A: Actor> Neighbour for Core<A> {
    fn thread(&self) -> Option<Arc<Arbiter>> {
        self.arbiter.lock().clone()
    }
}

impl<A: Actor> observe::Asked for Core<A> {
    fn info(&self) -> &Arc<Info> {
        &self.info
    }
}

/// A child without its type: what a supervisor may do with it.
pub(crate) trait Cell: Send + Sync {
    fn info(&self) -> &Arc<Info>;

    /// Begins an incarnation, which tells `report` how it goes. Blocks for no longer than it takes to make a thread.
    fn start(&self, report: Report);

    /// Tells the incarnation to end, to be started again or for good; `bound` is all it may take.
    fn stop(&self, signal: Signal, bound: Duration);

    /// Its bound is over: whatever it was told before, it is to end at its next await.
    fn halt(&self);

    /// Its thread did not come back: the incarnation loses its claim, and whoever waits for the message in hand hears.
    fn give_up(&self);

    /// Takes no more messages and answers those that are left, whose number is returned. Called when no incarnation
    /// will follow.
    fn seal(&self) -> u64;

    /// The [`Core`] that addresses are made of, if it is an actor.
    fn core(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    /// What there is to see, if it is an actor.
    fn observe(&self) -> Option<ActorSnapshot>;

    /// What there is to see, if it is a supervisor.
    fn observe_supervisor(&self) -> Option<SupervisorSnapshot> {
        None
    }
}

pub(crate) struct ActorCell<A: Actor> {
    pub(crate) core: Arc<Core<A>>,
    pub(crate) factory: Arc<Factory<A>>,
    pub(crate) settings: Settings,
    pub(crate) beside: Option<Weak<dyn Neighbour>>,
    pub(crate) runtime: Handle,
}

impl<A: Actor> ActorCell<A> {
    /// The thread to live on: its neighbour's, or the one there is, or another if that is gone.
    fn arbiter(&self) -> Result<Arc<Arbiter>, Error> {
        let threads = self.runtime.threads();
        let neighbour = self.beside.as_ref().and_then(Weak::upgrade);
        let wanted = neighbour.and_then(|neighbour| neighbour.thread()).filter(|thread| thread.is_alive());
        let mut arbiter = self.core.arbiter.lock();
        let is_right = |present: &&Arc<Arbiter>| wanted.as_ref().is_none_or(|wanted| Arc::ptr_eq(wanted, present));
        if let Some(present) = arbiter.as_ref().filter(|arbiter| arbiter.is_alive()).filter(is_right) {
            return Ok(present.clone());
        }
        match arbiter.take() {
            Some(present) if present.is_alive() => threads.leave(&present),
            Some(gone) => threads.close(&gone),
            None => {}
        }
        let found = match wanted.filter(|wanted| threads.share(wanted)) {
            Some(shared) => shared,
            None => threads.assign(self.settings.placement, self.core.info.path())?,
        };
        Ok(arbiter.insert(found).clone())
    }
}

impl<A: Actor> Cell for ActorCell<A> {
    fn info(&self) -> &Arc<Info> {
        &self.core.info
    }

    fn start(&self, report: Report) {
        self.core.info.set_state(ActorState::Starting);
        let lease = self.core.mailbox.lease();
        let arbiter = match self.arbiter() {
            Ok(arbiter) => arbiter,
            Err(Error::Setup { reason }) => return report.start_failed(reason),
            Err(error) => return report.start_failed(error.to_string()),
        };
        let (core, factory, bound) = (self.core.clone(), self.factory.clone(), self.settings.shutdown);
        let runtime = self.runtime.clone();
        // If the thread ends now the closure is dropped, and with it the report, which then says so.
        arbiter.spawn_local(move || Incarnation::new(core, lease, factory, bound, runtime, report));
    }

    fn stop(&self, signal: Signal, _bound: Duration) {
        if signal == Signal::Restart {
            self.core.info.set_state(ActorState::Restarting);
        } else {
            self.core.info.set_state(ActorState::Stopping);
            self.core.close();
        }
        self.core.mailbox.signal(signal);
    }

    fn halt(&self) {
        self.core.mailbox.signal(Signal::Halt);
    }

    fn give_up(&self) {
        self.core.answer_for_a_lost_handler();
        if let Some(arbiter) = self.core.arbiter.lock().take() {
            self.runtime.threads().lose(&arbiter, self.core.info.path());
        }
    }

    fn seal(&self) -> u64 {
        self.core.info.set_state(ActorState::Stopped);
        self.core.close();
        let mut left = 0;
        let revoked = self.core.mailbox.revoke();
        let in_hand = self.core.in_hand.take_left(&revoked);
        while let Some(parcel) = self.core.mailbox.take_left(&revoked) {
            if !matches!(parcel.fate(), Fate::Abandoned) {
                left += 1;
            }
            parcel.fail(self.core.stopped());
        }
        drop(revoked);
        if let Some(replier) = in_hand {
            replier.fail(self.core.stopped());
        }
        self.core.info.count_dead_letters(left);
        if let Some(arbiter) = self.core.arbiter.lock().take() {
            self.runtime.threads().leave(&arbiter);
        }
        self.core.info.announce_end();
        left
    }

    fn core(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.core.clone())
    }

    fn observe(&self) -> Option<ActorSnapshot> {
        let (info, mailbox) = (&self.core.info, &self.core.mailbox);
        let arbiter = self.core.arbiter.lock().clone();
        Some(ActorSnapshot {
            path: info.path().to_owned(),
            kind: info.kind(),
            state: info.state(),
            depth: mailbox.depth(),
            capacity: mailbox.capacity(),
            high_water: mailbox.high_water(),
            handled: info.handled(),
            skipped: info.skipped(),
            failures: info.failures(),
            restarts: info.restarts(),
            dead_letters: info.dead_letters(),
            last_exit: info.last_exit(),
            busy_s: clock::seconds(info.busy().sum_ns()),
            busy_ratio: 0.0,
            handler: info.activity().map(|activity| activity.handler()).unwrap_or_default(),
            mailbox_wait: info.activity().map(|activity| activity.mailbox_wait()).unwrap_or_default(),
            arbiter: arbiter.as_ref().map(|arbiter| arbiter.name().to_owned()).unwrap_or_default(),
            core: arbiter.and_then(|arbiter| arbiter.pinned_core()),
        })
    }
}
