//! A job that runs from its begin to its end, and the handle of whoever waits for a job.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::CancelToken;
use super::core::Core;
use super::counts::End;
use super::server::Slot;
use super::work::{Turn, Work, contained};
use crate::{Error, Result};

/// `run`, and `tell` with what came of it. `tell` is called exactly once, after the job was counted.
pub(crate) struct Job<F, A> {
    pub(crate) run: F,
    pub(crate) tell: A,
}

impl<T, F, A> Work for Job<F, A>
where
    F: FnOnce(&CancelToken) -> T + Send,
    A: FnOnce(Result<T>) + Send,
{
    fn run(self: Box<Self>, turn: Turn) -> Option<Slot> {
        let Self { run, tell } = *self;
        let outcome = ironcliw::catch_panic(|| run(&turn.token));
        let (outcome, end) = match outcome {
            Ok(value) => (Ok(value), End::Completed),
            Err(reason) => (Err(panicked(turn.core(), reason)), End::Panicked),
        };
        let slot = turn.end(end);
        contained("a job's answer", move || tell(outcome));
        slot
    }

    fn refuse(self: Box<Self>, why: Error) {
        let Self { run, tell } = *self;
        contained("the end of a job that was not run", move || drop(run));
        contained("a job's answer", move || tell(Err(why)));
    }
}

/// A job that whoever waits for it may have given up without a word to its token: it is asked for when its turn has come.
pub(crate) struct Asked<W, F, A> {
    pub(crate) is_wanted: W,
    pub(crate) job: Job<F, A>,
}

impl<T, W, F, A> Work for Asked<W, F, A>
where
    W: FnOnce() -> bool + Send,
    F: FnOnce(&CancelToken) -> T + Send,
    A: FnOnce(Result<T>) + Send,
{
    fn run(self: Box<Self>, turn: Turn) -> Option<Slot> {
        let Self { is_wanted, job } = *self;
        // One that cannot say is not wanted either.
        if ironcliw::catch_panic(is_wanted).unwrap_or(false) {
            return Box::new(job).run(turn);
        }
        let slot = turn.end(End::Cancelled);
        Box::new(job).refuse(Error::Cancelled);
        slot
    }

    fn refuse(self: Box<Self>, why: Error) {
        Box::new(self.job).refuse(why);
    }
}

/// What a panic is to whoever waits for its job.
pub(crate) fn panicked(core: Option<&std::sync::Arc<Core>>, reason: String) -> Error {
    tracing::error!(reason, "a job panicked");
    let path = core.map_or_else(String::new, |core| core.path.to_string());
    ironcliw::Error::ActorPanicked { path, reason }.into()
}

/// A job that was taken in: the future of its result.
///
/// It ends with the result as soon as that is there, with [`Error::Cancelled`] or
/// [`DeadlineExceeded`](ironcliw::Error::DeadlineExceeded) as soon as that is so (a job that runs learns it from its token, and
/// its result is not wanted any more), with [`ActorPanicked`](ironcliw::Error::ActorPanicked) if the job panicked, and with
/// [`ActorStopped`](ironcliw::Error::ActorStopped) if the end of the pool left it undone. Dropping the handle cancels the job.
#[must_use = "dropping the handle cancels the job: await it, or detach it"]
pub struct JobHandle<T> {
    token: CancelToken,
    answer: Pin<Box<dyn Future<Output = Result<T>> + Send>>,
    cancels_on_drop: bool,
}

impl<T: Send + 'static> JobHandle<T> {
    pub(crate) fn new(token: CancelToken, told: oneshot::Receiver<Result<T>>) -> Self {
        let ended = token.clone();
        let answer = Box::pin(async move {
            tokio::select! {
                biased;
                outcome = told => outcome.unwrap_or(Err(Error::Cancelled)),
                error = ended.ended() => Err(error),
            }
        });
        Self { token, answer, cancels_on_drop: true }
    }

    /// The job's token.
    pub fn token(&self) -> &CancelToken {
        &self.token
    }

    /// Cancels the job: skipped if it waits, told by its token if it runs.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Lets the job go on without anybody who waits for it.
    pub fn detach(mut self) {
        self.cancels_on_drop = false;
    }
}

impl<T> Future for JobHandle<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.answer.as_mut().poll(cx);
        if matches!(&polled, Poll::Ready(outcome) if outcome.is_ok()) {
            // What the job has left running with a child of its token goes on.
            self.cancels_on_drop = false;
        }
        polled
    }
}

impl<T> Drop for JobHandle<T> {
    fn drop(&mut self) {
        if self.cancels_on_drop {
            self.token.cancel();
        }
    }
}

impl<T> std::fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobHandle").field("token", &self.token).finish_non_exhaustive()
    }
}
