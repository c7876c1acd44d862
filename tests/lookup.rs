//! From outside: finding an actor, hearing of its end, and living beside it.

mod cast;

use std::time::Instant;

use cast::*;
use ironcliw::{Actor, Child, Supervisor};

struct Other;
impl Actor for Other {}

#[test]
fn an_actor_is_found_by_its_path_and_type() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        team.spawn(scribe("a").0).await.unwrap();
        let (child, log) = scribe("b");
        team.spawn(child).await.unwrap();
        runtime.find::<Scribe>("user/team/b").unwrap().ask(Write(1)).await.unwrap();
        assert_eq!(*log.lock().unwrap(), [1]);
        assert!(runtime.find::<Other>("user/team/b").is_none());
        for nobody in ["", "user", "user/team", "user/team/c", "/user/team/b", "b"] {
            assert!(runtime.find::<Scribe>(nobody).is_none(), "{nobody:?}");
        }
    });
}

#[test]
fn an_actor_that_restarts_is_found_and_one_that_has_stopped_is_not() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let first = team.spawn(scribe("a").0).await.unwrap();
        first.ask(Poison).await.unwrap_err();
        assert_eq!(runtime.find::<Scribe>("user/team/a").unwrap().ask(WhichLife).await.unwrap(), 1);
        team.stop_child("user/team/a").await;
        assert!(runtime.find::<Scribe>("user/team/a").is_none());
        // Its name is free, for an actor of another type as well.
        team.spawn(Child::new("a", || Other)).await.unwrap();
        assert!(runtime.find::<Scribe>("user/team/a").is_none() && runtime.find::<Other>("user/team/a").is_some());
        // The same path in a supervisor that was stopped and made again.
        runtime.root().unwrap().stop_child("user").await;
        assert!(runtime.find::<Other>("user/team/a").is_none());
        runtime.spawn(scribe("team").0).await.unwrap();
        assert!(runtime.find::<Scribe>("user/team").is_some());
    });
    assert_eq!(runtime.snapshot().actors.len(), 1);
    runtime.shutdown(SECOND).unwrap();
    assert!(runtime.find::<Scribe>("user/team").is_none());
}

#[test]
fn looking_an_actor_up_waits_for_no_mailbox() {
    let runtime = runtime();
    runtime.block_on(async {
        let scribe = runtime.spawn(scribe("busy").0).await.unwrap();
        let (go, blocked) = std::sync::mpsc::channel();
        scribe.try_tell(Block(blocked, 1)).unwrap();
        eventually(|| scribe.depth() == 0);
        while scribe.try_tell(Write(2)).is_ok() {}
        let began = Instant::now();
        assert_eq!(runtime.find::<Scribe>("user/busy").unwrap().depth(), 64);
        assert!(began.elapsed() < SECOND / 2);
        drop(go);
    });
}
