//! `ironcliw_peers`: what an asyncio program would use if there were no Ironcliw, for the await benchmark alone.
//!
//! An actor behind `pyo3-async-runtimes`' `future_into_py`, in two forms: `thread::ThreadActor` runs on native threads,
//! `task::TaskActor` as a tokio task, which spares a hop between threads. `work.rs` is the work itself, which executors,
//! pykka and Ray call directly.

mod answer;
mod task;
mod thread;
mod work;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The native module.
#[pyo3::pymodule]
mod ironcliw_peers {
    #[pymodule_export]
    use super::task::TaskActor;
    #[pymodule_export]
    use super::thread::ThreadActor;
    #[pymodule_export]
    use super::work::{add_one, expand, spin, spin_together, sum};
}
