//! The task that is a supervisor: it hears what happened, asks `step` what follows, and does it.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::AbortHandle;
use tracing::{error, info, warn};

use super::batch::{Batch, Batches};
use super::bounds::{GRACE, LATE_GRACE, UNBOUNDED};
use super::children::Children;
use super::command::{Adoption, Command, Ear, Epoch, Overdue, Report};
use super::info::SupervisorInfo;
use super::reference::SupervisorRef;
use super::spec::Supervisor;
use super::step::{ChildId, Effect, Event, State, StopKind, Verdict, step};
use crate::arbiters::{Arbiter, HandOver};
use crate::cell::Cell;
use crate::clock;
use crate::mailbox::Signal;
use crate::observe::{ActorState, EventLog, Info, What};
use crate::registry::Listed;
use crate::{Error, ExitReason, Handle};

/// Commands taken from the queue in one go: enough that a burst of starts costs one wake-up, few enough to stay in cache.
const BURST: usize = 128;

/// How long the starts of a crowd are left to gather. Heard as they come, each handful costs its thread a call to the system,
/// and the core that both may be on two switches.
const GATHER: Duration = Duration::from_millis(1);

struct Task {
    shared: Arc<SupervisorInfo>,
    runtime: Handle,
    state: State,
    /// Room for what it decides.
    effects: Vec<Effect>,
    children: Children,
    batches: Batches,
    /// Members of batches that have failed, to be stopped.
    doomed: Vec<ChildId>,
    /// New children that came while all were stopped to be started again: they wait for that.
    early: Vec<Adoption>,
    ear: Arc<Ear>,
    /// Room for the starts that it hears of.
    heard: Vec<(ChildId, Epoch)>,
    report: Option<Report>,
    reported_start: bool,
    /// What this burst of commands has led to.
    starts: HandOver,
    began: Instant,
    /// Since it began: the time of the burst of commands that is obeyed.
    now: Duration,
    /// When a stop that was asked for must be over.
    deadline: Option<Instant>,
    /// How many children observers see waiting.
    waits: usize,
    /// Tells when the budget has grown.
    relief: Option<AbortHandle>,
    done: bool,
}

/// Makes a supervisor's task. It has no children and is idle until it is told to begin.
pub(crate) fn launch(spec: &Supervisor, path: String, runtime: &Handle) -> SupervisorRef {
    let (to, commands) = unbounded_channel();
    let info = Arc::new(Info::new(path, || "supervisor"));
    let shared = Arc::new(SupervisorInfo::new(spec, info));
    let task = Task {
        shared: shared.clone(),
        runtime: runtime.clone(),
        state: State::new(spec.strategy, spec.budget, runtime.next_seed()).with_auto_shutdown(spec.auto_shutdown),
        effects: Vec::new(),
        children: Children::default(),
        batches: Batches::default(),
        doomed: Vec::new(),
        early: Vec::new(),
        ear: Arc::new(Ear::new(to.clone())),
        heard: Vec::new(),
        report: None,
        reported_start: false,
        starts: HandOver::default(),
        began: clock::now(),
        now: Duration::ZERO,
        deadline: None,
        waits: 0,
        relief: None,
        done: false,
    };
    runtime.timers().spawn(task.run(commands));
    SupervisorRef::new(to, shared, runtime.clone())
}

