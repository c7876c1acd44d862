//! CPU-bound work on pinned, work-stealing threads.
//!
//! [`WorkPool`] is the data plane: rayon threads, each pinned to a core, and the counts. [`SchedulerActor`] is the control
//! plane: jobs come in as messages, and it knows how many wait. [`Scheduler`] is the handle that other subsystems hold.

mod actor;
mod handle;
mod work;

pub use actor::{Run, SchedulerActor, SchedulerStatistics, Submit};
pub use handle::Scheduler;
pub(crate) use work::Running;
pub use work::{SchedulerStats, WorkPool, WorkerStats};
