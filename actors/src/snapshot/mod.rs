//! What the pool and the leak tracker know together, in one value of one moment, with its recent past.
//!
//! A [`PoolSnapshot`] is plain data that serialises to the document that Python's `PoolSnapshot`, the endpoint and the
//! pictures are made from. Taking one asks no actor and stops no lease: the counts are read as [`PoolStats`] reads them, the
//! records are copied under the ledger's lock, and the program's symbols are read only when the snapshot is serialised.
//!
//! Invariants:
//! 1. The sums agree: totals are the sums over owners and classes, no owner holds fewer leases of a class than are
//!    listed, and what the threads' caches hold of a class is the sum over the threads.
//! 2. Counts by owner and class are exact. What is known by site is known of the recorded leases only; each of them says
//!    for how many it stands (`weights`), so that sums over sites and the rest without a record are the exact counts.
//! 3. Everything is bounded: the leases by the ledger, the history by `history`'s constants.
//!
//! Start reading at `take`; `records` is where it meets the ledger.
//!
//! [`PoolStats`]: crate::pool::PoolStats

mod history;
mod model;
mod records;
mod stacks;
mod take;
#[cfg(test)]
mod tests;
mod threads;
mod weights;

pub(crate) use history::History;
pub use history::{Mark, MarkKind, Sample};
pub use model::{
    ClassHolding, FORMAT, HeldClass, HeldLease, IdleClass, KnownLeak, OwnerHolding, PoolSnapshot, ThreadHolding,
    Totals, Tracking, VERSION,
};
pub use stacks::StackTable;
pub use take::Observer;
