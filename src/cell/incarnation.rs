//! One life of an actor, from its factory to its drop, as one future on its thread.
//!
//! ```text
//! unborn ─factory─▶ starting ─▶ running ──drain──▶ draining
//!    │                 │           │ stop, restart, halt │
//!    │ failed          │           ▼                     ▼
//!    ╰─────────────────┴──▶ over ◀── stopping (`stopped`) ◀╯      a panic anywhere: over
//! ```
//!
//! Children that an earlier incarnation left behind are waited for before the factory (`Clearing`), its own at the end, once
//! the state is gone (`Leaving`).
//!
//! Hooks and handlers are futures in the [`Room`]; at most one is there, and while it is, nothing else touches the actor or
//! its context. One poll handles messages until there are none, a handler waits, or the turn is over. Panics are caught
//! once a poll and not once a message: what was in hand is known from `in_hand.rs`.
//!
//! `taking.rs` is what it does with its mailbox, `ending.rs` how it ends.

mod ending;
mod taking;
#[cfg(all(test, not(ironcliw_loom)))]
mod tests;

use std::cell::UnsafeCell;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use crate::current::Current;
use crate::executor::{Newcomer, Place};
use crate::mailbox::{Lease, Rest, Signal};
use crate::observe::ActorState;
use crate::panics::{self, Panicked};
use crate::pulse::{Pulse, Tenant};
use crate::room::{Outcome, Room};
use crate::supervision::Report;
use crate::{Actor, Context, ExitReason, ticks};

use super::turn::Turn;
use super::{ActorCell, Core};
use taking::Next;

/// An incarnation with its life, at one place in memory.
struct Task<A: Actor> {
    incarnation: Incarnation<A>,
    /// Reached through `incarnation.life` alone, once that is set.
    life: UnsafeCell<Life<A>>,
    _pin: PhantomPinned,
}

/// What lives and dies with the incarnation: the future in the room points here.
struct Life<A: Actor> {
    // Dropped in this order: the room's occupant borrows the other two.
    room: Room,
    ctx: Context<A>,
    actor: Option<A>,
}

enum Stage {
    Unborn,
    /// Waits for the children of an incarnation whose thread was lost.
    Clearing,
    Starting,
    Running,
    Draining,
    /// In `stopped`, after this.
    Stopping(Box<ExitReason>),
    /// The state is gone, after this; waits for its own children.
    Leaving(Box<ExitReason>),
}

struct Incarnation<A: Actor> {
    core: Arc<Core<A>>,
    lease: Arc<Lease>,
    /// Of the thread it is on.
    pulse: Arc<Pulse>,
    /// What it is made of, and how long it may take to end.
    cell: Arc<ActorCell<A>>,
    /// Taken at the end.
    report: Option<Report>,
    /// Beside it in its [`Task`]; set by the first poll.
    life: NonNull<Life<A>>,
    stage: Stage,
    attends: bool,
    asleep: bool,
    /// The last to wake it from its sleep was another thread.
    was_called: bool,
    /// A signal that came while something was in the room.
    heard: Option<Signal>,
    /// Messages that are not in its actor's count yet.
    handled: u32,
    /// When it has to be out, then.
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    turn: Turn,
}

/// A task that is an incarnation which is to live on the thread of this pulse.
pub(super) fn newcomer<A: Actor>(
    cell: Arc<ActorCell<A>>,
    lease: Arc<Lease>,
    pulse: Arc<Pulse>,
    report: Report,
) -> Newcomer {
    Box::pin(task(cell, lease, pulse, report))
}

fn task<A: Actor>(cell: Arc<ActorCell<A>>, lease: Arc<Lease>, pulse: Arc<Pulse>, report: Report) -> Task<A> {
    let core = cell.core.clone();
    let life = Life { room: Room::new(), ctx: Context::new(core.clone(), lease.clone()), actor: None };
    let incarnation = Incarnation {
        core,
        lease,
        pulse,
        cell,
        report: Some(report),
        life: NonNull::dangling(),
        stage: Stage::Unborn,
        attends: false,
        asleep: false,
        was_called: false,
        heard: None,
        handled: 0,
        timer: None,
        turn: Turn::new(),
    };
    Task { incarnation, life: UnsafeCell::new(life), _pin: PhantomPinned }
}

// SAFETY: what need not be `Send` in it, the actor and what is in the room, comes to be when it is polled, and an executor
// polls and drops it on one thread. Before that it is empty, and may be dropped anywhere.
unsafe impl<A: Actor> Send for Task<A> {}

impl<A: Actor> Incarnation<A> {
    fn room(&mut self) -> &mut Room {
        // SAFETY: `life` lives as long as `self`; the occupant borrows the other fields and not this one.
        unsafe { &mut (*self.life.as_ptr()).room }
    }

