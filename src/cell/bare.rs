//! The same mailbox and the same handlers with no supervision around them: what the bench measures the price of it with.
//!
//! No panic is caught, no signal is heard, nothing is counted, and nobody answers for what is in hand. Not for use.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use crate::cell::Core;
use crate::child::Factory;
use crate::executor::{Newcomer, Place};
use crate::mailbox::{Lease, Rest};
use crate::parcel::{Delivered, Letter, Receipt};
use crate::room::Room;
use crate::{Actor, Context};

use super::turn::TURN;

struct Bare<A: Actor> {
    // Dropped in this order: the room's occupant borrows the two behind it.
    room: Room,
    ctx: Box<Context<A>>,
    actor: Option<Box<A>>,
    factory: Factory<A>,
    core: Arc<Core<A>>,
    lease: Arc<Lease>,
    attends: bool,
}

// SAFETY: what need not be `Send` in it comes to be when it is polled, and an executor polls and drops it on one thread.
unsafe impl<A: Actor> Send for Bare<A> {}

/// An actor that runs on a thread for as long as that lasts.
pub(crate) fn newcomer<A: Actor>(core: Arc<Core<A>>, factory: Factory<A>) -> Newcomer {
    let lease = core.mailbox.lease();
    let ctx = Box::new(Context::new(core.clone(), lease.clone()));
    Box::pin(Bare { room: Room::new(), ctx, actor: None, factory, core, lease, attends: false })
}

impl<A: Actor> Future for Bare<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Self { room, ctx, actor, factory, core, lease, attends } = self.get_mut();
        let actor = actor
            .get_or_insert_with(|| Box::new(factory().unwrap_or_else(|reason| panic!("its factory failed: {reason}"))));
        if room.is_occupied() && room.poll(cx).is_pending() {
            return Poll::Pending;
        }
        for _ in 0..TURN {
            let Some(window) = lease.open() else { return Poll::Ready(()) };
            if !*attends {
                core.mailbox.attend(&window, Place::of(cx.waker()).expect("an executor of ours polls it"));
                *attends = true;
            }
            let Some((narrow, wide)) = core.mailbox.front(&window) else {
                if core.mailbox.rest(&window) == Rest::Asleep {
                    return Poll::Pending;
                }
                continue;
            };
            // SAFETY: a slot's parcel is the consumer's until it is passed over, and the window says who that is.
            let letter = unsafe { Letter::lying_in(narrow, wide) };
            let receipt = Receipt { window, core, is_in_slot: true };
            let (actor, ctx): (*mut A, *mut Context<A>) = (&raw mut **actor, &raw mut **ctx);
            // SAFETY: both are boxed and outlive the room, and nothing else uses them while it is occupied.
            if unsafe { letter.deliver(receipt, room, actor, ctx, cx) } == Delivered::Waits {
                core.mailbox.make_room_before_a_wait();
                return Poll::Pending;
            }
            core.mailbox.make_room();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
