//! What `step` decides, example by example, then against random events and a model of the children that obey it.

use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};

use super::Effect::{Finished, Forget, Start, StartAfter, Stop};
use super::*;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const PERMANENT: Policy =
    Policy { restart: Restart::Permanent, backoff: Backoff::NONE, significant: false, bound: Duration::ZERO };

/// Waits one second, then two, then four.
const DOUBLING: Backoff =
    Backoff { min: seconds(1), max: seconds(4), factor: 2.0, jitter: false, reset_after: seconds(60) };

/// A supervisor's state with its clock.
fn step(state: &mut State, event: Event<'_>, now: Duration) -> Vec<Effect> {
    let mut effects = Vec::new();
    super::step(state, event, now, &mut effects);
    effects
}

struct Desk {
    state: State,
    now: Duration,
}

impl Desk {
    /// Running, with the children 1 to `policies.len()` up.
    fn new(strategy: Strategy, max: u32, within: Duration, policies: &[Policy]) -> Self {
        let state = State::new(strategy, Budget { max, within }, 7);
        let mut desk = Self { state, now: Duration::ZERO };
        assert_eq!(desk.on(Event::Begin), []);
        for (id, policy) in (1..).zip(policies) {
            assert_eq!(desk.on(Event::Add(id, policy)), [Start(id)]);
            assert_eq!(desk.on(Event::Started(id)), []);
        }
        desk
    }

    fn on(&mut self, event: Event<'_>) -> Vec<Effect> {
        step(&mut self.state, event, self.now)
    }

    fn fail(&mut self, child: ChildId) -> Vec<Effect> {
        self.on(Event::Exited { child, failure: true })
    }

    fn end(&mut self, child: ChildId) -> Vec<Effect> {
        self.on(Event::Exited { child, failure: false })
    }

    fn fail_at(&mut self, at: u64, child: ChildId) -> Vec<Effect> {
        self.now = seconds(at);
        let effects = self.fail(child);
        if effects == [Start(child)] {
            assert_eq!(self.on(Event::Started(child)), []);
        }
        effects
    }
}

#[test]
fn as_many_restarts_as_the_budget_says_are_borne_and_one_more_is_not() {
    let mut desk = Desk::new(Strategy::OneForOne, 3, seconds(10), &[PERMANENT; 2]);
    for at in [0, 4, 9] {
        assert_eq!(desk.fail_at(at, 1), [Start(1)]);
    }
    assert_eq!(desk.state.budget_left(desk.now), 0);
    assert_eq!(desk.fail_at(10, 1), [Stop(2, StopKind::Restart)], "the window's edge is inside it");
    assert!(!desk.state.is_running());
    assert_eq!(desk.end(2), [Finished(Verdict::Exhausted)]);
}

#[test]
fn restarts_older_than_the_window_are_forgotten_one_by_one() {
    let mut desk = Desk::new(Strategy::OneForOne, 2, seconds(10), &[PERMANENT]);
    for at in [0, 8, 11, 19, 22] {
        assert_eq!(desk.fail_at(at, 1), [Start(1)], "at {at}");
    }
    assert_eq!(desk.state.budget_left(seconds(22)), 0);
    assert_eq!(desk.state.budget_left(seconds(30)), 1);
    assert_eq!(desk.state.budget_left(seconds(33)), 2);
    assert_eq!(desk.fail_at(29, 1), [Finished(Verdict::Exhausted)]);
}

#[test]
fn a_budget_of_nothing_bears_no_restart() {
    let mut desk = Desk::new(Strategy::OneForOne, 0, seconds(10), &[PERMANENT]);
    assert_eq!(desk.fail(1), [Finished(Verdict::Exhausted)]);
}

#[test]
fn beginning_again_restores_the_budget_and_starts_in_order() {
    let mut desk = Desk::new(Strategy::OneForOne, 0, seconds(10), &[PERMANENT; 3]);
    assert_eq!(desk.fail(2), [Stop(3, StopKind::Restart)]);
    assert_eq!(desk.end(3), [Stop(1, StopKind::Restart)]);
    assert_eq!(desk.end(1), [Finished(Verdict::Exhausted)]);
    assert_eq!(desk.on(Event::Begin), [Start(1)]);
    assert_eq!(desk.state.budget_left(desk.now), 0);
    assert_eq!(desk.on(Event::Started(1)), [Start(2)]);
    assert_eq!(desk.on(Event::Started(2)), [Start(3)]);
    assert!(!desk.state.is_settled());
    assert_eq!(desk.on(Event::Started(3)), []);
    assert!(desk.state.is_settled());
}

