//! How a child is to be run: [`Child`] and the small types it is made of.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::mailbox::CAPACITY_MAX;
use crate::{Actor, Address, Placement};

/// What a full mailbox does with one more message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The sender waits for room, first come first served.
    #[default]
    Block,
    /// The send fails with [`Error::MailboxFull`](crate::Error::MailboxFull) and gives the message back.
    Reject,
    /// The new message is dropped: counted as a dead letter, and an asker is told `MailboxFull`.
    DropNewest,
    /// The oldest queued message is dropped in favour of the new one: counted, its asker is told `MailboxFull`.
    DropOldest,
}

/// When a child that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Whatever the reason.
    #[default]
    Permanent,
    /// After a failure only; a normal stop is final.
    Transient,
    /// Never.
    Temporary,
}

/// How long to wait before the n-th restart in a row: a random share (full jitter) of `min · factorⁿ`, at most `max`.
///
/// Full jitter spreads restarts best under contention: see "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first wait's upper bound.
    pub min: Duration,
    /// No wait is longer than this.
    pub max: Duration,
    /// The growth from one failure to the next.
    pub factor: f64,
    /// Whether the wait is drawn between zero and its bound, or is the bound itself.
    pub jitter: bool,
    /// An incarnation that lived this long makes the next failure count as the first one again.
    pub reset_after: Duration,
}

impl Backoff {
    /// No wait at all.
    pub const NONE: Self =
        Self { min: Duration::ZERO, max: Duration::ZERO, factor: 1.0, jitter: false, reset_after: Duration::ZERO };

    /// The bound of the wait before restart number `streak` (0 is the first) after consecutive failures.
    pub(crate) fn bound(&self, streak: u32) -> Duration {
        let grown = self.min.as_secs_f64() * self.factor.max(1.0).powi(streak.min(1_000) as i32);
        Duration::try_from_secs_f64(grown).unwrap_or(self.max).min(self.max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(50),
            max: Duration::from_secs(10),
            factor: 2.0,
            jitter: true,
            reset_after: Duration::from_secs(30),
        }
    }
}

/// The description of an actor to be spawned: a name, a factory, and how to run what it makes.
///
/// ```
/// # use ironcliw::{Actor, Child, Overflow, Restart};
/// # struct Counter { total: u64 }
/// # impl Actor for Counter {}
/// let child = Child::new("counter", || Counter { total: 0 })
///     .restart(Restart::Transient)
///     .mailbox(1024, Overflow::Block);
/// ```
pub struct Child<A: Actor> {
    pub(crate) name: String,
    pub(crate) factory: Factory<A>,
    pub(crate) settings: Settings,
}

pub(crate) type Factory<A> = Box<dyn Fn() -> Result<A, crate::StartError> + Send + Sync>;

/// The part of a child's description that does not depend on its type.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) restart: Restart,
    pub(crate) significant: bool,
    pub(crate) capacity: usize,
    pub(crate) overflow: Overflow,
    pub(crate) backoff: Backoff,
    pub(crate) shutdown: Duration,
    pub(crate) placement: Placement,
    /// Of a thread of its own.
    pub(crate) niceness: Option<i32>,
    pub(crate) patience: Patience,
}

/// How long a child may hold its thread, and what follows if it does for longer. Every child has one, so it is kept short.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// In milliseconds, which is as fine as the watchdog looks.
    limit_ms: Option<NonZeroU32>,
    pub(crate) replace_stuck: bool,
}

/// Longer than any honest computation on a thread that others share; a thread that is held for ever is still seen while
/// whoever is on call looks.
const STUCK_AFTER: Duration = Duration::from_secs(30);

impl Patience {
    /// A limit of more than 49 days is one of 49.
    pub(crate) fn set_limit(&mut self, limit: Option<Duration>) {
        let limit_ms = limit.map(|limit| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX));
        self.limit_ms = limit_ms.map(|limit_ms| NonZeroU32::new(limit_ms).unwrap_or(NonZeroU32::MIN));
    }

    pub(crate) fn limit(self) -> Option<Duration> {
        self.limit_ms.map(|limit_ms| Duration::from_millis(limit_ms.get().into()))
    }
}

/// By the names that the description has for them.
impl std::fmt::Debug for Patience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patience")
            .field("stuck_after", &self.limit())
            .field("replace_stuck", &self.replace_stuck)
            .finish()
    }
}

impl Default for Patience {
    fn default() -> Self {
        let mut patience = Self { limit_ms: None, replace_stuck: false };
        patience.set_limit(Some(STUCK_AFTER));
        patience
    }
}