impl Task {
    async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        let mut burst = Vec::new();
        while !self.done && commands.recv_many(&mut burst, BURST).await > 0 {
            self.now = clock::since(self.began);
            for command in burst.drain(..) {
                self.obey(command);
                while let Some(child) = self.doomed.pop() {
                    self.decide(Event::Remove(child));
                }
                if self.done {
                    break;
                }
            }
            self.settle();
            if self.batches.has_crowd() {
                // Nobody is woken for what comes meanwhile.
                tokio::time::sleep(GATHER).await;
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(adoption) => self.add(adoption),
            Command::Started => self.hear_starts(),
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
                if let Some(id) = self.find(&path) {
                    self.children.rare(id).removers.push(done);
                    self.decide(Event::Remove(id));
                }
            }
            // Settling looks at it.
            Command::Relief => self.relief = None,
            Command::Replace { path, thread, held } => {
                // It may have come back, and gone, in the meantime.
                if let Some(child) = self.tenant_of(&path, &thread)
                    && thread.pulse().look() == Some(held)
                {
                    self.lose(child);
                    self.on_exited(child, ExitReason::ThreadLost);
                }
            }
            Command::Displace { path, thread } => {
                if let Some(child) = self.tenant_of(&path, &thread) {
                    self.lose(child);
                    self.on_displaced(child);
                }
            }
            Command::Begin(report) => {
                self.report = report;
                self.reported_start = false;
                self.deadline = None;
                self.shared.set_exhausted(false);
                self.shared.info.set_state(ActorState::Running);
                self.decide(Event::Begin);
                std::mem::take(&mut self.early).into_iter().for_each(|adoption| self.add(adoption));
            }
            Command::Stop { signal, bound } => {
                let deadline = clock::now().checked_add(bound);
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
        self.starts.finish();
        let now = self.now;
        let is_spent = self.shared.set_budget_left(self.state.budget_left(now));
        if is_spent && self.relief.is_none() && self.state.is_running() {
            self.await_relief(now);
        }
        if self.waits > 0 {
            self.waits = self.shared.end_waits(|child| self.state.is_waiting(child));
        }
        if !self.reported_start && self.state.is_settled() {
            self.reported_start = true;
            if let Some(report) = &self.report {
                report.started();
            }
        }
    }

    /// What observers see of the budget grows as the window slides, whether or not anything happens.
    fn await_relief(&mut self, now: Duration) {
        let Some(at) = self.state.relief() else { return };
        let ear = self.ear.clone();
        // The window's edge is inside it.
        let after = at.saturating_sub(now).saturating_add(Duration::from_millis(1)).min(UNBOUNDED);
        let timer = self.runtime.timers().spawn(async move {
            tokio::time::sleep(after).await;
            ear.tell(Command::Relief);
        });
        self.relief = Some(timer.abort_handle());
    }

    /// The child at `path`.
    fn find(&self, path: &str) -> Option<ChildId> {
        self.runtime.registry().number(path).filter(|&id| self.children.get(id).is_some())
    }

    fn cell(&self, child: ChildId) -> Option<Arc<dyn Cell>> {
        self.runtime.registry().cell(child)
    }

    fn is_current(&self, child: ChildId, epoch: Epoch) -> bool {
        self.children.get(child).is_some_and(|entry| entry.epoch == epoch)
    }

    fn add(&mut self, adoption: Adoption) {
        if !self.state.is_running() && !self.shared.info.is_final() {
            return self.early.push(adoption);
        }
        // Refused, the newcomers are sealed as they are dropped.
        let Adoption { mut newcomers, reply } = adoption;
        if !self.state.is_running() {
            let _ = reply.send(Err(self.runtime.gone(self.shared.info.path())));
            return;
        }
        let listed = std::mem::take(&mut newcomers.listed);
        let count = listed.len();
        let ids = match self.enter(listed) {
            Ok(ids) => ids,
            Err(path) => {
                let _ = reply.send(Err(Error::NameTaken { path }));
                return;
            }
        };
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            let _ = reply.send(Ok(()));
            return;
        };
        let members = first.start..last.end;
        self.children.reserve(count);
        self.state.reserve(count);
        self.batches.add(Batch { members, open: count, failure: None, spawner: reply });
        ids.iter().cloned().flatten().for_each(|id| self.children.add(id));
        self.shared.set_children(self.children.len());
        let policies = newcomers.policies.iter().flat_map(|(policy, count)| std::iter::repeat_n(policy, *count));
        for (place, (id, policy)) in ids.into_iter().flatten().zip(policies).enumerate() {
            self.decide(Event::Add(id, policy));
            // Of a crowd the first have started by now. Heard at once, they take little room until they are.
            if place % BURST == BURST - 1 {
                self.hear_starts();
            }
        }
    }

