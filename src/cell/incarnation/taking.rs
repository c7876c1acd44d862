//! What an incarnation does with its mailbox: takes the next message, runs its handler, counts and times it, and sleeps when
//! there is none.

use std::mem::ManuallyDrop;
use std::task::Context as TaskContext;

use crate::envelope::Fate;
use crate::mailbox::Rest;
use crate::parcel::{Delivered, Letter, Receipt};
use crate::{Actor, executor, ticks};

use super::super::turn::Turn;
use super::Incarnation;

/// Tries to see a message that its sender is just about to publish, before others get a turn.
const SOON: u32 = 64;

pub(super) enum Next {
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

impl<A: Actor> Incarnation<A> {
    /// Takes the next message and runs its handler.
    #[inline(always)]
    pub(super) fn next(&mut self, cx: &mut TaskContext<'_>) -> Next {
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
    pub(super) fn count_handled(&mut self) {
        self.handled += 1;
        #[cfg(feature = "testkit")]
        self.core.info.set_message_in_hand(false);
    }

    /// At the end of a poll and of the incarnation, and before a message that is the first of its turn or timed: where messages
    /// take long each is.
    #[inline]
    pub(super) fn publish_count(&mut self) {
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
    pub(super) fn rest(&mut self, cx: &mut TaskContext<'_>) -> Rest {
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
}
