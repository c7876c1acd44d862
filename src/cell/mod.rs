//! An actor as its supervisor holds it: the parts that outlive an incarnation. `incarnation.rs` is one of its lives.

#[cfg(feature = "bench-internals")]
pub(crate) mod bare;
mod incarnation;
mod turn;

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::arbiters::{Arbiter, HandOver};
use crate::child::{Factory, Patience};
use crate::envelope::Fate;
use crate::in_hand::InHand;
use crate::links::{self, Linked};
use crate::mailbox::{Claim, Mailbox, Signal};
use crate::observe::{self, ActorSnapshot, ActorState, Info, SupervisorSnapshot};
use crate::parcel::Parcel;
use crate::pulse::{Beat, Tenant};
use crate::supervision::Report;
use crate::ties::Ties;
use crate::{Actor, Error, ExitReason, Handle, Placement, clock};

/// What addresses and incarnations share. It outlives every incarnation.
pub(crate) struct Core<A: Actor> {
    pub(crate) mailbox: Mailbox<Parcel<A>>,
    pub(crate) info: Arc<Info>,
    pub(crate) in_hand: InHand,
    pub(crate) ties: Ties,
    /// The thread of the present incarnation; `None` until the first one starts and once none will.
    pub(crate) arbiter: Mutex<Option<Arc<Arbiter>>>,
    pub(crate) runtime: Handle,
}

impl<A: Actor> Core<A> {
    pub(crate) fn stopped(&self) -> Error {
        Error::ActorStopped { path: self.info.path().to_owned() }
    }

    /// Why the message in hand gets no answer of its own.
    pub(crate) fn ended(&self) -> Error {
        if self.info.is_final() { self.stopped() } else { Error::ActorRestarting { path: self.info.path().to_owned() } }
    }

    /// Queues parcels before all others. What comes after the actor's end is lost, and counted.
    pub(crate) fn put_first(&self, mut parcels: VecDeque<Parcel<A>>) {
        if parcels.is_empty() {
            return;
        }
        self.ties.change(|bonds| {
            if let Some(later) = bonds.first.take().and_then(|first| first.downcast::<VecDeque<Parcel<A>>>().ok()) {
                parcels.extend(*later);
            }
            bonds.first = Some(Box::new(parcels));
        });
        if self.info.state() == ActorState::Stopped {
            self.info.count_dead_letters(self.fail_first());
        }
    }

    pub(crate) fn take_first(&self) -> Option<Parcel<A>> {
        self.ties.look(|bonds| {
            let parcels = bonds.first.as_mut()?.downcast_mut::<VecDeque<Parcel<A>>>()?;
            let first = parcels.pop_front();
            if parcels.is_empty() {
                bonds.first = None;
            }
            first
        })
    }

    pub(crate) fn has_first(&self) -> bool {
        self.ties.look(|bonds| Some(bonds.first.is_some())).unwrap_or(false)
    }

    /// Nobody will handle these.
    fn fail_first(&self) -> u64 {
        let mut left = 0;
        while let Some(parcel) = self.take_first() {
            left += 1;
            parcel.fail(self.stopped());
        }
        left
    }

    /// Why the incarnation of this claim is to fail, if it is.
    fn doom_of(&self, claim: Claim) -> Option<ExitReason> {
        self.ties.look(|bonds| bonds.doom.clone()).filter(|(of, _)| *of == claim).map(|(_, reason)| reason)
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

    /// A message that nobody waits for any more is not handled: what its asker would hear.
    #[cold]
    pub(crate) fn count_skipped(&self, fate: Fate) -> Error {
        self.info.count_skipped();
        match fate {
            Fate::Expired(deadline) => deadline.error(self.info.path()),
            Fate::Abandoned | Fate::Deliver => self.stopped(),
        }
    }

    /// What there is to see.
    pub(crate) fn observe(&self) -> ActorSnapshot {
        let (info, mailbox) = (&self.info, &self.mailbox);
        let arbiter = self.arbiter.lock().clone();
        ActorSnapshot {
            path: info.path().to_owned(),
            kind: info.kind(),
            state: info.seen_state(),
            depth: mailbox.depth(),
            capacity: mailbox.capacity(),
            high_water: mailbox.high_water(),
            handled: info.handled(),
            skipped: info.skipped(),
            stuck: info.stuck(),
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
        }
    }

    pub(crate) fn full(&self) -> Error {
        Error::MailboxFull { path: self.info.path().to_owned(), capacity: self.mailbox.capacity() }
    }
}

impl<A: Actor> Linked for Core<A> {
    fn info(&self) -> &Info {
        &self.info
    }

    fn ties(&self) -> &Ties {
        &self.ties
    }

    /// The message in hand has its bound.
    fn doom(&self, claim: Option<Claim>, reason: ExitReason) -> bool {
        let present = self.mailbox.present_claim();
        let lives = matches!(self.info.state(), ActorState::Starting | ActorState::Running);
        if !lives || claim.is_some_and(|claim| claim != present) {
            return false;
        }
        let is_news = self.ties.change(|bonds| {
            let is_news = bonds.doom.as_ref().is_none_or(|(claim, _)| *claim != present);
            if is_news {
                bonds.doom = Some((present, reason));
            }
            is_news
        });
        if is_news {
            self.mailbox.signal_to(present, Signal::Restart);
        }
        is_news
    }
}

/// An actor as one that lives beside it knows it.
pub(crate) trait Neighbour: Send + Sync {
    /// Where it lives now.
    fn thread(&self) -> Option<Arc<Arbiter>>;

    fn path(&self) -> &str;
}

impl<A: Actor> Neighbour for Core<A> {
    fn thread(&self) -> Option<Arc<Arbiter>> {
        self.arbiter.lock().clone()
    }

