//! How long one waits for children that end.

use std::time::Duration;

/// What a child that was told to halt gets to come back from its handler before its thread counts as lost.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// What a thread gets to end whose actors all have: nothing holds it but foreign work, or a machine so busy that its turn does
/// not come.
pub(crate) const LEAVING: Duration = Duration::from_secs(5);

/// What is left of the grace once the time for a whole stop has run out, so that many lost threads do not add up.
pub(super) const LATE_GRACE: Duration = Duration::from_millis(50);

/// "No bound of its own": a supervisor ends when its children have.
pub(super) const UNBOUNDED: Duration = Duration::from_secs(365 * 24 * 3600);
