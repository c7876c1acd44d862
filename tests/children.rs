//! Actors that an actor spawns: they live with the incarnation that spawned them.

mod cast;
#[path = "cast/host.rs"]
mod host;

use std::sync::Arc;
use std::time::Duration;

use cast::{SECOND, eventually, runtime};
use host::*;
use ironcliw::{
    Actor, Address, Backoff, Child, Context, Error, Handler, Message, Placement, Restart, Runtime, StartError,
    Strategy, Supervisor,
};

/// Notes its beginning and its end where its parent notes things.
struct Kid {
    name: String,
    told: Told,
}

impl Kid {
    fn child(name: &str, told: &Told) -> Child<Self> {
        let (name, told) = (name.to_owned(), told.clone());
        let child = Child::new(name.clone(), move || {
            told.lock().unwrap().push(format!("+{name}"));
            Self { name: name.clone(), told: told.clone() }
        });
        child.backoff(Backoff::NONE)
    }
}

impl Actor for Kid {}

impl Drop for Kid {
    fn drop(&mut self) {
        self.told.lock().unwrap().push(format!("-{}", self.name));
    }
}

impl Handler<Note> for Kid {
    async fn handle(&mut self, Note(text): Note, _: &mut Context<Self>) {
        self.told.lock().unwrap().push(text);
    }
}

struct Wait(Duration);
impl Message for Wait {
    type Reply = ();
}

impl Handler<Wait> for Kid {
    async fn handle(&mut self, Wait(time): Wait, _: &mut Context<Self>) {
        tokio::time::sleep(time).await;
    }
}

struct Poison;
impl Message for Poison {
    type Reply = ();
}

impl Handler<Poison> for Kid {
    async fn handle(&mut self, _: Poison, _: &mut Context<Self>) {
        panic!("poisoned");
    }
}

/// A parent of two, in each of its incarnations.
fn parent(name: &str) -> (Child<Host>, Told) {
    let told = Told::default();
    let notes = told.clone();
    let (child, _) = host(name, move |ctx| {
        let notes = notes.clone();
        Box::pin(async move {
            notes.lock().unwrap().push("parent".to_owned());
            for name in ["a", "b"] {
                ctx.spawn_child(Kid::child(name, &notes)).await.unwrap();
            }
        })
    });
    (child, told)
}

fn kid(runtime: &Runtime, path: &str) -> Address<Kid> {
    runtime.find(path).expect("a child is found by its path")
}

const LIFE: [&str; 3] = ["parent", "+a", "+b"];
const END: [&str; 2] = ["-b", "-a"];

#[test]
fn children_are_at_their_parents_path_and_everybody_sees_them() {
    let runtime = runtime();
    let (child, told) = parent("boss");
    let boss = runtime.block_on(runtime.spawn(child)).unwrap();
    let notes = told.clone();
    let team = run(move |ctx| {
        Box::pin(async move {
            let team = ctx.supervise(Supervisor::new("team").strategy(Strategy::OneForAll)).await.unwrap();
            let taken = ctx.spawn_child(Kid::child("a", &notes)).await;
            (team.spawn(Kid::child("c", &notes)).await.unwrap(), taken.map(|_| ()))
        })
    });
    let (c, taken) = ask(&runtime, &boss, team).unwrap();
    assert_eq!(taken, Err(Error::NameTaken { path: "user/boss/a".to_owned() }));
    assert_eq!(c.path(), "user/boss/team/c");
    assert_eq!(runtime.find::<Host>("user/boss").unwrap().path(), "user/boss");
    let snapshot = runtime.snapshot();
    let actors: Vec<_> = snapshot.actors.iter().map(|actor| actor.path.as_str()).collect();
    assert_eq!(actors, ["user/boss", "user/boss/a", "user/boss/b", "user/boss/team/c"]);
    let supervisors: Vec<_> = snapshot.supervisors.iter().map(|one| (one.path.as_str(), one.strategy)).collect();
    let nests = [("user/boss", "one_for_one"), ("user/boss/team", "one_for_all")];
    assert!(nests.iter().all(|nest| supervisors.contains(nest)), "{supervisors:?}");
    // A child is restarted by itself, and may be stopped.
    runtime.block_on(async { kid(&runtime, "user/boss/a").ask(Poison).await.unwrap_err() });
    eventually(|| texts(&told).ends_with(&["-a".to_owned(), "+a".to_owned()]));
    let stop = run(|ctx| Box::pin(async move { ctx.stop_child("user/boss/a").await }));
    ask(&runtime, &boss, stop).unwrap();
    assert!(runtime.find::<Kid>("user/boss/a").is_none());
    assert_eq!(runtime.find::<Host>("user/boss").unwrap().path(), "user/boss");
}

