//! Looking without disturbing: what the runtime knows of itself, read from atomics and through no mailbox.

mod events;
mod info;
mod section;
mod snapshot;

pub(crate) use events::EventLog;
pub use events::{SupervisionEvent, What};
pub use info::ActorState;
pub(crate) use info::Info;
pub use section::{Metric, MetricKind, Section};
pub use snapshot::{ActorSnapshot, ArbiterSnapshot, Snapshot, SupervisorSnapshot, WaitSnapshot};
