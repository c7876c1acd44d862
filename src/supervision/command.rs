//! What a supervisor's task hears: from its children, from its owner, from its own timers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::step::{ChildId, Policy};
use crate::arbiters::Arbiter;
use crate::cell::Cell;
use crate::mailbox::Signal;
use crate::pulse::Beat;
use crate::registry::PathHash;
use crate::{Error, ExitReason};

/// Tells one incarnation of a child from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Epoch(u32);

impl Epoch {
    /// After four thousand million restarts it begins again, when nobody remembers the first.
    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// How an incarnation tells its supervisor what becomes of it. Dropped without a word, it says `ThreadLost`.
pub(crate) struct Report {
    to: UnboundedSender<Command>,
    child: ChildId,
    epoch: Epoch,
    ended: bool,
}

impl Report {
    pub(super) fn new(to: UnboundedSender<Command>, child: ChildId, epoch: Epoch) -> Self {
        Self { to, child, epoch, ended: false }
    }

    /// For a supervisor that is no supervisor's child: its owner hears.
    pub(crate) fn to_owner() -> (Self, UnboundedReceiver<Command>) {
        let (to, heard) = unbounded_channel();
        (Self::new(to, ChildId::default(), Epoch::default()), heard)
    }

    pub(crate) fn started(&self) {
        let _ = self.to.send(Command::Started { child: self.child, epoch: self.epoch });
    }

    pub(crate) fn start_failed(self, reason: String) {
        self.exited(ExitReason::StartFailed(reason));
    }

    pub(crate) fn exited(mut self, reason: ExitReason) {
        self.ended = true;
        let _ = self.to.send(Command::Exited { child: self.child, epoch: self.epoch, reason });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.ended {
            let (child, epoch, reason) = (self.child, self.epoch, ExitReason::ThreadLost);
            let _ = self.to.send(Command::Exited { child, epoch, reason });
        }
    }
}

/// What a child is still given once it was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Its bound is over: halt it.
    Bound,
    /// Its grace is over: leave it behind.
    Grace,
}

/// New children that are spawned together, and the spawner who waits for the first start of all of them.
pub(crate) struct Adoption {
    pub(super) newcomers: Vec<Newcomer>,
    pub(super) reply: oneshot::Sender<Result<(), Error>>,
}

pub(crate) struct Newcomer {
    pub(super) cell: Arc<dyn Cell>,
    pub(super) policy: Policy,
    /// Of its path, made on the spawner's thread: the supervisor finds a place for it without looking at it.
    pub(super) hash: PathHash,
}

impl Newcomer {
    pub(super) fn new(cell: Arc<dyn Cell>, policy: Policy) -> Self {
        let hash = PathHash::of(cell.info().path());
        Self { cell, policy, hash }
    }
}

pub(crate) enum Command {
    Add(Adoption),
    Started {
        child: ChildId,
        epoch: Epoch,
    },
    Exited {
        child: ChildId,
        epoch: Epoch,
        reason: ExitReason,
    },
    Due {
        child: ChildId,
        epoch: Epoch,
    },
    Overdue {
        child: ChildId,
        epoch: Epoch,
        stage: Overdue,
    },
    Remove {
        path: String,
        done: oneshot::Sender<()>,
    },
    /// A restart has left the window: the budget has grown.
    Relief,
    /// The child is stuck in this poll, and is to be started on another thread.
    Replace {
        path: String,
        thread: Arc<Arbiter>,
        held: Beat,
    },
    /// The thread was given up for what another actor did there.
    Displace {
        path: String,
        thread: Arc<Arbiter>,
    },
    /// From the parent: begin, or begin again.
    Begin(Option<Report>),
    /// From the parent, or from the runtime's owner: end.
    Stop {
        signal: Signal,
        bound: Duration,
    },
    /// From the parent: there will be no next time.
    Seal,
}
