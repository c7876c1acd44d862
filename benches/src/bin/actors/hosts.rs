//! The threads that peers' actors run on: tokio's single-thread runtime, and the same under an actix system.

use std::future::Future;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::crowd::weigh;
use crate::system::{Crowd, Hosted, Mailbox, System};

/// A peer whose actors are tasks of tokio's.
pub trait OnTokio: 'static {
    const NAME: &'static str;
    type Mailbox: Mailbox;

    /// A counter with a mailbox of [`CAPACITY`](crate::system::CAPACITY).
    fn start() -> impl Future<Output = Self::Mailbox> + Send;

    /// A counter with the system's own default mailbox.
    fn start_idle() -> impl Future<Output = Self::Mailbox> + Send;
}

impl<S: OnTokio> System for S {
    const NAME: &'static str = S::NAME;
    type Mailbox = S::Mailbox;

    fn across() -> Hosted<Self::Mailbox> {
        host(|serve| on_tokio(async move { serve(S::start().await).await }))
    }

    fn together<T, F>(client: impl FnOnce(Self::Mailbox) -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        on_actors_thread(|| on_tokio(async { client(S::start().await).await }))
    }

    fn crowd(size: usize, count_bytes: bool) -> Crowd {
        on_actors_thread(move || {
            on_tokio(async move {
                let start = async || {
                    let mut all = Vec::with_capacity(size);
                    for _ in 0..size {
                        all.push(S::start_idle().await);
                    }
                    all
                };
                weigh(size, count_bytes, start).await.0
            })
        })
    }
}

/// tokio's runtime of one thread.
pub fn single_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

/// Runs a task to its end on the current thread, as a task among others: a root future is polled less cheaply.
pub fn on_tokio<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> T {
    single_thread().block_on(async { tokio::spawn(task).await.expect("a task panicked") })
}

/// Runs a task to its end on the current thread, where actix actors can be started.
pub fn on_actix<T: 'static>(task: impl Future<Output = T> + 'static) -> T {
    let system = actix_rt::System::with_tokio_rt(single_thread);
    system.block_on(async { tokio::task::spawn_local(task).await.expect("a task panicked") })
}

/// Runs `work` to its end on a thread that is pinned to the actors' core.
pub fn on_actors_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(move || {
        crate::cores::pin_to_actors();
        work()
    });
    thread.join().expect("a client panicked")
}

/// Hands the mailbox over, and then keeps the thread until it is let go.
pub type Serve<M> = Box<dyn FnOnce(M) -> futures_util::future::BoxFuture<'static, ()> + Send>;

/// A thread pinned to the actors' core, on which `run` starts an actor and serves its mailbox.
pub fn host<M: Mailbox>(run: impl FnOnce(Serve<M>) + Send + 'static) -> Hosted<M> {
    let (hand_over, take) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let serve: Serve<M> = Box::new(move |mailbox| {
        hand_over.send(mailbox).expect("somebody waits for the mailbox");
        Box::pin(async move {
            // Either way, nobody needs the actor any more.
            let _ = stopped.await;
        })
    });
    let thread = thread::spawn(move || {
        crate::cores::pin_to_actors();
        run(serve);
    });
    let mailbox = take.recv().expect("the actor starts");
    Hosted { mailbox, guard: Box::new(Thread { stop: Some(stop), thread: Some(thread) }) }
}

/// Stops a thread and waits for it.
struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("an actor's thread panicked");
        }
    }
}
