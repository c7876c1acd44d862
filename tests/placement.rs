//! Where actors live: beside each other, on threads that may block, with the niceness that was asked for.

mod cast;

use std::future::IntoFuture;
use std::thread::ThreadId;

use cast::*;
use ironcliw::{ActixChild, Address, ArbiterSnapshot, Child, Placement, Runtime, Supervisor};

async fn thread_of(scribe: &Address<Scribe>) -> ThreadId {
    scribe.ask(Do(Box::new(|| std::thread::current().id()))).await.unwrap()
}

/// What is known of the thread that the actor at `path` lives on.
fn arbiter_of(runtime: &Runtime, path: &str) -> ArbiterSnapshot {
    let snapshot = runtime.snapshot();
    let actor = snapshot.actors.iter().find(|actor| actor.path == path).unwrap();
    snapshot.arbiters.iter().find(|arbiter| arbiter.name == actor.arbiter).unwrap().clone()
}

#[test]
fn an_actor_placed_with_another_lives_where_that_does_and_elsewhere_when_it_is_gone() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let host = team.spawn(scribe("host").0.placement(Placement::Dedicated)).await.unwrap();
        let with = Placement::with(&host).or(Placement::Shared("otherwise"));
        let guest = team.spawn(scribe("guest").0.placement(with.clone())).await.unwrap();
        // A guest is a host as well.
        let second = team.spawn(scribe("second").0.placement(Placement::with(&guest))).await.unwrap();
        let thread = thread_of(&host).await;
        assert_eq!([thread_of(&guest).await, thread_of(&second).await], [thread, thread]);
        team.stop_child(host.path()).await;
        assert_eq!([thread_of(&guest).await, thread_of(&second).await], [thread, thread]);
        let late = team.spawn(scribe("late").0.placement(with)).await.unwrap();
        assert_eq!(arbiter_of(&runtime, late.path()).name, "ironcliw-otherwise");
        // Of several to live with, the first that is somewhere.
        let chain = Placement::with(&host).or(Placement::with(&second));
        let chained = team.spawn(scribe("chained").0.placement(chain)).await.unwrap();
        assert_eq!(thread_of(&chained).await, thread);
        for actor in [&guest, &second, &chained] {
            team.stop_child(actor.path()).await;
        }
    });
    // The thread has ended with the last of them.
    assert_eq!(runtime.snapshot().arbiters.len(), 1);
}

#[test]
fn an_actor_of_another_runtime_is_nowhere() {
    let (here, there) = (runtime(), runtime());
    let host = there.block_on(there.spawn(scribe("host").0)).unwrap();
    let guest = here.block_on(here.spawn(scribe("guest").0.beside(&host))).unwrap();
    let ids = here.block_on(async { [thread_of(&host).await, thread_of(&guest).await] });
    assert_ne!(ids[0], ids[1]);
    there.shutdown(SECOND).unwrap();
    here.block_on(guest.ask(Write(1)).into_future()).unwrap();
}

#[test]
fn placements_can_be_compared_and_read() {
    let runtime = runtime();
    let [a, b] = ["a", "b"].map(|name| runtime.block_on(runtime.spawn(scribe(name).0)).unwrap());
    assert_eq!(Placement::with(&a), Placement::with(&a.clone()));
    assert_ne!(Placement::with(&a), Placement::with(&b));
    assert_ne!(Placement::with(&a), Placement::with(&a).or(Placement::Dedicated));
    assert_eq!(Placement::Core(1).or(Placement::Dedicated), Placement::Core(1));
    assert_eq!(format!("{:?}", Placement::with(&a)), "With(Location(user/a, or Any))");
}

struct Quiet;
impl actix::Actor for Quiet {
    type Context = actix::Context<Self>;
}

#[test]
fn an_actix_actor_lives_with_another_and_leaves_its_thread_to_it() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let host = team.spawn(scribe("host").0.placement(Placement::Dedicated)).await.unwrap();
        let guest = ActixChild::new("guest", || Quiet).placement(Placement::with(&host));
        team.spawn_actix(guest).await.unwrap();
        let both = runtime.snapshot().actors;
        assert_eq!(both[0].arbiter, both[1].arbiter);
        team.stop_child("user/team/guest").await;
        host.ask(Write(1)).await.unwrap();
        team.spawn_actix(ActixChild::new("own", || Quiet).placement(Placement::Dedicated)).await.unwrap();
        team.stop_child("user/team/own").await;
        team.stop_child(host.path()).await;
    });
    assert!(runtime.snapshot().arbiters.is_empty());
}

#[test]
fn a_blocking_actor_has_a_thread_of_its_own_and_holds_up_nobody() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    runtime.block_on(async {
        let blocks = runtime.spawn(scribe("blocks").0.blocking()).await.unwrap();
        let other = runtime.spawn(scribe("other").0).await.unwrap();
        let (go, held) = std::sync::mpsc::channel();
        let answer = ask(&blocks, Block(held, 1));
        other.ask(Write(2)).await.unwrap();
        assert_eq!(arbiter_of(&runtime, blocks.path()).wanted_core, None);
        go.send(()).unwrap();
        assert_eq!(heard(&answer), Ok(1));
    });
    let described = format!("{:?} {:?}", Child::new("a", || Plain).blocking(), Child::new("b", || Plain));
    assert!(described.contains("stuck_after: None") && described.contains("stuck_after: Some(30s)"));
}

struct Plain;
impl ironcliw::Actor for Plain {}

#[cfg(target_os = "linux")]
#[test]
fn threads_are_as_nice_as_their_runtime_or_their_actor_says() {
    let runtime = Runtime::builder().workers(1).worker_niceness(1).niceness(2).build().unwrap();
    let children = [
        ("worker", Placement::Any, Some(1)),
        ("own", Placement::Dedicated, Some(2)),
        ("blocks", Placement::Blocking, Some(2)),
        ("core", Placement::Core(0), Some(2)),
        // Coordinators are as urgent as the process.
        ("shared", Placement::Shared("control"), None),
    ];
    for (name, placement, niceness) in children {
        runtime.block_on(runtime.spawn(scribe(name).0.placement(placement))).unwrap();
        assert_eq!(arbiter_of(&runtime, &format!("user/{name}")).niceness, niceness, "{name}");
    }
    let own = [("nicer", Placement::Dedicated, Some(5)), ("shares", Placement::Any, Some(1))];
    for (name, placement, niceness) in own {
        runtime.block_on(runtime.spawn(scribe(name).0.placement(placement).niceness(5))).unwrap();
        assert_eq!(arbiter_of(&runtime, &format!("user/{name}")).niceness, niceness, "{name}");
    }
}
