//! Messages to oneself: later, again and again, and when another actor has ended.

use std::time::Duration;

use tracing::error;

use super::{Context, TaskHandle};
use crate::panics::{self, Panicked};
use crate::{Actor, Address, Error, ExitReason, Handler, Message};

/// A timer that [`Context::after`] or [`Context::every`] has set, or a watch of [`Context::watch`]'s. Dropping it changes
/// nothing: the timer goes on until its incarnation ends.
#[derive(Debug, Clone)]
pub struct TimerHandle(TaskHandle);

impl TimerHandle {
    /// Ends the timer. What it has told the actor before is handled nevertheless.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether it is over: it has fired for the last time, was cancelled, or ended with its incarnation.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<A: Actor> Context<A> {
    /// Tells the actor `make()` every `period`, the first time after one, until this incarnation ends or the handle
    /// cancels it. A beat that finds the mailbox full is left out, and so is one whose `make` panics.
    ///
    /// # Panics
    /// If `period` is zero.
    pub fn every<M>(&mut self, period: Duration, make: impl Fn() -> M + 'static) -> TimerHandle
    where
        A: Handler<M>,
        M: Message,
    {
        assert!(!period.is_zero(), "an interval needs a period");
        let address = self.address();
        self.timer(async move {
            let mut beats = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
            beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                beats.tick().await;
                let message = match panics::catch(&make) {
                    Ok(message) => message,
                    Err(Panicked(reason)) => {
                        error!(path = address.path(), reason, "a timer's message could not be made");
                        continue;
                    }
                };
                if address.try_tell(message).is_err_and(|refused| matches!(refused.error, Error::ActorStopped { .. })) {
                    break;
                }
            }
        })
    }

    /// Tells the actor `message` once, after `delay`, unless this incarnation ends or the handle cancels it before.
    pub fn after<M>(&mut self, delay: Duration, message: M) -> TimerHandle
    where
        A: Handler<M>,
        M: Message,
    {
        let address = self.address();
        self.timer(async move {
            tokio::time::sleep(delay).await;
            // Refused only if the actor has stopped: then nobody is left to care.
            let _ = address.tell(message).await;
        })
    }

    /// Tells the actor `make(reason)` once the other one has ended for good, unless this incarnation ends before: as with
    /// timers, `started` watches again. The reason is why the other's last incarnation ended; its restarts are not an end:
    /// see [`Context::trap`] for those. The message waits for room where the mailbox does. It is left out if `make` panics.
    pub fn watch<B, M>(&mut self, other: &Address<B>, make: impl FnOnce(ExitReason) -> M + 'static) -> TimerHandle
    where
        A: Handler<M>,
        B: Actor,
        M: Message,
    {
        let (address, stopped) = (self.address(), other.stopped());
        self.timer(async move {
            let reason = stopped.await;
            match panics::catch(|| make(reason)) {
                // Refused only if the actor has stopped: then nobody is left to care.
                Ok(message) => drop(address.tell(message).await),
                Err(Panicked(reason)) => {
                    error!(path = address.path(), reason, "a watch's message could not be made");
                }
            }
        })
    }

    fn timer(&mut self, work: impl Future<Output = ()> + 'static) -> TimerHandle {
        TimerHandle(self.tasks.spawn(self.core.info.path(), work))
    }
}
