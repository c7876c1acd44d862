//! The small tasks of one incarnation: timers, watches, streams. They run on the actor's thread and end with it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use tokio::task::AbortHandle;
use tracing::error;

use crate::panics::{self, Panicked};

/// The tasks of one incarnation, which are ended when this is dropped.
#[derive(Default)]
pub(super) struct Tasks(Vec<AbortHandle>);

impl Tasks {
    /// Runs `work` on this thread. Its panics, also those of its `Drop`, are contained and logged with `path`.
    pub(super) fn spawn(&mut self, path: &str, work: impl Future<Output = ()> + 'static) -> AbortHandle {
        let contained = Contained { path: path.to_owned(), work: Some(Box::pin(work)) };
        let task = tokio::task::spawn_local(contained).abort_handle();
        self.make_room();
        self.0.push(task.clone());
        task
    }

    /// Looks for those that are over whenever the list would grow, and lets it grow only if at least half of it is
    /// alive: it stays in proportion to what is alive, at a constant price for each task.
    fn make_room(&mut self) {
        if self.0.len() == self.0.capacity() {
            self.0.retain(|task| !task.is_finished());
            if self.0.len() > self.0.capacity() / 2 {
                self.0.reserve(self.0.len().max(4));
            }
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// A future of user code, which may panic when it is polled and when it is dropped.
struct Contained<F: Future<Output = ()>> {
    path: String,
    work: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = ()>> Contained<F> {
    fn end(&mut self) {
        let work = self.work.take();
        if let Err(Panicked(reason)) = panics::catch(move || drop(work)) {
            error!(path = self.path, reason, "a task of an actor panicked as it was dropped");
        }
    }
}

impl<F: Future<Output = ()>> Future for Contained<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Some(work) = &mut self.work else { return Poll::Ready(()) };
        match panics::catch(|| work.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(Panicked(reason)) => error!(path = self.path, reason, "a task of an actor panicked"),
        }
        self.end();
        Poll::Ready(())
    }
}

impl<F: Future<Output = ()>> Drop for Contained<F> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_stays_in_proportion_to_what_is_alive() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut tasks = Tasks::default();
            let standing: Vec<_> = (0..10).map(|_| tasks.spawn("a", std::future::pending())).collect();
            for _ in 0..1_000 {
                tasks.spawn("a", std::future::ready(()));
                tokio::task::yield_now().await;
            }
            assert!(tasks.0.capacity() <= 4 * standing.len(), "{}", tasks.0.capacity());
            drop(tasks);
            tokio::task::yield_now().await;
            assert!(standing.iter().all(AbortHandle::is_finished));
        });
    }
}
