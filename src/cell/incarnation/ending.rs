//! How an incarnation ends: by a signal, by itself or by a panic; its hook, its state, its children, and who hears of it.

use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tracing::{debug, error};

use crate::mailbox::Signal;
use crate::panics::{self, Panicked};
use crate::room::Outcome;
use crate::{Actor, Error, ExitReason};

use super::super::Core;
use super::{Incarnation, Life, Stage, Step, Task};

impl<A: Actor> Incarnation<A> {
    /// Has the children that there are end, and waits for it in the room; `None` if that is no longer ours to do.
    pub(super) fn end_children(&mut self, cx: &mut TaskContext<'_>) -> Option<Poll<Outcome>> {
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

    pub(super) fn not_started(&self) -> ExitReason {
        ExitReason::StartFailed(match self.core.doom_of(self.lease.claim()) {
            Some(doom) => doom.to_string(),
            None => "it was stopped before it had started".to_owned(),
        })
    }

    pub(super) fn end_reason(&mut self) -> ExitReason {
        match std::mem::replace(&mut self.stage, Stage::Running) {
            Stage::Stopping(reason) | Stage::Leaving(reason) => *reason,
            _ => unreachable!("there is a reason in these stages"),
        }
    }

    pub(super) fn told_to_end(&self) -> ExitReason {
        if self.core.info.is_final() {
            ExitReason::Shutdown
        } else {
            self.core.doom_of(self.lease.claim()).unwrap_or(ExitReason::Restart)
        }
    }

    /// Whether what is in the room has had its time: a halt leaves it nothing, another signal the child's bound.
    pub(super) fn is_given_up(&mut self, cx: &mut TaskContext<'_>) -> bool {
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
    pub(super) fn give_up(&mut self) -> Option<ExitReason> {
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
    pub(super) fn stop(&mut self, reason: ExitReason, cx: &mut TaskContext<'_>) -> Step {
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
    pub(super) fn after_panic(&mut self, reason: String) -> ExitReason {
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
    pub(super) fn leave(&mut self, reason: ExitReason, cx: &mut TaskContext<'_>) -> Result<(), ExitReason> {
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
    pub(super) fn conclude(&mut self, reason: ExitReason) {
        self.lease.give_back();
        match (self.report.take(), reason) {
            (Some(report), ExitReason::StartFailed(reason)) => report.start_failed(reason),
            (Some(report), reason) => report.exited(reason),
            (None, _) => {}
        }
    }

    /// If it has not come to its conclusion: its thread ends, perhaps with a handler that waits. Otherwise the lease has been
    /// given back, and a window would be the successor's to open.
    fn end_untold(&self) {
        if self.report.is_some() {
            self.answer_in_hand(|core| core.ended());
            self.lease.give_back();
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
