//! An actor as its supervisor holds it: the parts that outlive an incarnation, and the loop that is one.

use std::any::Any;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle as Timers;
use tracing::{debug, error};

use crate::arbiters::Arbiter;
use crate::child::{Factory, Settings};
use crate::envelope::Parcel;
use crate::in_hand::Slot;
use crate::links::{self, Linked};
use crate::mailbox::{Claim, Mailbox, Next, Signal};
use crate::observe::{ActorSnapshot, ActorState, Info, SupervisorSnapshot};
use crate::panics::{self, Panicked};
use crate::supervision::Report;
use crate::ties::Ties;
use crate::{Actor, Context, Error, ExitReason, Handle};

/// Messages handled in one go before the arbiter's other tasks and timers get a turn.
const TURN: u32 = 64;

/// What addresses and incarnations share. It outlives every incarnation.
pub(crate) struct Core<A: Actor> {
    pub(crate) mailbox: Mailbox<A>,
    pub(crate) info: Arc<Info>,
    pub(crate) in_hand: Slot,
    pub(crate) ties: Ties,
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

    /// An incarnation has ended, and its supervisor is about to decide what follows.
    fn on_exit(&self, _reason: &ExitReason) {}

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
    pub(crate) runtime: Handle,
}

impl<A: Actor> ActorCell<A> {
    /// The thread to live on.
    fn arbiter(&self) -> Result<Arc<Arbiter>, Error> {
        let path = self.core.info.path();
        self.runtime.threads().settle(&self.core.arbiter, &self.settings.placement, self.settings.niceness, path)
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

    fn start(&self, report: Report) {
        self.core.info.set_state(ActorState::Starting);
        let claim = self.core.mailbox.claim();
        let arbiter = match self.arbiter() {
            Ok(arbiter) => arbiter,
            Err(Error::Setup { reason }) => return report.start_failed(reason),
            Err(error) => return report.start_failed(error.to_string()),
        };
        let incarnation = Incarnation {
            core: self.core.clone(),
            claim,
            factory: self.factory.clone(),
            bound: self.settings.shutdown,
            runtime: self.runtime.clone(),
        };
        // If the thread ends now the closure is dropped, and with it the report, which then says so.
        arbiter.spawn_local(move || incarnation.live(report));
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
        self.core.mailbox.claim();
        self.core.in_hand.give_up(|| self.core.ended());
        self.hurry_children();
        if let Some(arbiter) = self.core.arbiter.lock().take() {
            self.runtime.threads().lose(&arbiter, self.core.info.path());
        }
    }

    fn on_exit(&self, reason: &ExitReason) {
        links::on_exit(self.core.as_ref(), reason);
    }

    fn seal(&self) -> u64 {
        self.core.info.set_state(ActorState::Stopped);
        self.core.close();
        let mut left = self.core.fail_first();
        for parcel in self.core.mailbox.empty() {
            if !parcel.is_abandoned() {
                left += 1;
            }
            parcel.fail(self.core.stopped());
        }
        self.core.in_hand.give_up(|| self.core.stopped());
        self.hurry_children();
        let names = self.core.ties.look(|bonds| Some(std::mem::take(&mut bonds.names)));
        drop(names);
        self.core.info.count_dead_letters(left);
        if let Some(arbiter) = self.core.arbiter.lock().take() {
            self.runtime.threads().leave(&arbiter);
        }
        self.core.info.announce_end();
        links::on_end(self.core.as_ref(), !self.runtime.is_ready());
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
            arbiter: arbiter.as_ref().map(|arbiter| arbiter.name().to_owned()).unwrap_or_default(),
            core: arbiter.and_then(|arbiter| arbiter.pinned_core()),
        })
    }
}

/// Counts a message, and lets the arbiter's other tasks go first when the turn is over.
async fn take_turns(turn: &mut u32) {
    *turn += 1;
    if *turn == TURN {
        *turn = 0;
        tokio::task::yield_now().await;
    }
}

/// How a future that was raced against signals ended.
enum Held<T> {
    /// It finished, perhaps after this signal had come.
    Finished(T, Option<Signal>),
    /// The signal's bound passed first; the future is dropped.
    GivenUp,
}

/// One life of an actor, from its factory to its drop.
struct Incarnation<A: Actor> {
    core: Arc<Core<A>>,
    claim: Claim,
    factory: Arc<Factory<A>>,
    bound: Duration,
    runtime: Handle,
}

