//! What a user says of a supervisor.

use std::time::Duration;

use crate::{Backoff, Restart};

/// Which children are started again when one of them fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// That one.
    #[default]
    OneForOne,
    /// All of them: the others are stopped in reverse start order, then all are started in start order.
    OneForAll,
    /// That one and those that were started after it, likewise.
    RestForOne,
}

/// Whether a supervisor ends when significant children have ended.
///
/// A child is significant if its description [says so](crate::Child::significant). It has *ended* when it is not started
/// again: when a transient one stops normally, or a temporary one for whatever reason. Being stopped, by its supervisor
/// for a sibling's sake or by [`stop_child`](crate::SupervisorRef::stop_child), is not ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoShutdown {
    /// It does not: no child of it may be significant.
    #[default]
    Never,
    /// It ends with the first of them.
    AnySignificant,
    /// It ends with the last of them.
    AllSignificant,
}

/// The description of a supervisor: a name, a strategy, and how much failure it bears.
///
/// ```
/// use std::time::Duration;
/// use ironcliw::{Strategy, Supervisor};
///
/// let storage = Supervisor::new("storage").strategy(Strategy::RestForOne).restarts(5, Duration::from_secs(10));
/// ```
#[derive(Debug, Clone)]
pub struct Supervisor {
    pub(crate) name: String,
    pub(crate) strategy: Strategy,
    pub(crate) budget: Budget,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) restart: Restart,
    pub(crate) backoff: Backoff,
    pub(crate) significant: bool,
}

/// At most `max` restarts in any window of `within`; one more is too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) max: u32,
    pub(crate) within: Duration,
}

impl Supervisor {
    /// A permanent one-for-one supervisor that bears 5 restarts in 10 seconds.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            strategy: Strategy::default(),
            budget: Budget { max: 5, within: Duration::from_secs(10) },
            auto_shutdown: AutoShutdown::default(),
            restart: Restart::default(),
            backoff: Backoff::default(),
            significant: false,
        }
    }

    /// Which children a failure concerns. Default: [`Strategy::OneForOne`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// How many restarts it bears in any window of `within`. One more, and it stops its children in reverse start order
    /// and fails itself, for its own supervisor to deal with. Default: 5 in 10 seconds.
    pub fn restarts(mut self, max: u32, within: Duration) -> Self {
        self.budget = Budget { max, within };
        self
    }

    /// Whether it ends when significant children have: it stops the others in reverse start order, then itself, with
    /// [`ExitReason::Shutdown`](crate::ExitReason). Its own supervisor starts it again if it is permanent, and without the
    /// children that had ended; otherwise it is gone, and so is what was queued for its children. Default:
    /// [`AutoShutdown::Never`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ironcliw::{Actor, AutoShutdown, Child, Context, Handler, Message, Restart, Runtime, Supervisor};
    /// # struct Job;
    /// # impl Actor for Job {}
    /// # struct Finish;
    /// # impl Message for Finish { type Reply = (); }
    /// # impl Handler<Finish> for Job {
    /// #     async fn handle(&mut self, _: Finish, ctx: &mut Context<Self>) { ctx.stop(); }
    /// # }
    /// # struct Helper;
    /// # impl Actor for Helper {}
    /// # let runtime = Runtime::builder().workers(1).build()?;
    /// # runtime.block_on(async {
    /// let task = Supervisor::new("task").auto_shutdown(AutoShutdown::AnySignificant).restart(Restart::Transient);
    /// let task = runtime.supervise(task).await?;
    /// let helper = task.spawn(Child::new("helper", || Helper)).await?;
    /// let job = task.spawn(Child::new("job", || Job).restart(Restart::Transient).significant(true)).await?;
    /// let _ = job.ask(Finish).await;
    /// helper.stopped().await; // its work is done with the job
    /// # Ok::<_, ironcliw::Error>(())
    /// # })?;
    /// # runtime.shutdown(Duration::from_secs(5))?;
    /// # Ok::<_, ironcliw::Error>(())
    /// ```
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// Whether its end counts for the [`AutoShutdown`] of the supervisor above it. A permanent one never ends, so it
    /// cannot be significant. Default: false.
    pub fn significant(mut self, significant: bool) -> Self {
        self.significant = significant;
        self
    }

    /// When the supervisor itself is started again. Default: [`Restart::Permanent`].
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How long to wait before the supervisor itself is started again. Default: that of a child.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }
}
