//! Why an incarnation ended.

use std::fmt;

/// Why one incarnation of an actor, or a supervisor, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It asked to stop.
    Normal,
    /// It was told to end for good.
    Shutdown,
    /// It was told to end so that it can be started again beside its siblings.
    Restart,
    /// A handler panicked, with this message.
    Panicked(String),
    /// Its factory or its `started` hook failed.
    StartFailed(String),
    /// It is a supervisor and used up its restarts, or an actor whose children have.
    BudgetExhausted,
    /// Its thread did not come back within the bound, or is gone.
    ThreadLost,
    /// It was linked to the actor at this path, which failed or has ended: see
    /// [`Context::link`](crate::Context::link).
    Linked(String),
}

impl ExitReason {
    /// Whether a transient child is started again after it.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Normal | Self::Shutdown | Self::Restart => false,
            Self::Panicked(_) | Self::StartFailed(_) | Self::BudgetExhausted | Self::ThreadLost | Self::Linked(_) => {
                true
            }
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Restart => f.write_str("restarted by its supervisor"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::StartFailed(message) => write!(f, "did not start: {message}"),
            Self::BudgetExhausted => f.write_str("restarts used up"),
            Self::ThreadLost => f.write_str("its thread did not come back, or its event loop has ended"),
            Self::Linked(path) => write!(f, "linked to {path}, which failed or has ended"),
        }
    }
}
