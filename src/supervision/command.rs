//! What a supervisor's task hears: from its children, from its owner, from its own timers.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::step::{ChildId, Policy};
use crate::arbiters::Arbiter;
use crate::cell::Cell;
use crate::mailbox::Signal;
use crate::pulse::Beat;
use crate::registry::{Listed, PathHash};
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

/// What a supervisor hears by: commands, and the starts of its children, which come in crowds.
pub(crate) struct Ear {
    to: UnboundedSender<Command>,
    /// Those that it has not looked at yet. Of the first it is told, and finds the others when it looks.
    started: Mutex<Vec<(ChildId, Epoch)>>,
}

impl Ear {
    pub(super) fn new(to: UnboundedSender<Command>) -> Self {
        Self { to, started: Mutex::default() }
    }

    pub(super) fn tell(&self, command: Command) {
        // One that hears nothing any more has no use for it.
        let _ = self.to.send(command);
    }

    fn tell_start(&self, child: ChildId, epoch: Epoch) {
        let is_first = {
            let mut started = self.started.lock();
            started.push((child, epoch));
            started.len() == 1
        };
        if is_first {
            self.tell(Command::Started);
        }
    }

    /// Moves them to where there are none.
    pub(super) fn take_started(&self, to: &mut Vec<(ChildId, Epoch)>) {
        debug_assert!(to.is_empty());
        std::mem::swap(&mut *self.started.lock(), to);
    }
}

/// How an incarnation tells its supervisor what becomes of it. Dropped without a word, it says `ThreadLost`.
pub(crate) struct Report {
    ear: Arc<Ear>,
    child: ChildId,
    epoch: Epoch,
    ended: bool,
}

impl Report {
    pub(super) fn new(ear: Arc<Ear>, child: ChildId, epoch: Epoch) -> Self {
        Self { ear, child, epoch, ended: false }
    }

    /// For a supervisor that is no supervisor's child: its owner hears, of the end at least.
    pub(crate) fn to_owner() -> (Self, UnboundedReceiver<Command>) {
        let (to, heard) = unbounded_channel();
        (Self::new(Arc::new(Ear::new(to)), ChildId::default(), Epoch::default()), heard)
    }

    pub(crate) fn started(&self) {
        self.ear.tell_start(self.child, self.epoch);
    }

    pub(crate) fn start_failed(self, reason: String) {
        self.exited(ExitReason::StartFailed(reason));
    }

    pub(crate) fn exited(mut self, reason: ExitReason) {
        self.tell_end(reason);
    }

    fn tell_end(&mut self, reason: ExitReason) {
        self.ended = true;
        self.ear.tell(Command::Exited { child: self.child, epoch: self.epoch, reason });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.ended {
            self.tell_end(ExitReason::ThreadLost);
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
    pub(super) newcomers: Newcomers,
    pub(super) reply: oneshot::Sender<Result<(), Error>>,
}

/// Children in the order of their start. Those that no supervisor takes are sealed.
#[derive(Default)]
pub(crate) struct Newcomers {
    /// What is to be had from a cell is had on the spawner's thread, whose cache it is in: the supervisor enters a crowd
    /// without looking at its members.
    pub(super) listed: Vec<Listed>,
    /// Each with the number of those it is the policy of.
    pub(super) policies: Vec<(Policy, usize)>,
}

impl Newcomers {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { listed: Vec::with_capacity(capacity), policies: Vec::new() }
    }

    pub(super) fn one(cell: Arc<dyn Cell>, policy: Policy) -> Self {
        let mut newcomers = Self::with_capacity(1);
        newcomers.push(cell, policy);
        newcomers
    }

    pub(super) fn push(&mut self, cell: Arc<dyn Cell>, policy: Policy) {
        let hash = PathHash::of(cell.info().path());
        self.listed.push((cell, hash));
        match self.policies.last_mut() {
            Some((last, count)) if *last == policy => *count += 1,
            _ => self.policies.push((policy, 1)),
        }
    }
}

impl Drop for Newcomers {
    fn drop(&mut self) {
        for (cell, _) in &self.listed {
            cell.seal();
        }
    }
}

pub(crate) enum Command {
    Add(Adoption),
    /// Children have started: `Ear` has them.
    Started,
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
