//! A message on its way into a mailbox: queued at once, or after a wait in line for room.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use crate::cell::Core;
use crate::envelope::Envelope;
use crate::mailbox::{Batch, PlaceInLine, Refused};
use crate::parcel::{Parcel, Unpacked};
use crate::{Actor, Error, Overflow};

/// Messages that are queued together.
const BATCH: usize = 32;

/// How often a sender looks whether room has come by itself before it gets in line.
const LOOKS: u32 = 4;

type Outcome<A> = Result<(), (Error, Parcel<A>)>;

/// Queued, or in line.
pub(super) type Queued<A> = Result<Option<PlaceInLine<Parcel<A>>>, (Error, Parcel<A>)>;

/// Whoever drops it before it was ready must call [`Sending::leave`].
pub(super) enum Sending<A: Actor, E> {
    Unsent(E),
    InLine(PlaceInLine<Parcel<A>>),
    Sent,
}

impl<A: Actor, E> Sending<A, E> {
    /// Gives a place in line up.
    #[inline]
    pub(super) fn leave(&self, core: &Core<A>) {
        if let Self::InLine(place) = self {
            core.mailbox.leave(place);
        }
    }
}

impl<A: Actor, E: Envelope<A>> Sending<A, E> {
    /// Refused, the parcel comes back. Not to be polled after it was ready.
    #[inline(always)]
    pub(super) fn poll(&mut self, core: &Core<A>, cx: &Context<'_>) -> Poll<Outcome<A>> {
        if let Self::Unsent(_) = self
            && let Self::Unsent(envelope) = std::mem::replace(self, Self::Sent)
        {
            match send(core, envelope) {
                Ok(None) => return Poll::Ready(Ok(())),
                Ok(Some(place)) => *self = Self::InLine(place),
                Err(refused) => return Poll::Ready(Err(refused)),
            }
        }
        let Self::InLine(place) = self else { unreachable!("polled after it was sent") };
        let outcome = ready!(place.poll(cx));
        *self = Self::Sent;
        Poll::Ready(outcome.map_err(|refused| core.give_back(refused)))
    }
}

/// Queues, or gets in line where the policy is to wait.
#[inline(always)]
pub(super) fn send<A: Actor, E: Envelope<A>>(core: &Core<A>, envelope: E) -> Queued<A> {
    match core.mailbox.push_now(Unpacked(envelope)) {
        Ok(()) => Ok(None),
        Err(Unpacked(envelope)) => send_by_policy(core, Parcel::new(envelope)),
    }
}

#[cold]
fn send_by_policy<A: Actor>(core: &Core<A>, parcel: Parcel<A>) -> Queued<A> {
    let mailbox = &core.mailbox;
    if mailbox.overflow() != Overflow::Block {
        return core.try_send(parcel).map(|()| None);
    }
    match mailbox.push(parcel) {
        Ok(_) => Ok(None),
        Err(Refused::Full(parcel)) => wait_for_room(core, parcel),
        Err(closed) => Err(core.give_back(closed)),
    }
}

#[cold]
fn wait_for_room<A: Actor>(core: &Core<A>, mut parcel: Parcel<A>) -> Queued<A> {
    let mailbox = &core.mailbox;
    for _ in 0..LOOKS {
        if !mailbox.await_room() {
            break;
        }
        match mailbox.push(parcel) {
            Ok(_) => return Ok(None),
            Err(Refused::Full(back)) => parcel = back,
            Err(closed) => return Err(core.give_back(closed)),
        }
    }
    mailbox.line_up(parcel).map(Some).map_err(|refused| core.give_back(refused))
}

/// A batch's sender in line, which it leaves when it stops waiting.
struct Waits<'a, A: Actor> {
    core: &'a Core<A>,
    place: PlaceInLine<Parcel<A>>,
}

impl<A: Actor> Drop for Waits<'_, A> {
    fn drop(&mut self) {
        self.core.mailbox.leave(&self.place);
    }
}

/// Queues all of them in order, waiting for room where the policy is to wait; how many there were.
pub(super) async fn batches<A: Actor>(
    core: &Core<A>,
    parcels: impl Iterator<Item = Parcel<A>>,
) -> Result<usize, (Error, Parcel<A>)> {
    let mut parcels = parcels.fuse();
    let mut sent = 0;
    if core.mailbox.overflow() == Overflow::DropOldest {
        for parcel in parcels {
            core.try_send(parcel)?;
            sent += 1;
        }
        return Ok(sent);
    }
    let mut batch = Batch::<_, BATCH>::new();
    loop {
        batch.fill(parcels.by_ref());
        if batch.is_empty() {
            return Ok(sent);
        }
        let size = batch.len();
        loop {
            // Closed or full, it is the next message's way that tells.
            let _ = core.mailbox.push_batch(&mut batch);
            let Some(parcel) = batch.next() else { break };
            if let Some(place) = send_by_policy(core, parcel)? {
                let waits = Waits { core, place };
                poll_fn(|cx| waits.place.poll(cx)).await.map_err(|refused| core.give_back(refused))?;
            }
        }
        sent += size;
    }
}
