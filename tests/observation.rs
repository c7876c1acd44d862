//! Promise 7 of supervisors: what they are about to do, and why, can be seen while they do it.

mod cast;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cast::*;
use ironcliw::{Backoff, Child, Runtime, Strategy, Supervisor, SupervisorSnapshot, What};

const MINUTE: Backoff = Backoff {
    min: Duration::from_secs(60),
    max: Duration::from_secs(60),
    factor: 1.0,
    jitter: false,
    reset_after: Duration::from_secs(600),
};

fn group(runtime: &Runtime) -> SupervisorSnapshot {
    let supervisors = runtime.snapshot().supervisors;
    supervisors.into_iter().find(|supervisor| supervisor.path == "user/group").unwrap()
}

#[test]
fn a_wait_before_a_restart_is_seen_until_it_is_over_or_given_up() {
    let runtime = runtime();
    let supervisor = runtime.block_on(runtime.supervise(Supervisor::new("group"))).unwrap();
    let slow = runtime.block_on(supervisor.spawn(scribe("slow").0.backoff(MINUTE))).unwrap();
    let soon = Backoff { min: Duration::from_millis(5), max: Duration::from_millis(5), ..MINUTE };
    let fast = runtime.block_on(supervisor.spawn(scribe("fast").0.backoff(soon))).unwrap();
    assert_eq!((group(&runtime).children, group(&runtime).waiting.len()), (2, 0));
    heard(&ask(&slow, Poison)).unwrap_err();
    heard(&ask(&fast, Poison)).unwrap_err();
    assert_eq!(heard(&ask(&fast, WhichLife)), Ok(1));
    eventually(|| group(&runtime).waiting.len() == 1);
    let seen = group(&runtime);
    let wait = &seen.waiting[0];
    assert_eq!((wait.path.as_str(), wait.delay_s), ("user/group/slow", 60.0));
    assert!(wait.left_s > 0.0 && wait.left_s <= 60.0, "{}", wait.left_s);
    assert_eq!((seen.children, seen.restarts, seen.budget_left), (2, 1, 3));
    runtime.block_on(supervisor.stop_child(slow.path()));
    assert_eq!((group(&runtime).children, group(&runtime).waiting.len()), (1, 0));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn of_a_group_that_waits_the_one_that_begins_is_seen() {
    let runtime = runtime();
    let spec = Supervisor::new("group").strategy(Strategy::OneForAll);
    let supervisor = runtime.block_on(runtime.supervise(spec)).unwrap();
    let members = ["a", "b", "c"].map(|name| {
        let child = scribe(name).0.backoff(MINUTE);
        runtime.block_on(supervisor.spawn(child)).unwrap()
    });
    heard(&ask(&members[2], Poison)).unwrap_err();
    eventually(|| group(&runtime).waiting.len() == 1);
    assert_eq!(group(&runtime).waiting[0].path, "user/group/a");
    assert_eq!(group(&runtime).budget_left, 4, "a round counts once");
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn the_log_says_why_a_child_is_started_again_and_after_which_wait() {
    let runtime = runtime();
    let supervisor = runtime.block_on(runtime.supervise(Supervisor::new("group"))).unwrap();
    let wait = Duration::from_millis(2);
    let backoff = Backoff { min: wait, max: wait, ..MINUTE };
    let scribe = runtime.block_on(supervisor.spawn(scribe("scribe").0.backoff(backoff))).unwrap();
    heard(&ask(&scribe, Poison)).unwrap_err();
    assert_eq!(heard(&ask(&scribe, WhichLife)), Ok(1));
    eventually(|| runtime.snapshot().events.iter().any(|event| matches!(event.what, What::Restarted { .. })));
    let events = runtime.snapshot().events;
    let of_scribe = events.iter().filter(|event| event.path == scribe.path()).map(|event| &event.what);
    let of_scribe: Vec<&What> = of_scribe.collect();
    let [What::Started, What::Exited { failure: true, reason: exit }, scheduled, restarted] = of_scribe[..] else {
        panic!("{of_scribe:?}");
    };
    assert!(exit.starts_with("panicked: poisoned"), "{exit}");
    assert_eq!(*scheduled, What::RestartScheduled { delay_s: 0.002, reason: exit.clone() });
    assert_eq!(*restarted, What::Restarted { reason: exit.clone() });
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn the_budget_that_is_seen_grows_again_though_nothing_happens() {
    let runtime = runtime();
    let spec = Supervisor::new("group").restarts(3, Duration::from_millis(20));
    let supervisor = runtime.block_on(runtime.supervise(spec)).unwrap();
    let scribe = runtime.block_on(supervisor.spawn(scribe("scribe").0)).unwrap();
    heard(&ask(&scribe, Poison)).unwrap_err();
    assert_eq!(heard(&ask(&scribe, WhichLife)), Ok(1));
    eventually(|| group(&runtime).budget_left == 3);
    assert_eq!((group(&runtime).restarts, group(&runtime).max_restarts), (1, 3));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn whoever_asked_hears_of_a_failure_before_the_next_incarnation_is_made() {
    let runtime = runtime();
    let (made, heard_of) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<_>>>::default());
    runtime.on_failure(|_| panic!("an observer that fails harms nobody"));
    let (sees, hears) = (made.clone(), heard_of.clone());
    runtime.on_failure(move |failure| {
        let made = sees.load(Ordering::SeqCst);
        hears.lock().unwrap().push((failure.path.to_owned(), failure.incarnation, made));
    });
    let makes = made.clone();
    let child = Child::new("counted", move || Scribe::new(Log::default(), makes.fetch_add(1, Ordering::SeqCst)));
    let counted = runtime.block_on(runtime.spawn(child.backoff(Backoff::NONE))).unwrap();
    for _ in 0..2 {
        heard(&ask(&counted, Poison)).unwrap_err();
        heard(&ask(&counted, WhichLife)).unwrap();
    }
    runtime.shutdown(SECOND).unwrap();
    let told = |incarnation| ("user/counted".to_owned(), incarnation, incarnation + 1);
    assert_eq!(*heard_of.lock().unwrap(), [told(0), told(1)], "and an end that is no failure is not told");
}
