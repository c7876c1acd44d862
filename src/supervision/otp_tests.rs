//! `step` beside OTP's supervisor: twenty thousand random histories, in each of which both must do the same.
//!
//! [`Otp`] is a small model of what `lib/stdlib/src/supervisor.erl` and its documentation say: a process that takes one
//! message at a time and, in doing so, starts and stops children one after the other. It shares no code with `step` and
//! keeps other data: a list of specifications, each with the state of its process. [`Ours`] answers whatever `step` asks for
//! at once, as OTP waits for a child before it goes on, and writes down what was started, stopped and forgotten.
//!
//! Modelled: the three strategies; permanent, transient and temporary children; intensity and period; children added and
//! removed at any time; starts that fail, at first and again; significant children and `auto_shutdown`; the end in reverse
//! start order, by order, by exhaustion and by itself; and a beginning after each of these.
//!
//! Where ours differs on purpose, and the model with it:
//! - *A wait before every restart*, where OTP starts at once and waits for its own mailbox alone when that fails. A failed
//!   start counts when it fails, not when it is tried again. Both are tried: waits, and no waits.
//! - *What has ended is forgotten*: OTP keeps the specification of a transient child that stopped, to be started by hand or
//!   with its group; stopping a child is `terminate_child` and `delete_child` in one.
//! - *A group goes on without a member that is removed while the group waits*; OTP leaves those behind it down.
//! - *A supervisor that begins again has the children it had*, temporary ones apart, not those of a list written beforehand;
//!   one of them that does not start is tried again like any other and does not end the supervisor.
//! - *A significant child that waits to be started again lives*: OTP takes some of those that wait for ended.
//!
//! Not compared, as OTP would keep the message until it is done and `step` need not: what happens while a group is being
//! stopped or started, and a child that is added then (it starts at once, and is no member). `step_tests.rs` covers these.

use std::time::Duration;

use proptest::prelude::{Strategy as Generator, any, prop, prop_assert_eq};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use super::spec::{AutoShutdown, Budget, Strategy};
use super::step::{ChildId, Effect, Event, Policy, State, StopKind, Verdict, step};
use crate::{Backoff, Restart};

const CASES: u32 = 20_000;

/// What can be seen of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Start(ChildId, bool),
    /// Before this child is started there is a wait.
    Wait(ChildId),
    Stop(ChildId),
    Forget(ChildId),
    End(Verdict),
}

/// What happens to a supervisor. A number picks one of the children that it can happen to.
#[derive(Debug, Clone, Copy)]
enum Happening {
    StartChild { restart: Restart, significant: bool },
    Exit { pick: usize, failure: bool },
    Remove { pick: usize },
    WaitIsOver { pick: usize },
    TimePasses { seconds: u64 },
    Shutdown(StopKind),
    BeginAgain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Undefined,
    Running,
    Restarting,
}

#[derive(Debug, Clone, Copy)]
struct Spec {
    id: ChildId,
    restart: Restart,
    significant: bool,
    process: Process,
}

/// OTP's supervisor.
#[derive(Debug)]
struct Otp {
    strategy: Strategy,
    intensity: usize,
    period: u64,
    auto_shutdown: AutoShutdown,
    waits: bool,
    now: u64,
    specs: Vec<Spec>,
    restarts: Vec<u64>,
    starts: Starts,
    ended: Option<(Verdict, StopKind)>,
    acts: Vec<Act>,
}

/// Which of the starts succeed, in the order of the attempts.
#[derive(Debug, Clone)]
struct Starts(Vec<bool>, usize);

impl Starts {
    fn next(&mut self) -> bool {
        self.1 += 1;
        self.0.get(self.1 - 1).copied().unwrap_or(true)
    }
}

impl Otp {
    fn at(&self, id: ChildId) -> usize {
        self.specs.iter().position(|spec| spec.id == id).expect("a specification")
    }

    /// `start_child/2`.
    fn start_child(&mut self, id: ChildId, restart: Restart, significant: bool) {
        let up = self.starts.next();
        self.acts.push(Act::Start(id, up));
        if up {
            self.specs.push(Spec { id, restart, significant, process: Process::Running });
        } else {
            self.acts.push(Act::Forget(id));
        }
    }

