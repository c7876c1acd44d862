//! The same mailbox and the same handlers with no supervision around them: what the bench measures the price of it with.
//!
//! No panic is caught, no signal is heard, nothing is counted, and nobody answers for what is in hand. Not for use.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use crate::cell::Core;
use crate::mailbox::{Lease, Rest};
use crate::parcel::{Letter, Receipt};
use crate::room::Room;
use crate::{Actor, Context, Handle};

use super::turn::TURN;

struct Bare<A: Actor> {
    // Dropped in this order: the room's occupant borrows the two behind it.
    room: Room,
    ctx: Box<Context<A>>,
    actor: Box<A>,
    core: Arc<Core<A>>,
    lease: Arc<Lease>,
    attends: bool,
}

/// Runs an actor on the current thread for as long as that lasts.
pub(crate) fn run<A: Actor>(core: Arc<Core<A>>, actor: A, runtime: Handle) {
    let lease = core.mailbox.lease();
    let ctx = Box::new(Context::new(core.clone(), lease.clone(), runtime));
    let bare = Bare { room: Room::new(), ctx, actor: Box::new(actor), core, lease, attends: false };
    tokio::task::spawn_local(bare);
}

impl<A: Actor> Future for Bare<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Self { room, ctx, actor, core, lease, attends } = self.get_mut();
        if room.is_occupied() && room.poll(cx).is_pending() {
            return Poll::Pending;
        }
        for _ in 0..TURN {
            let Some(window) = lease.open() else { return Poll::Ready(()) };
            if !*attends {
                core.mailbox.attend(&window, cx.waker());
                *attends = true;
            }
            let Some((narrow, wide)) = core.mailbox.front(&window) else {
                if core.mailbox.rest(&window) == Rest::Asleep {
                    return Poll::Pending;
                }
                continue;
            };
            // SAFETY: a slot's parcel is the consumer's until it is passed over, and the window says who that is.
            let mut letter = unsafe { Letter::lying_in(narrow, wide) };
            if letter.asks()
                && let (_, Some(replier)) = letter.take_up()
            {
                core.in_hand.put(&window, replier);
            }
            let receipt = Receipt { window, slot_of: Some(&core.mailbox) };
            let (actor, ctx): (*mut A, *mut Context<A>) = (&raw mut **actor, &raw mut **ctx);
            // SAFETY: both are boxed and outlive the room, and nothing else uses them while it is occupied.
            if !unsafe { letter.deliver(receipt, room, actor, ctx, cx) } {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