#[test]
fn a_supervisor_that_begins_again_does_not_start_temporary_children_again() {
    let temporary = Policy { restart: Restart::Temporary, ..PERMANENT };
    let mut desk = Desk::new(Strategy::OneForOne, 5, seconds(10), &[PERMANENT, temporary]);
    assert_eq!(desk.on(Event::Stop(StopKind::Restart)), [Stop(2, StopKind::Restart)]);
    assert_eq!(desk.end(2), [Stop(1, StopKind::Restart)]);
    assert_eq!(desk.end(1), [Finished(Verdict::Stopped)]);
    assert_eq!(desk.on(Event::Begin), [Forget(2), Start(1)]);
}

#[test]
fn a_stop_that_crosses_the_end_is_not_a_second_end() {
    let mut desk = Desk::new(Strategy::OneForOne, 0, seconds(10), &[PERMANENT]);
    assert_eq!(desk.fail(1), [Finished(Verdict::Exhausted)]);
    assert_eq!(desk.on(Event::Stop(StopKind::Restart)), []);
    assert_eq!(desk.on(Event::Stop(StopKind::Final)), []);
    assert_eq!(desk.on(Event::Begin), [Start(1)]);
}

#[test]
fn backoff_grows_to_its_cap_and_starts_over_after_a_healthy_life() {
    let policy = Policy { backoff: DOUBLING, ..PERMANENT };
    let mut desk = Desk::new(Strategy::OneForOne, 100, seconds(1), &[policy]);
    let mut waits = Vec::new();
    for healthy in [0, 0, 0, 0, 59, 60, 0] {
        desk.now += seconds(healthy);
        let effects = desk.fail(1);
        let [StartAfter(1, wait)] = effects[..] else { panic!("{effects:?}") };
        waits.push(wait.as_secs());
        desk.now += wait;
        assert_eq!(desk.on(Event::Due(1)), [Start(1)]);
        desk.on(Event::Started(1));
    }
    assert_eq!(waits, [1, 2, 4, 4, 4, 1, 2]);
}

#[test]
fn jitter_stays_within_its_bound_varies_and_is_the_seeds() {
    let waits = |seed| {
        let policy = Policy { backoff: Backoff { jitter: true, ..DOUBLING }, ..PERMANENT };
        let mut state = State::new(Strategy::OneForOne, Budget { max: u32::MAX, within: seconds(1) }, seed);
        let mut waits = Vec::new();
        step(&mut state, Event::Begin, Duration::ZERO);
        step(&mut state, Event::Add(1, &policy), Duration::ZERO);
        for n in 0..200_u32 {
            step(&mut state, Event::Started(1), seconds(2));
            let effects = step(&mut state, Event::Exited { child: 1, failure: true }, seconds(2));
            let [StartAfter(1, wait)] = effects[..] else { panic!("{effects:?}") };
            assert!(wait < DOUBLING.bound(n), "{wait:?} at {n}");
            waits.push(wait);
            step(&mut state, Event::Due(1), seconds(2));
        }
        waits
    };
    let first = waits(1);
    assert_eq!(first, waits(1));
    assert_ne!(first, waits(2));
    let mean = first[2..].iter().sum::<Duration>().as_secs_f64() / 198.0;
    assert!((1.6..2.4).contains(&mean), "full jitter under 4 s has a mean of 2 s, not {mean}");
}

#[test]
fn a_bound_never_overflows() {
    let wild = Backoff { min: seconds(1), max: seconds(9), factor: f64::MAX, jitter: false, reset_after: seconds(1) };
    assert_eq!([wild.bound(0), wild.bound(1), wild.bound(u32::MAX)], [seconds(1), seconds(9), seconds(9)]);
    let odd = Backoff { factor: f64::NAN, ..wild };
    assert_eq!(odd.bound(5), seconds(1), "a factor below one, or none at all, is one");
}