#[test]
fn children_end_with_their_parents_incarnation_before_the_next_begins() {
    for how in ["panic", "stop"] {
        let runtime = runtime();
        let (child, told) = parent("boss");
        let boss = runtime.block_on(runtime.spawn(child)).unwrap();
        let first = kid(&runtime, "user/boss/a");
        let _ = ask(&runtime, &boss, if how == "panic" { trip() } else { act(|ctx| ctx.stop()) });
        ask(&runtime, &boss, note("again")).unwrap();
        let expected = [&LIFE[..], &END, &LIFE, &["again"]].concat();
        // The parent's own notes are elsewhere.
        assert_eq!(texts(&told), expected[..expected.len() - 1], "{how}");
        assert!(!first.is_alive() && kid(&runtime, "user/boss/a").is_alive());
        runtime.shutdown(SECOND).unwrap();
        assert_eq!(texts(&told), [&LIFE[..], &END, &LIFE, &END].concat(), "{how}");
    }
}

#[test]
fn children_end_when_a_sibling_of_their_parent_fails() {
    let runtime = runtime();
    let team = Supervisor::new("team").strategy(Strategy::OneForAll);
    let team = runtime.block_on(runtime.supervise(team)).unwrap();
    let (child, told) = parent("boss");
    let boss = runtime.block_on(team.spawn(child)).unwrap();
    let sibling = runtime.block_on(team.spawn(idle("sibling").0)).unwrap();
    ask(&runtime, &sibling, trip()).unwrap_err();
    ask(&runtime, &sibling, note("again")).unwrap();
    ask(&runtime, &boss, note("again")).unwrap();
    assert_eq!(texts(&told), [&LIFE[..], &END, &LIFE].concat());
}

#[test]
fn children_handle_what_is_queued_before_they_end_with_their_parent() {
    let runtime = runtime();
    let (child, told) = parent("boss");
    let team = runtime.block_on(runtime.supervise(Supervisor::new("team"))).unwrap();
    let boss = runtime.block_on(team.spawn(child)).unwrap();
    let (a, b) = (kid(&runtime, "user/team/boss/a"), kid(&runtime, "user/team/boss/b"));
    a.try_tell(Wait(SECOND / 20)).unwrap();
    b.try_tell(Wait(SECOND / 20)).unwrap();
    a.try_tell(note("a's last")).unwrap();
    b.try_tell(note("b's last")).unwrap();
    runtime.block_on(team.stop_child(boss.path()));
    let place = |text: &str| texts(&told).iter().position(|other| other == text).unwrap();
    assert!(place("b's last") < place("-b") && place("-b") < place("-a") && place("a's last") < place("-a"));
    assert!(runtime.snapshot().actors.is_empty());
    assert_eq!(runtime.snapshot().dead_letters, 0);
    eventually(|| runtime.snapshot().supervisors.iter().all(|one| !one.path.starts_with("user/team/boss")));
}

