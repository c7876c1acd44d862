//! Promise 4 where children are significant: their end is the end of their supervisor.

mod cast;

use std::future::IntoFuture;
use std::sync::{Arc, Mutex};

use cast::*;
use ironcliw::{
    Actor, ActorState, Address, AutoShutdown, Backoff, Child, Context, Error, ExitReason, Restart, Runtime, Supervisor,
    SupervisorRef,
};

type Order = Arc<Mutex<Vec<&'static str>>>;

/// Writes down that it ends.
struct Diary(&'static str, Order);

impl Actor for Diary {
    async fn stopped(&mut self, _: &mut Context<Self>) {
        self.1.lock().unwrap().push(self.0);
    }
}

fn diary(name: &'static str, order: &Order) -> Child<Diary> {
    let order = order.clone();
    Child::new(name, move || Diary(name, order.clone()))
}

fn significant(name: &str, restart: Restart) -> Child<Scribe> {
    scribe(name).0.restart(restart).significant(true)
}

fn task(auto_shutdown: AutoShutdown) -> Supervisor {
    Supervisor::new("task").auto_shutdown(auto_shutdown).restart(Restart::Transient)
}

fn supervise(runtime: &Runtime, spec: Supervisor) -> SupervisorRef {
    runtime.block_on(runtime.supervise(spec)).unwrap()
}

fn spawn<A: Actor>(runtime: &Runtime, group: &SupervisorRef, child: Child<A>) -> Address<A> {
    runtime.block_on(group.spawn(child)).unwrap()
}

fn quit(runtime: &Runtime, scribe: &Address<Scribe>) {
    runtime.block_on(scribe.ask(Quit).into_future()).unwrap();
}

fn exists(runtime: &Runtime, path: &str) -> bool {
    runtime.snapshot().supervisors.iter().any(|supervisor| supervisor.path == path)
}

#[test]
fn the_end_of_any_significant_child_ends_its_supervisor_in_reverse_start_order() {
    let runtime = runtime();
    let task = supervise(&runtime, task(AutoShutdown::AnySignificant));
    let order = Order::default();
    let first = spawn(&runtime, &task, diary("first", &order));
    let job = spawn(&runtime, &task, significant("job", Restart::Transient));
    let other = spawn(&runtime, &task, significant("other", Restart::Temporary));
    let last = spawn(&runtime, &task, diary("last", &order));
    quit(&runtime, &job);
    assert_eq!(runtime.block_on(job.stopped()), ExitReason::Normal);
    for reason in [runtime.block_on(last.stopped()), runtime.block_on(first.stopped())] {
        assert_eq!(reason, ExitReason::Restart, "whether there is a next time was not theirs to know");
    }
    runtime.block_on(other.stopped());
    assert_eq!(*order.lock().unwrap(), ["last", "first"]);
    eventually(|| !exists(&runtime, "user/task"));
    let late = runtime.block_on(task.spawn(scribe("late").0)).unwrap_err();
    assert_eq!(late, Error::ActorStopped { path: "user/task".into() });
    assert_eq!(runtime.snapshot().restarts, 0);
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn only_the_end_of_the_last_significant_child_ends_a_supervisor_that_waits_for_all() {
    let runtime = runtime();
    let task = supervise(&runtime, task(AutoShutdown::AllSignificant));
    let jobs = ["a", "b", "c"].map(|name| spawn(&runtime, &task, significant(name, Restart::Transient)));
    let helper = spawn(&runtime, &task, scribe("helper").0);
    for (n, job) in jobs.iter().enumerate() {
        assert!(exists(&runtime, "user/task"), "{n}");
        assert_eq!(heard(&ask(&helper, WhichLife)), Ok(0));
        quit(&runtime, job);
        runtime.block_on(job.stopped());
    }
    runtime.block_on(helper.stopped());
    eventually(|| !exists(&runtime, "user/task"));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_failure_ends_a_supervisor_only_by_a_temporary_significant_child() {
    let runtime = runtime();
    let task = supervise(&runtime, task(AutoShutdown::AnySignificant));
    let transient = spawn(&runtime, &task, significant("transient", Restart::Transient));
    heard(&ask(&transient, Poison)).unwrap_err();
    assert_eq!(heard(&ask(&transient, WhichLife)), Ok(1), "it failed, so it has not ended");
    let temporary = spawn(&runtime, &task, significant("temporary", Restart::Temporary));
    heard(&ask(&temporary, Poison)).unwrap_err();
    runtime.block_on(transient.stopped());
    eventually(|| !exists(&runtime, "user/task"));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_significant_child_that_is_stopped_has_not_ended() {
    let runtime = runtime();
    let task = supervise(&runtime, task(AutoShutdown::AllSignificant));
    let stopped = spawn(&runtime, &task, significant("stopped", Restart::Transient));
    let helper = spawn(&runtime, &task, scribe("helper").0);
    runtime.block_on(task.stop_child(stopped.path()));
    assert_eq!(heard(&ask(&helper, WhichLife)), Ok(0));
    let quits = spawn(&runtime, &task, significant("quits", Restart::Transient));
    quit(&runtime, &quits);
    runtime.block_on(helper.stopped());
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_supervisor_may_be_a_significant_child_itself() {
    let runtime = runtime();
    let outer = supervise(
        &runtime,
        Supervisor::new("outer").auto_shutdown(AutoShutdown::AnySignificant).restart(Restart::Temporary),
    );
    let beside = spawn(&runtime, &outer, scribe("beside").0);
    let inner = task(AutoShutdown::AllSignificant).significant(true);
    let inner = runtime.block_on(outer.supervise(inner)).unwrap();
    let job = spawn(&runtime, &inner, significant("job", Restart::Transient));
    quit(&runtime, &job);
    runtime.block_on(beside.stopped());
    eventually(|| !exists(&runtime, "user/outer") && !exists(&runtime, "user/outer/task"));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_permanent_supervisor_that_ended_by_itself_is_started_again_with_those_that_had_not_ended() {
    let runtime = runtime();
    let spec = task(AutoShutdown::AnySignificant).restart(Restart::Permanent).backoff(Backoff::NONE);
    let task = supervise(&runtime, spec);
    let helper = spawn(&runtime, &task, scribe("helper").0);
    let job = spawn(&runtime, &task, significant("job", Restart::Transient));
    let hold = hold(&helper);
    let queued = ask(&helper, WhichLife);
    quit(&runtime, &job);
    let state = |path: &str| runtime.snapshot().actors.iter().find(|actor| actor.path == path).map(|actor| actor.state);
    eventually(|| state(helper.path()) == Some(ActorState::Restarting));
    hold.send(()).unwrap();
    assert_eq!(heard(&queued), Ok(1), "the queue is kept");
    runtime.block_on(job.stopped());
    assert!(exists(&runtime, "user/task"));
    // Its name is free again, and so is the supervisor's next end.
    let again = spawn(&runtime, &task, significant("job", Restart::Transient));
    quit(&runtime, &again);
    eventually(|| heard(&ask(&helper, WhichLife)) == Ok(2));
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn a_significant_child_where_none_can_be_is_refused() {
    let runtime = runtime();
    let user = supervise(&runtime, Supervisor::new("group"));
    let unfit = |spawned: Result<Address<Scribe>, Error>, path: &str| match spawned.unwrap_err() {
        Error::UnfitChild { path: unfit, reason } => {
            assert_eq!(unfit, path);
            reason
        }
        other => panic!("{other}"),
    };
    let refused = runtime.block_on(user.spawn(significant("job", Restart::Transient)));
    assert!(unfit(refused, "user/group/job").contains("`Never`"));
    let task = supervise(&runtime, task(AutoShutdown::AnySignificant));
    let refused = runtime.block_on(task.spawn(significant("job", Restart::Permanent)));
    assert!(unfit(refused, "user/task/job").contains("permanent"));
    let below = runtime.block_on(task.supervise(Supervisor::new("below").significant(true)));
    assert!(matches!(below.unwrap_err(), Error::UnfitChild { .. }));
    assert_eq!(runtime.snapshot().actors.len(), 0);
    runtime.shutdown(SECOND).unwrap();
}
