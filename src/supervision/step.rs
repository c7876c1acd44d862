//! Every decision of a supervisor: `step(state, event, now) -> effects`, a pure function over plain data.
//!
//! Time is a `Duration` since an arbitrary start, and chance comes from a generator in the state, so a run can be
//! replayed. The rules are those of OTP's `supervisor` (`lib/stdlib/src/supervisor.erl`), with a wait before a restart.
//!
//! A failure opens a *round*: its members are stopped one at a time in reverse start order, then started one at a time
//! in start order, the first one after the backoff. One-for-one rounds have one member and go on side by side; the other
//! strategies have one round, which a further failure widens and begins again.

use std::collections::VecDeque;
use std::time::Duration;

use super::spec::{Budget, Strategy};
use crate::{Backoff, Restart};

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
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Policy {
    pub(crate) restart: Restart,
    pub(crate) backoff: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Event {
    /// Start the children there are, in order.
    Begin,
    /// A new child, at the end of the order.
    Add(ChildId, Policy),
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
    id: ChildId,
    policy: Policy,
    status: Status,
    /// It has been up at least once: a failed start is no longer the spawner's.
    established: bool,
    /// It is being stopped for good.
    leaving: bool,
    /// Failures in a row, for the backoff.
    streak: u32,
    up_since: Duration,
}

#[derive(Debug, Clone)]
struct Round {
    members: Vec<ChildId>,
    delay: Duration,
    all_down: bool,
    waited: bool,
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
    /// In start order, which is that of their ids.
    children: Vec<ChildState>,
    /// How many of them are `Stopping`.
    stopping: usize,
    /// While all are stopped: every child from here on is down.
    down_from: usize,
    rounds: Vec<Round>,
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
            children: Vec::new(),
            stopping: 0,
            down_from: 0,
            rounds: Vec::new(),
            history: VecDeque::new(),
            phase: Phase::Idle,
            dice: Dice(seed),
        }
    }

    /// Whether a child may be added now.
    pub(crate) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Restarts that are left in the window that ends now.
    pub(crate) fn budget_left(&self, now: Duration) -> u32 {
        let used = self.history.iter().filter(|&&at| now.saturating_sub(at) <= self.budget.within).count();
        self.budget.max.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    /// Running, with nothing left to start or to stop.
    pub(crate) fn is_settled(&self) -> bool {
        self.phase == Phase::Running && self.rounds.is_empty()
    }

    /// Whether there is an incarnation, if only on its way in or out.
    pub(crate) fn has_incarnation(&self, id: ChildId) -> bool {
        matches!(self.status(id), Some(Status::Starting | Status::Up | Status::Stopping))
    }

    fn place(&self, id: ChildId) -> Option<usize> {
        self.children.binary_search_by_key(&id, |child| child.id).ok()
    }

    fn child(&mut self, id: ChildId) -> Option<&mut ChildState> {
        let at = self.place(id)?;
        self.children.get_mut(at)
    }

    fn status(&self, id: ChildId) -> Option<Status> {
        self.place(id).map(|at| self.children[at].status)
    }

    fn set_status(&mut self, id: ChildId, status: Status) {
        if let Some(at) = self.place(id) {
            let before = std::mem::replace(&mut self.children[at].status, status);
            self.stopping += usize::from(status == Status::Stopping);
            self.stopping -= usize::from(before == Status::Stopping);
        }
    }

    fn forget(&mut self, id: ChildId, effects: &mut Vec<Effect>) {
        if let Some(at) = self.place(id) {
            let child = self.children.remove(at);
            self.stopping -= usize::from(child.status == Status::Stopping);
        }
        for round in &mut self.rounds {
            round.members.retain(|&member| member != id);
        }
        effects.push(Effect::Forget(id));
    }
}