#[test]
fn a_parents_bound_is_all_that_its_children_have_to_end() {
    let runtime = runtime();
    let (child, told) = parent("boss");
    let team = runtime.block_on(runtime.supervise(Supervisor::new("team"))).unwrap();
    let boss = runtime.block_on(team.spawn(child.shutdown(SECOND / 50))).unwrap();
    for path in ["user/team/boss/a", "user/team/boss/b"] {
        kid(&runtime, path).try_tell(Wait(SECOND * 3600)).unwrap();
    }
    // At a restart the next incarnation waits for them; at the end the runtime does.
    ask(&runtime, &boss, trip()).unwrap_err();
    ask(&runtime, &boss, note("again")).unwrap();
    assert_eq!(texts(&told), [&LIFE[..], &END, &LIFE].concat());
    kid(&runtime, "user/team/boss/b").try_tell(Wait(SECOND * 3600)).unwrap();
    runtime.block_on(team.stop_child(boss.path()));
    eventually(|| texts(&told) == [&LIFE[..], &END, &LIFE, &END].concat());
    eventually(|| runtime.snapshot().actors.is_empty());
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn an_actor_that_is_told_to_end_cannot_spawn_children_and_hears_so() {
    let runtime = runtime();
    let team = Supervisor::new("team").strategy(Strategy::OneForAll);
    let team = runtime.block_on(runtime.supervise(team)).unwrap();
    let (child, told) = parent("boss");
    let boss = runtime.block_on(team.spawn(child.restart(Restart::Transient))).unwrap();
    let sibling = runtime.block_on(team.spawn(idle("sibling").0)).unwrap();
    let try_it = || {
        let (go, held) = tokio::sync::oneshot::channel::<()>();
        let (tell, outcome) = std::sync::mpsc::channel();
        let told = told.clone();
        let attempt = run(move |ctx| {
            Box::pin(async move {
                let _ = held.await;
                tell.send(ctx.spawn_child(Kid::child("late", &told)).await.map(|_| ())).unwrap();
            })
        });
        boss.try_tell(attempt).unwrap();
        eventually(|| boss.depth() == 0);
        (go, outcome)
    };
    let state = |state: &str| {
        eventually(|| {
            let actors = runtime.snapshot().actors;
            actors.iter().any(|actor| actor.path == boss.path() && actor.state.to_string() == state)
        });
    };
    let path = boss.path().to_owned();
    let (go, outcome) = try_it();
    sibling.try_tell(trip()).unwrap();
    state("restarting");
    drop(go);
    assert_eq!(cast::heard(&outcome), Err(Error::ActorRestarting { path: path.clone() }));
    ask(&runtime, &boss, note("again")).unwrap();
    let (go, outcome) = try_it();
    let stop = std::thread::spawn({
        let (runtime, path) = (runtime.handle().clone(), path.clone());
        move || runtime.block_on(team.stop_child(&path))
    });
    state("stopping");
    drop(go);
    assert_eq!(cast::heard(&outcome), Err(Error::ActorStopped { path }));
    stop.join().unwrap();
    assert!(!texts(&told).contains(&"+late".to_owned()));
}

/// Never starts.
struct Stillborn;
impl Actor for Stillborn {
    async fn started(&mut self, _: &mut Context<Self>) -> Result<(), StartError> {
        std::future::pending().await
    }
}

#[test]
fn an_actor_whose_child_never_starts_can_be_stopped() {
    let runtime = runtime();
    let team = runtime.block_on(runtime.supervise(Supervisor::new("team"))).unwrap();
    let boss = runtime.block_on(team.spawn(parent("boss").0.shutdown(SECOND / 50))).unwrap();
    let attempt = run(|ctx| {
        Box::pin(async move {
            let child = Child::new("never", || Stillborn).shutdown(Duration::from_millis(1));
            ctx.spawn_child(child).await.map(|_| ())
        })
    });
    boss.try_tell(attempt).unwrap();
    eventually(|| runtime.snapshot().actors.iter().any(|actor| actor.path.ends_with("never")));
    runtime.block_on(team.stop_child(boss.path()));
    eventually(|| runtime.snapshot().actors.is_empty());
    runtime.shutdown(SECOND).unwrap();
}

#[test]
fn children_that_use_up_their_restarts_fail_their_parent() {
    let runtime = runtime();
    let (child, told) = parent("boss");
    let boss = runtime.block_on(runtime.spawn(child)).unwrap();
    let a = kid(&runtime, "user/boss/a");
    runtime.block_on(async {
        for _ in 0..6 {
            a.ask(Poison).await.unwrap_err();
        }
    });
    let exits = || {
        let actors = runtime.snapshot().actors;
        actors.into_iter().find(|actor| actor.path == boss.path()).unwrap().last_exit
    };
    eventually(|| exits().is_some());
    assert_eq!(exits().unwrap(), "restarts used up");
    ask(&runtime, &boss, note("again")).unwrap();
    assert!(!a.is_alive() && kid(&runtime, "user/boss/a").is_alive());
    assert_eq!(texts(&told).iter().filter(|text| *text == "parent").count(), 2);
    runtime.shutdown(SECOND).unwrap();
    assert_eq!(texts(&told).iter().filter(|text| text.starts_with('+')).count(), 4 + 5);
    assert_eq!(texts(&told).iter().filter(|text| text.starts_with('-')).count(), 4 + 5);
}

#[test]
fn children_of_a_lost_thread_are_gone_before_the_next_incarnation_begins() {
    let runtime = runtime();
    let team = Supervisor::new("team").strategy(Strategy::OneForAll);
    let team = runtime.block_on(runtime.supervise(team)).unwrap();
    let (child, told) = parent("boss");
    let child = child.placement(Placement::Dedicated).shutdown(Duration::from_millis(1));
    let boss = runtime.block_on(team.spawn(child)).unwrap();
    let sibling = runtime.block_on(team.spawn(idle("sibling").0)).unwrap();
    let (go, held) = std::sync::mpsc::channel::<()>();
    boss.try_tell(act(move |_| held.recv().unwrap_or_default())).unwrap();
    eventually(|| boss.depth() == 0);
    ask(&runtime, &sibling, trip()).unwrap_err();
    ask(&runtime, &boss, note("again")).unwrap();
    assert_eq!(texts(&told), [&LIFE[..], &END, &LIFE].concat());
    // The thread that returns late ends nothing of its successor's.
    drop(go);
    // One whose thread ends leaves its children as well.
    ask(&runtime, &boss, act(|_| actix::Arbiter::current().stop())).unwrap();
    eventually(|| texts(&told) == [&LIFE[..], &END, &LIFE, &END, &LIFE].concat());
    assert!(kid(&runtime, "user/team/boss/a").is_alive());
    runtime.shutdown(SECOND).unwrap();
    assert_eq!(texts(&told), [&LIFE[..], &END, &LIFE, &END, &LIFE, &END].concat());
}

#[test]
fn nothing_is_left_of_children_after_a_shutdown_or_a_drop() {
    for shut_down in [true, false] {
        let runtime = runtime();
        let (child, told) = parent("boss");
        runtime.block_on(runtime.spawn(child)).unwrap();
        if shut_down {
            runtime.shutdown(SECOND).unwrap();
        }
        drop(runtime);
        eventually(|| Arc::strong_count(&told) == 1);
        assert_eq!(texts(&told), [&LIFE[..], &END].concat());
    }
}