    /// `terminate_child/2`, then `delete_child/2`.
    fn remove(&mut self, id: ChildId) {
        let at = self.at(id);
        let was = self.specs[at].process;
        if was == Process::Running {
            self.acts.push(Act::Stop(id));
        }
        self.delete(id);
        // Ours: the others of its group do not stay down.
        if was == Process::Restarting && self.strategy != Strategy::OneForOne {
            self.start_the_others();
        }
    }

    fn delete(&mut self, id: ChildId) {
        let at = self.at(id);
        self.specs.remove(at);
        self.acts.push(Act::Forget(id));
    }

    /// `do_restart/3`.
    fn exit(&mut self, id: ChildId, failure: bool) {
        let at = self.at(id);
        self.specs[at].process = Process::Undefined;
        let Spec { restart, significant, .. } = self.specs[at];
        match (restart, failure) {
            (Restart::Permanent, _) | (Restart::Transient, true) => self.restart(id),
            (Restart::Transient, false) | (Restart::Temporary, _) => {
                self.delete(id);
                self.do_auto_shutdown(significant);
            }
        }
    }

    fn do_auto_shutdown(&mut self, significant: bool) {
        let others = self.specs.iter().any(|spec| spec.significant);
        match self.auto_shutdown {
            AutoShutdown::AnySignificant if significant => self.terminate(Verdict::Completed, StopKind::Restart),
            AutoShutdown::AllSignificant if significant && !others => {
                self.terminate(Verdict::Completed, StopKind::Restart);
            }
            _ => {}
        }
    }

    /// `add_restart/1`, then the strategy.
    fn restart(&mut self, id: ChildId) {
        self.restarts.push(self.now);
        self.restarts.retain(|&then| self.now <= then + self.period);
        if self.restarts.len() > self.intensity {
            return self.terminate(Verdict::Exhausted, StopKind::Restart);
        }
        let from = self.at(id);
        match self.strategy {
            Strategy::OneForOne => {}
            Strategy::OneForAll => self.terminate_children(0),
            Strategy::RestForOne => self.terminate_children(from),
        }
        let first = if self.strategy == Strategy::OneForOne { Some(id) } else { self.first_down() };
        let Some(first) = first.filter(|_| self.waits) else {
            return self.start_again(id);
        };
        let at = self.at(first);
        self.specs[at].process = Process::Restarting;
        self.acts.push(Act::Wait(first));
    }

    /// `terminate_children/2` from here to the end: they can be started again, the temporary ones apart.
    fn terminate_children(&mut self, from: usize) {
        for at in (from..self.specs.len()).rev() {
            let spec = self.specs[at];
            if spec.process == Process::Running {
                self.acts.push(Act::Stop(spec.id));
            }
            self.specs[at].process = Process::Undefined;
            if spec.restart == Restart::Temporary {
                self.delete(spec.id);
            }
        }
    }

    fn first_down(&self) -> Option<ChildId> {
        self.specs.iter().find(|spec| spec.process != Process::Running).map(|spec| spec.id)
    }

    /// `try_again_restart`: what is left of a restart when its wait is over.
    fn start_again(&mut self, id: ChildId) {
        if self.strategy == Strategy::OneForOne {
            if !self.attempt(id) {
                self.restart(id);
            }
        } else {
            self.start_the_others();
        }
    }

    /// `start_children/2`, which ends with the first that fails.
    fn start_the_others(&mut self) {
        while let Some(id) = self.first_down() {
            if !self.attempt(id) {
                return self.restart(id);
            }
        }
    }

    fn attempt(&mut self, id: ChildId) -> bool {
        let (at, up) = (self.at(id), self.starts.next());
        self.specs[at].process = if up { Process::Running } else { Process::Undefined };
        self.acts.push(Act::Start(id, up));
        up
    }

    /// `terminate/2`.
    fn terminate(&mut self, verdict: Verdict, kind: StopKind) {
        for spec in self.specs.iter_mut().rev() {
            if spec.process == Process::Running {
                self.acts.push(Act::Stop(spec.id));
            }
            spec.process = Process::Undefined;
        }
        if kind == StopKind::Final {
            self.acts.extend(self.specs.drain(..).rev().map(|spec| Act::Forget(spec.id)));
        }
        self.ended = Some((verdict, kind));
        self.acts.push(Act::End(verdict));
    }