/// Decides what follows from `event`, which happened at `now`.
pub(crate) fn step(state: &mut State, event: Event, now: Duration) -> Vec<Effect> {
    let mut effects = Vec::new();
    match event {
        Event::Begin => {
            state.phase = Phase::Running;
            state.history.clear();
            // Never started again, not even beside the supervisor itself.
            let is_temporary = |child: &&ChildState| child.policy.restart == Restart::Temporary;
            let temporary: Vec<ChildId> = state.children.iter().filter(is_temporary).map(|child| child.id).collect();
            temporary.into_iter().for_each(|id| state.forget(id, &mut effects));
            let members = state.children.iter().map(|child| child.id).collect();
            state.rounds = vec![Round { members, delay: Duration::ZERO, all_down: true, waited: true }];
        }
        Event::Add(id, policy) => {
            let child = ChildState {
                id,
                policy,
                status: Status::Starting,
                established: false,
                leaving: false,
                streak: 0,
                up_since: now,
            };
            debug_assert!(state.children.last().is_none_or(|last| last.id < id), "ids grow");
            state.children.push(child);
            effects.push(Effect::Start(id));
        }
        Event::Started(id) => started(state, id, now),
        Event::StartFailed(id) => ended(state, id, End::Failed, now, &mut effects),
        Event::Exited { child, failure } => {
            ended(state, child, if failure { End::Failed } else { End::Normal }, now, &mut effects);
        }
        Event::Displaced(id) => ended(state, id, End::Displaced, now, &mut effects),
        Event::Due(id) => {
            if state.status(id) == Some(Status::Waiting) {
                state.set_status(id, Status::Starting);
                effects.push(Effect::Start(id));
            }
        }
        Event::Remove(id) => remove(state, id, &mut effects),
        // An order that crossed the news of the end: that was said already, and is not to be said twice.
        Event::Stop(_) if state.phase == Phase::Idle => {}
        Event::Stop(kind) => begin_stopping(state, Verdict::Stopped, kind),
    }
    match state.phase {
        Phase::Idle => {}
        Phase::Running => advance_rounds(state, &mut effects),
        Phase::Stopping(verdict, kind) => advance_stopping(state, verdict, kind, &mut effects),
    }
    effects
}

