//! What ties an actor to others, beyond its queue: most actors have none of it, so it is kept apart and made when needed.
//!
//! It belongs to the actor's address, as the mailbox does. What concerns one incarnation alone carries that one's claim:
//! a thread that returns late finds nothing of its own.

use std::any::Any;

use parking_lot::Mutex;

use crate::ExitReason;
use crate::context::Nest;
use crate::links::Half;
use crate::mailbox::Claim;
use crate::names::Name;

/// Made of nothing until there is something to keep.
#[derive(Default)]
pub(crate) struct Ties(Mutex<Option<Box<Bonds>>>);

#[derive(Default)]
pub(crate) struct Bonds {
    /// The supervisor of the incarnation's children. Left behind by an incarnation whose thread was lost, it is what the
    /// next one waits for.
    pub(crate) nest: Option<Nest>,
    /// Why the incarnation under this claim is to fail.
    pub(crate) doom: Option<(Claim, ExitReason)>,
    /// The halves of links that are kept here.
    pub(crate) links: Vec<Half>,
    /// What else than its path the actor is known by. Dropped without the lock: that takes another.
    pub(crate) names: Vec<Name>,
    /// Messages that go before the mailbox's: a queue of the actor's parcels.
    pub(crate) first: Option<Box<dyn Any + Send>>,
}

impl Ties {
    /// Looks at what there is. No foreign code may run in `look`: it holds the lock.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Bonds) -> Option<T>) -> Option<T> {
        self.0.lock().as_mut().and_then(|bonds| look(bonds))
    }

    /// Adds to what there is, under the same condition.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Bonds) -> T) -> T {
        change(self.0.lock().get_or_insert_default())
    }
}
