//! One incarnation of an actix actor: actix's own future of it, polled under a guard, and the pump inside.
//!
//! The context has an empty mailbox of its own that no user has an address of; messages come through the [`Pump`], one
//! of the context's futures. So actix polls it by its own rules: not while the actor waits for a future (`ctx.wait`), and
//! not once it is stopping. A panic in anything of the actor's comes out of the one poll; the context is then dropped
//! with the actor in it and without a further hook, for its state is broken.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use actix::dev::{AsyncContextParts, ContextFut, EnvelopeProxy};
use actix::{ActorContext, ActorFuture, Addr, AsyncContext, Context, SpawnHandle};
use tracing::error;

use super::cell::Core;
use super::queue::{Actor, Claim, MakeParts, Next};
use crate::mailbox::Signal;
use crate::observe::ActorState;
use crate::panics::{self, Panicked};
use crate::pulse::{Pulse, Tenant};
use crate::supervision::Report;
use crate::{ExitReason, ticks};

/// Messages handled in one go before the arbiter's other tasks and timers get a turn.
const TURN: u32 = 64;

/// What the pump, inside actix's future, and the life around it tell each other.
struct Shared<A: Actor> {
    /// Of the context's own mailbox: actix ends an actor without addresses and futures. `None` once it may end so.
    keeps_alive: Cell<Option<Addr<A>>>,
    /// The pump was reached: `started`, and what it waited for, is done.
    has_started: Cell<bool>,
    /// Messages left of this turn.
    turn: Cell<u32>,
    /// The pump is among the context's futures.
    is_pumping: Cell<bool>,
    /// The closed queue is empty: what handlers have spawned may end, then the actor.
    lingers: Cell<bool>,
    /// The actor was told to stop; if it refuses, it is not asked again.
    was_asked: Cell<bool>,
    /// The first future that was spawned after `started`.
    first_later: Cell<SpawnHandle>,
}

impl<A: Actor> Shared<A> {
    fn new() -> Self {
        Self {
            keeps_alive: Cell::default(),
            has_started: Cell::default(),
            turn: Cell::default(),
            is_pumping: Cell::default(),
            lingers: Cell::default(),
            was_asked: Cell::default(),
            first_later: Cell::default(),
        }
    }
}

/// Takes messages out of the queue and handles them.
struct Pump<A: Actor> {
    core: Arc<Core<A>>,
    claim: Claim,
    shared: Rc<Shared<A>>,
}

impl<A: Actor> Pump<A> {
    fn spawn(core: &Arc<Core<A>>, claim: Claim, shared: &Rc<Shared<A>>, ctx: &mut Context<A>) {
        shared.is_pumping.set(true);
        ctx.spawn(Self { core: core.clone(), claim, shared: shared.clone() });
    }

    fn begin(&self, ctx: &mut Context<A>) {
        if !self.shared.has_started.replace(true) {
            // Handles are numbered in the order of spawning: one that does nothing tells how far `started` has come.
            self.shared.first_later.set(ctx.spawn(actix::fut::ready(())));
            // The supervisor hears of the start before the first message is handled.
            self.shared.turn.set(0);
        }
    }

    /// Stops the actor, whether it likes to or not.
    fn end(&self, ctx: &mut Context<A>) {
        if self.shared.was_asked.replace(true) { ctx.terminate() } else { ctx.stop() }
    }

    /// Ends the futures that `started` has spawned: intervals and streams, as a rule, which end no other way.
    fn cancel_standing(&self, ctx: &mut Context<A>) {
        let mut handle = SpawnHandle::default().next();
        while handle != self.shared.first_later.get() {
            ctx.cancel_future(handle);
            handle = handle.next();
        }
    }
}

impl<A: Actor> Drop for Pump<A> {
    fn drop(&mut self) {
        self.shared.is_pumping.set(false);
    }
}

impl<A: Actor> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, actor: &mut A, ctx: &mut Context<A>, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.begin(ctx);
        while !ctx.waiting() {
            if self.shared.turn.get() == 0 {
                cx.waker().wake_by_ref();
                break;
            }
            match self.core.queue.next(self.claim, cx) {
                Next::Message(mut message) => {
                    self.shared.turn.set(self.shared.turn.get() - 1);
                    message.handle(actor, ctx);
                    self.core.info.count_handled(1);
                }
                Next::Empty | Next::Lost | Next::Signal(Signal::Halt) => break,
                Next::Drained if !self.shared.lingers.replace(true) => {
                    self.cancel_standing(ctx);
                    self.shared.keeps_alive.take();
                    return Poll::Ready(());
                }
                Next::Drained | Next::Signal(_) => self.end(ctx),
            }
        }
        Poll::Pending
    }
}

/// The future that is an incarnation. It ends when the incarnation does, which the report then says.
pub(super) struct Life<A: Actor> {
    core: Arc<Core<A>>,
    claim: Claim,
    shared: Rc<Shared<A>>,
    /// `None` once it has ended.
    context: Option<ContextFut<A, Context<A>>>,
    /// Of the thread it is on.
    pulse: Arc<Pulse>,
    report: Option<Report>,
    reported_start: bool,
}

