//! The second form: the actor is a task of tokio's, on the runtime that runs the futures as well. Its faster form for
//! small requests; work that computes for long goes to `spawn_blocking`, as tokio asks for.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3_async_runtimes::tokio::{future_into_py, get_runtime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;

use crate::answer::{self, gone};
use crate::work::{Expanded, Frame, burn};

type Add = (u64, oneshot::Sender<u64>);

/// ``future_into_py`` in front of a tokio task; long jobs on at most ``threads`` threads of ``spawn_blocking``.
#[pyclass(frozen, module = "ironcliw_peers")]
pub(crate) struct TaskActor {
    queue: UnboundedSender<Add>,
    room: Arc<Semaphore>,
}

impl TaskActor {
    fn compute<'py, T>(&self, py: Python<'py>, job: impl FnOnce() -> T + Send + 'static) -> PyResult<Bound<'py, PyAny>>
    where
        T: Send + for<'a> IntoPyObject<'a> + 'static,
    {
        let room = Arc::clone(&self.room);
        future_into_py(py, async move {
            let _permit = room.acquire_owned().await.map_err(|_| gone())?;
            spawn_blocking(job).await.map_err(|error| PyRuntimeError::new_err(error.to_string()))
        })
    }
}

#[pymethods]
impl TaskActor {
    #[new]
    #[pyo3(signature = (threads=1))]
    fn new(threads: usize) -> Self {
        let (queue, mut asks) = unbounded_channel::<Add>();
        get_runtime().spawn(async move {
            while let Some((number, reply)) = asks.recv().await {
                // Nobody may be waiting any more.
                _ = reply.send(number + 1);
            }
        });
        Self { queue, room: Arc::new(Semaphore::new(threads)) }
    }

    fn add<'py>(&self, py: Python<'py>, number: u64) -> PyResult<Bound<'py, PyAny>> {
        let queue = self.queue.clone();
        future_into_py(py, async move {
            let (reply, answer) = oneshot::channel();
            queue.send((number, reply)).map_err(|_| gone())?;
            answer.await.map_err(|_| gone())
        })
    }

    fn spin<'py>(&self, py: Python<'py>, steps: u64) -> PyResult<Bound<'py, PyAny>> {
        self.compute(py, move || burn(steps))
    }

    fn sum<'py>(&self, py: Python<'py>, frame: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let frame = Frame::of(frame)?;
        self.compute(py, move || frame.total())
    }

    fn expand<'py>(&self, py: Python<'py>, frame: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let frame = Frame::of(frame)?;
        self.compute(py, move || Expanded(frame.expanded()))
    }

    /// One awaitable for `count` requests, all of which are under way at once.
    fn add_many<'py>(&self, py: Python<'py>, count: u64) -> PyResult<Bound<'py, PyAny>> {
        let queue = self.queue.clone();
        future_into_py(py, async move {
            let mut answers = Vec::new();
            for number in 0..count {
                let (reply, answer) = oneshot::channel();
                queue.send((number, reply)).map_err(|_| gone())?;
                answers.push(answer);
            }
            answer::all(answers).await
        })
    }
}
