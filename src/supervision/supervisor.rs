//! The task that is a supervisor: it hears what happened, asks `step` what follows, and does it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tracing::{error, info, warn};

use super::reference::SupervisorRef;
use super::spec::{Strategy, Supervisor};
use super::step::{ChildId, Effect, Event, Policy, State, StopKind, Verdict, step};
use crate::cell::Cell;
use crate::mailbox::Signal;
use crate::observe::{ActorState, Info, SupervisorSnapshot, What};
use crate::{Error, ExitReason, Handle};

/// What a child that was told to halt gets to come back from its handler before its thread counts as lost.
pub(crate) const GRACE: Duration = Duration::from_millis(250);

/// What is left of the grace once the time for a whole stop has run out, so that many lost threads do not add up.
const LATE_GRACE: Duration = Duration::from_millis(50);

/// "No bound of its own": a supervisor ends when its children have.
pub(super) const UNBOUNDED: Duration = Duration::from_secs(365 * 24 * 3600);

/// How an incarnation tells its supervisor what becomes of it. Dropped without a word, it says `ThreadLost`.
pub(crate) struct Report {
    to: UnboundedSender<Command>,
    child: ChildId,
    epoch: u64,
    ended: bool,
}

impl Report {
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

/// A new child, and the spawner who waits for its first start.
pub(crate) struct Adoption {
    pub(super) cell: Arc<dyn Cell>,
    pub(super) policy: Policy,
    pub(super) bound: Duration,
    pub(super) reply: oneshot::Sender<Result<(), Error>>,
}

pub(crate) enum Command {
    Add(Adoption),
    Started {
        child: ChildId,
        epoch: u64,
    },
    Exited {
        child: ChildId,
        epoch: u64,
        reason: ExitReason,
    },
    Due {
        child: ChildId,
        epoch: u64,
    },
    Overdue {
        child: ChildId,
        epoch: u64,
        stage: Overdue,
    },
    Remove {
        path: String,
        done: oneshot::Sender<()>,
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

/// What observers read of a supervisor.
pub(crate) struct SupervisorInfo {
    pub(super) info: Arc<Info>,
    strategy: Strategy,
    max_restarts: u32,
    within: Duration,
    budget_left: AtomicU32,
    restarts: AtomicU64,
    exhausted: AtomicBool,
}

impl SupervisorInfo {
    pub(crate) fn observe(&self) -> SupervisorSnapshot {
        SupervisorSnapshot {
            path: self.info.path().to_owned(),
            strategy: match self.strategy {
                Strategy::OneForOne => "one_for_one",
                Strategy::OneForAll => "one_for_all",
                Strategy::RestForOne => "rest_for_one",
            },
            state: self.info.state(),
            restarts: self.restarts.load(Ordering::Relaxed),
            max_restarts: self.max_restarts,
            within_s: self.within.as_secs_f64(),
            budget_left: self.budget_left.load(Ordering::Relaxed),
            exhausted: self.exhausted.load(Ordering::Relaxed),
        }
    }
}

struct Entry {
    cell: Arc<dyn Cell>,
    bound: Duration,
    epoch: u64,
    starts: u64,
    /// The spawner, until the first start has succeeded or failed.
    spawner: Option<oneshot::Sender<Result<(), Error>>>,
    /// What the last start said, for the spawner.
    last_failure: Option<String>,
    /// Those who wait for the child to be gone.
    removers: Vec<oneshot::Sender<()>>,
    /// How this incarnation was told to end, if it was.
    told: Option<StopKind>,
    /// Waits that concern this incarnation alone.
    timers: Vec<AbortHandle>,
}

impl Entry {
    /// What comes late from the incarnation that was, its timers included, no longer counts.
    fn end_incarnation(&mut self) {
        self.epoch += 1;
        self.told = None;
        self.timers.drain(..).for_each(|timer| timer.abort());
    }
}

struct Task {
    shared: Arc<SupervisorInfo>,
    runtime: Handle,
    state: State,
    entries: HashMap<ChildId, Entry>,
    /// The children's paths.
    names: HashMap<String, ChildId>,
    next_child: ChildId,
    /// New children that came while all were stopped to be started again: they wait for that.
    early: Vec<Adoption>,
    to_self: UnboundedSender<Command>,
    report: Option<Report>,
    reported_start: bool,
    began: Instant,
    /// When a stop that was asked for must be over.
    deadline: Option<Instant>,
    done: bool,
}

/// Makes a supervisor's task. It has no children and is idle until it is told to begin.
pub(crate) fn launch(spec: &Supervisor, path: String, runtime: &Handle) -> SupervisorRef {
    let (to, commands) = unbounded_channel();
    let info = Arc::new(Info::new(path, || "supervisor"));
    let shared = Arc::new(SupervisorInfo {
        info,
        strategy: spec.strategy,
        max_restarts: spec.budget.max,
        within: spec.budget.within,
        budget_left: AtomicU32::new(spec.budget.max),
        restarts: AtomicU64::new(0),
        exhausted: AtomicBool::new(false),
    });
    let task = Task {
        shared: shared.clone(),
        runtime: runtime.clone(),
        state: State::new(spec.strategy, spec.budget, runtime.next_seed()),
        entries: HashMap::new(),
        names: HashMap::new(),
        next_child: 0,
        early: Vec::new(),
        to_self: to.clone(),
        report: None,
        reported_start: false,
        began: Instant::now(),
        deadline: None,
        done: false,
    };
    runtime.timers().spawn(task.run(commands));
    SupervisorRef::new(to, shared, runtime.clone())
}

impl Task {
    async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        while !self.done {
            let Some(command) = commands.recv().await else {
                break;
            };
            self.obey(command);
            self.settle();
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(adoption) => self.add(adoption),
            Command::Started { child, epoch } => {
                if self.is_current(child, epoch) {
                    self.on_started(child);
                    self.decide(Event::Started(child));
                }
            }
            Command::Exited { child, epoch, reason } => {
                if self.is_current(child, epoch) {
                    self.on_exited(child, reason);
                }
            }
            Command::Due { child, epoch } => {
                if self.is_current(child, epoch) {
                    self.decide(Event::Due(child));
                }
            }
            Command::Overdue { child, epoch, stage } => {
                if self.is_current(child, epoch) {
                    self.on_overdue(child, stage);
                }
            }
            Command::Remove { path, done } => {
                let id = self.names.get(&path).copied();
                let found = id.and_then(|id| Some((id, self.entries.get_mut(&id)?)));
                if let Some((id, entry)) = found {
                    entry.removers.push(done);
                    self.decide(Event::Remove(id));
                }
            }
            Command::Begin(report) => {
                self.report = report;
                self.reported_start = false;
                self.deadline = None;
                self.shared.exhausted.store(false, Ordering::Relaxed);
                self.shared.info.set_state(ActorState::Running);
                self.decide(Event::Begin);
                std::mem::take(&mut self.early).into_iter().for_each(|adoption| self.add(adoption));
            }
            Command::Stop { signal, bound } => {
                let deadline = Instant::now().checked_add(bound);
                self.deadline = self.deadline.into_iter().chain(deadline).min();
                let kind = if signal == Signal::Restart { StopKind::Restart } else { StopKind::Final };
                if kind == StopKind::Final {
                    self.shared.info.set_state(ActorState::Stopping);
                    self.early.clear();
                }
                self.hurry(kind);
                self.decide(Event::Stop(kind));
            }
            Command::Seal => self.done = true,
        }
    }

    /// Reports and state that follow from whatever has just been decided.
    fn settle(&mut self) {
        self.shared.budget_left.store(self.state.budget_left(self.now()), Ordering::Relaxed);
        if !self.reported_start && self.state.is_settled() {
            self.reported_start = true;
            if let Some(report) = &self.report {
                report.started();
            }
        }
    }

    fn is_current(&self, child: ChildId, epoch: u64) -> bool {
        self.entries.get(&child).is_some_and(|entry| entry.epoch == epoch)
    }

    fn add(&mut self, adoption: Adoption) {
        if !self.state.is_running() && !self.shared.info.is_final() {
            return self.early.push(adoption);
        }
        let Adoption { cell, policy, bound, reply } = adoption;
        let path = cell.info().path().to_owned();
        // Refused, the spawner seals the cell.
        if !self.state.is_running() {
            let _ = reply.send(Err(self.runtime.gone(self.shared.info.path())));
            return;
        }
        if self.names.contains_key(&path) {
            let _ = reply.send(Err(Error::NameTaken { path }));
            return;
        }
        let id = self.next_child;
        self.next_child += 1;
        self.runtime.registry().add(cell.clone());
        self.names.insert(path, id);
        let entry = Entry {
            cell,
            bound,
            epoch: 0,
            starts: 0,
            spawner: Some(reply),
            last_failure: None,
            removers: Vec::new(),
            told: None,
            timers: Vec::new(),
        };
        self.entries.insert(id, entry);
        self.decide(Event::Add(id, policy));
    }

    fn on_started(&mut self, child: ChildId) {
        let Some(entry) = self.entries.get_mut(&child) else {
            return;
        };
        let path = entry.cell.info().path();
        let what = if entry.starts == 1 { What::Started } else { What::Restarted };
        if what == What::Restarted {
            info!(path, "restarted");
        }
        self.runtime.events().push(path, what);
        if let Some(spawner) = entry.spawner.take() {
            let _ = spawner.send(Ok(()));
        }
    }

    fn on_exited(&mut self, child: ChildId, reason: ExitReason) {
        let Some(entry) = self.entries.get_mut(&child) else {
            return;
        };
        entry.end_incarnation();
        let info = entry.cell.info();
        info.record_exit(&reason);
        if !info.is_final() {
            info.set_state(ActorState::Restarting);
        }
        self.runtime.events().exited(info.path(), &reason);
        if reason.is_failure() {
            warn!(path = info.path(), %reason, "a child failed");
        }
        let failure = reason.is_failure();
        if let ExitReason::StartFailed(message) = reason {
            entry.last_failure = Some(message);
            self.decide(Event::StartFailed(child));
        } else {
            self.decide(Event::Exited { child, failure });
        }
    }

    fn on_overdue(&mut self, child: ChildId, stage: Overdue) {
        let Some(entry) = self.entries.get(&child) else {
            return;
        };
        match stage {
            Overdue::Bound => {
                entry.cell.halt();
                let late = self.deadline.map_or(Duration::ZERO, |at| at.elapsed());
                let grace = GRACE.saturating_sub(late).max(LATE_GRACE);
                self.later(child, grace, |epoch| Command::Overdue { child, epoch, stage: Overdue::Grace });
            }
            Overdue::Grace => {
                let path = entry.cell.info().path();
                error!(path, "a handler did not come back within its bound; its thread is left behind");
                entry.cell.give_up();
                self.on_exited(child, ExitReason::ThreadLost);
            }
        }
    }

    /// Sends itself a command of the child's present incarnation, unless that ends before.
    fn later(&mut self, child: ChildId, after: Duration, command: impl FnOnce(u64) -> Command) {
        let Some(entry) = self.entries.get_mut(&child) else {
            return;
        };
        let (to, command) = (self.to_self.clone(), command(entry.epoch));
        let timer = self.runtime.timers().spawn(async move {
            tokio::time::sleep(after).await;
            let _ = to.send(command);
        });
        entry.timers.push(timer.abort_handle());
    }

    /// Passes an order to stop on to those that are on their way out already, whose bounds may have been longer.
    fn hurry(&mut self, kind: StopKind) {
        let on_their_way = self.entries.iter().filter_map(|(&child, entry)| Some((child, entry.told?)));
        for (child, told) in on_their_way.collect::<Vec<_>>() {
            let is_final = kind == StopKind::Final || told == StopKind::Final;
            self.stop(child, if is_final { StopKind::Final } else { StopKind::Restart });
        }
    }

    fn decide(&mut self, event: Event) {
        let now = self.now();
        for effect in step(&mut self.state, event, now) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Start(child) => self.start(child),
            Effect::StartAfter(child, delay) => {
                self.later(child, delay, |epoch| Command::Due { child, epoch });
            }
            Effect::Stop(child, kind) => self.stop(child, kind),
            Effect::Forget(child) => self.forget(child),
            Effect::Finished(verdict) => self.finish(verdict),
        }
    }

