//! [`EventLoop`]: a thread that somebody else drives, for actors to live on.
//!
//! To supervisors it is a thread as any other, an arbiter among the runtime's; what differs is who polls (`executor/guest.rs`)
//! and who ends it. The owner may end at any time, with actors on it: to their supervisors that is a lost thread, and since
//! their placement names no other, they do not start again.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::arbiters::{self, Arbiter, Stay};
use crate::executor::{Guest, guest};
use crate::placement::{LoopLocation, Placement};
use crate::{Error, Handle};

/// The part of a foreign event loop that runs actors: of a GUI, of a game, of Python's asyncio.
///
/// Their handlers then run between the loop's own callbacks, on its thread, and are supervised as everybody else. It belongs to
/// the thread that made it. Its owner calls [`EventLoop::turn`] whenever `wake` was called, and drops it when the loop ends;
/// actors that still live there then are told to end, or are answered for.
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use ironcliw::{Actor, Child, Context, EventLoop, Handler, Message, Runtime};
///
/// struct Label(String);
/// impl Actor for Label {}
/// struct Show(&'static str);
/// impl Message for Show { type Reply = usize; }
/// impl Handler<Show> for Label {
///     async fn handle(&mut self, Show(text): Show, _: &mut Context<Self>) -> usize {
///         self.0.push_str(text); // on the loop's thread, where its widgets may be touched
///         self.0.len()
///     }
/// }
///
/// let runtime = Runtime::builder().workers(1).build()?;
/// let (wake, woken) = mpsc::channel();
/// let mut event_loop = EventLoop::new(runtime.handle(), "main", move || wake.send(()).unwrap_or_default())?;
///
/// let child = Child::new("label", || Label(String::new())).placement(event_loop.placement());
/// let handle = runtime.handle().clone();
/// let asker = std::thread::spawn(move || {
///     handle.block_on(async { Ok::<_, ironcliw::Error>(handle.spawn(child).await?.ask(Show("hello")).await?) })
/// });
/// while !asker.is_finished() {
///     // What a real loop does among its other callbacks.
///     if woken.recv_timeout(Duration::from_millis(10)).is_ok() {
///         while event_loop.turn() {}
///     }
/// }
/// assert_eq!(asker.join().unwrap()?, 5);
/// drop(event_loop);
/// runtime.shutdown(Duration::from_secs(5))?;
/// # Ok::<_, ironcliw::Error>(())
/// ```
pub struct EventLoop {
    /// None once it was told to end.
    guest: Option<Guest>,
    stay: Arc<Stay>,
    arbiter: Arc<Arbiter>,
    runtime: Handle,
    /// Actors stay on their thread.
    _not_send: PhantomData<*const ()>,
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventLoop({})", self.arbiter.name())
    }
}

impl Wake for Stay {
    fn wake(self: Arc<Self>) {
        self.rouse();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rouse();
    }
}

impl EventLoop {
    /// Makes the current thread one that actors of `runtime` may live on; `name` is what snapshots call it. `wake` is called on
    /// any thread when there is something to do, and must not block: it has the loop call [`EventLoop::turn`]. The
    /// first call comes from here.
    ///
    /// # Errors
    /// [`Error::RuntimeClosed`] after the shutdown.
    pub fn new(runtime: &Handle, name: &str, wake: impl Fn() + Send + Sync + 'static) -> Result<Self, Error> {
        let stay = Arc::new(Stay::new(wake));
        let _clock = runtime.timers().enter();
        let (spawner, guest) = guest(Waker::from(stay.clone()));
        let arbiter = Arc::new(arbiters::guest(name.to_owned(), stay.clone(), spawner));
        runtime.threads().take_in(arbiter.clone())?;
        // Until the first turn it does not count as waiting, and is not woken.
        stay.rouse();
        Ok(Self { guest: Some(guest), stay, arbiter, runtime: runtime.clone(), _not_send: PhantomData })
    }

    /// Where a child is to be placed to live here.
    pub fn placement(&self) -> Placement {
        Placement::Loop(LoopLocation::of(&self.arbiter))
    }

    /// Runs the actors that have something to do, for a fraction of a millisecond if their handlers come back, and says whether
    /// there is more to do: then it is to be called again soon, after the loop's other business. Else `wake` will be called.
    ///
    /// It is not to be called from within itself: a handler that runs the loop does not run the actors.
    pub fn turn(&mut self) -> bool {
        let _clock = self.runtime.timers().enter();
        if self.stay.is_told() {
            self.guest = None;
            self.stay.end();
        }
        self.guest.as_mut().is_some_and(Guest::turn)
    }

    /// Whether the runtime has ended, or has given this thread up: there will be nothing more to do.
    pub fn is_over(&self) -> bool {
        self.stay.is_over()
    }

    /// Whether an actor has been given something to do since the last turn: what saves a call of `wake` from being waited for.
    pub fn has_work(&self) -> bool {
        self.guest.as_ref().is_some_and(Guest::is_rung)
    }

    /// Leaves it to itself: for an owner that finds itself on another thread when the loop has ended. To the supervisors the
    /// thread is lost, whoever waits is told, and the memory of the actors that lived here is not given back, for they may be
    /// dropped on their own thread only.
    pub fn abandon(self) {
        self.stay.end();
        self.runtime.lose_thread(&self.arbiter, self.arbiter.name());
        std::mem::forget(self);
    }
}

impl Drop for EventLoop {
    /// What handlers were doing is dropped.
    fn drop(&mut self) {
        let _clock = self.runtime.timers().enter();
        self.stay.end();
        self.guest = None;
        self.runtime.threads().close(&self.arbiter);
    }
}
