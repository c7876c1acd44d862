//! What the pool tells the ledger.

use super::stack::Stack;
use crate::pool::{LeaseId, LeaseKind, Owner, SizeClass};
use std::sync::Arc;
use std::time::Instant;

/// A lease, as both of its events describe it: whichever of the two is lost, the other says enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The lease's id.
    pub id: LeaseId,
    /// The class of its block.
    pub class: SizeClass,
    /// Bytes of the buffer.
    pub bytes: usize,
    /// Bytes of its block.
    pub block_bytes: usize,
    /// Who it is counted for.
    pub owner: Owner,
    /// How it is meant to end.
    pub kind: LeaseKind,
}

/// A recorded lease: what is known from its start.
#[derive(Debug)]
pub struct Record {
    /// The lease.
    pub lease: Lease,
    /// Where the caller's program asked for it, if it said so.
    pub site: Option<Arc<str>>,
    /// When it began.
    pub at: Instant,
    /// The calls that led to it, at the levels that capture them.
    pub stack: Option<Arc<Stack>>,
}

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it was meant to.
    Returned,
    /// Dropped, though an explicit release was demanded: a leak.
    DroppedUnreleased,
}

/// The start or the end of a lease.
#[derive(Debug)]
pub enum Event {
    /// A lease that carries a record began.
    Acquired(Box<Record>),
    /// A recorded lease ended, or any that was dropped unreleased. Sent after its slot was closed.
    Released {
        /// The lease.
        lease: Lease,
        /// When it ended.
        at: Instant,
        /// How it ended.
        outcome: Outcome,
    },
}
