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

use std::cell::UnsafeCell;
use std::marker::PhantomPinned;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tracing::{debug, error};

use crate::current::Current;
use crate::envelope::Fate;
use crate::executor::{Newcomer, Place};
use crate::mailbox::{Lease, Rest, Signal};
use crate::observe::ActorState;
use crate::panics::{self, Panicked};
use crate::parcel::{Delivered, Letter, Receipt};
use crate::pulse::{Pulse, Tenant};
use crate::room::{Outcome, Room};
use crate::supervision::Report;
use crate::{Actor, Context, Error, ExitReason, executor, ticks};

use super::turn::Turn;
use super::{ActorCell, Core};

/// Tries to see a message that its sender is just about to publish, before others get a turn.
const SOON: u32 = 64;

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
            Err(reason) => return Step::Over(ExitReason::StartFailed(reason.to_string())),
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

    /// Has the children that there are end, and waits for it in the room; `None` if that is no longer ours to do.
    fn end_children(&mut self, cx: &mut TaskContext<'_>) -> Option<Poll<Outcome>> {
        let nest = self.core.ties.look(|bonds| bonds.nest.clone())?;
        if self.lease.is_revoked() {
            return None;
        }
        nest.stop(self.cell.bound);
        let core = self.core.clone();
        let wait = async move {
            nest.end().await;
            let gone = core.ties.look(|bonds| bonds.nest.take_if(|present| present.claim == nest.claim));
            drop(gone);
            Outcome::ChildrenEnded
        };
        // SAFETY: the future borrows nothing.
        Some(unsafe { self.room().enter(|| wait, cx) })
    }

    fn not_started(&self) -> ExitReason {
        ExitReason::StartFailed(match self.core.doom_of(self.lease.claim()) {
            Some(doom) => doom.to_string(),
            None => "it was stopped before it had started".to_owned(),
        })
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
            Outcome::Started(Err(reason)) => Some(ExitReason::StartFailed(reason.to_string())),
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

    fn end_reason(&mut self) -> ExitReason {
        match std::mem::replace(&mut self.stage, Stage::Running) {
            Stage::Stopping(reason) | Stage::Leaving(reason) => *reason,
            _ => unreachable!("there is a reason in these stages"),
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

    /// Takes the next message and runs its handler.
    #[inline(always)]
    fn next(&mut self, cx: &mut TaskContext<'_>) -> Next {
        if self.turn.is_over() {
            self.turn.end();
            cx.waker().wake_by_ref();
            return Next::TurnOver;
        }
        // SAFETY: `life` lives as long as `self`, and nothing else borrows the context while the room is empty.
        if unsafe { (*self.life.as_ptr()).ctx.is_stopping() } {
            return Next::Disturbed;
        }
        if self.turn.is_marked() {
            self.publish_count();
            let mark = self.turn.mark();
            if mark.is_begin() {
                self.core.mailbox.note_depth();
            }
            if mark.is_timed() {
                return self.next_timed(cx);
            }
        }
        self.take(cx)
    }

    /// The same with a message that is timed.
    #[cold]
    fn next_timed(&mut self, cx: &mut TaskContext<'_>) -> Next {
        if !self.core.mailbox.is_ready() {
            let next = self.take(cx);
            // It stays due.
            self.turn.time_after(0);
            return next;
        }
        let queued_at = self.core.mailbox.front_queued_at();
        let timed = Turn::begin_timing();
        // Before it is answered: what follows from the answer may be the next message.
        let before_probe = self.core.mailbox.probe_after(self.turn.gap());
        let next = self.take(cx);
        if matches!(next, Next::Delivered | Next::InTheRoom)
            && let Some(queued_at) = queued_at
        {
            self.core.info.activity_made().waited(ticks::to_ns(timed.began().saturating_sub(queued_at)));
        }
        match next {
            Next::Delivered => self.turn.end_timing(timed, &self.core.info),
            Next::InTheRoom => self.turn.timed = Some(timed),
            // It stays due.
            Next::Skipped | Next::Disturbed | Next::Nothing | Next::TurnOver => {
                self.turn.time_after(0);
                return next;
            }
        }
        self.turn.time_after(before_probe.min(self.turn.gap()));
        next
    }

    #[inline(always)]
    fn count_handled(&mut self) {
        self.handled += 1;
        #[cfg(feature = "testkit")]
        self.core.info.set_message_in_hand(false);
    }

    /// At the end of a poll and of the incarnation, and before a message that is the first of its turn or timed: where messages take long each is.
    #[inline]
    fn publish_count(&mut self) {
        if self.handled > 0 {
            self.core.info.count_handled(std::mem::take(&mut self.handled).into());
        }
    }

    #[inline(always)]
    fn take(&mut self, cx: &mut TaskContext<'_>) -> Next {
        // SAFETY: as in `next`.
        let ctx = unsafe { &mut (*self.life.as_ptr()).ctx };
        let Some(mut window) = self.lease.open_undisturbed() else { return Next::Disturbed };
        let core = &self.core;
        let mut own;
        let (mut letter, mut is_in_slot) = if !ctx.has_first()
            && let Some((narrow, wide)) = core.mailbox.front(&window)
        {
            // SAFETY: a slot's parcel is the consumer's until it is passed over, and the window says who that is.
            (unsafe { Letter::lying_in(narrow, wide) }, true)
        } else if let Some(parcel) = ctx.next_first().or_else(|| core.mailbox.take_from_deque(&window)) {
            own = ManuallyDrop::new(parcel);
            (Letter::of(&mut own), false)
        } else {
            return Next::Nothing;
        };
        self.turn.count();
        if letter.has_sink() {
            // A sink is foreign code, which no window is open for.
            let parcel = letter.into_parcel();
            // SAFETY: it has been moved out.
            unsafe { Receipt { window, core, is_in_slot }.give() };
            let fate = parcel.fate();
            if !matches!(fate, Fate::Deliver) {
                parcel.fail(core.count_skipped(fate));
                core.mailbox.make_room();
                return Next::Skipped;
            }
            let Some(again) = self.lease.open() else {
                parcel.fail(core.ended());
                return Next::Skipped;
            };
            own = ManuallyDrop::new(parcel);
            (window, letter, is_in_slot) = (again, Letter::of(&mut own), false);
        }
        let receipt = Receipt { window, core, is_in_slot };
        let life = self.life.as_ptr();
        // SAFETY: `life` lives as long as `self`, the room is empty, and it drops the future before `Life` drops the actor
        // and the context, which nothing else uses till then. The letter lies in front of the mailbox if the receipt says so.
        let delivered = unsafe {
            let actor = (*life).actor.as_mut().expect("it has been born");
            let (actor, ctx, room) = (&raw mut *actor, &raw mut (*life).ctx, &mut (*life).room);
            letter.deliver(receipt, room, actor, ctx, cx)
        };
        let next = match delivered {
            Delivered::Done => {
                self.count_handled();
                Next::Delivered
            }
            // Room is made before it waits.
            Delivered::Waits => return Next::InTheRoom,
            Delivered::Skipped => Next::Skipped,
        };
        // Not before the handler has run: those who wait for room are woken by foreign code, which may take so long that the
        // lease is lost meanwhile.
        self.core.mailbox.make_room();
        next
    }

    /// There is no message: sleeps, unless one has just come or is about to.
    fn rest(&mut self, cx: &mut TaskContext<'_>) -> Rest {
        if self.may_linger() {
            let Some(window) = self.lease.open() else { return Rest::More };
            let has_come = self.core.mailbox.linger(&window);
            self.turn.lingered(has_come);
            if has_come {
                return Rest::More;
            }
        }
        self.turn.rest();
        for _ in 0..SOON {
            let Some(window) = self.lease.open() else { return Rest::More };
            let mailbox = &self.core.mailbox;
            match mailbox.rest(&window) {
                Rest::Asleep => {
                    self.asleep = true;
                    return Rest::Asleep;
                }
                Rest::More => return Rest::More,
                Rest::Soon if mailbox.front(&window).is_some() => return Rest::More,
                Rest::Soon => {}
            }
            drop(window);
            mailbox.make_room_before_a_wait();
            std::hint::spin_loop();
        }
        // Its sender does not run: perhaps for want of this core.
        std::thread::yield_now();
        cx.waker().wake_by_ref();
        Rest::Soon
    }

    /// Whether to let messages come together before sleeping: where they come in bursts from another thread, and it has been
    /// of use.
    fn may_linger(&mut self) -> bool {
        self.was_called && self.turn.is_burst() && executor::may_spin() && self.turn.is_worth_lingering()
    }

    fn told_to_end(&self) -> ExitReason {
        if self.core.info.is_final() {
            ExitReason::Shutdown
        } else {
            self.core.doom_of(self.lease.claim()).unwrap_or(ExitReason::Restart)
        }
    }

    /// Whether what is in the room has had its time: a halt leaves it nothing, another signal the child's bound.
    fn is_given_up(&mut self, cx: &mut TaskContext<'_>) -> bool {
        while let Some(signal) = self.lease.hear() {
            self.heard = self.heard.max(Some(signal));
            if signal == Signal::Halt {
                return true;
            }
            self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.cell.bound)));
        }
        self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }

    /// Drops what is in the room; why the incarnation ends, unless `stopped` is to run.
    fn give_up(&mut self) -> Option<ExitReason> {
        (self.timer, self.turn.timed) = (None, None);
        let room = self.room();
        if let Err(Panicked(reason)) = panics::catch(|| room.clear()) {
            error!(path = self.core.info.path(), reason, "a handler panicked as it was given up");
        }
        self.answer_in_hand(|core| core.ended());
        match self.stage {
            Stage::Starting => Some(self.not_started()),
            Stage::Stopping(_) => {
                debug!(path = self.core.info.path(), "`stopped` was given up at its bound");
                Some(self.end_reason())
            }
            Stage::Clearing | Stage::Leaving(_) => {
                if let Some(nest) = self.core.ties.look(|bonds| bonds.nest.clone()) {
                    nest.stop(Duration::ZERO);
                }
                Some(if matches!(self.stage, Stage::Clearing) { self.not_started() } else { self.end_reason() })
            }
            Stage::Unborn | Stage::Running | Stage::Draining => {
                self.heard = Some(Signal::Halt);
                self.stage = Stage::Running;
                None
            }
        }
    }

    fn answer_in_hand(&self, error: impl FnOnce(&Core<A>) -> Error) {
        let in_hand = self.lease.open().and_then(|window| self.core.in_hand.take(&window));
        if let Some(replier) = in_hand {
            replier.fail(error(&self.core));
        }
    }

    /// Runs the `stopped` hook, unless the thread has come back when the actor already lives elsewhere.
    fn stop(&mut self, reason: ExitReason, cx: &mut TaskContext<'_>) -> Step {
        if self.lease.is_revoked() {
            return Step::Over(reason);
        }
        self.stage = Stage::Stopping(Box::new(reason));
        self.heard = None;
        let (actor, ctx) = self.parts();
        // SAFETY: the room drops the future before `Life` drops the actor and the context; nothing else uses them till then.
        let entered = unsafe {
            let (actor, ctx) = (&mut *actor, &mut *ctx);
            let hook = async move {
                actor.stopped(ctx).await;
                Outcome::Stopped
            };
            self.room().enter(|| hook, cx)
        };
        self.entered(entered)
    }

    /// A hook, a handler or the factory panicked: its asker hears, and the state is broken.
    fn after_panic(&mut self, reason: String) -> ExitReason {
        let path = self.core.info.path();
        match &self.stage {
            Stage::Unborn | Stage::Clearing => ExitReason::StartFailed(format!("its factory panicked: {reason}")),
            Stage::Starting => ExitReason::StartFailed(format!("`started` panicked: {reason}")),
            Stage::Stopping(_) => {
                error!(path, reason, "an actor panicked in `stopped`");
                ExitReason::Panicked(reason)
            }
            Stage::Leaving(_) => self.end_reason(),
            Stage::Running | Stage::Draining => {
                error!(path, reason, "an actor panicked");
                self.answer_in_hand(|_| Error::ActorPanicked { path: path.to_owned(), reason: reason.clone() });
                ExitReason::Panicked(reason)
            }
        }
    }

    /// Drops the state, and sees to the children's end; whether nothing is left to wait for.
    fn leave(&mut self, reason: ExitReason, cx: &mut TaskContext<'_>) -> Result<(), ExitReason> {
        let life = self.life.as_ptr();
        // SAFETY: `life` lives as long as `self`; the room goes first, which borrows the other two.
        let Life { room, ctx, actor } = unsafe { &mut *life };
        for dropped in
            [panics::catch(|| room.clear()), panics::catch(|| ctx.end()), panics::catch(|| drop(actor.take()))]
        {
            if let Err(Panicked(reason)) = dropped {
                error!(path = self.core.info.path(), reason, "an actor panicked as it was dropped");
            }
        }
        self.timer = None;
        match self.end_children(cx) {
            Some(Poll::Pending) => {
                self.stage = Stage::Leaving(Box::new(reason));
                Ok(())
            }
            Some(Poll::Ready(_)) | None => Err(reason),
        }
    }

    /// Tells the supervisor.
    fn conclude(&mut self, reason: ExitReason) {
        self.lease.give_back();
        match (self.report.take(), reason) {
            (Some(report), ExitReason::StartFailed(reason)) => report.start_failed(reason),
            (Some(report), reason) => report.exited(reason),
            (None, _) => {}
        }
    }
}