/// Messages a mailbox holds unless told otherwise.
pub const DEFAULT_MAILBOX: usize = 64;

impl Default for Settings {
    fn default() -> Self {
        Self {
            restart: Restart::default(),
            significant: false,
            capacity: DEFAULT_MAILBOX,
            overflow: Overflow::default(),
            backoff: Backoff::default(),
            shutdown: Duration::from_secs(5),
            placement: Placement::default(),
            niceness: None,
            patience: Patience::default(),
        }
    }
}

impl<A: Actor> Child<A> {
    /// A permanent child with the default mailbox, whose factory cannot fail. The factory runs on the actor's thread,
    /// once for every incarnation.
    pub fn new(name: impl Into<String>, factory: impl Fn() -> A + Send + Sync + 'static) -> Self {
        Self::fallible(name, move || Ok::<_, std::convert::Infallible>(factory()))
    }

    /// The same with a factory that may fail, as when it opens a connection.
    pub fn fallible<E>(name: impl Into<String>, factory: impl Fn() -> Result<A, E> + Send + Sync + 'static) -> Self
    where
        E: Into<crate::StartError>,
    {
        Self {
            name: name.into(),
            factory: Box::new(move || factory().map_err(Into::into)),
            settings: Settings::default(),
        }
    }

    /// When to start it again. Default: [`Restart::Permanent`].
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

    /// How many messages may wait (at least one, at most 16,777,216), and what happens when they do. Default: 64, [`Overflow::Block`].
    pub fn mailbox(mut self, capacity: usize, overflow: Overflow) -> Self {
        self.settings.capacity = capacity.clamp(1, CAPACITY_MAX);
        self.settings.overflow = overflow;
        self
    }

    /// How long to wait before a restart. Default: 50 ms doubling to 10 s, full jitter, reset after 30 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// How long the message in hand may go on when the child is stopped or restarted. Default: 5 s.
    pub fn shutdown(mut self, bound: Duration) -> Self {
        self.settings.shutdown = bound;
        self
    }

    /// The thread it lives on. Default: [`Placement::Any`].
    pub fn placement(mut self, placement: Placement) -> Self {
        self.settings.placement = placement;
        self
    }

    /// How long a hook or handler may hold its thread without coming back to an `.await` before the actor counts as stuck:
    /// then its state in snapshots is [`Stuck`](crate::ActorState::Stuck) until it comes back, and the event log and the log
    /// say so. Time that a handler spends waiting does not count, and each message of a queue has this time for itself.
    /// `None` is for ever, for actors that are meant to block or to compute. Default: 30 s.
    pub fn stuck_after(mut self, limit: Option<Duration>) -> Self {
        self.settings.patience.set_limit(limit);
        self
    }

    /// Whether an actor that is stuck is started again on another thread, with its queue. The message in hand is answered
    /// with [`ActorRestarting`](crate::Error::ActorRestarting), the thread is given up, and the other actors that live on it
    /// are started elsewhere as well: their queues are kept, their state is not, and it does not count against the restarts
    /// that their supervisors bear.
    ///
    /// Default: no. No thread can be ended from outside, so what the handler does goes on beside the next incarnation: only
    /// who wrote it knows whether the two may, and whether to wait is worse.
    pub fn replace_stuck(mut self, replace: bool) -> Self {
        self.settings.patience.replace_stuck = replace;
        self
    }

    /// On the thread of another actor: [`Placement::with`] that one, or where it was placed before if the other is nowhere.
    pub fn beside<B: Actor>(mut self, other: &Address<B>) -> Self {
        let otherwise = std::mem::take(&mut self.settings.placement);
        self.placement(Placement::with(other).or(otherwise))
    }

    /// For handlers that block, or compute for longer than others should wait: a thread of its own that is pinned to no
    /// core, and no limit to how long a handler may hold it. It is `placement(Placement::Blocking)` with
    /// `stuck_after(None)`; [`Child::niceness`] lets such a thread go after the others.
    ///
    /// ```
    /// # use ironcliw::{Actor, Child};
    /// # struct Archive;
    /// # impl Actor for Archive {}
    /// let archive = Child::new("archive", || Archive).blocking().niceness(10);
    /// ```
    pub fn blocking(self) -> Self {
        self.placement(Placement::Blocking).stuck_after(None)
    }

    /// The niceness of its thread, where that is one of its own (Linux; elsewhere it has no effect). Default: that of the
    /// runtime's [dedicated threads](crate::Builder::niceness).
    pub fn niceness(mut self, niceness: i32) -> Self {
        self.settings.niceness = Some(niceness);
        self
    }
}

impl<A: Actor> std::fmt::Debug for Child<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Child").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}