#[test]
fn one_for_one_rounds_go_on_side_by_side() {
    let slow = Policy { backoff: DOUBLING, ..PERMANENT };
    let mut desk = Desk::new(Strategy::OneForOne, 9, seconds(10), &[slow, PERMANENT, slow]);
    assert_eq!(desk.fail(1), [StartAfter(1, seconds(1))]);
    assert_eq!(desk.fail(3), [StartAfter(3, seconds(1))]);
    assert_eq!(desk.fail(2), [Start(2)], "nobody waits for another's backoff");
    assert_eq!(desk.on(Event::Due(3)), [Start(3)]);
    assert_eq!(desk.on(Event::Started(2)), []);
    assert_eq!(desk.fail(2), [Start(2)]);
    assert_eq!(desk.on(Event::Started(3)), []);
    assert_eq!(desk.on(Event::Due(1)), [Start(1)]);
    assert_eq!(desk.on(Event::Started(2)), []);
    assert!(!desk.state.is_settled());
    assert_eq!(desk.on(Event::Started(1)), []);
    assert!(desk.state.is_settled());
}

#[test]
fn one_for_all_stops_in_reverse_and_starts_in_order_one_at_a_time() {
    let mut desk = Desk::new(Strategy::OneForAll, 9, seconds(10), &[PERMANENT; 3]);
    assert_eq!(desk.fail(2), [Stop(3, StopKind::Restart)]);
    assert_eq!(desk.end(3), [Stop(1, StopKind::Restart)]);
    assert_eq!(desk.end(1), [Start(1)]);
    assert_eq!(desk.on(Event::Started(1)), [Start(2)]);
    assert_eq!(desk.on(Event::Started(2)), [Start(3)]);
    assert_eq!(desk.on(Event::Started(3)), []);
    assert!(desk.state.is_settled());
    assert_eq!(desk.state.budget_left(desk.now), 8, "a round counts once");
}

#[test]
fn rest_for_one_leaves_those_before_alone() {
    let slow = Policy { backoff: DOUBLING, ..PERMANENT };
    let mut desk = Desk::new(Strategy::RestForOne, 9, seconds(10), &[PERMANENT, slow, PERMANENT, PERMANENT]);
    assert_eq!(desk.fail(2), [Stop(4, StopKind::Restart)]);
    assert_eq!(desk.end(4), [Stop(3, StopKind::Restart)]);
    assert_eq!(desk.end(3), [StartAfter(2, seconds(1))], "the wait begins when all are down");
    assert_eq!(desk.on(Event::Due(2)), [Start(2)]);
    assert_eq!(desk.on(Event::Started(2)), [Start(3)]);
    assert_eq!(desk.on(Event::Started(3)), [Start(4)]);
    assert_eq!(desk.on(Event::Started(4)), []);
    assert!(desk.state.is_settled());
}

#[test]
fn a_child_that_fails_while_it_is_stopped_for_a_round_does_not_count() {
    let mut desk = Desk::new(Strategy::OneForAll, 1, seconds(10), &[PERMANENT; 2]);
    assert_eq!(desk.fail(1), [Stop(2, StopKind::Restart)]);
    assert_eq!(desk.fail(2), [Start(1)]);
    assert_eq!(desk.on(Event::Started(1)), [Start(2)]);
    assert!(desk.state.is_running());
}

#[test]
fn a_child_that_loses_its_thread_to_another_is_started_at_once_and_costs_nothing() {
    let waits = Policy { backoff: DOUBLING, ..PERMANENT };
    let transient = Policy { restart: Restart::Transient, ..waits };
    let temporary = Policy { restart: Restart::Temporary, ..waits };
    let mut desk = Desk::new(Strategy::OneForOne, 1, seconds(10), &[waits, transient, temporary]);
    for _ in 0..3 {
        for child in [1, 2] {
            assert_eq!(desk.on(Event::Displaced(child)), [Start(child)]);
            assert_eq!(desk.on(Event::Started(child)), []);
        }
    }
    assert_eq!(desk.on(Event::Displaced(3)), [Forget(3)]);
    assert_eq!(desk.state.budget_left(desk.now), 1);
    assert_eq!(desk.fail(1), [StartAfter(1, seconds(1))], "its streak has not begun");
}

