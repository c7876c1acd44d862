//! Every decision of a supervisor: `step(state, event, now) -> effects`, a pure function over plain data.
//!
//! Time is a `Duration` since an arbitrary start, and chance comes from a generator in the state, so a run can be
//! replayed. The rules are those of OTP's `supervisor` (`lib/stdlib/src/supervisor.erl`), with a wait before a restart.
//!
//! One-for-one, a child that failed is started again by itself, after the backoff. With the other strategies a failure
//! opens a *round*: its members are stopped one at a time in reverse start order, then started one at a time in start order,
//! the first one after the backoff. There is one round at a time, which a further failure widens and begins again; what it
//! has brought up before the one that failed stays up, unless all are to restart together. A beginning is a round, too.
//!
//! No decision looks at every child, those to stop or to start all of them apart.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::dice::Dice;
use super::spec::{AutoShutdown, Budget, Strategy};
use crate::child::Settings;
use crate::roll::Roll;
use crate::{Backoff, Restart};

/// The number of its spawning in the [`Registry`](crate::registry::Registry): those that were spawned later have greater ones.
pub(crate) type ChildId = u64;

/// How a child is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopKind {
    /// It will be started again: its queue is kept.
    Restart,
    /// It will not.
    Final,
}

/// How a supervisor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was told to.
    Stopped,
    /// Its restarts were used up.
    Exhausted,
    /// Significant children ended, as its `AutoShutdown` asks for.
    Completed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Policy {
    pub(crate) restart: Restart,
    pub(crate) backoff: Backoff,
    /// Whether its end may be that of the supervisor.
    pub(crate) significant: bool,
    /// How long its end may take. No decision depends on it.
    pub(crate) bound: Duration,
}

