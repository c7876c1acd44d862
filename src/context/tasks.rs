//! The small tasks of one incarnation: timers, watches, streams, and what a handler spawns. They run on the actor's thread and
//! end with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context as TaskContext, Poll};

use tracing::error;

use super::Context;
use crate::Actor;
use crate::executor::{self, Place};
use crate::panics::{self, Panicked};

/// A task that [`Context::spawn`] has set going. Dropping it changes nothing: the task goes on until its incarnation ends.
#[derive(Debug, Clone)]
pub struct TaskHandle(Arc<Control>);

impl TaskHandle {
    /// Drops the task's future, soon.
    pub fn cancel(&self) {
        if self.0.state.compare_exchange(RUNS, CANCELLED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            && let Some(place) = self.0.place.get()
        {
            place.wake();
        }
    }

    /// Whether it is over: it is done, has panicked, was cancelled, or ended with its incarnation.
    pub fn is_finished(&self) -> bool {
        self.0.state.load(Ordering::Acquire) == OVER
    }
}

const RUNS: u8 = 0;
const CANCELLED: u8 = 1;
const OVER: u8 = 2;

#[derive(Default)]
struct Control {
    state: AtomicU8,
    place: OnceLock<&'static Place>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.state.load(Ordering::Relaxed) {
            RUNS => "runs",
            CANCELLED => "cancelled",
            _ => "over",
        })
    }
}

impl<A: Actor> Context<A> {
    /// Runs `work` beside the actor, on its thread, until it is done or this incarnation ends. Its panic is logged and costs
    /// the actor nothing.
    ///
    /// It is for waiting while the actor goes on with its messages. What computes or blocks holds up every actor of the thread,
    /// and the watchdog does not see it. What is to outlive the incarnation is a task of the thread's own, as
    /// `tokio::task::spawn_local` makes them.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ironcliw::{Actor, Child, Context, Handler, Message, Runtime, StartError};
    /// struct Greeter;
    /// struct Greeted;
    /// # impl Message for Greeted { type Reply = (); }
    ///
    /// impl Actor for Greeter {
    ///     async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
    ///         let own = ctx.address();
    ///         ctx.spawn(async move {
    ///             tokio::time::sleep(Duration::from_millis(1)).await;
    ///             own.tell(Greeted).await.expect("it runs");
    ///         });
    ///         Ok(())
    ///     }
    /// }
    /// # impl Handler<Greeted> for Greeter {
    /// #     async fn handle(&mut self, _: Greeted, ctx: &mut Context<Self>) { ctx.stop(); }
    /// # }
    /// # let runtime = Runtime::builder().build()?;
    /// # let child = Child::new("greeter", || Greeter).restart(ironcliw::Restart::Temporary);
    /// # let greeter = runtime.block_on(runtime.spawn(child))?;
    /// # runtime.block_on(greeter.stopped());
    /// # runtime.shutdown(Duration::from_secs(5))?;
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub fn spawn(&mut self, work: impl Future<Output = ()> + 'static) -> TaskHandle {
        self.tasks.spawn(self.core.info.path(), work)
    }
}

/// The tasks of one incarnation, which are ended when this is dropped. Most have none, which takes a word.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "a vector takes three words")]
pub(super) struct Tasks(Option<Box<Vec<TaskHandle>>>);

impl Tasks {
    /// Runs `work` on this thread. Its panics, also those of its `Drop`, are contained and logged with `path`.
    pub(super) fn spawn(&mut self, path: &str, work: impl Future<Output = ()> + 'static) -> TaskHandle {
        let task = TaskHandle(Arc::default());
        let contained = Contained { path: path.to_owned(), work: Some(Box::pin(work)), control: task.0.clone() };
        if let Some(place) = executor::adopt(Box::pin(contained)) {
            let _ = task.0.place.set(place);
        }
        let all = self.0.get_or_insert_default();
        make_room(all);
        all.push(task.clone());
        task
    }
}

/// Looks for those that are over whenever the list would grow, and lets it grow only if at least half of it is alive: it stays
/// in proportion to what is alive, at a constant price for each task.
fn make_room(all: &mut Vec<TaskHandle>) {
    if all.len() == all.capacity() {
        all.retain(|task| !task.is_finished());
        if all.len() > all.capacity() / 2 {
            all.reserve(all.len().max(4));
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().flat_map(|all| all.iter()).for_each(TaskHandle::cancel);
    }
}

/// A future of user code, which may panic when it is polled and when it is dropped.
struct Contained<F: Future<Output = ()>> {
    path: String,
    work: Option<Pin<Box<F>>>,
    control: Arc<Control>,
}

impl<F: Future<Output = ()>> Contained<F> {
    fn end(&mut self) {
        let work = self.work.take();
        if let Err(Panicked(reason)) = panics::catch(move || drop(work)) {
            error!(path = self.path, reason, "a task of an actor panicked as it was dropped");
        }
        self.control.state.store(OVER, Ordering::Release);
    }
}

impl<F: Future<Output = ()>> Future for Contained<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(work) = &mut this.work else { return Poll::Ready(()) };
        if this.control.state.load(Ordering::Acquire) == RUNS {
            match panics::catch(|| work.as_mut().poll(cx)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => {}
                Err(Panicked(reason)) => error!(path = this.path, reason, "a task of an actor panicked"),
            }
        }
        this.end();
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_list_stays_in_proportion_to_what_is_alive() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (spawner, begin) = executor::executor(Duration::ZERO);
        let (done, is_done) = tokio::sync::oneshot::channel();
        let test = async move {
            let mut tasks = Tasks::default();
            let standing: Vec<_> = (0..10).map(|_| tasks.spawn("a", std::future::pending())).collect();
            for _ in 0..1_000 {
                tasks.spawn("a", std::future::ready(()));
                tokio::task::yield_now().await;
            }
            let capacity = tasks.0.as_ref().map_or(0, |all| all.capacity());
            assert!(capacity <= 4 * standing.len(), "{capacity}");
            drop(tasks);
            tokio::task::yield_now().await;
            assert!(standing.iter().all(TaskHandle::is_finished));
            done.send(()).unwrap();
        };
        runtime.block_on(async {
            begin();
            spawner.spawn(vec![Box::pin(test)]);
            is_done.await.unwrap();
        });
    }
}