    fn start(&mut self, child: ChildId) {
        let Some(entry) = self.entries.get_mut(&child) else {
            return;
        };
        entry.end_incarnation();
        entry.starts += 1;
        if entry.starts > 1 {
            entry.cell.info().count_restart();
            self.shared.restarts.fetch_add(1, Ordering::Relaxed);
            self.runtime.registry().count_restart();
        }
        let report = Report { to: self.to_self.clone(), child, epoch: entry.epoch, ended: false };
        entry.cell.start(report);
    }

    fn stop(&mut self, child: ChildId, kind: StopKind) {
        let left = self.deadline.map_or(UNBOUNDED, |at| at.saturating_duration_since(Instant::now()));
        let Some(entry) = self.entries.get_mut(&child) else {
            return;
        };
        entry.told = Some(kind);
        let bound = entry.bound.min(left);
        let signal = match kind {
            StopKind::Restart => Signal::Restart,
            StopKind::Final => Signal::Drain,
        };
        entry.cell.stop(signal, bound);
        if entry.bound < UNBOUNDED {
            self.later(child, bound, |epoch| Command::Overdue { child, epoch, stage: Overdue::Bound });
        }
    }

    fn forget(&mut self, child: ChildId) {
        let Some(mut entry) = self.entries.remove(&child) else {
            return;
        };
        entry.end_incarnation();
        let dead_letters = entry.cell.seal();
        let info = entry.cell.info();
        self.runtime.registry().remove(&entry.cell);
        self.names.remove(entry.cell.info().path());
        self.runtime.events().push(info.path(), What::Removed { dead_letters });
        if let Some(spawner) = entry.spawner {
            let path = info.path().to_owned();
            let reason = entry.last_failure.unwrap_or_else(|| "it was stopped before it had started".to_owned());
            let _ = spawner.send(Err(Error::StartFailed { path, reason }));
        }
        for remover in entry.removers {
            let _ = remover.send(());
        }
    }

    fn finish(&mut self, verdict: Verdict) {
        let path = self.shared.info.path();
        let is_final = self.shared.info.is_final();
        let reason = match verdict {
            Verdict::Stopped if is_final => ExitReason::Shutdown,
            Verdict::Stopped => ExitReason::Restart,
            Verdict::Exhausted => {
                error!(path, "a supervisor used up its restarts");
                self.shared.exhausted.store(true, Ordering::Relaxed);
                self.runtime.events().push(path, What::BudgetExhausted);
                ExitReason::BudgetExhausted
            }
        };
        self.shared.info.set_state(if is_final { ActorState::Stopped } else { ActorState::Restarting });
        match self.report.take() {
            Some(report) => report.exited(reason),
            // The root has no parent to turn to.
            None => {
                self.done = true;
                self.runtime.root_ended(verdict == Verdict::Exhausted);
            }
        }
        if is_final {
            self.done = true;
        }
    }
}

/// However the task ends, even with the thread it ran on, nobody is left waiting for a child of its.
impl Drop for Task {
    fn drop(&mut self) {
        let mut ids: Vec<ChildId> = self.entries.keys().copied().collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.into_iter().for_each(|id| self.forget(id));
        self.shared.info.set_state(ActorState::Stopped);
    }
}
