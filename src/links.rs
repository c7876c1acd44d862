//! Links: actors that fail together, whoever supervises them.
//!
//! A link has two halves, one among each actor's ties: a half says what becomes of the *other* actor when this one fails.
//! It belongs to the incarnation that made it and to the other actor's address.
//!
//! - A failure uses links up and spreads at once, along every link, to whoever is not to fail already: each actor fails
//!   once for each failure, whatever circles the links make and however long each takes to end.
//! - That end itself, [`ExitReason::Linked`], is therefore no news: a link that was made in the meantime, by one that is
//!   back already, is not used up by it.
//! - A half that traps is not used up: it tells of every failure.
//!
//! One actor's ties are locked at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::mpsc::UnboundedSender;

use crate::ExitReason;
use crate::mailbox::Claim;
use crate::observe::{ActorState, Info};
use crate::ties::Ties;

/// An actor as links know it.
pub(crate) trait Linked: Send + Sync {
    fn info(&self) -> &Info;
    fn ties(&self) -> &Ties;

    /// Makes an incarnation fail, the present one if no claim is given. Tells whether one lives that was not to fail
    /// already.
    fn doom(&self, claim: Option<Claim>, reason: ExitReason) -> bool;
}

/// What becomes of an actor when the one it is linked to fails.
#[derive(Clone)]
pub(crate) enum Then {
    /// This incarnation fails as well, or the present one.
    Fail(Option<Claim>),
    /// It hears of it.
    Tell(UnboundedSender<ExitReason>),
}

/// One actor's half of a link.
pub(crate) struct Half {
    id: u64,
    peer: Weak<dyn Linked>,
    /// What becomes of the peer.
    then: Then,
    /// The link was made by this actor, whose incarnation's end is the link's.
    is_own: bool,
    /// The peer has heard of a failure.
    has_told: bool,
}

/// Links an incarnation to another actor, and returns the link's number.
pub(crate) fn link(own: &Arc<dyn Linked>, other: &Arc<dyn Linked>, then: Then) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let half =
        |peer: &Arc<dyn Linked>, then, is_own| Half { id, peer: Arc::downgrade(peer), then, is_own, has_told: false };
    let (mine, theirs) = (half(other, Then::Fail(None), true), half(own, then, false));
    own.ties().change(|bonds| bonds.links.push(mine));
    other.ties().change(|bonds| bonds.links.push(theirs));
    // One that ends now finds the half, or has set its state before: then the half may be there still.
    if other.info().state() == ActorState::Stopped
        && let Some(half) = remove(other.as_ref(), id)
    {
        remove(own.as_ref(), id);
        let reason = other.info().last_reason();
        react(other.info().path(), own, half.then, reason);
    }
    id
}

/// Takes a half of a link out of an actor's ties.
pub(crate) fn remove(of: &dyn Linked, id: u64) -> Option<Half> {
    of.ties().look(|bonds| {
        let place = bonds.links.iter().position(|half| half.id == id)?;
        Some(bonds.links.swap_remove(place))
    })
}

/// An incarnation has ended.
pub(crate) fn on_exit(of: &dyn Linked, reason: &ExitReason) {
    if reason.is_failure() && !matches!(reason, ExitReason::Linked(_)) {
        spread(of, reason);
    }
    let own = of.ties().look(|bonds| Some(bonds.links.extract_if(.., |half| half.is_own).collect::<Vec<_>>()));
    for half in own.into_iter().flatten() {
        if let Some(peer) = half.peer.upgrade() {
            remove(peer.as_ref(), half.id);
        }
    }
}

/// The actor has ended for good. While the runtime closes nobody fails for that.
pub(crate) fn on_end(of: &dyn Linked, is_closing: bool) {
    let reason = of.info().last_reason();
    for half in of.ties().look(|bonds| Some(std::mem::take(&mut bonds.links))).into_iter().flatten() {
        let Some(peer) = half.peer.upgrade() else { continue };
        remove(peer.as_ref(), half.id);
        let has_heard = half.has_told && reason.is_failure();
        let is_spared = matches!(half.then, Then::Fail(_)) && (half.is_own || is_closing);
        if !has_heard && !is_spared {
            react(of.info().path(), &peer, half.then, reason.clone());
        }
    }
}

/// What follows for `peer` from the failure or the end of the actor at `path`.
fn react(path: &str, peer: &Arc<dyn Linked>, then: Then, reason: ExitReason) {
    match then {
        // Nobody listens any more where the incarnation is over.
        Then::Tell(to) => drop(to.send(reason)),
        Then::Fail(claim) => {
            let reason = ExitReason::Linked(path.to_owned());
            if peer.doom(claim, reason.clone()) {
                spread(peer.as_ref(), &reason);
            }
        }
    }
}

/// Passes a failure on to everybody who is linked to the actor, and to those who are linked to them.
fn spread(from: &dyn Linked, reason: &ExitReason) {
    let mut failing = vec![(from.info().path().to_owned(), reason.clone(), take(from))];
    while let Some((path, reason, halves)) = failing.pop() {
        for (id, peer, then) in halves {
            let Some(peer) = peer.upgrade() else { continue };
            match then {
                Then::Tell(to) => drop(to.send(reason.clone())),
                Then::Fail(claim) => {
                    remove(peer.as_ref(), id);
                    let reason = ExitReason::Linked(path.clone());
                    if peer.doom(claim, reason.clone()) {
                        failing.push((peer.info().path().to_owned(), reason, take(peer.as_ref())));
                    }
                }
            }
        }
    }
}

/// Takes the halves that a failure uses up, and a copy of the others.
fn take(from: &dyn Linked) -> Vec<(u64, Weak<dyn Linked>, Then)> {
    let taken = from.ties().look(|bonds| {
        let all = bonds.links.iter_mut().map(|half| {
            half.has_told = true;
            (half.id, half.peer.clone(), half.then.clone())
        });
        let all: Vec<_> = all.collect();
        bonds.links.retain(|half| matches!(half.then, Then::Tell(_)));
        Some(all)
    });
    taken.unwrap_or_default()
}
