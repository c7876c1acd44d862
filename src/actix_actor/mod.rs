//! Actors written for actix 0.13, under this runtime's supervision without a change to them.
//!
//! actix ties a mailbox to the future that polls it, and a panic drops both. Here the mailbox, an actix channel, belongs
//! to the cell and outlives every incarnation. An incarnation is a fresh actor from the factory in a fresh actix context
//! whose addresses are those of that channel; one future of that context, the pump, takes the messages out of the
//! channel and handles them.
//!
//! `life.rs` is one incarnation and the pump, `queue.rs` what outlives it, `cell.rs` what the supervisor holds.
//! `actix::dev`, which this rests on, is not covered by actix's promise of compatibility: the version is pinned exactly.

mod cell;
mod life;
mod queue;

use std::time::Duration;

pub(crate) use cell::ActixCell;

use crate::child::Settings;
use crate::{Backoff, Placement, Restart, StartError};

/// Makes one incarnation's actor.
type Factory<A> = Box<dyn Fn() -> Result<A, StartError> + Send + Sync>;

/// actix's `Supervised::restarting`, for actors that have it.
type Restarting<A> = fn(&mut A, &mut actix::Context<A>);

/// The description of an actix actor to be spawned with [`Handle::spawn_actix`](crate::Handle::spawn_actix): a name, a
/// factory, and how to run what it makes.
///
/// ```
/// use ironcliw::{ActixChild, Restart};
///
/// struct Counter { total: u64 }
/// impl actix::Actor for Counter { type Context = actix::Context<Self>; }
///
/// #[derive(actix::Message)]
/// #[rtype(result = "u64")]
/// struct Add(u64);
///
/// impl actix::Handler<Add> for Counter {
///     type Result = u64;
///     fn handle(&mut self, Add(n): Add, _: &mut actix::Context<Self>) -> u64 {
///         self.total += n;
///         self.total
///     }
/// }
///
/// let runtime = ironcliw::Runtime::new()?;
/// let child = ActixChild::new("counter", || Counter { total: 0 }).restart(Restart::Transient).mailbox(256);
/// let counter: actix::Addr<Counter> = runtime.block_on(runtime.spawn_actix(child))?;
/// assert_eq!(runtime.block_on(counter.send(Add(42))).unwrap(), 42);
/// # Ok::<_, ironcliw::Error>(())
/// ```
pub struct ActixChild<A: actix::Actor<Context = actix::Context<A>>> {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    factory: Factory<A>,
    restarting: Option<Restarting<A>>,
}

/// The largest capacity that is passed on to actix, which panics on absurd ones.
const CAPACITY_MAX: usize = u32::MAX as usize >> 1;

impl<A: actix::Actor<Context = actix::Context<A>>> ActixChild<A> {
    /// A permanent child whose factory cannot fail. The factory runs on the actor's thread, once for every incarnation;
    /// what is to outlive a panic belongs outside the actor, as in an `Arc` that the factory clones.
    pub fn new(name: impl Into<String>, factory: impl Fn() -> A + Send + Sync + 'static) -> Self {
        Self::fallible(name, move || Ok::<_, std::convert::Infallible>(factory()))
    }

    /// The same with a factory that may fail, as when it opens a connection.
    pub fn fallible<E>(name: impl Into<String>, factory: impl Fn() -> Result<A, E> + Send + Sync + 'static) -> Self
    where
        E: Into<StartError>,
    {
        Self {
            name: name.into(),
            settings: Settings::default(),
            factory: Box::new(move || factory().map_err(Into::into)),
            restarting: None,
        }
    }

    /// Calls actix's `Supervised::restarting` on every incarnation but the first, before `started`. It is called on what
    /// the factory has just made: the actor that failed is dropped, never revived.
    pub fn with_restarting(mut self) -> Self
    where
        A: actix::Supervised,
    {
        self.restarting = Some(<A as actix::Supervised>::restarting);
        self
    }

    /// When to start it again. `ctx.stop()` is a normal stop. Default: [`Restart::Permanent`].
    pub fn restart(mut self, restart: Restart) -> Self {
        self.settings.restart = restart;
        self
    }

    /// Whether its end counts for its supervisor's [`AutoShutdown`](crate::AutoShutdown). A permanent child never ends, so
    /// it cannot be significant. Default: false.
    pub fn significant(mut self, significant: bool) -> Self {
        self.settings.significant = significant;
        self
    }

    /// How many messages may wait before `try_send` and `send` do, in actix's way of counting: each clone of the address
    /// has one more, and `do_send` does not care. The actor's own `set_mailbox_capacity` changes it. At least one.
    /// Default: 64.
    pub fn mailbox(mut self, capacity: usize) -> Self {
        self.settings.capacity = capacity.clamp(1, CAPACITY_MAX);
        self
    }

    /// How long to wait before a restart. Default: 50 ms doubling to 10 s, full jitter, reset after 30 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// How long what the actor is at may go on when it is stopped or restarted: the queue at a final stop, the future it
    /// waits for, and what its handlers have spawned. Default: 5 s.
    pub fn shutdown(mut self, bound: Duration) -> Self {
        self.settings.shutdown = bound;
        self
    }

    /// How long one poll of the actor may hold its thread before the actor counts as stuck, as
    /// [`Child::stuck_after`](crate::Child::stuck_after) says. Default: 30 s.
    pub fn stuck_after(mut self, limit: Option<Duration>) -> Self {
        self.settings.patience.set_limit(limit);
        self
    }

    /// Whether it is then started again on another thread, as [`Child::replace_stuck`](crate::Child::replace_stuck) says.
    /// What it has in hand keeps its reply: actix gives it to the handler. Default: no.
    pub fn replace_stuck(mut self, replace: bool) -> Self {
        self.settings.patience.replace_stuck = replace;
        self
    }

    /// The thread it lives on. Default: [`Placement::Any`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.settings.placement = placement;
        self
    }
}

impl<A: actix::Actor<Context = actix::Context<A>>> std::fmt::Debug for ActixChild<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActixChild").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}
