//! Which actor the current thread runs: known while an incarnation is polled, so that what its handlers ask is its asking.
//!
//! The incarnation lends what it has for the time of a poll, so entering and leaving count no references.

use std::cell::Cell;
use std::sync::Arc;

use crate::Handle;
use crate::observe::Info;

pub(crate) struct Current {
    pub(crate) info: Arc<Info>,
    pub(crate) runtime: Handle,
}

thread_local! {
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
}

/// Makes an actor the current one, or none; what was there before is to be put back.
pub(crate) fn replace(current: Option<Current>) -> Option<Current> {
    // A thread that is being torn down runs nobody.
    CURRENT.try_with(|place| place.replace(current)).ok().flatten()
}

/// Looks at the current actor, if the caller is one's handler or hook. `look` must not ask that again.
pub(crate) fn with<R>(look: impl FnOnce(&Current) -> R) -> Option<R> {
    let current = replace(None)?;
    let seen = look(&current);
    replace(Some(current));
    Some(seen)
}