    /// Enters newcomers in the registry, which gives them their ids, unless a path is taken: then that is the error, and all
    /// of them are sealed.
    fn enter(&self, newcomers: Vec<Listed>) -> Result<Vec<Range<ChildId>>, String> {
        let registry = self.runtime.registry();
        registry.reserve(newcomers.len());
        let (mut entered, mut newcomers) = (Vec::<Range<ChildId>>::new(), newcomers.into_iter());
        while newcomers.len() > 0 {
            let is_sibling = |id| self.children.get(id).is_some() || entered.iter().any(|ids| ids.contains(&id));
            let (ids, taken) = registry.add(&mut newcomers, is_sibling);
            entered.push(ids);
            let Some(taken) = taken else { continue };
            for id in entered.into_iter().flatten() {
                if let Some(cell) = self.cell(id) {
                    cell.seal();
                }
                registry.remove(id);
            }
            taken.seal();
            for (cell, _) in newcomers {
                cell.seal();
            }
            return Err(taken.info().path().to_owned());
        }
        Ok(entered)
    }

    fn hear_starts(&mut self) {
        let mut heard = std::mem::take(&mut self.heard);
        self.ear.take_started(&mut heard);
        for (child, epoch) in heard.drain(..) {
            if self.is_current(child, epoch) {
                self.on_started(child);
                self.decide(Event::Started(child));
            }
        }
        heard.shrink_to(2 * BURST);
        self.heard = heard;
    }

    fn on_started(&mut self, child: ChildId) {
        let Some(entry) = self.children.get_mut(child) else {
            return;
        };
        let mut open = None;
        if entry.in_batch
            && let Some(batch) = self.batches.of(child)
            && batch.failure.is_none()
        {
            entry.in_batch = false;
            batch.open -= 1;
            open = Some(batch.open);
        }
        self.log_start(child, open.unwrap_or(0));
        if open == Some(0) {
            self.batches.answer(child, Ok(()));
        }
    }

    /// Of a batch, the last ones to start are all that the log would keep: the others are not looked at for its sake.
    fn log_start(&self, child: ChildId, left_in_batch: usize) {
        let is_kept = left_in_batch < EventLog::KEPT;
        let Some(entry) = self.children.get(child).filter(|_| is_kept) else { return };
        let Some(cell) = self.cell(child) else { return };
        let info = cell.info();
        let what = if entry.restarted {
            let reason = info.last_exit().unwrap_or_default();
            // A Python exception's reason is its traceback, which has been logged: the last line is the exception.
            warn!(path = info.path(), reason = reason.lines().last().unwrap_or_default(), "restarted");
            What::Restarted { reason }
        } else {
            What::Started
        };
        self.runtime.events().push(info, what);
    }

    /// A child is gone that had not started, or whose batch had failed.
    fn on_lost_start(&mut self, child: ChildId, why: impl FnOnce() -> Error) {
        let Some(batch) = self.batches.of(child) else { return };
        if batch.failure.is_none() {
            batch.failure = Some(why());
            batch.open = 0;
            for member in batch.members.clone() {
                if let Some(entry) = self.children.get_mut(member) {
                    entry.in_batch = true;
                    batch.open += 1;
                    self.doomed.push(member);
                }
            }
        } else {
            batch.open -= 1;
        }
        if batch.open == 0
            && let Some(failure) = batch.failure.take()
        {
            self.batches.answer(child, Err(failure));
        }
    }

    fn on_exited(&mut self, child: ChildId, reason: ExitReason) {
        let Some(cell) = self.end_incarnation(child, &reason) else { return };
        let info = cell.info();
        self.runtime.events().exited(info, &reason);
        // A panic was an error in the log when it was caught.
        if reason.is_failure() && !matches!(reason, ExitReason::Panicked(_)) {
            warn!(path = info.path(), %reason, "a child failed");
        }
        let failure = reason.is_failure();
        if let ExitReason::StartFailed(message) = reason {
            self.note_failure(child, message);
            self.decide(Event::StartFailed(child));
        } else {
            self.decide(Event::Exited { child, failure });
        }
    }

