//! `ironcliw._native`: the Python face of Ironcliw.
//!
//! Thin: a method checks its arguments while it holds the GIL, sends a message to an actor and returns a `Call`; workers
//! complete it without the GIL. Start at `runtime.rs`; `bridge/` is how an await gets its answer, `arrays.rs` how arrays
//! are borrowed and handed out.

#![cfg(feature = "python-bindings")]

mod actors;
mod allocator;
mod args;
mod arrays;
mod bridge;
mod buffer;
mod build_info;
mod caller;
mod dlpack;
mod errors;
mod holdings;
mod images;
mod inference;
mod leaks;
mod lease;
mod lending;
mod logs;
mod measure;
mod overlap;
mod pool;
mod pressure;
mod process;
mod runtime;
mod scheduler;
mod send;
mod snapshot;
mod view;
mod work;

/// The native module.
#[pyo3::pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::actors::{ActorContext, ActorRef, Supervisor};
    #[pymodule_export]
    use super::allocator::allocator_stats;
    #[pymodule_export]
    use super::buffer::Buffer;
    #[pymodule_export]
    use super::build_info::build_info;
    #[pymodule_export]
    use super::holdings::TakenSnapshot;
    #[pymodule_export]
    use super::images::{Images, Pipeline};
    #[pymodule_export]
    use super::inference::{Inference, LoadedModel, Model};
    #[pymodule_export]
    use super::leaks::{LeakReport, LeakTable, Leaks, Scope, describe};
    #[pymodule_export]
    use super::logs::set_log_levels;
    #[pymodule_export]
    use super::measure::Measure;
    #[pymodule_export]
    use super::pool::Pool;
    #[pymodule_export]
    use super::runtime::Runtime;
    #[pymodule_export]
    use super::scheduler::{Job, Scheduler, current_job};
    #[pymodule_export]
    use super::view::BufferView;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::process::refuse_sub_interpreters(module.py())?;
        super::allocator::install();
        super::logs::install();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        super::process::register(module.py())?;
        super::bridge::register(module)?;
        // What is registered last ends first, and may log.
        super::logs::register(module.py())?;
        super::scheduler::register(module.py())
    }
}
