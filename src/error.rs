//! The one error type of this crate.

use std::time::Duration;

/// Why the runtime could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The mailbox is full and its policy is to say so rather than to wait.
    #[error("the mailbox of {path} is full ({capacity} messages)")]
    MailboxFull {
        /// The actor's path.
        path: String,
        /// The mailbox's capacity, in messages.
        capacity: usize,
    },
    /// The deadline passed before there was an answer.
    #[error("{path} did not answer within {after:?}")]
    DeadlineExceeded {
        /// The actor's path.
        path: String,
        /// The time that was given.
        after: Duration,
    },
    /// The handler panicked with this message in hand.
    #[error("{path} panicked: {reason}")]
    ActorPanicked {
        /// The actor's path.
        path: String,
        /// The panic's message.
        reason: String,
    },
    /// The actor has stopped for good.
    #[error("{path} has stopped")]
    ActorStopped {
        /// The actor's path.
        path: String,
    },
    /// The actor was restarted by its supervisor with this message in hand.
    #[error("{path} was restarted before it could answer")]
    ActorRestarting {
        /// The actor's path.
        path: String,
    },
    /// The actor did not start.
    #[error("{path} did not start: {reason}")]
    StartFailed {
        /// The actor's path.
        path: String,
        /// What the factory or `started` said.
        reason: String,
    },
    /// The child's description contradicts itself or its supervisor's.
    #[error("{path} cannot be a child here: {reason}")]
    UnfitChild {
        /// The path it would have had.
        path: String,
        /// What does not go together.
        reason: &'static str,
    },
    /// A sibling already has this name, or another actor is [registered](crate::Handle::register_name) under it.
    #[error("there already is an actor {path}")]
    NameTaken {
        /// The path, or the name, that is taken.
        path: String,
    },
    /// No member of the group lives, or it has none.
    #[error("the group has no member that lives")]
    GroupEmpty,
    /// The runtime has been shut down.
    #[error("the runtime is closed")]
    RuntimeClosed,
    /// A thread of the runtime asked for the shutdown, which it cannot wait for: the runtime ends in the background.
    #[error("a runtime cannot be waited for on a thread of its own: it ends in the background")]
    OwnThread,
    /// The runtime itself could not be set up.
    #[error("the runtime could not start: {reason}")]
    Setup {
        /// What the operating system or the configuration said.
        reason: String,
    },
    /// The shutdown's bound ran out; these actors were left behind.
    #[error("shutdown abandoned {} after {after:?}", actors.join(", "))]
    Abandoned {
        /// The paths of the actors that had not stopped.
        actors: Vec<String>,
        /// The bound that was given.
        after: Duration,
    },
}