#[test]
fn a_first_start_on_a_thread_that_is_lost_is_made_on_another() {
    let mut desk = Desk::new(Strategy::OneForAll, 0, seconds(10), &[PERMANENT]);
    assert_eq!(desk.on(Event::Add(2, &PERMANENT)), [Start(2)]);
    assert_eq!(desk.on(Event::Displaced(2)), [Start(2)]);
    assert_eq!(desk.on(Event::Started(2)), []);
    assert_eq!(desk.on(Event::Add(3, &PERMANENT)), [Start(3)]);
    assert_eq!(desk.on(Event::Remove(3)), [Stop(3, StopKind::Final)]);
    assert_eq!(desk.on(Event::Displaced(3)), [Forget(3)], "unless it was to go");
}

#[test]
fn a_group_starts_again_with_the_member_that_loses_its_thread() {
    let mut desk = Desk::new(Strategy::RestForOne, 0, seconds(10), &[PERMANENT; 3]);
    assert_eq!(desk.on(Event::Displaced(2)), [Stop(3, StopKind::Restart)]);
    assert_eq!(desk.on(Event::Displaced(3)), [Start(2)]);
    assert_eq!(desk.on(Event::Started(2)), [Start(3)]);
}

#[test]
fn temporary_members_of_a_group_that_restarts_are_forgotten() {
    let temporary = Policy { restart: Restart::Temporary, ..PERMANENT };
    let mut desk = Desk::new(Strategy::OneForAll, 9, seconds(10), &[PERMANENT, temporary, PERMANENT]);
    assert_eq!(desk.fail(1), [Stop(3, StopKind::Restart)]);
    assert_eq!(desk.end(3), [Stop(2, StopKind::Final)]);
    assert_eq!(desk.end(2), [Forget(2), Start(1)]);
    assert_eq!(desk.on(Event::Started(1)), [Start(3)]);
    assert_eq!(desk.on(Event::Started(3)), []);
    assert!(desk.state.is_settled());
}

#[test]
fn a_transient_member_that_was_stopped_for_its_group_is_started_with_it() {
    let transient = Policy { restart: Restart::Transient, ..PERMANENT };
    let mut desk = Desk::new(Strategy::OneForAll, 9, seconds(10), &[PERMANENT, transient]);
    assert_eq!(desk.fail(1), [Stop(2, StopKind::Restart)]);
    assert_eq!(desk.end(2), [Start(1)]);
    assert_eq!(desk.on(Event::Started(1)), [Start(2)]);
}

#[test]
fn the_end_that_a_policy_takes_as_final_is_final_and_costs_nothing() {
    let transient = Policy { restart: Restart::Transient, ..PERMANENT };
    let temporary = Policy { restart: Restart::Temporary, ..PERMANENT };
    let mut desk = Desk::new(Strategy::OneForAll, 9, seconds(10), &[PERMANENT, transient, temporary]);
    assert_eq!(desk.end(2), [Forget(2)]);
    assert_eq!(desk.fail(3), [Forget(3)]);
    assert_eq!(desk.state.budget_left(desk.now), 9);
    assert_eq!(desk.end(1), [Start(1)], "a permanent child is started again even then");
    assert_eq!(desk.state.budget_left(desk.now), 8);
}

#[test]
fn a_failure_during_a_round_widens_it_and_begins_it_again() {
    let mut desk = Desk::new(Strategy::RestForOne, 9, seconds(10), &[PERMANENT; 4]);
    assert_eq!(desk.fail(3), [Stop(4, StopKind::Restart)]);
    assert_eq!(desk.end(4), [Start(3)]);
    assert_eq!(desk.fail(1), [Stop(3, StopKind::Restart)], "it was starting");
    assert_eq!(desk.on(Event::Started(3)), [], "too late: it stays on its way out");
    assert_eq!(desk.end(3), [Stop(2, StopKind::Restart)]);
    assert_eq!(desk.end(2), [Start(1)]);
    for id in 1..4 {
        assert_eq!(desk.on(Event::Started(id)), [Start(id + 1)]);
    }
    assert_eq!(desk.on(Event::Started(4)), []);
    assert!(desk.state.is_settled());
    assert_eq!(desk.state.budget_left(desk.now), 7);
}