    /// `init/1`, with the children there were, and none of them failing.
    fn begin_again(&mut self) {
        self.ended = None;
        self.restarts.clear();
        let temporary = self.specs.extract_if(.., |spec| spec.restart == Restart::Temporary);
        self.acts.extend(temporary.map(|spec| Act::Forget(spec.id)));
        for spec in &mut self.specs {
            spec.process = Process::Running;
            self.acts.push(Act::Start(spec.id, true));
        }
    }

    fn those_that_are(&self, process: Process) -> Vec<ChildId> {
        self.specs.iter().filter(|spec| spec.process == process).map(|spec| spec.id).collect()
    }

    /// Whether `happening` can be compared now, and which child it concerns.
    fn concerns(&self, happening: Happening) -> Option<ChildId> {
        let pick = |ids: Vec<ChildId>, pick: usize| (!ids.is_empty()).then(|| ids[pick % ids.len()]);
        let is_up = self.ended.is_none();
        match happening {
            Happening::StartChild { .. } => {
                let group_waits = self.strategy != Strategy::OneForOne && self.first_down().is_some();
                (is_up && !group_waits && self.specs.len() < 7).then_some(0)
            }
            Happening::Exit { pick: n, .. } => pick(self.those_that_are(Process::Running), n).filter(|_| is_up),
            Happening::Remove { pick: n } => pick(self.specs.iter().map(|spec| spec.id).collect(), n).filter(|_| is_up),
            Happening::WaitIsOver { pick: n } => pick(self.those_that_are(Process::Restarting), n).filter(|_| is_up),
            Happening::TimePasses { .. } => Some(0),
            Happening::Shutdown(_) => is_up.then_some(0),
            Happening::BeginAgain => self.ended.filter(|&(_, kind)| kind == StopKind::Restart).map(|_| 0),
        }
    }
}

/// `step`, with children that do at once what they are told.
#[derive(Debug)]
struct Ours {
    state: State,
    backoff: Backoff,
    now: Duration,
    starts: Starts,
    acts: Vec<Act>,
}

impl Ours {
    fn tell(&mut self, first: Event<'_>) {
        let mut events = vec![first];
        while let Some(event) = events.pop() {
            let mut effects = Vec::new();
            step(&mut self.state, event, self.now, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Start(id) => {
                        // A beginning is not tried with failing starts.
                        let up = first == Event::Begin || self.starts.next();
                        self.acts.push(Act::Start(id, up));
                        events.push(if up { Event::Started(id) } else { Event::StartFailed(id) });
                    }
                    Effect::StartAfter(id, _) => self.acts.push(Act::Wait(id)),
                    Effect::Stop(id, _) => {
                        self.acts.push(Act::Stop(id));
                        // It was told to, so that it does not matter how it ends.
                        events.push(Event::Exited { child: id, failure: id.is_multiple_of(2) });
                    }
                    Effect::Forget(id) => self.acts.push(Act::Forget(id)),
                    Effect::Finished(verdict) => self.acts.push(Act::End(verdict)),
                }
            }
        }
    }
}

/// Both, and what they are told.
struct Pair {
    otp: Otp,
    ours: Ours,
    next_id: ChildId,
}

impl Pair {
    fn new(
        strategy: Strategy,
        (intensity, period): (u32, u64),
        auto: AutoShutdown,
        waits: bool,
        starts: Starts,
    ) -> Self {
        let budget = Budget { max: intensity, within: Duration::from_secs(period) };
        let backoff = if waits { Backoff { jitter: false, ..Backoff::default() } } else { Backoff::NONE };
        let state = State::new(strategy, budget, 7).with_auto_shutdown(auto);
        let mut ours = Ours { state, backoff, now: Duration::ZERO, starts: starts.clone(), acts: Vec::new() };
        ours.tell(Event::Begin);
        let otp = Otp {
            strategy,
            intensity: intensity as usize,
            period,
            auto_shutdown: auto,
            waits,
            now: 0,
            specs: Vec::new(),
            restarts: Vec::new(),
            starts,
            ended: None,
            acts: Vec::new(),
        };
        Self { otp, ours, next_id: 0 }
    }

