//! The reply slot of the message in hand, kept where the supervisor finds it if the handler does not come back.
//!
//! An asker hears exactly once, and whoever takes the reply out of the [`Slot`] is the one who answers: the handler when
//! it is done, the [`InHand`] guard when the handler is dropped, or the supervisor when the thread is given up. A tell
//! has no reply and costs no slot.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::cell::Core;
use crate::mailbox::Claim;
use crate::reply::ReplyTo;
use crate::{Actor, Error};

/// A reply whose type its own handler knows.
trait Unanswered: Any + Send {
    fn fail(self: Box<Self>, error: Error);
}

impl<R: Send + 'static> Unanswered for ReplyTo<R> {
    fn fail(self: Box<Self>, error: Error) {
        self.send(Err(error));
    }
}

/// The reply of the one message that an actor has in hand, and the claim it was taken under.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<(Claim, Box<dyn Unanswered>)>>);

impl Slot {
    /// Answers the message in hand on behalf of a handler that has lost its claim.
    pub(crate) fn give_up(&self, error: impl FnOnce() -> Error) {
        let left = self.0.lock().take();
        if let Some((_, reply)) = left {
            reply.fail(error());
        }
    }

    fn take<R: Send + 'static>(&self, claim: Claim) -> Option<ReplyTo<R>> {
        let mut slot = self.0.lock();
        let (_, reply) = slot.take_if(|(owner, _)| *owner == claim)?;
        let reply: Box<dyn Any> = reply;
        Some(*reply.downcast().expect("an incarnation has one message in hand"))
    }
}

/// The handler's side. Dropped before it has answered, it says why there will be no answer.
pub(crate) struct InHand<A: Actor, R: Send + 'static> {
    core: Arc<Core<A>>,
    claim: Claim,
    /// There is somebody to answer, who has not heard from here.
    asked: bool,
    reply: PhantomData<fn(R)>,
}

impl<A: Actor, R: Send + 'static> InHand<A, R> {
    /// Gives the reply back if the claim has ended: the message is then not to be handled.
    pub(crate) fn new(core: Arc<Core<A>>, claim: Claim, reply: ReplyTo<R>) -> Result<Self, ReplyTo<R>> {
        let asked = !matches!(reply, ReplyTo::Nobody);
        if asked {
            let mut slot = core.in_hand.0.lock();
            // Under the slot's lock: whoever ends the claim looks into the slot afterwards, and finds this reply.
            if !core.mailbox.is_held_by(claim) {
                return Err(reply);
            }
            *slot = Some((claim, Box::new(reply)));
        }
        Ok(Self { core, claim, asked, reply: PhantomData })
    }

    pub(crate) fn path(&self) -> &str {
        self.core.info.path()
    }

    pub(crate) fn answer(&mut self, answer: Result<R, Error>) {
        let asked = std::mem::take(&mut self.asked);
        let reply = if asked { self.core.in_hand.take(self.claim) } else { None };
        // An answer that nobody waits for any more is dropped as safely as one that is sent.
        reply.unwrap_or(ReplyTo::Nobody).send(answer);
    }
}

impl<A: Actor, R: Send + 'static> Drop for InHand<A, R> {
    fn drop(&mut self) {
        if self.asked {
            self.answer(Err(self.core.ended()));
        }
    }
}