#[test]
fn what_a_round_has_brought_up_before_the_one_that_fails_stays_up() {
    let mut desk = Desk::new(Strategy::RestForOne, 9, seconds(10), &[PERMANENT; 4]);
    assert_eq!(desk.fail(1), [Stop(4, StopKind::Restart)]);
    assert_eq!(desk.end(4), [Stop(3, StopKind::Restart)]);
    assert_eq!(desk.end(3), [Stop(2, StopKind::Restart)]);
    assert_eq!(desk.end(2), [Start(1)]);
    assert_eq!(desk.on(Event::Started(1)), [Start(2)]);
    assert_eq!(desk.on(Event::StartFailed(2)), [Start(2)], "the first does not depend on the second");
    for id in 2..4 {
        assert_eq!(desk.on(Event::Started(id)), [Start(id + 1)]);
    }
    assert_eq!(desk.on(Event::Started(4)), []);
    assert!(desk.state.is_settled());
}

#[test]
fn a_failure_of_a_later_child_does_not_shorten_a_wait() {
    let slow = Policy { backoff: DOUBLING, ..PERMANENT };
    let mut desk = Desk::new(Strategy::RestForOne, 9, seconds(10), &[PERMANENT, slow, PERMANENT]);
    assert_eq!(desk.fail(2), [Stop(3, StopKind::Restart)]);
    assert_eq!(desk.end(3), [StartAfter(2, seconds(1))]);
    assert_eq!(desk.on(Event::Add(4, &PERMANENT)), [Start(4)]);
    assert_eq!(desk.on(Event::Started(4)), []);
    assert_eq!(desk.fail(4), [], "it waits for those before it");
    assert_eq!(desk.on(Event::Due(2)), [Start(2)]);
    for id in 2..4 {
        assert_eq!(desk.on(Event::Started(id)), [Start(id + 1)]);
    }
    assert_eq!(desk.on(Event::Started(4)), []);
    assert!(desk.state.is_settled());
}

#[test]
fn a_failure_of_an_earlier_child_begins_a_wait_again_that_is_no_shorter() {
    let slow = Policy { backoff: DOUBLING, ..PERMANENT };
    let mut desk = Desk::new(Strategy::RestForOne, 9, seconds(10), &[PERMANENT, slow]);
    assert_eq!(desk.fail(2), [StartAfter(2, seconds(1))]);
    desk.now = Duration::from_millis(400);
    assert_eq!(desk.fail(1), [StartAfter(1, Duration::from_millis(600))]);
    assert_eq!(desk.on(Event::Due(2)), [], "that wait is no more");
    assert_eq!(desk.on(Event::Due(1)), [Start(1)]);
    assert_eq!(desk.on(Event::Started(1)), [Start(2)]);
}

#[test]
fn a_failure_while_others_are_stopped_joins_the_round() {
    let mut desk = Desk::new(Strategy::RestForOne, 9, seconds(10), &[PERMANENT; 3]);
    assert_eq!(desk.fail(2), [Stop(3, StopKind::Restart)]);
    assert_eq!(desk.fail(1), [], "one stop at a time");
    assert_eq!(desk.end(3), [Start(1)]);
}

#[test]
fn a_child_whose_restart_fails_is_tried_again_until_the_budget_is_used_up() {
    let policy = Policy { backoff: DOUBLING, ..PERMANENT };
    let mut desk = Desk::new(Strategy::OneForOne, 2, seconds(10), &[policy]);
    assert_eq!(desk.fail(1), [StartAfter(1, seconds(1))]);
    assert_eq!(desk.on(Event::Due(1)), [Start(1)]);
    assert_eq!(desk.on(Event::StartFailed(1)), [StartAfter(1, seconds(2))]);
    assert_eq!(desk.on(Event::Due(1)), [Start(1)]);
    assert_eq!(desk.on(Event::StartFailed(1)), [Finished(Verdict::Exhausted)]);
}

#[test]
fn a_first_start_that_fails_is_forgotten_and_does_not_count() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let mut desk = Desk::new(strategy, 0, seconds(10), &[PERMANENT]);
        assert_eq!(desk.on(Event::Add(2, &PERMANENT)), [Start(2)]);
        assert_eq!(desk.on(Event::StartFailed(2)), [Forget(2)]);
        assert_eq!(desk.on(Event::Add(3, &PERMANENT)), [Start(3)]);
        assert_eq!(desk.fail(3), [Forget(3)], "an end before it had started is the same");
        assert!(desk.state.is_settled());
    }
}