    /// An incarnation has ended; the child that it was one of.
    fn end_incarnation(&mut self, child: ChildId, reason: &ExitReason) -> Option<Arc<dyn Cell>> {
        self.children.end_incarnation(child)?;
        let cell = self.cell(child)?;
        let info = cell.info();
        info.record_exit(reason);
        cell.on_exit(reason);
        if !info.is_final() {
            info.set_state(ActorState::Restarting);
        }
        Some(cell)
    }

    /// For the spawner, if it waits still.
    fn note_failure(&mut self, child: ChildId, message: String) {
        if self.children.get(child).is_some_and(|entry| entry.in_batch) {
            self.children.rare(child).last_failure = Some(message);
        }
    }

    /// The child at `path`, if it has an incarnation and that lives on `thread`.
    fn tenant_of(&self, path: &str, thread: &Arc<Arbiter>) -> Option<ChildId> {
        let child = self.find(path)?;
        let home = self.cell(child)?.thread()?;
        (Arc::ptr_eq(&home, thread) && self.state.has_incarnation(child)).then_some(child)
    }

    /// The child's thread does not come back.
    fn lose(&mut self, child: ChildId) {
        if let Some(cell) = self.cell(child) {
            cell.give_up();
            self.note_failure(child, ExitReason::ThreadLost.to_string());
        }
    }

    /// As `on_exited`, of one that is not to blame.
    fn on_displaced(&mut self, child: ChildId) {
        let Some(cell) = self.end_incarnation(child, &ExitReason::ThreadLost) else { return };
        let info = cell.info();
        warn!(path = info.path(), "a child lost its thread to another actor");
        self.runtime.events().push(info, What::Exited { reason: ExitReason::ThreadLost.to_string(), failure: false });
        self.decide(Event::Displaced(child));
    }

    fn on_overdue(&mut self, child: ChildId, stage: Overdue) {
        let Some(cell) = self.cell(child) else { return };
        match stage {
            Overdue::Bound => {
                cell.halt();
                let late = self.deadline.map_or(Duration::ZERO, clock::since);
                let grace = GRACE.saturating_sub(late).max(LATE_GRACE);
                self.later(child, grace, |epoch| Command::Overdue { child, epoch, stage: Overdue::Grace });
            }
            Overdue::Grace => {
                let path = cell.info().path();
                error!(path, "a handler did not come back within its bound; its thread is left behind");
                cell.give_up();
                self.on_exited(child, ExitReason::ThreadLost);
            }
        }
    }

    /// Sends itself a command of the child's present incarnation, unless that ends before.
    fn later(&mut self, child: ChildId, after: Duration, command: impl FnOnce(Epoch) -> Command) {
        let Some(entry) = self.children.get(child) else { return };
        let (ear, command) = (self.ear.clone(), command(entry.epoch));
        let timer = self.runtime.timers().spawn(async move {
            tokio::time::sleep(after).await;
            ear.tell(command);
        });
        self.children.rare(child).timers.push(timer.abort_handle());
    }

    /// Passes an order to stop on to those that are on their way out already, whose bounds may have been longer.
    fn hurry(&mut self, kind: StopKind) {
        let on_their_way = self.children.iter().filter_map(|(child, entry)| Some((child, entry.told?)));
        let mut on_their_way: Vec<_> = on_their_way.collect();
        on_their_way.sort_unstable_by_key(|&(child, _)| std::cmp::Reverse(child));
        for (child, told) in on_their_way {
            let is_final = kind == StopKind::Final || told == StopKind::Final;
            self.stop(child, if is_final { StopKind::Final } else { StopKind::Restart });
        }
    }

