//! The future of a message that nobody waits for: it ends when the mailbox has taken it.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::sending::Sending;
use super::{Address, SendError};
use crate::envelope::Told;
use crate::{Actor, Handler, Message};

/// A message that has not been sent yet; awaiting it sends. Dropped while it waits for room, it is not sent.
#[must_use = "a message is sent when its future is awaited"]
pub struct Tell<'a, A: Actor, M> {
    to: &'a Address<A>,
    sending: Sending<A, Told<M>>,
}

impl<A: Actor, M> Drop for Tell<'_, A, M> {
    #[inline]
    fn drop(&mut self) {
        self.sending.leave(&self.to.core);
    }
}

/// Nothing in it is pinned.
impl<A: Actor, M> Unpin for Tell<'_, A, M> {}

impl<'a, A: Actor, M> Tell<'a, A, M> {
    #[inline]
    pub(super) fn new(to: &'a Address<A>, message: M) -> Self {
        Self { to, sending: Sending::Unsent(Told::new(message)) }
    }
}

impl<A: Handler<M>, M: Message> Future for Tell<'_, A, M> {
    type Output = Result<(), SendError<M>>;

    // Where it is inlined the message goes from the caller's hands into its slot; else it is moved twice on the way.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let core = &self.to.core;
        self.sending.poll(core, cx).map_err(|(error, parcel)| {
            let message = Some(parcel.open::<Told<M>>().message);
            SendError { error, message }
        })
    }
}