impl<A: Actor> Life<A> {
    /// Makes the actor. `None` if that failed, which the report says.
    pub(super) fn begin(
        core: Arc<Core<A>>,
        claim: Claim,
        parts: MakeParts<A>,
        pulse: Arc<Pulse>,
        report: Report,
    ) -> Option<Self> {
        let mut ctx = Context::new();
        *ctx.parts() = parts();
        let shared = Rc::new(Shared::new());
        // The first future to be spawned, so the first to be polled.
        Pump::spawn(&core, claim, &shared, &mut ctx);
        let mut actor = match panics::catch(|| (core.factory)()) {
            Ok(Ok(actor)) => actor,
            Ok(Err(reason)) => {
                report.start_failed(reason.to_string());
                return None;
            }
            Err(Panicked(reason)) => {
                report.start_failed(format!("its factory panicked: {reason}"));
                return None;
            }
        };
        if core.info.restarts() > 0
            && let Some(restarting) = core.restarting
            && let Err(Panicked(reason)) = panics::catch(|| restarting(&mut actor, &mut ctx))
        {
            discard(core.info.path(), (actor, ctx));
            report.start_failed(format!("`restarting` panicked: {reason}"));
            return None;
        }
        let context = ctx.into_future(actor);
        shared.keeps_alive.set(Some(context.address()));
        Some(Self { core, claim, shared, context: Some(context), pulse, report: Some(report), reported_start: false })
    }

    /// Says that it has started, once.
    fn report_start(&mut self) {
        if !std::mem::replace(&mut self.reported_start, true) {
            if self.core.queue.is_held_by(self.claim) {
                self.core.info.advance(ActorState::Starting, ActorState::Running);
            }
            if let Some(report) = &self.report {
                report.started();
            }
        }
    }

    /// Drops what is left of the actor, with no hook called, then says why.
    fn end(&mut self, reason: ExitReason) {
        if let Some(mut context) = self.context.take() {
            // actix would run the actor once more as it is dropped.
            context.ctx().terminate();
            discard(self.core.info.path(), context);
        }
        if let Some(report) = self.report.take() {
            report.exited(reason);
        }
    }

    fn panicked(&mut self, reason: String) {
        error!(path = self.core.info.path(), reason, "an actor panicked");
        let reason = if self.shared.has_started.get() {
            self.report_start();
            ExitReason::Panicked(reason)
        } else {
            ExitReason::StartFailed(format!("`started` panicked: {reason}"))
        };
        self.end(reason);
    }

    /// Ends now. The hooks of stopping are called; an actor that refuses to stop is dropped all the same.
    fn halt(&mut self, cx: &mut TaskContext<'_>) {
        if !self.shared.has_started.get() {
            return self.end(ExitReason::StartFailed("it was stopped before it had started".to_owned()));
        }
        let Some(context) = &mut self.context else { return };
        context.ctx().stop();
        match panics::catch(|| Pin::new(context).poll(cx)) {
            Ok(_) => self.end(self.told_to_end()),
            Err(Panicked(reason)) => self.panicked(reason),
        }
    }

    fn told_to_end(&self) -> ExitReason {
        if self.core.info.is_final() { ExitReason::Shutdown } else { ExitReason::Restart }
    }
}

impl<A: Actor> Life<A> {
    fn turn(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.shared.turn.set(TURN);
        loop {
            let heard = match self.core.queue.heard(self.claim, cx) {
                Err(()) => {
                    self.end(self.told_to_end());
                    return Poll::Ready(());
                }
                Ok(Some(Signal::Halt)) => {
                    self.halt(cx);
                    return Poll::Ready(());
                }
                Ok(heard) => heard,
            };
            let Some(context) = &mut self.context else { return Poll::Ready(()) };
            match panics::catch(|| Pin::new(&mut *context).poll(cx)) {
                Err(Panicked(reason)) => {
                    self.panicked(reason);
                    return Poll::Ready(());
                }
                Ok(Poll::Ready(())) => {
                    self.report_start();
                    self.end(if heard.is_some() { self.told_to_end() } else { ExitReason::Normal });
                    return Poll::Ready(());
                }
                Ok(Poll::Pending) => {}
            }
            let lingers = self.shared.lingers.get() && context.alive();
            let is_pumping = self.shared.is_pumping.get();
            if !is_pumping && !lingers {
                // The actor has cancelled the pump, or refuses to stop.
                Pump::spawn(&self.core, self.claim, &self.shared, context.ctx());
            }
            if self.shared.has_started.get() {
                self.report_start();
            }
            if is_pumping || lingers {
                return Poll::Pending;
            }
        }
    }
}

impl<A: Actor> Future for Life<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        let core = this.core.clone();
        this.pulse.begin(Tenant::of(&core));
        core.info.busy().begin(ticks::read());
        let polled = this.turn(cx);
        core.info.busy().end(ticks::read());
        this.pulse.end();
        polled
    }
}

/// Its thread has ended under it. The report says so as it is dropped.
impl<A: Actor> Drop for Life<A> {
    fn drop(&mut self) {
        if let Some(mut context) = self.context.take() {
            context.ctx().terminate();
            discard(self.core.info.path(), context);
        }
    }
}

fn discard<T>(path: &str, left: T) {
    if let Err(Panicked(reason)) = panics::catch(move || drop(left)) {
        error!(path, reason, "an actor panicked as it was dropped");
    }
}