impl From<&Settings> for Policy {
    fn from(child: &Settings) -> Self {
        let &Settings { restart, backoff, significant, shutdown: bound, .. } = child;
        Self { restart, backoff, significant, bound }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Event<'a> {
    /// Start the children there are, in order.
    Begin,
    /// A new child, at the end of the order.
    Add(ChildId, &'a Policy),
    Started(ChildId),
    StartFailed(ChildId),
    Exited {
        child: ChildId,
        failure: bool,
    },
    /// Its thread was given up for what another actor did there.
    Displaced(ChildId),
    /// The wait that `StartAfter` asked for is over.
    Due(ChildId),
    /// Stop this child for good.
    Remove(ChildId),
    /// Stop all children, then end.
    Stop(StopKind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Start(ChildId),
    StartAfter(ChildId, Duration),
    Stop(ChildId, StopKind),
    /// The child is out of the state: seal its mailbox.
    Forget(ChildId),
    Finished(Verdict),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Down,
    Waiting,
    Starting,
    Up,
    Stopping,
}

#[derive(Debug, Clone)]
struct ChildState {
    /// Shared with its neighbours, which mostly have the same.
    policy: Arc<Policy>,
    /// In nanoseconds, which take half as much as a `Duration`.
    up_since_ns: u64,
    /// Failures in a row, for the backoff.
    streak: u32,
    status: Status,
    /// It has been up at least once: a failed start is no longer the spawner's.
    established: bool,
    /// It is being stopped for good.
    leaving: bool,
    /// It is started again by itself, in no round.
    alone: bool,
}

/// Enough for 584 years.
fn to_ns(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The children from one id up to another, on their way down and up again.
#[derive(Debug, Clone, Copy)]
struct Round {
    /// Those before it are up: the round is not about them.
    start_from: ChildId,
    /// Those before it need not be stopped.
    stop_from: ChildId,
    /// Those from here on have been added since.
    until: ChildId,
    /// On the way down, all from here on are down; on the way up, all before it are up.
    cursor: ChildId,
    on_the_way_up: bool,
    /// The last that was told to stop.
    told: Option<ChildId>,
    delay: Duration,
    /// When the wait is over; there is one wait a round.
    due: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Running,
    Stopping(Verdict, StopKind),
}

#[derive(Debug, Clone)]
pub(crate) struct State {
    strategy: Strategy,
    budget: Budget,
    auto_shutdown: AutoShutdown,
    /// In start order, which is that of their ids.
    children: Roll<ChildState>,
    /// That of the child that was added last.
    last_policy: Option<Arc<Policy>>,
    /// How many children are `Stopping`.
    stopping: usize,
    /// How many are significant.
    significant: usize,
    /// How many are started again in no round.
    alone: usize,
    /// While all are stopped: every child from here on is down.
    down_from: ChildId,
    round: Option<Round>,
    /// When the restarts within the window were decided.
    history: VecDeque<Duration>,
    phase: Phase,
    dice: Dice,
}

impl State {
    pub(crate) fn new(strategy: Strategy, budget: Budget, seed: u64) -> Self {
        Self {
            strategy,
            budget,
            auto_shutdown: AutoShutdown::Never,
            children: Roll::default(),
            last_policy: None,
            stopping: 0,
            significant: 0,
            alone: 0,
            down_from: 0,
            round: None,
            history: VecDeque::new(),
            phase: Phase::Idle,
            dice: Dice(seed),
        }
    }

    pub(crate) fn with_auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// Whether a child may be added now.
    pub(crate) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    pub(crate) fn is_waiting(&self, id: ChildId) -> bool {
        self.status(id) == Some(Status::Waiting)
    }

    pub(crate) fn bound(&self, id: ChildId) -> Option<Duration> {
        self.children.get(id).map(|child| child.policy.bound)
    }

    /// When the next restart leaves the window.
    pub(crate) fn relief(&self) -> Option<Duration> {
        self.history.front().map(|&at| at.saturating_add(self.budget.within))
    }

    /// So many children are about to be added.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.children.reserve(more);
    }

    /// Restarts that are left in the window that ends now.
    pub(crate) fn budget_left(&self, now: Duration) -> u32 {
        let old = self.history.partition_point(|&at| now.saturating_sub(at) > self.budget.within);
        let used = u32::try_from(self.history.len() - old).unwrap_or(u32::MAX);
        self.budget.max.saturating_sub(used)
    }

    /// Running, with nothing left to start again or to stop for that.
    pub(crate) fn is_settled(&self) -> bool {
        self.phase == Phase::Running && self.round.is_none() && self.alone == 0
    }

    /// Whether there is an incarnation, if only on its way in or out.
    pub(crate) fn has_incarnation(&self, id: ChildId) -> bool {
        matches!(self.status(id), Some(Status::Starting | Status::Up | Status::Stopping))
    }

    fn status(&self, id: ChildId) -> Option<Status> {
        self.children.get(id).map(|child| child.status)
    }

    fn set_status(&mut self, id: ChildId, status: Status) {
        if let Some(child) = self.children.get_mut(id) {
            let before = std::mem::replace(&mut child.status, status);
            self.stopping += usize::from(status == Status::Stopping);
            self.stopping -= usize::from(before == Status::Stopping);
        }
    }

    fn add(&mut self, id: ChildId, policy: &Policy, now: Duration) {
        let shared = self.last_policy.take().filter(|last| **last == *policy).unwrap_or_else(|| Arc::new(*policy));
        self.last_policy = Some(shared.clone());
        self.significant += usize::from(policy.significant);
        let child = ChildState {
            policy: shared,
            up_since_ns: to_ns(now),
            streak: 0,
            status: Status::Starting,
            established: false,
            leaving: false,
            alone: false,
        };
        self.children.push(id, child);
    }

    fn forget(&mut self, id: ChildId, effects: &mut Vec<Effect>) {
        if let Some(child) = self.children.remove(id) {
            self.stopping -= usize::from(child.status == Status::Stopping);
            self.significant -= usize::from(child.policy.significant);
            self.alone -= usize::from(child.alone);
        }
        effects.push(Effect::Forget(id));
    }

    /// Starts a child, or begins its wait.
    fn start(&mut self, id: ChildId, delay: Duration, effects: &mut Vec<Effect>) {
        if delay.is_zero() {
            self.set_status(id, Status::Starting);
            effects.push(Effect::Start(id));
        } else {
            self.set_status(id, Status::Waiting);
            effects.push(Effect::StartAfter(id, delay));
        }
    }
}

/// Decides what follows from `event`, which happened at `now`, and adds it to `effects`, whose room is the caller's: a crowd
/// is started by as many steps as it has members.
pub(crate) fn step(state: &mut State, event: Event<'_>, now: Duration, effects: &mut Vec<Effect>) {
    match event {
        Event::Begin => begin(state, effects),
        Event::Add(id, policy) => {
            state.add(id, policy, now);
            effects.push(Effect::Start(id));
        }
        Event::Started(id) => started(state, id, now),
        Event::StartFailed(id) => ended(state, id, End::Failed, now, effects),
        Event::Exited { child, failure } => {
            ended(state, child, if failure { End::Failed } else { End::Normal }, now, effects);
        }
        Event::Displaced(id) => ended(state, id, End::Displaced, now, effects),
        Event::Due(id) => {
            if state.status(id) == Some(Status::Waiting) {
                // A round starts nobody before it has stopped everybody.
                let later = state.round.is_some_and(|round| !round.on_the_way_up);
                if later { state.set_status(id, Status::Down) } else { state.start(id, Duration::ZERO, effects) }
            }
        }
        Event::Remove(id) => remove(state, id, effects),
        // An order that crossed the news of the end: that was said already, and is not to be said twice.
        Event::Stop(_) if state.phase == Phase::Idle => {}
        Event::Stop(kind) => begin_stopping(state, Verdict::Stopped, kind),
    }
    match state.phase {
        Phase::Idle => {}
        Phase::Running => advance_round(state, now, effects),
        Phase::Stopping(verdict, kind) => advance_stopping(state, verdict, kind, effects),
    }
}

fn begin(state: &mut State, effects: &mut Vec<Effect>) {
    state.phase = Phase::Running;
    state.history.clear();
    // Never started again, not even beside the supervisor itself.
    let is_temporary = |child: &ChildState| child.policy.restart == Restart::Temporary;
    let temporary = state.children.iter().filter(|(_, child)| is_temporary(child)).map(|(id, _)| id);
    for id in temporary.collect::<Vec<_>>() {
        state.forget(id, effects);
    }
    let until = state.children.end();
    state.round = Some(Round {
        start_from: 0,
        stop_from: until,
        until,
        cursor: 0,
        on_the_way_up: true,
        told: None,
        delay: Duration::ZERO,
        due: None,
    });
}

fn started(state: &mut State, id: ChildId, now: Duration) {
    if let Some(child) = state.children.get_mut(id) {
        child.established = true;
        child.up_since_ns = to_ns(now);
        state.alone -= usize::from(std::mem::take(&mut child.alone));
        // A child that was told to stop while it started stays on its way out.
        if child.status == Status::Starting {
            child.status = Status::Up;
        }
    }
}

/// How an incarnation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Normal,
    Failed,
    /// Through no fault of its own.
    Displaced,
}

fn ended(state: &mut State, id: ChildId, end: End, now: Duration, effects: &mut Vec<Effect>) {
    let stopping = matches!(state.phase, Phase::Stopping(..));
    let Some(child) = state.children.get(id) else { return };
    let asked = child.status == Status::Stopping;
    let (policy, forgotten) = (*child.policy, child.leaving || !child.established);
    let has_not_begun = !child.leaving && !child.established;
    state.set_status(id, Status::Down);
    if has_not_begun && end == End::Displaced && !asked && !stopping {
        // It came to a thread that was already held: its spawner waits for another.
        state.set_status(id, Status::Starting);
        return effects.push(Effect::Start(id));
    }
    if forgotten {
        return state.forget(id, effects);
    }
    if asked || stopping {
        return;
    }
    let again = match policy.restart {
        Restart::Permanent => true,
        Restart::Transient => end != End::Normal,
        Restart::Temporary => false,
    };
    if again && end == End::Displaced {
        // A crowd that loses its thread is no sign that its supervisor is of no use: it counts for nobody, and waits for
        // nothing. Whoever held the thread pays.
        return begin_again(state, id, Duration::ZERO, now, effects);
    }
    if again {
        return restart(state, id, now, effects);
    }
    state.forget(id, effects);
    let over = match state.auto_shutdown {
        AutoShutdown::Never => false,
        AutoShutdown::AnySignificant => policy.significant,
        AutoShutdown::AllSignificant => policy.significant && state.significant == 0,
    };
    if over {
        // As with any child that stops by itself: whether there is a next time is its supervisor's to say.
        begin_stopping(state, Verdict::Completed, StopKind::Restart);
    }
}

/// Counts the restart against the budget, then starts the child again, alone or in a round.
fn restart(state: &mut State, id: ChildId, now: Duration, effects: &mut Vec<Effect>) {
    state.history.push_back(now);
    while state.history.front().is_some_and(|&at| now.saturating_sub(at) > state.budget.within) {
        state.history.pop_front();
    }
    if state.history.len() > state.budget.max as usize {
        // The parent may start this supervisor again, so the queues are kept.
        return begin_stopping(state, Verdict::Exhausted, StopKind::Restart);
    }
    let delay = next_delay(state, id, now);
    begin_again(state, id, delay, now, effects);
}

/// Starts the child again, alone or in a round.
fn begin_again(state: &mut State, id: ChildId, delay: Duration, now: Duration, effects: &mut Vec<Effect>) {
    match state.strategy {
        Strategy::OneForOne => {
            if let Some(child) = state.children.get_mut(id) {
                state.alone += usize::from(!std::mem::replace(&mut child.alone, true));
            }
            state.start(id, delay, effects);
        }
        Strategy::OneForAll => open_round(state, 0, delay, now),
        Strategy::RestForOne => open_round(state, id, delay, now),
    }
}

/// Opens a round of the children from `first` on, or widens the one there is.
fn open_round(state: &mut State, first: ChildId, delay: Duration, now: Duration) {
    let until = state.children.end();
    let mut round = Round {
        start_from: first,
        stop_from: first,
        until,
        cursor: until,
        on_the_way_up: false,
        told: None,
        delay,
        due: None,
    };
    if let Some(earlier) = state.round {
        // A wait that begins again is no shorter than what was left of it.
        round.delay = delay.max(earlier.due.map_or(earlier.delay, |due| due.saturating_sub(now)));
        if earlier.on_the_way_up {
            let next_up = state.children.from(earlier.cursor).filter(|&(id, _)| id < earlier.until);
            let next_up = next_up.map(|(id, child)| (id, child.status));
            match next_up {
                // It goes on, and those behind it wait for it, the failed one among them.
                Some((id, _)) if id < first => (round.start_from, round.due) = (id, earlier.due.or(Some(now))),
                Some((id, Status::Waiting)) => state.set_status(id, Status::Down),
                _ => {}
            }
        } else {
            round.start_from = earlier.start_from.min(first);
            round.stop_from = earlier.stop_from.min(first);
            round.told = earlier.told;
        }
    }
    state.round = Some(round);
}

fn next_delay(state: &mut State, id: ChildId, now: Duration) -> Duration {
    let share = state.dice.share();
    let Some(child) = state.children.get_mut(id) else {
        return Duration::ZERO;
    };
    let backoff = child.policy.backoff;
    if now.saturating_sub(Duration::from_nanos(child.up_since_ns)) >= backoff.reset_after
        && !backoff.reset_after.is_zero()
    {
        child.streak = 0;
    }
    let bound = backoff.bound(child.streak);
    child.streak = child.streak.saturating_add(1);
    if backoff.jitter { bound.mul_f64(share) } else { bound }
}

fn remove(state: &mut State, id: ChildId, effects: &mut Vec<Effect>) {
    let Some(child) = state.children.get_mut(id) else { return };
    child.leaving = true;
    match child.status {
        Status::Down | Status::Waiting => state.forget(id, effects),
        Status::Starting | Status::Up => {
            state.set_status(id, Status::Stopping);
            effects.push(Effect::Stop(id, StopKind::Final));
        }
        // Already on its way out; `leaving` makes that final.
        Status::Stopping => effects.push(Effect::Stop(id, StopKind::Final)),
    }
}

fn begin_stopping(state: &mut State, verdict: Verdict, kind: StopKind) {
    let (verdict, kind) = match state.phase {
        // A later order cannot undo that it is over, but it can make the end final.
        Phase::Stopping(earlier, StopKind::Restart) => (earlier, kind),
        Phase::Stopping(earlier, StopKind::Final) => (earlier, StopKind::Final),
        Phase::Idle | Phase::Running => (verdict, kind),
    };
    state.phase = Phase::Stopping(verdict, kind);
    state.down_from = state.children.end();
    state.round = None;
    state.alone = 0;
    for child in state.children.values_mut() {
        child.alone = false;
        if child.status == Status::Waiting {
            child.status = Status::Down;
        }
    }
}

/// One child at a time, the last started first.
fn advance_stopping(state: &mut State, verdict: Verdict, kind: StopKind, effects: &mut Vec<Effect>) {
    if state.stopping > 0 {
        return;
    }
    // Nothing comes up any more, so who was found down stays so: ten thousand children are looked at once, not each time.
    while let Some((id, child)) = state.children.before(state.down_from) {
        if child.status != Status::Down {
            state.set_status(id, Status::Stopping);
            effects.push(Effect::Stop(id, kind));
            return;
        }
        state.down_from = id;
    }
    if kind == StopKind::Final {
        let gone: Vec<ChildId> = state.children.iter().rev().map(|(id, _)| id).collect();
        gone.into_iter().for_each(|id| state.forget(id, effects));
    }
    state.phase = Phase::Idle;
    effects.push(Effect::Finished(verdict));
}

fn advance_round(state: &mut State, now: Duration, effects: &mut Vec<Effect>) {
    let Some(mut round) = state.round else { return };
    let is_over =
        (round.on_the_way_up || go_down(state, &mut round, effects)) && go_up(state, &mut round, now, effects);
    state.round = (!is_over).then_some(round);
}

/// Stops the next member, the last one first; whether all are down.
fn go_down(state: &mut State, round: &mut Round, effects: &mut Vec<Effect>) -> bool {
    if round.told.is_some_and(|told| state.status(told) == Some(Status::Stopping)) {
        return false;
    }
    while let Some((id, child)) = state.children.before(round.cursor).filter(|&(id, _)| id >= round.stop_from) {
        match child.status {
            Status::Down => round.cursor = id,
            Status::Stopping => return false,
            Status::Up | Status::Starting | Status::Waiting => {
                let temporary = child.policy.restart == Restart::Temporary;
                if let Some(child) = state.children.get_mut(id) {
                    child.leaving |= temporary;
                }
                state.set_status(id, Status::Stopping);
                let kind = if temporary { StopKind::Final } else { StopKind::Restart };
                effects.push(Effect::Stop(id, kind));
                round.told = Some(id);
                return false;
            }
        }
    }
    (round.on_the_way_up, round.cursor) = (true, round.start_from);
    true
}

/// Starts the next member, the first one first; whether all are up.
fn go_up(state: &mut State, round: &mut Round, now: Duration, effects: &mut Vec<Effect>) -> bool {
    while let Some((id, child)) = state.children.from(round.cursor).filter(|&(id, _)| id < round.until) {
        match child.status {
            Status::Starting | Status::Waiting | Status::Stopping if !child.alone => return false,
            Status::Down => {
                let delay = if round.due.is_some() { Duration::ZERO } else { round.delay };
                round.due.get_or_insert(now + delay);
                state.start(id, delay, effects);
                return false;
            }
            Status::Up | Status::Starting | Status::Waiting | Status::Stopping => round.cursor = id + 1,
        }
    }
    true
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
