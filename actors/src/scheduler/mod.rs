//! CPU-bound work on pinned, work-stealing threads, in named pools.
//!
//! The data plane is a [`Pool`]: a queue with three priorities in front of rayon's threads. Jobs are submitted to it directly;
//! each has a [`CancelToken`] and may have a deadline. [`SchedulerActor`] is the control plane: pools are made, resized and
//! removed by message. [`Scheduler`] is the handle to both.
//!
//! Where to read on: `README.md` says how queue and threads fit together and why nothing is lost; `core.rs` and `server.rs` do it;
//! `levels.rs` decides what is next; `job.rs`, `task.rs`, `map.rs` and `scope.rs` are the kinds of work.

mod actor;
mod core;
mod counts;
mod crew;
mod handle;
mod histogram;
mod job;
mod levels;
mod map;
mod metrics;
mod pool;
mod pools;
mod priority;
mod scope;
mod server;
mod spec;
mod stats;
mod task;
mod token;
mod work;

pub use actor::{CreatePool, RemovePool, ResizePool, SchedulerActor, SchedulerStatistics, Submit};
pub use core::Remaining;
pub use handle::Scheduler;
pub use histogram::Times;
pub use job::JobHandle;
pub(crate) use metrics::pool_metrics;
pub use pool::Pool;
pub use pools::DEFAULT_POOL;
pub(crate) use pools::{Defaults, Pools, Running};
pub use priority::Priority;
pub use scope::{Scope, join};
pub use spec::PoolSpec;
pub use stats::{PoolStats, Queued, SchedulerStats, Steals, WorkerStats};
pub use token::CancelToken;
