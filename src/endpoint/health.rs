//! Whether the runtime is ready, and if not, why.

use serde::Serialize;

use crate::{ActorState, Handle, Snapshot};

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    /// The runtime's state.
    state: &'static str,
    /// Actors that ran once and wait to run again, and those that are stuck. One that starts for the first time is its spawner's concern, and one
    /// that is being stopped is meant to be.
    not_running: Vec<Down>,
}

#[derive(Debug, Serialize)]
struct Down {
    path: String,
    state: ActorState,
    last_exit: Option<String>,
}

impl Readiness {
    /// Ready is a tree that stands with no actor down.
    pub(super) fn of(handle: &Handle, snapshot: &Snapshot) -> Self {
        let down = snapshot.actors.iter().filter(|actor| match actor.state {
            ActorState::Restarting | ActorState::Stuck => true,
            ActorState::Starting => actor.last_exit.is_some(),
            ActorState::Running | ActorState::Stopping | ActorState::Stopped => false,
        });
        let not_running: Vec<_> = down
            .map(|actor| Down { path: actor.path.clone(), state: actor.state, last_exit: actor.last_exit.clone() })
            .collect();
        Self { ready: handle.is_ready() && not_running.is_empty(), state: snapshot.state, not_running }
    }
}