    fn decide(&mut self, event: Event<'_>) {
        let mut effects = std::mem::take(&mut self.effects);
        step(&mut self.state, event, self.now, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect);
        }
        effects.shrink_to(BURST);
        self.effects = effects;
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Start(child) => self.start(child),
            Effect::StartAfter(child, delay) => self.wait(child, delay),
            Effect::Stop(child, kind) => self.stop(child, kind),
            Effect::Forget(child) => self.forget(child),
            Effect::Finished(verdict) => self.finish(verdict),
        }
    }

    fn wait(&mut self, child: ChildId, delay: Duration) {
        // Nothing but an earlier wait can be pending while it is down.
        self.children.drop_timers(child);
        let (Some(entry), Some(cell)) = (self.children.get_mut(child), self.runtime.registry().cell(child)) else {
            return;
        };
        entry.waits = true;
        let info = cell.info();
        let reason = info.last_exit().unwrap_or_default();
        self.runtime.events().push(info, What::RestartScheduled { delay_s: delay.as_secs_f64(), reason });
        self.shared.begin_wait(child, info.clone(), delay);
        self.waits += 1;
        self.later(child, delay, |epoch| Command::Due { child, epoch });
    }

    fn start(&mut self, child: ChildId) {
        let Some(cell) = self.cell(child) else { return };
        let Some(entry) = self.children.begin_incarnation(child) else { return };
        if entry.restarted {
            cell.info().count_restart();
            self.shared.count_restart();
            self.runtime.registry().count_restart();
        }
        if std::mem::take(&mut entry.waits) {
            self.shared.end_wait(child);
        }
        let report = Report::new(self.ear.clone(), child, entry.epoch);
        cell.start(report, &mut self.starts);
    }

    fn stop(&mut self, child: ChildId, kind: StopKind) {
        let left = self.deadline.map_or(UNBOUNDED, |at| at.saturating_duration_since(clock::now()));
        let Some(cell) = self.cell(child) else { return };
        if let Some(entry) = self.children.get_mut(child) {
            entry.told = Some(kind);
        }
        let own = self.state.bound(child).unwrap_or(UNBOUNDED);
        let bound = own.min(left);
        let signal = match kind {
            StopKind::Restart => Signal::Restart,
            StopKind::Final => Signal::Drain,
        };
        cell.stop(signal, bound);
        if own < UNBOUNDED {
            self.later(child, bound, |epoch| Command::Overdue { child, epoch, stage: Overdue::Bound });
        }
    }

    fn forget(&mut self, child: ChildId) {
        let (Some((entry, rare)), Some(cell)) = (self.children.remove(child), self.cell(child)) else { return };
        if entry.waits {
            self.shared.end_wait(child);
        }
        self.shared.set_children(self.children.len());
        let dead_letters = cell.seal();
        self.runtime.registry().remove(child);
        self.runtime.events().push(cell.info(), What::Removed { dead_letters });
        if entry.in_batch {
            self.on_lost_start(child, || {
                let reason = rare.last_failure.unwrap_or_else(|| "it was stopped before it had started".to_owned());
                Error::StartFailed { path: cell.info().path().to_owned(), reason }
            });
        }
        for remover in rare.removers {
            let _ = remover.send(());
        }
    }

    fn finish(&mut self, verdict: Verdict) {
        let path = self.shared.info.path();
        let is_final = self.shared.info.is_final();
        let reason = match verdict {
            Verdict::Stopped if is_final => ExitReason::Shutdown,
            Verdict::Stopped => ExitReason::Restart,
            Verdict::Completed => {
                info!(path, "a supervisor ended with its significant children");
                self.runtime.events().push(&self.shared.info, What::Completed);
                ExitReason::Shutdown
            }
            Verdict::Exhausted => {
                error!(path, "a supervisor used up its restarts");
                self.shared.set_exhausted(true);
                self.runtime.events().push(&self.shared.info, What::BudgetExhausted);
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
        let ids: Vec<ChildId> = self.children.iter().rev().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.forget(id));
        if let Some(relief) = &self.relief {
            relief.abort();
        }
        self.shared.info.set_state(ActorState::Stopped);
        self.shared.info.announce_end();
    }
}
