//! What the pool tells the ledger.

use super::stack::Stack;
use super::touch::{Touch, Touches};
use crate::pool::{LeaseId, LeaseKind, Owner, SizeClass};
use std::sync::Arc;
use std::time::Instant;

/// A lease, as its events describe it: whichever of them is lost, the others say enough.
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

/// A recorded lease: what is known from its start, and of its use.
#[derive(Debug)]
pub struct Record {
    /// The lease.
    pub lease: Lease,
    /// Where the caller's program asked for it, if it said so.
    pub site: Option<Arc<str>>,
    /// The task that asked, such as an asyncio task, by name.
    pub task: Option<Arc<str>>,
    /// When it began.
    pub at: Instant,
    /// The calls that led to it, at the levels that capture them.
    pub stack: Option<Stack>,
    /// What was done with the buffer, at the levels that keep it.
    pub touches: Touches,
}

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it was meant to.
    Returned,
    /// Dropped, though an explicit release was demanded: a leak.
    DroppedUnreleased,
}

/// The start or the end of a lease, or something between.
#[derive(Debug)]
pub enum Event {
    /// A lease that carries a record began.
    Acquired(Box<Record>),
    /// The buffer of a lease that the ledger heard of was used.
    Touched {
        /// The lease.
        id: LeaseId,
        /// How; `None`: there was no memory to say it, and it is only counted.
        touch: Option<Touch>,
    },
    /// A lease that the ledger heard of ended, or any that was dropped unreleased. Sent after its slot was closed.
    Released {
        /// The lease.
        lease: Lease,
        /// When it ended.
        at: Instant,
        /// How it ended.
        outcome: Outcome,
    },
}