    /// Tells both, where `happening` is one that can be compared.
    fn tell(&mut self, happening: Happening) {
        let Some(child) = self.otp.concerns(happening) else { return };
        match happening {
            Happening::StartChild { restart, significant } => {
                let significant =
                    significant && restart != Restart::Permanent && self.otp.auto_shutdown != AutoShutdown::Never;
                let id = self.next_id;
                self.next_id += 1;
                self.otp.start_child(id, restart, significant);
                let policy = Policy { restart, backoff: self.ours.backoff, significant, bound: Duration::ZERO };
                self.ours.tell(Event::Add(id, &policy));
            }
            Happening::Exit { failure, .. } => {
                self.otp.exit(child, failure);
                self.ours.tell(Event::Exited { child, failure });
            }
            Happening::Remove { .. } => {
                self.otp.remove(child);
                self.ours.tell(Event::Remove(child));
            }
            Happening::WaitIsOver { .. } => {
                self.otp.start_again(child);
                self.ours.tell(Event::Due(child));
            }
            Happening::TimePasses { seconds } => {
                self.otp.now += seconds;
                self.ours.now += Duration::from_secs(seconds);
            }
            Happening::Shutdown(kind) => {
                self.otp.terminate(Verdict::Stopped, kind);
                self.ours.tell(Event::Stop(kind));
            }
            Happening::BeginAgain => {
                self.otp.begin_again();
                self.ours.tell(Event::Begin);
            }
        }
    }

    fn budgets_left(&self) -> (usize, usize) {
        let recent = self.otp.restarts.iter().filter(|&&then| self.otp.now <= then + self.otp.period);
        let otp = self.otp.intensity.saturating_sub(recent.count());
        (otp, self.ours.state.budget_left(self.ours.now) as usize)
    }
}

/// Made of two numbers, which is what twenty thousand cases have the time for; smaller ones mean simpler things.
fn happening() -> impl Generator<Value = Happening> {
    any::<(u8, u8)>().prop_map(|(what, which)| {
        let pick = usize::from(which);
        match what % 36 {
            0..8 => {
                let restart = [Restart::Permanent, Restart::Transient, Restart::Temporary][pick % 3];
                Happening::StartChild { restart, significant: pick >= 128 }
            }
            8..14 => Happening::Exit { pick, failure: true },
            14..17 => Happening::Exit { pick, failure: false },
            17..20 => Happening::Remove { pick },
            20..28 => Happening::WaitIsOver { pick },
            28..32 => Happening::TimePasses { seconds: u64::from(which) % 4 },
            32 => Happening::Shutdown(if pick < 128 { StopKind::Restart } else { StopKind::Final }),
            _ => Happening::BeginAgain,
        }
    })
}

#[test]
fn a_supervisor_does_what_otps_does() {
    let strategies = vec![Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
    let autos = vec![AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant];
    let case = (
        prop::sample::select(strategies),
        (0_u32..5, 1_u64..6),
        prop::sample::select(autos),
        any::<bool>(),
        prop::collection::vec(prop::bool::weighted(0.8), 0..40),
        prop::collection::vec(happening(), 1..30),
    );
    let mut config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    // Printed when it fails, and taken from the environment to do the same again.
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), CASES),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let outcome = TestRunner::new(config).run(&case, |(strategy, budget, auto, waits, starts, happenings)| {
        let mut pair = Pair::new(strategy, budget, auto, waits, Starts(starts, 0));
        for (n, happening) in happenings.into_iter().enumerate() {
            pair.tell(happening);
            let told = || format!("after {n}, {happening:?}: OTP left, ours right; {:?}", pair.otp.specs);
            prop_assert_eq!(&pair.otp.acts, &pair.ours.acts, "{}", told());
            let (otp, ours) = pair.budgets_left();
            prop_assert_eq!(otp, ours, "restarts left, {}", told());
            prop_assert_eq!(pair.otp.ended.is_none(), pair.ours.state.is_running(), "{}", told());
        }
        Ok::<_, TestCaseError>(())
    });
    if let Err(difference) = outcome {
        panic!("PROPTEST_RNG_SEED={seed} shows it again: {difference}");
    }
}
