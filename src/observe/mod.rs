//! Looking without disturbing: what the runtime knows of itself, read from atomics and through no mailbox.

mod activity;
mod busy;
mod events;
mod histogram;
mod info;
mod looks;
mod section;
mod snapshot;
mod waits;

pub(crate) use busy::Busy;
pub(crate) use events::EventLog;
pub use events::{Failure, SupervisionEvent, What};
pub use histogram::Summary;
pub use info::ActorState;
pub(crate) use info::Info;
pub(crate) use looks::Looks;
pub use section::{Metric, MetricKind, Section};
pub use snapshot::{ActorSnapshot, ArbiterSnapshot, Snapshot, SupervisorSnapshot, WaitSnapshot};
pub use waits::Wait;
pub(crate) use waits::{Asked, Deadlocks, Waiting, cycles};