impl<A: Actor> Incarnation<A> {
    async fn live(self, report: Report) {
        // Those of an incarnation whose thread was lost.
        if !self.end_children().await {
            return report.start_failed("it was stopped before it had started".to_owned());
        }
        let mut actor = match panics::catch(|| (self.factory)()) {
            Ok(Ok(actor)) => actor,
            Ok(Err(reason)) => return report.start_failed(reason.to_string()),
            Err(Panicked(reason)) => {
                return report.start_failed(format!("its factory panicked: {reason}"));
            }
        };
        let mut ctx = Context::new(self.core.clone(), self.claim, self.runtime.clone());
        let reason = match self.begin(&mut actor, &mut ctx).await {
            Ok(signal) => {
                report.started();
                let reason = self.run(&mut actor, &mut ctx, signal).await;
                self.end(&mut actor, &mut ctx, reason).await
            }
            Err(reason) => reason,
        };
        drop(ctx);
        if let Err(Panicked(reason)) = panics::catch(move || drop(actor)) {
            error!(path = self.core.info.path(), reason, "an actor panicked as it was dropped");
        }
        self.end_children().await;
        match reason {
            ExitReason::StartFailed(reason) => report.start_failed(reason),
            reason => report.exited(reason),
        }
    }

    /// Stops the children there are and waits for their end. False if this incarnation is told to end meanwhile; what has
    /// not ended by its bound stays among the ties.
    async fn end_children(&self) -> bool {
        let Some(nest) = self.core.ties.look(|bonds| bonds.nest.clone()) else { return true };
        if !self.core.mailbox.is_held_by(self.claim) {
            return false;
        }
        nest.stop(self.bound);
        let (outcome, claim) = (self.hold(Box::pin(nest.end())).await, nest.claim);
        if matches!(outcome, Held::GivenUp) {
            nest.stop(Duration::ZERO);
            return false;
        }
        let gone = self.core.ties.look(|bonds| bonds.nest.take_if(|nest| nest.claim == claim));
        drop(gone);
        matches!(outcome, Held::Finished((), None))
    }

    /// The `started` hook.
    async fn begin(&self, actor: &mut A, ctx: &mut Context<A>) -> Result<Option<Signal>, ExitReason> {
        let hook = Box::pin(panics::catch_async(async { actor.started(ctx).await }));
        match self.hold(hook).await {
            Held::Finished(Ok(Ok(())), signal) => {
                if self.core.mailbox.is_held_by(self.claim) {
                    self.core.info.advance(ActorState::Starting, ActorState::Running);
                }
                Ok(signal)
            }
            Held::Finished(Ok(Err(reason)), _) => Err(ExitReason::StartFailed(reason.to_string())),
            Held::Finished(Err(Panicked(reason)), _) => {
                Err(ExitReason::StartFailed(format!("`started` panicked: {reason}")))
            }
            Held::GivenUp => Err(ExitReason::StartFailed(match self.core.doom_of(self.claim) {
                Some(doom) => doom.to_string(),
                None => "it was stopped before it had started".to_owned(),
            })),
        }
    }

    /// Handles messages until something ends the incarnation.
    async fn run(&self, actor: &mut A, ctx: &mut Context<A>, mut signal: Option<Signal>) -> ExitReason {
        let mut turn = 0;
        // `started` may have asked for the end already.
        while !ctx.is_stopping() {
            let next = match signal.take() {
                Some(signal) => Next::Signal(signal),
                None => {
                    poll_fn(|cx| match self.next_first(ctx, cx) {
                        Some(next) => Poll::Ready(next),
                        None => self.core.mailbox.poll_next(self.claim, cx),
                    })
                    .await
                }
            };
            let outcome = match next {
                Next::Signal(Signal::Restart | Signal::Halt) => return self.told_to_end(),
                Next::Signal(Signal::Drain) => return self.drain(actor, ctx).await,
                Next::Parcel(parcel) => self.handle(parcel, actor, ctx).await,
            };
            match outcome {
                Ok(heard) => signal = heard,
                Err(reason) => return reason,
            }
            take_turns(&mut turn).await;
        }
        ExitReason::Normal
    }