#[test]
fn removing_a_child_that_waits_forgets_it_and_its_timer() {
    let slow = Policy { backoff: DOUBLING, ..PERMANENT };
    let mut desk = Desk::new(Strategy::OneForOne, 9, seconds(10), &[slow, PERMANENT]);
    assert_eq!(desk.fail(1), [StartAfter(1, seconds(1))]);
    assert_eq!(desk.on(Event::Remove(1)), [Forget(1)]);
    assert!(desk.state.is_settled());
    assert_eq!(desk.on(Event::Due(1)), []);
    assert_eq!(desk.on(Event::Remove(1)), []);
}

#[test]
fn removing_the_head_of_a_round_lets_the_others_go_on() {
    let slow = Policy { backoff: DOUBLING, ..PERMANENT };
    let mut desk = Desk::new(Strategy::OneForAll, 9, seconds(10), &[slow, PERMANENT]);
    assert_eq!(desk.fail(1), [Stop(2, StopKind::Restart)]);
    assert_eq!(desk.end(2), [StartAfter(1, seconds(1))]);
    assert_eq!(desk.on(Event::Remove(1)), [Forget(1), Start(2)]);
    assert_eq!(desk.on(Event::Started(2)), []);
    assert!(desk.state.is_settled());
}

#[test]
fn removing_a_child_on_its_way_out_for_a_round_makes_that_final() {
    let mut desk = Desk::new(Strategy::OneForAll, 9, seconds(10), &[PERMANENT; 2]);
    assert_eq!(desk.fail(1), [Stop(2, StopKind::Restart)]);
    assert_eq!(desk.on(Event::Remove(2)), [Stop(2, StopKind::Final)]);
    assert_eq!(desk.end(2), [Forget(2), Start(1)]);
}

#[test]
fn a_stop_during_a_round_ends_what_is_up_and_starts_nothing_more() {
    let slow = Policy { backoff: DOUBLING, ..PERMANENT };
    let mut desk = Desk::new(Strategy::RestForOne, 9, seconds(10), &[PERMANENT, PERMANENT, slow, PERMANENT]);
    assert_eq!(desk.fail(3), [Stop(4, StopKind::Restart)]);
    assert_eq!(desk.end(4), [StartAfter(3, seconds(1))]);
    assert_eq!(desk.on(Event::Stop(StopKind::Final)), [Stop(2, StopKind::Final)]);
    assert_eq!(desk.on(Event::Due(3)), []);
    assert_eq!(desk.end(2), [Stop(1, StopKind::Final)]);
    assert_eq!(desk.fail(1), [Forget(4), Forget(3), Forget(2), Forget(1), Finished(Verdict::Stopped)]);
}

#[test]
fn a_stop_during_a_start_waits_for_what_starts() {
    let mut desk = Desk::new(Strategy::OneForOne, 9, seconds(10), &[PERMANENT]);
    assert_eq!(desk.fail(1), [Start(1)]);
    assert_eq!(desk.on(Event::Stop(StopKind::Restart)), [Stop(1, StopKind::Restart)]);
    assert_eq!(desk.on(Event::Started(1)), []);
    assert_eq!(desk.end(1), [Finished(Verdict::Stopped)]);
}

#[test]
fn a_final_stop_after_exhaustion_makes_the_end_final_but_not_another_one() {
    let mut desk = Desk::new(Strategy::OneForOne, 0, seconds(10), &[PERMANENT; 2]);
    assert_eq!(desk.fail(1), [Stop(2, StopKind::Restart)]);
    assert_eq!(desk.on(Event::Stop(StopKind::Final)), []);
    assert_eq!(desk.end(2), [Forget(2), Forget(1), Finished(Verdict::Exhausted)]);
}

#[test]
fn what_is_said_of_a_child_that_is_gone_changes_nothing() {
    let mut desk = Desk::new(Strategy::OneForAll, 0, seconds(10), &[PERMANENT]);
    for event in [Event::Started(9), Event::StartFailed(9), Event::Due(9), Event::Remove(9)] {
        assert_eq!(desk.on(event), []);
    }
    assert_eq!(desk.fail(9), []);
    assert!(desk.state.is_settled());
}