enum Step {
    On,
    Wait,
    Over(ExitReason),
}

enum Next {
    /// Handled to its end.
    Delivered,
    /// Not handled: nobody waits for it, or it is not ours.
    Skipped,
    /// The handler waits.
    InTheRoom,
    /// It has asked for its end, or there is a signal to hear.
    Disturbed,
    TurnOver,
    Nothing,
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

impl<A: Actor> Drop for Task<A> {
    /// Its thread ends, or the incarnation is over and the actor is gone.
    fn drop(&mut self) {
        let Life { room, actor, .. } = self.life.get_mut();
        for dropped in [panics::catch(|| room.clear()), panics::catch(|| drop(actor.take()))] {
            if let Err(Panicked(reason)) = dropped {
                let path = self.incarnation.core.info.path();
                error!(path, reason, "an actor panicked as its thread ended");
            }
        }
        self.incarnation.end_untold();
    }
}

impl<A: Actor> Incarnation<A> {
    /// If it has not come to its conclusion: its thread ends, perhaps with a handler that waits. Otherwise the lease has been
    /// given back, and a window would be the successor's to open.
    fn end_untold(&self) {
        if self.report.is_some() {
            self.answer_in_hand(|core| core.ended());
            self.lease.give_back();
        }
    }
}

#[cfg(all(test, not(ironcliw_loom)))]
mod tests;