    /// A signal, or one of the messages that go before the mailbox's, if there are any of these.
    fn next_first(&self, ctx: &mut Context<A>, cx: &mut TaskContext<'_>) -> Option<Next<A>> {
        if !ctx.has_first() {
            return None;
        }
        match self.core.mailbox.poll_signal(self.claim, cx) {
            Poll::Ready(signal) => Some(Next::Signal(signal)),
            Poll::Pending => ctx.next_first().map(Next::Parcel),
        }
    }

    /// Handles what is queued, then ends. The mailbox is closed, so that is a finite number.
    async fn drain(&self, actor: &mut A, ctx: &mut Context<A>) -> ExitReason {
        let mut turn = 0;
        while !ctx.is_stopping() {
            let next =
                poll_fn(|cx| Poll::Ready(self.next_first(ctx, cx).or_else(|| self.core.mailbox.try_next(self.claim))));
            let outcome = match next.await {
                None | Some(Next::Signal(Signal::Halt)) => break,
                Some(Next::Signal(Signal::Restart | Signal::Drain)) => continue,
                Some(Next::Parcel(parcel)) => self.handle(parcel, actor, ctx).await,
            };
            match outcome {
                Ok(Some(Signal::Halt)) => break,
                Ok(_) => {}
                Err(reason) => return reason,
            }
            take_turns(&mut turn).await;
        }
        ExitReason::Shutdown
    }

    /// One message: skipped if nobody waits for it, else handled to its end, a panic, or a signal's bound.
    async fn handle(
        &self,
        parcel: Parcel<A>,
        actor: &mut A,
        ctx: &mut Context<A>,
    ) -> Result<Option<Signal>, ExitReason> {
        let info = &self.core.info;
        if parcel.is_abandoned() {
            info.count_skipped();
            parcel.fail(self.core.stopped());
            return Ok(None);
        }
        if let Some(deadline) = parcel.expired(Instant::now()) {
            info.count_skipped();
            parcel.fail(deadline.error(info.path()));
            return Ok(None);
        }
        match self.hold(parcel.deliver(actor, ctx)).await {
            Held::Finished(Ok(()), signal) => {
                info.count_handled();
                Ok(signal)
            }
            Held::Finished(Err(Panicked(reason)), _) => {
                error!(path = info.path(), reason, "an actor panicked");
                Err(ExitReason::Panicked(reason))
            }
            Held::GivenUp => Err(self.told_to_end()),
        }
    }

    fn told_to_end(&self) -> ExitReason {
        if self.core.info.is_final() {
            ExitReason::Shutdown
        } else {
            self.core.doom_of(self.claim).unwrap_or(ExitReason::Restart)
        }
    }

    /// Runs `work` to its end. Once a signal has come, it has the child's bound left; a halt leaves it nothing.
    async fn hold<T>(&self, mut work: Pin<Box<dyn Future<Output = T> + '_>>) -> Held<T> {
        let mut heard: Option<Signal> = None;
        let mut timer: Option<Pin<Box<tokio::time::Sleep>>> = None;
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            while let Poll::Ready(signal) = self.core.mailbox.poll_signal(self.claim, cx) {
                heard = heard.max(Some(signal));
                if signal == Signal::Halt {
                    return Poll::Ready(Err(()));
                }
                timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.bound)));
            }
            match &mut timer {
                Some(timer) => timer.as_mut().poll(cx).map(Err),
                None => Poll::Pending,
            }
        })
        .await;
        match outcome {
            Ok(output) => Held::Finished(output, heard),
            Err(()) => {
                if let Err(Panicked(reason)) = panics::catch(move || drop(work)) {
                    error!(path = self.core.info.path(), reason, "a handler panicked as it was given up");
                }
                Held::GivenUp
            }
        }
    }

    /// The `stopped` hook, unless the state is broken, or the thread comes back when the actor already lives elsewhere.
    async fn end(&self, actor: &mut A, ctx: &mut Context<A>, reason: ExitReason) -> ExitReason {
        if reason.is_failure() || !self.core.mailbox.is_held_by(self.claim) {
            return reason;
        }
        let hook = Box::pin(panics::catch_async(async { actor.stopped(ctx).await }));
        match self.hold(hook).await {
            Held::Finished(Ok(()), _) => reason,
            Held::Finished(Err(Panicked(message)), _) => {
                error!(path = self.core.info.path(), reason = message, "an actor panicked in `stopped`");
                ExitReason::Panicked(message)
            }
            Held::GivenUp => {
                debug!(path = self.core.info.path(), "`stopped` was given up at its bound");
                reason
            }
        }
    }
}