/// A child as it would be on its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Down,
    Starting,
    Up,
    /// It was told to stop; `up` if it had started.
    Stopping {
        up: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Model {
    id: ChildId,
    restart: Restart,
    body: Body,
    timer: bool,
    established: bool,
}

/// Children that do what they are told, and an account of what must follow.
#[derive(Debug)]
struct World {
    group: bool,
    budget: Budget,
    state: State,
    now: Duration,
    children: Vec<Model>,
    next: ChildId,
    counted: Vec<Duration>,
    must_exhaust: bool,
    stopping: bool,
    finished: Option<Verdict>,
}

impl World {
    fn new(strategy: Strategy, budget: Budget, seed: u64) -> Self {
        let mut world = Self {
            group: strategy != Strategy::OneForOne,
            budget,
            state: State::new(strategy, budget, seed),
            now: Duration::ZERO,
            children: Vec::new(),
            next: 0,
            counted: Vec::new(),
            must_exhaust: false,
            stopping: false,
            finished: None,
        };
        world.tell(Event::Begin);
        world
    }

    fn child(&mut self, id: ChildId) -> &mut Model {
        self.children.iter_mut().find(|child| child.id == id).expect("an effect names a child there is")
    }

    /// Gives the event to `step` and does what it says, checking each effect as it comes.
    fn tell(&mut self, event: Event<'_>) {
        let is_removal = matches!(event, Event::Remove(_));
        for effect in step(&mut self.state, event, self.now) {
            assert!(self.finished.is_none(), "{effect:?} after the end");
            match effect {
                Start(id) => {
                    assert!(!self.stopping && !self.must_exhaust, "a start while stopping");
                    assert!(self.group.then(|| self.stops()).is_none_or(|stops| stops == 0 || self.fresh(id)));
                    let child = self.child(id);
                    assert_eq!(child.body, Body::Down, "it is started once");
                    child.body = Body::Starting;
                }
                StartAfter(id, wait) => {
                    assert!(wait <= seconds(4));
                    let child = self.child(id);
                    assert_eq!(child.body, Body::Down);
                    child.timer = true;
                }
                Stop(id, _) => {
                    if !is_removal && (self.group || self.stopping || self.must_exhaust) {
                        assert_eq!(self.stops(), 0, "one stop at a time");
                    }
                    let child = self.child(id);
                    match child.body {
                        Body::Starting => child.body = Body::Stopping { up: false },
                        Body::Up => child.body = Body::Stopping { up: true },
                        Body::Stopping { .. } => assert!(is_removal, "it is told once, unless it is removed as well"),
                        Body::Down => panic!("a stop of a child that is down"),
                    }
                }
                Forget(id) => {
                    assert_eq!(self.child(id).body, Body::Down);
                    self.children.retain(|child| child.id != id);
                }
                Finished(verdict) => {
                    assert!(self.children.iter().all(|child| child.body == Body::Down), "the end with children up");
                    self.finished = Some(verdict);
                }
            }
        }
    }

    fn stops(&self) -> usize {
        self.children
            .iter()
            .filter(|child| matches!(child.body, Body::Stopping { .. }) && !self.removed(child.id))
            .count()
    }

    /// Removals go on beside rounds.
    fn removed(&self, id: ChildId) -> bool {
        self.state.children.get(id).is_some_and(|child| child.leaving)
    }

    fn fresh(&self, id: ChildId) -> bool {
        self.children.iter().any(|child| child.id == id && !child.established)
    }

    fn exit(&mut self, id: ChildId, failure: bool, as_failed_start: bool) {
        let removed = self.removed(id);
        let (now, running) = (self.now, !self.stopping && !self.must_exhaust);
        let child = self.child(id);
        let asked = matches!(child.body, Body::Stopping { .. });
        child.body = Body::Down;
        let again = match child.restart {
            Restart::Permanent => true,
            Restart::Transient => failure,
            Restart::Temporary => false,
        };
        if child.established && !asked && !removed && running && again {
            self.counted.push(now);
            let recent = self.counted.iter().filter(|&&at| now - at <= self.budget.within).count();
            self.must_exhaust |= recent > self.budget.max as usize;
        }
        self.tell(if as_failed_start { Event::StartFailed(id) } else { Event::Exited { child: id, failure } });
    }

    /// One thing that a child, its timer or its owner may do next, picked by `pick` and `choice`.
    fn act(&mut self, pick: usize, choice: u8) {
        if self.finished.is_some() {
            return;
        }
        self.now += Duration::from_millis(u64::from(choice) * 40);
        let running = !self.stopping && !self.must_exhaust;
        match choice {
            0..20 if running && self.children.len() < 6 => {
                let (id, restart) = (self.next, [Restart::Permanent, Restart::Transient, Restart::Temporary][pick % 3]);
                self.next += 1;
                let backoff = [Backoff::NONE, DOUBLING, Backoff { jitter: true, ..DOUBLING }][pick / 3 % 3];
                let model = Model { id, restart, body: Body::Down, timer: false, established: false };
                self.children.push(model);
                return self.tell(Event::Add(id, &Policy { restart, backoff, ..PERMANENT }));
            }
            20..25 if running && !self.children.is_empty() => {
                let id = self.children[pick % self.children.len()].id;
                return self.tell(Event::Remove(id));
            }
            25 if !self.stopping => {
                self.stopping = true;
                let kind = if pick.is_multiple_of(2) { StopKind::Final } else { StopKind::Restart };
                return self.tell(Event::Stop(kind));
            }
            _ => {}
        }
        if self.children.is_empty() {
            return;
        }
        let child = self.children[pick % self.children.len()];
        match child.body {
            Body::Down if child.timer => {
                self.child(child.id).timer = false;
                self.tell(Event::Due(child.id));
            }
            Body::Down => {}
            Body::Starting | Body::Up if choice.is_multiple_of(15) => {
                self.child(child.id).body = Body::Down;
                self.tell(Event::Displaced(child.id));
            }
            Body::Starting if choice.is_multiple_of(4) => self.exit(child.id, true, true),
            Body::Starting => self.start(child.id, Body::Up),
            Body::Up if choice.is_multiple_of(3) => self.exit(child.id, choice.is_multiple_of(2), false),
            Body::Up => {}
            Body::Stopping { up: false } if choice.is_multiple_of(3) => {
                self.start(child.id, Body::Stopping { up: true })
            }
            Body::Stopping { up } => self.exit(child.id, choice.is_multiple_of(2), !up),
        }
    }

    fn start(&mut self, id: ChildId, body: Body) {
        let child = self.child(id);
        (child.body, child.established) = (body, true);
        self.tell(Event::Started(id));
    }

    /// Answers everything that is open, in good health, until nothing is.
    fn answer_everything(&mut self) {
        // Each round needs at most a stop, a wait and a start of each child.
        for _ in 0..100 {
            let open = self.children.iter().copied().find(|child| match child.body {
                Body::Down => child.timer,
                Body::Starting | Body::Stopping { .. } => true,
                Body::Up => false,
            });
            let Some(child) = open else { return };
            match child.body {
                Body::Down => {
                    self.child(child.id).timer = false;
                    self.tell(Event::Due(child.id));
                }
                Body::Starting => self.start(child.id, Body::Up),
                Body::Stopping { up } => self.exit(child.id, false, !up),
                Body::Up => {}
            }
        }
        panic!("it does not settle: {self:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_child_is_started_again_or_forgotten(
        strategy in prop::sample::select(vec![Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne]),
        max in 0_u32..8,
        within_s in 1_u64..20,
        seed in any::<u64>(),
        acts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..120),
    ) {
        let mut world = World::new(strategy, Budget { max, within: seconds(within_s) }, seed);
        for (pick, choice) in acts {
            world.act(pick.index(60), choice);
        }
        world.answer_everything();
        match world.finished {
            None => {
                prop_assert!(!world.stopping && !world.must_exhaust, "it must have ended: {world:?}");
                prop_assert!(world.state.is_settled());
                prop_assert!(world.children.iter().all(|child| child.body == Body::Up), "{world:?}");
            }
            Some(Verdict::Exhausted) => prop_assert!(world.must_exhaust),
            Some(Verdict::Stopped) => prop_assert!(world.stopping),
            Some(Verdict::Completed) => prop_assert!(false, "no child is significant"),
        }
        prop_assert_eq!(world.children.len(), world.state.children.len());
    }
}
