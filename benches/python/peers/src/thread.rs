//! The first form: an actor on native threads of its own, which a future of tokio's asks through a channel.

use crossbeam_channel::{Sender, unbounded};
use pyo3::prelude::*;
use pyo3_async_runtimes::tokio::future_into_py;
use tokio::sync::oneshot;

use crate::answer::{self, gone};
use crate::work::{Expanded, Frame, burn};

enum Job {
    Add(u64, oneshot::Sender<u64>),
    Spin(u64, oneshot::Sender<u64>),
    Sum(Frame, oneshot::Sender<u64>),
    Expand(Frame, oneshot::Sender<Vec<u8>>),
}

impl Job {
    /// A reply that nobody waits for is dropped.
    fn run(self) {
        match self {
            Self::Add(number, reply) => _ = reply.send(number + 1),
            Self::Spin(steps, reply) => _ = reply.send(burn(steps)),
            Self::Sum(frame, reply) => _ = reply.send(frame.total()),
            Self::Expand(frame, reply) => _ = reply.send(frame.expanded()),
        }
    }
}

/// ``future_into_py`` in front of native threads that share a queue.
#[pyclass(frozen, module = "ironcliw_peers")]
pub(crate) struct ThreadActor(Sender<Job>);

impl ThreadActor {
    fn ask<'py, T>(
        &self,
        py: Python<'py>,
        job: impl FnOnce(oneshot::Sender<T>) -> Job + Send + 'static,
    ) -> PyResult<Bound<'py, PyAny>>
    where
        T: Send + for<'a> IntoPyObject<'a> + 'static,
    {
        let queue = self.0.clone();
        future_into_py(py, async move {
            let (reply, answer) = oneshot::channel();
            queue.send(job(reply)).map_err(|_| gone())?;
            answer.await.map_err(|_| gone())
        })
    }
}

#[pymethods]
impl ThreadActor {
    #[new]
    #[pyo3(signature = (threads=1))]
    fn new(threads: usize) -> PyResult<Self> {
        let (queue, jobs) = unbounded::<Job>();
        for index in 0..threads {
            let jobs = jobs.clone();
            // It ends with the last sender.
            std::thread::Builder::new().name(format!("peer-{index}")).spawn(move || jobs.iter().for_each(Job::run))?;
        }
        Ok(Self(queue))
    }

    fn add<'py>(&self, py: Python<'py>, number: u64) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, move |reply| Job::Add(number, reply))
    }

    fn spin<'py>(&self, py: Python<'py>, steps: u64) -> PyResult<Bound<'py, PyAny>> {
        self.ask(py, move |reply| Job::Spin(steps, reply))
    }

    fn sum<'py>(&self, py: Python<'py>, frame: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let frame = Frame::of(frame)?;
        self.ask(py, move |reply| Job::Sum(frame, reply))
    }

    fn expand<'py>(&self, py: Python<'py>, frame: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let frame = Frame::of(frame)?;
        let queue = self.0.clone();
        future_into_py(py, async move {
            let (reply, answer) = oneshot::channel();
            queue.send(Job::Expand(frame, reply)).map_err(|_| gone())?;
            answer.await.map(Expanded).map_err(|_| gone())
        })
    }

    /// One awaitable for `count` requests, all of which are under way at once.
    fn add_many<'py>(&self, py: Python<'py>, count: u64) -> PyResult<Bound<'py, PyAny>> {
        let queue = self.0.clone();
        future_into_py(py, async move {
            let mut answers = Vec::new();
            for number in 0..count {
                let (reply, answer) = oneshot::channel();
                queue.send(Job::Add(number, reply)).map_err(|_| gone())?;
                answers.push(answer);
            }
            answer::all(answers).await
        })
    }
}