    /// # Panics
    /// In debug builds, if the room is occupied: then the actor and its context are not ours to touch.
    fn ctx(&mut self) -> &mut Context<A> {
        debug_assert!(!self.room().is_occupied());
        // SAFETY: `life` lives as long as `self`, and nothing else borrows the context while the room is empty.
        unsafe { &mut (*self.life.as_ptr()).ctx }
    }

    /// The actor and its context, for a future that is to enter the room.
    fn parts(&mut self) -> (*mut A, *mut Context<A>) {
        debug_assert!(!self.room().is_occupied());
        let life = self.life.as_ptr();
        // SAFETY: `life` lives as long as `self`, and nothing else borrows these while the room is empty.
        unsafe {
            let actor = (*life).actor.as_mut().expect("it has been born");
            (&raw mut *actor, &raw mut (*life).ctx)
        }
    }

    /// Goes on until there is nothing to do now, or nothing at all: then why.
    fn advance(&mut self, cx: &mut TaskContext<'_>) -> Poll<ExitReason> {
        self.attend(cx);
        // Without its lease a handler goes no further: the actor may already live elsewhere.
        if self.room().is_occupied()
            && !self.lease.is_revoked()
            && let Poll::Ready(outcome) = self.room().poll(cx)
        {
            self.timer = None;
            if let Some(end) = self.after(outcome) {
                return Poll::Ready(end);
            }
        }
        loop {
            if self.room().is_occupied() {
                // It has just been polled, or may not be.
                if !self.is_given_up(cx) {
                    self.core.mailbox.make_room_before_a_wait();
                    return Poll::Pending;
                }
                if let Some(end) = self.give_up() {
                    return Poll::Ready(end);
                }
            }
            let step = match self.stage {
                // The thread has come back too late even to begin.
                Stage::Unborn if self.lease.is_revoked() => return Poll::Ready(self.told_to_end()),
                Stage::Unborn => self.be_born(cx),
                Stage::Running => self.run(cx),
                Stage::Draining => self.drain(cx),
                Stage::Clearing | Stage::Starting | Stage::Stopping(_) | Stage::Leaving(_) => {
                    unreachable!("something is in the room in these stages")
                }
            };
            match step {
                Step::On => {}
                Step::Wait => return Poll::Pending,
                Step::Over(end) => return Poll::Ready(end),
            }
        }
    }

    /// Says whom to wake, and that it is up.
    fn attend(&mut self, cx: &TaskContext<'_>) {
        if self.attends && !self.asleep {
            return;
        }
        let Some(window) = self.lease.open() else { return };
        let place = Place::of(cx.waker()).expect("an executor of ours polls it");
        if !self.attends {
            // A task has one place for all its life.
            self.core.mailbox.attend(&window, place);
            self.attends = true;
        }
        if self.asleep {
            self.core.mailbox.get_up(&window);
            self.asleep = false;
            self.was_called = place.was_called();
        }
    }

    fn be_born(&mut self, cx: &mut TaskContext<'_>) -> Step {
        if self.core.ties.look(|bonds| bonds.nest.clone()).is_some() {
            self.stage = Stage::Clearing;
            return match self.end_children(cx) {
                Some(entered) => self.entered(entered),
                None => Step::Over(self.not_started()),
            };
        }
        #[cfg(feature = "testkit")]
        if let Some(reason) = self.ctx().factory_fault() {
            return Step::Over(ExitReason::StartFailed(reason));
        }
        let actor = match (self.cell.factory)() {
            Ok(actor) => actor,
            Err(reason) => return Step::Over(ExitReason::StartFailed(panics::bounded(reason.to_string()))),
        };
        // SAFETY: `life` lives as long as `self`, and the room is empty.
        unsafe { (*self.life.as_ptr()).actor = Some(actor) };
        self.stage = Stage::Starting;
        let (actor, ctx) = self.parts();
        // SAFETY: the room drops the future before `Life` drops the actor and the context; nothing else uses them till then.
        let entered = unsafe {
            let (actor, ctx) = (&mut *actor, &mut *ctx);
            let hook = async move {
                #[cfg(feature = "testkit")]
                ctx.meet_start_faults();
                Outcome::Started(actor.started(ctx).await)
            };
            self.room().enter(|| hook, cx)
        };
        self.entered(entered)
    }

    fn entered(&mut self, entered: Poll<Outcome>) -> Step {
        match entered {
            Poll::Ready(outcome) => self.after(outcome).map_or(Step::On, Step::Over),
            Poll::Pending => Step::On,
        }
    }