fn started(state: &mut State, id: ChildId, now: Duration) {
    if let Some(child) = state.child(id) {
        child.established = true;
        child.up_since = now;
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
    let Some(child) = state.child(id) else { return };
    let asked = child.status == Status::Stopping;
    let (restart_kind, forgotten) = (child.policy.restart, child.leaving || !child.established);
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
    let again = match restart_kind {
        Restart::Permanent => true,
        Restart::Transient => end != End::Normal,
        Restart::Temporary => false,
    };
    if again && end == End::Displaced {
        // A crowd that loses its thread is no sign that its supervisor is of no use: it counts for nobody, and waits for
        // nothing. Whoever held the thread pays.
        open_round(state, id, Duration::ZERO);
    } else if again {
        restart(state, id, now);
    } else {
        state.forget(id, effects);
    }
}

/// Counts the restart against the budget, then opens or widens a round.
fn restart(state: &mut State, id: ChildId, now: Duration) {
    state.history.push_back(now);
    while state.history.front().is_some_and(|&at| now.saturating_sub(at) > state.budget.within) {
        state.history.pop_front();
    }
    if state.history.len() > state.budget.max as usize {
        // The parent may start this supervisor again, so the queues are kept.
        return begin_stopping(state, Verdict::Exhausted, StopKind::Restart);
    }
    let delay = next_delay(state, id, now);
    open_round(state, id, delay);
}

fn open_round(state: &mut State, id: ChildId, delay: Duration) {
    let from = state.place(id).unwrap_or(0);
    let affected = match state.strategy {
        Strategy::OneForOne => from..from + 1,
        Strategy::OneForAll => 0..state.children.len(),
        Strategy::RestForOne => from..state.children.len(),
    };
    let concerned: Vec<ChildId> = state.children[affected].iter().map(|child| child.id).collect();
    let merged: Vec<ChildId> = match state.strategy {
        Strategy::OneForOne => {
            for round in &mut state.rounds {
                round.members.retain(|&member| member != id);
            }
            concerned
        }
        Strategy::OneForAll | Strategy::RestForOne => {
            let pending: Vec<ChildId> = state.rounds.drain(..).flat_map(|round| round.members).collect();
            let in_order = state.children.iter().map(|child| child.id);
            in_order.filter(|id| concerned.contains(id) || pending.contains(id)).collect()
        }
    };
    for &member in &merged {
        if state.status(member) == Some(Status::Waiting) {
            state.set_status(member, Status::Down);
        }
    }
    state.rounds.push(Round { members: merged, delay, all_down: false, waited: false });
}

fn next_delay(state: &mut State, id: ChildId, now: Duration) -> Duration {
    let share = state.dice.share();
    let Some(child) = state.child(id) else {
        return Duration::ZERO;
    };
    let backoff = child.policy.backoff;
    if now.saturating_sub(child.up_since) >= backoff.reset_after && !backoff.reset_after.is_zero() {
        child.streak = 0;
    }
    let bound = backoff.bound(child.streak);
    child.streak = child.streak.saturating_add(1);
    if backoff.jitter { bound.mul_f64(share) } else { bound }
}

fn remove(state: &mut State, id: ChildId, effects: &mut Vec<Effect>) {
    let Some(child) = state.child(id) else { return };
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
    state.down_from = state.children.len();
    state.rounds.clear();
    for child in &mut state.children {
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
    state.down_from = state.down_from.min(state.children.len());
    while state.down_from > 0 && state.children[state.down_from - 1].status == Status::Down {
        state.down_from -= 1;
    }
    if let Some(last) = state.down_from.checked_sub(1) {
        let id = state.children[last].id;
        state.set_status(id, Status::Stopping);
        effects.push(Effect::Stop(id, kind));
        return;
    }
    if kind == StopKind::Final {
        let gone: Vec<ChildId> = state.children.iter().rev().map(|child| child.id).collect();
        gone.into_iter().for_each(|id| state.forget(id, effects));
    }
    state.phase = Phase::Idle;
    effects.push(Effect::Finished(verdict));
}

fn advance_rounds(state: &mut State, effects: &mut Vec<Effect>) {
    let mut rounds = std::mem::take(&mut state.rounds);
    for round in &mut rounds {
        advance_round(state, round, effects);
    }
    rounds.retain(|round| round.members.iter().any(|&member| state.status(member).is_some_and(|s| s != Status::Up)));
    state.rounds = rounds;
}

fn advance_round(state: &mut State, round: &mut Round, effects: &mut Vec<Effect>) {
    let statuses = |state: &State| -> Vec<(ChildId, Status)> {
        round.members.iter().filter_map(|&member| Some((member, state.status(member)?))).collect()
    };
    let members = statuses(state);
    if members.iter().any(|&(_, status)| status == Status::Stopping) {
        return;
    }
    if !round.all_down {
        let up = members.iter().rev().find(|(_, status)| matches!(status, Status::Up | Status::Starting));
        if let Some(&(id, _)) = up {
            let child = state.child(id).expect("a member with a status is a child");
            let temporary = child.policy.restart == Restart::Temporary;
            child.leaving |= temporary;
            state.set_status(id, Status::Stopping);
            let kind = if temporary { StopKind::Final } else { StopKind::Restart };
            effects.push(Effect::Stop(id, kind));
            return;
        }
        round.all_down = true;
    }
    if members.iter().any(|&(_, status)| matches!(status, Status::Starting | Status::Waiting)) {
        return;
    }
    let Some(&(id, _)) = members.iter().find(|(_, status)| *status == Status::Down) else {
        return;
    };
    if round.waited || round.delay.is_zero() {
        state.set_status(id, Status::Starting);
        effects.push(Effect::Start(id));
    } else {
        state.set_status(id, Status::Waiting);
        effects.push(Effect::StartAfter(id, round.delay));
    }
    round.waited = true;
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    /// Uniform in 0..1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = (z ^ (z >> 31)) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