    fn path(&self) -> &str {
        self.info.path()
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

    /// Begins an incarnation, which tells `report` how it goes: at once, or when what is added to `starts` is handed over.
    /// Blocks for no longer than it takes to make a thread.
    fn start(self: Arc<Self>, report: Report, starts: &mut HandOver);

    /// Tells the incarnation to end, to be started again or for good; `bound` is all it may take.
    fn stop(&self, signal: Signal, bound: Duration);

    /// Its bound is over: whatever it was told before, it is to end at its next await.
    fn halt(&self);

    /// Its thread did not come back: the incarnation loses its claim, and whoever waits for the message in hand hears.
    fn give_up(&self);

    /// An incarnation has ended, and its supervisor is about to decide what follows.
    fn on_exit(&self, _reason: &ExitReason) {}

    /// Takes no more messages and answers those that are left, whose number is returned. Called when no incarnation
    /// will follow.
    fn seal(&self) -> u64;

    /// The [`Core`] that addresses are made of, if it is an actor.
    fn core(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    /// The thread of its incarnations, if it is an actor that has one.
    fn thread(&self) -> Option<Arc<Arbiter>> {
        None
    }

    /// Who it is there.
    fn tenant(&self) -> Option<Tenant> {
        None
    }

    /// How long it may hold that thread.
    fn patience(&self) -> Patience {
        Patience::default()
    }

    /// A child of it that holds its thread for longer than it may, and is to be started on another.
    fn replace(&self, _child: &str, _thread: &Arc<Arbiter>, _held: Beat) {}

    /// A child of it lived on a thread that was given up for what another actor did there.
    fn displace(&self, _child: &str, _thread: &Arc<Arbiter>) {}

    /// What there is to see, if it is an actor.
    fn observe(&self) -> Option<ActorSnapshot>;

    /// What there is to see, if it is a supervisor.
    fn observe_supervisor(&self) -> Option<SupervisorSnapshot> {
        None
    }
}

pub(crate) struct ActorCell<A: Actor> {
    pub(crate) core: Arc<Core<A>>,
    pub(crate) factory: Factory<A>,
    /// How long an incarnation may take to end.
    pub(crate) bound: Duration,
    pub(crate) placement: Placement,
    pub(crate) niceness: Option<i32>,
    pub(crate) patience: Patience,
}

impl<A: Actor> ActorCell<A> {
    /// The thread to live on.
    fn arbiter(&self) -> Result<Arc<Arbiter>, Error> {
        let path = self.core.info.path();
        self.core.runtime.threads().settle(&self.core.arbiter, &self.placement, self.niceness, path)
    }

    /// Children that their parent's incarnation could not wait for.
    fn hurry_children(&self) {
        if let Some(nest) = self.core.ties.look(|bonds| bonds.nest.clone()) {
            nest.stop(Duration::ZERO);
        }
    }
}

impl<A: Actor> Cell for ActorCell<A> {
    fn info(&self) -> &Arc<Info> {
        &self.core.info
    }

    fn start(self: Arc<Self>, report: Report, starts: &mut HandOver) {
        self.core.info.set_state(ActorState::Starting);
        let lease = self.core.mailbox.lease();
        let arbiter = match self.arbiter() {
            Ok(arbiter) => arbiter,
            Err(Error::Setup { reason }) => return report.start_failed(reason),
            Err(error) => return report.start_failed(error.to_string()),
        };
        self.core.runtime.watch(&arbiter, self.patience);
        let pulse = arbiter.pulse().clone();
        // If the thread ends now it is dropped, and with it the report, which then says so.
        starts.add(arbiter, incarnation::newcomer(self, lease, pulse, report));
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
        self.core.info.set_stuck(false);
        self.core.answer_for_a_lost_handler();
        self.hurry_children();
        // Not under the lock: the others that live there are looked for.
        let arbiter = self.core.arbiter.lock().take();
        if let Some(arbiter) = arbiter {
            self.core.runtime.lose_thread(&arbiter, self.core.info.path());
        }
    }

    fn on_exit(&self, reason: &ExitReason) {
        links::on_exit(self.core.as_ref(), reason);
    }

    fn seal(&self) -> u64 {
        self.core.info.set_state(ActorState::Stopped);
        self.core.close();
        let mut left = self.core.fail_first();
        let revoked = self.core.mailbox.revoke();
        let in_hand = self.core.in_hand.take_left(&revoked);
        let parcels: Vec<_> = std::iter::from_fn(|| self.core.mailbox.take_left(&revoked)).collect();
        // Under no lock: whoever is told may run foreign code.
        drop(revoked);
        for parcel in parcels {
            if !matches!(parcel.fate(), Fate::Abandoned) {
                left += 1;
            }
            parcel.fail(self.core.stopped());
        }
        if let Some(replier) = in_hand {
            replier.fail(self.core.stopped());
        }
        self.hurry_children();
        let names = self.core.ties.look(|bonds| Some(std::mem::take(&mut bonds.names)));
        drop(names);
        self.core.info.count_dead_letters(left);
        if let Some(arbiter) = self.core.arbiter.lock().take() {
            self.core.runtime.threads().leave(&arbiter);
        }
        self.core.info.announce_end();
        links::on_end(self.core.as_ref(), !self.core.runtime.is_ready());
        left
    }

    fn core(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(self.core.clone())
    }

    fn thread(&self) -> Option<Arc<Arbiter>> {
        self.core.arbiter.lock().clone()
    }

    fn tenant(&self) -> Option<Tenant> {
        Some(Tenant::of(&self.core))
    }

    fn patience(&self) -> Patience {
        self.patience
    }

    fn observe(&self) -> Option<ActorSnapshot> {
        Some(self.core.observe())
    }
}
