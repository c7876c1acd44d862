//! What can go wrong in a subsystem, with what the reader needs to act on it.

use std::fmt;
use std::sync::Arc;

/// An error of one of the five subsystems.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument that no implementation could honour: a shape, a size, a name.
    #[error("{0}")]
    InvalidInput(String),
    /// Bytes that are not the image they claim to be, or only a part of it.
    #[error("{format} data cannot be decoded: {reason}")]
    Decode {
        /// `"JPEG"`, `"PNG"` or `"image"` when the format is not known.
        format: &'static str,
        /// What the decoder met.
        reason: String,
    },
    /// A model that cannot be built, or an input that it does not take.
    #[error("{0}")]
    Model(String),
    /// The pool's limit leaves no room for this allocation.
    #[error("{}", NoRoom { requested: *requested, live: *live, limit: *limit, kept: *kept, waiting: *waiting,
        capped: capped.as_deref() })]
    PoolExhausted {
        /// Bytes asked for.
        requested: usize,
        /// Bytes leased at that moment, by size class; of the group, if it is capped.
        live: usize,
        /// The pool's byte limit, or the group's.
        limit: usize,
        /// Bytes that are kept for others: reserved, or saved for the first of those who wait.
        kept: usize,
        /// Requests that wait for memory.
        waiting: usize,
        /// The group of owners that has as much as it may. Its name is shared: where there is no memory there is none for a
        /// copy.
        capped: Option<Arc<str>>,
    },
    /// The pool has room for this allocation, but it would take memory from a system that is critically short of it. See
    /// [`Pool::set_refuses_under_pressure`](crate::pool::Pool::set_refuses_under_pressure).
    #[error(
        "memory pressure is Critical ({cause}): the pool takes no more memory from the system, and has none of \
         {requested} bytes idle"
    )]
    MemoryPressure {
        /// Bytes asked for.
        requested: usize,
        /// What says so.
        cause: crate::pool::Cause,
    },
    /// A buffer was used after its release.
    #[error("buffer {id} was released")]
    BufferReleased {
        /// The lease's id.
        id: u64,
    },
    /// A buffer was brought to another pool than its own.
    #[error("buffer {id} belongs to another pool")]
    ForeignBuffer {
        /// The lease's id.
        id: u64,
    },
    /// A part was asked for that the bytes do not have.
    #[error("bytes {start} to {stop} of {len}")]
    OutOfBounds {
        /// Where it was to begin.
        start: usize,
        /// Where it was to end.
        stop: usize,
        /// Bytes that there are.
        len: usize,
    },
    /// As many jobs wait for this pool of threads as may wait.
    #[error("the queue of pool {pool} is full ({capacity} jobs)")]
    QueueFull {
        /// The pool's name.
        pool: String,
        /// Jobs that may wait.
        capacity: usize,
    },
    /// There is a pool of threads of this name already.
    #[error("there already is a pool {name:?}")]
    PoolExists {
        /// The name that is taken.
        name: String,
    },
    /// There is no pool of threads of this name, or no longer.
    #[error("there is no pool {name:?}")]
    NoSuchPool {
        /// The name that was asked for.
        name: String,
    },
    /// The work was cancelled before it was finished.
    #[error("the work was cancelled")]
    Cancelled,
    /// The runtime could not deliver: a full mailbox, a stopped actor, a deadline.
    #[error(transparent)]
    Runtime(#[from] ironcliw::Error),
}

impl Error {
    /// An [`Error::InvalidInput`] with this message.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidInput(message.into())
    }
}

/// The result of a subsystem's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What [`Error::PoolExhausted`] says. It is written piece by piece: a text would need memory.
struct NoRoom<'a> {
    requested: usize,
    live: usize,
    limit: usize,
    kept: usize,
    waiting: usize,
    capped: Option<&'a str>,
}

impl fmt::Display for NoRoom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requested, live, limit, kept, waiting, capped } = *self;
        if let Some(group) = capped {
            return write!(f, "{group:?} may have no {requested} bytes more: it has {live} of at most {limit} bytes");
        }
        write!(f, "the pool has no room for {requested} bytes: {live} of {limit} bytes are in use")?;
        if kept > 0 {
            write!(f, ", {kept} are kept for others")?;
        }
        match waiting {
            0 => Ok(()),
            1 => f.write_str(", and 1 request waits for memory"),
            _ => write!(f, ", and {waiting} requests wait for memory"),
        }
    }
}