    /// What follows from the end of what was in the room.
    fn after(&mut self, outcome: Outcome) -> Option<ExitReason> {
        match outcome {
            Outcome::Handled => {
                self.count_handled();
                if let Some(timed) = self.turn.timed.take() {
                    self.turn.end_timing(timed, &self.core.info);
                }
                None
            }
            Outcome::Started(Ok(())) => {
                if !self.lease.is_revoked() {
                    self.core.info.advance(ActorState::Starting, ActorState::Running);
                }
                self.stage = Stage::Running;
                // Many actors are started and then wait: what `started` took need not be kept for that.
                self.room().release();
                if let Some(report) = &self.report {
                    report.started();
                }
                None
            }
            Outcome::Started(Err(reason)) => Some(ExitReason::StartFailed(panics::bounded(reason.to_string()))),
            Outcome::Stopped => Some(self.end_reason()),
            Outcome::ChildrenEnded if matches!(self.stage, Stage::Leaving(_)) => Some(self.end_reason()),
            // Told to end meanwhile, it does not begin.
            Outcome::ChildrenEnded if self.heard.is_some() => Some(self.not_started()),
            Outcome::ChildrenEnded => {
                self.stage = Stage::Unborn;
                None
            }
        }
    }

    fn run(&mut self, cx: &mut TaskContext<'_>) -> Step {
        let mut heard = self.heard.take();
        loop {
            match heard.take() {
                None => {}
                Some(Signal::Restart | Signal::Halt) => return self.stop(self.told_to_end(), cx),
                Some(Signal::Drain) => {
                    self.stage = Stage::Draining;
                    return Step::On;
                }
            }
            match self.next(cx) {
                Next::Delivered | Next::Skipped => {}
                Next::InTheRoom => return Step::On,
                // `started` may have asked for the end already.
                Next::Disturbed if self.ctx().is_stopping() => return self.stop(ExitReason::Normal, cx),
                Next::Disturbed => heard = self.lease.hear(),
                Next::TurnOver => return Step::Wait,
                Next::Nothing => match self.rest(cx) {
                    Rest::More => {}
                    Rest::Asleep | Rest::Soon => return Step::Wait,
                },
            }
        }
    }

    /// Handles what is queued, then ends. The mailbox is closed, so that is a finite number.
    fn drain(&mut self, cx: &mut TaskContext<'_>) -> Step {
        let mut heard = self.heard.take();
        loop {
            if heard.take() == Some(Signal::Halt) {
                return self.stop(ExitReason::Shutdown, cx);
            }
            match self.next(cx) {
                Next::Delivered | Next::Skipped => {}
                Next::InTheRoom => return Step::On,
                Next::Disturbed if self.ctx().is_stopping() => return self.stop(ExitReason::Shutdown, cx),
                Next::Disturbed => heard = self.lease.hear(),
                Next::TurnOver => return Step::Wait,
                Next::Nothing => match self.rest(cx) {
                    Rest::More => {}
                    Rest::Asleep => return self.stop(ExitReason::Shutdown, cx),
                    Rest::Soon => return Step::Wait,
                },
            }
        }
    }
}

enum Step {
    On,
    Wait,
    Over(ExitReason),
}

impl<A: Actor> Future for Task<A> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        // SAFETY: nothing is moved out of it; what must not move is the life.
        let this = unsafe { self.get_unchecked_mut() };
        this.incarnation.life = NonNull::new(this.life.get()).expect("a cell has an address");
        this.incarnation.poll(cx)
    }
}

impl<A: Actor> Incarnation<A> {
    #[inline]
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        // SAFETY: the incarnation keeps its core for as long as it lives.
        let core = unsafe { &*Arc::as_ptr(&self.core) };
        let _stay = Current { info: &core.info, runtime: &core.runtime }.stay();
        self.pulse.begin(Tenant::of(&self.core));
        core.info.busy().begin(ticks::last());
        let polled = self.go_on(cx);
        self.publish_count();
        let now = ticks::read();
        // If the thread comes back late, another one writes this.
        if !self.lease.is_revoked() {
            core.info.busy().end(now);
        }
        self.pulse.end();
        polled
    }
}

impl<A: Actor> Incarnation<A> {
    /// Goes on, and sees to what follows when it is over.
    fn go_on(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let was_leaving = matches!(self.stage, Stage::Leaving(_));
            let end = match panics::catch(|| self.advance(cx)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(end)) => end,
                Err(Panicked(reason)) => self.after_panic(reason),
            };
            self.publish_count();
            let left = if was_leaving { Err(end) } else { self.leave(end, cx) };
            if let Err(end) = left {
                self.conclude(end);
                return Poll::Ready(());
            }
        }
    }
}
