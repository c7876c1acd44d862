//! Names that actors are found by whatever their path, and addresses as values: compared, hashed, without a type.

// Addresses are hashed by whose they are, which never changes; clippy looks at what an actor has inside.
#![allow(clippy::mutable_key_type)]

mod cast;
#[path = "cast/host.rs"]
mod host;

use std::collections::{HashMap, HashSet};
use std::future::IntoFuture;

use cast::{SECOND, Scribe, WhichLife, Write, eventually, runtime, scribe};
use host::{Host, Note, idle, note};
use ironcliw::{Actor, Address, Child, Context, Error, Handler, Message, Overflow, Recipient, StartError, Supervisor};

#[test]
fn an_actor_is_found_by_its_name_and_type_also_after_a_restart() {
    let runtime = runtime();
    runtime.block_on(async {
        let a = runtime.spawn(scribe("a").0).await.unwrap();
        runtime.register_name("scribe of the day", &a).unwrap();
        runtime.register_name("user/b", &a).unwrap();
        runtime.register_name("user/b", &a).unwrap();
        a.ask(cast::Poison).await.unwrap_err();
        let found: Address<Scribe> = runtime.whereis("scribe of the day").unwrap();
        assert_eq!((found.ask(WhichLife).await.unwrap(), found), (1, a.clone()));
        assert!(runtime.whereis::<Host>("scribe of the day").is_none());
        // Names and paths are two things.
        assert!(runtime.find::<Scribe>("user/b").is_none() && runtime.whereis::<Scribe>("user/a").is_none());
    });
}

#[test]
fn a_name_is_free_again_when_its_actor_has_ended_or_it_was_taken_away() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let first = team.spawn(scribe("a").0).await.unwrap();
        let second = team.spawn(idle("b").0).await.unwrap();
        runtime.register_name("chief", &first).unwrap();
        let taken = Err(Error::NameTaken { path: "chief".to_owned() });
        assert_eq!(runtime.register_name("chief", &second), taken);
        team.stop_child(first.path()).await;
        assert!(runtime.whereis::<Scribe>("chief").is_none() && !runtime.unregister_name("chief"));
        let stopped = Err(Error::ActorStopped { path: first.path().to_owned() });
        assert_eq!(runtime.register_name("chief", &first), stopped);
        runtime.register_name("chief", &second).unwrap();
        assert_eq!(runtime.whereis("chief"), Some(second.clone()));
        // Taken away it is another's, and stays that one's when its former actor ends.
        assert!(runtime.unregister_name("chief") && !runtime.unregister_name("chief"));
        let third = team.spawn(idle("c").0).await.unwrap();
        runtime.register_name("chief", &third).unwrap();
        team.stop_child(second.path()).await;
        assert_eq!(runtime.whereis("chief"), Some(third));
    });
    runtime.shutdown(SECOND).unwrap();
    assert!(runtime.whereis::<Host>("chief").is_none());
}

/// Takes its name by itself.
struct Chief;
impl Actor for Chief {
    async fn started(&mut self, ctx: &mut Context<Self>) -> Result<(), StartError> {
        Ok(ctx.runtime().register_name("chief", &ctx.address())?)
    }
}

#[test]
fn of_those_who_claim_a_name_one_starts_and_the_next_when_that_has_ended() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let mut chiefs = HashSet::new();
        for round in 0..20 {
            let spawns = [0, 1, 2].map(|n| team.spawn(Child::new(format!("{round}-{n}"), || Chief)));
            let [a, b, c] = spawns;
            let (a, b, c) = tokio::join!(a, b, c);
            let started: Vec<_> = [a, b, c].into_iter().flatten().collect();
            assert_eq!(started.len(), 1);
            assert_eq!(runtime.whereis("chief").as_ref(), started.first());
            team.stop_child(started[0].path()).await;
            chiefs.extend(started);
        }
        assert_eq!(chiefs.len(), 20);
    });
}

#[test]
fn names_that_are_given_while_actors_end_leave_nothing() {
    let runtime = runtime();
    let team = runtime.block_on(runtime.supervise(Supervisor::new("team"))).unwrap();
    for n in 0..50 {
        let actor = runtime.block_on(team.spawn(scribe(&n.to_string()).0)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| while runtime.register_name("racer", &actor).is_ok() {});
            scope.spawn(|| while actor.is_alive() && runtime.unregister_name("racer") {});
            scope.spawn(|| runtime.block_on(team.stop_child(actor.path())));
        });
        assert!(runtime.whereis::<Scribe>("racer").is_none());
    }
}

#[test]
fn addresses_are_equal_if_they_are_the_same_actors() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let a = team.spawn(scribe("a").0).await.unwrap();
        let b = team.spawn(scribe("b").0).await.unwrap();
        let mut jobs = HashMap::from([(a.clone(), 1), (b.clone(), 2)]);
        a.ask(cast::Poison).await.unwrap_err();
        assert_eq!((jobs[&runtime.find::<Scribe>("user/team/a").unwrap()], a == b), (1, false));
        let recipients: HashSet<Recipient<Write>> = [&a, &b, &a].map(Address::recipient).into();
        assert_eq!(recipients.len(), 2);
        assert!(recipients.contains(&a.recipient()));
        // One of the same path that comes later is another actor.
        team.stop_child(a.path()).await;
        let later = team.spawn(scribe("a").0).await.unwrap();
        assert!(later != a && !jobs.contains_key(&later) && jobs.remove(&a).is_some());
    });
}

impl Message for Other {
    type Reply = u64;
}
struct Other;

impl Handler<Other> for Scribe {
    async fn handle(&mut self, _: Other, _: &mut Context<Self>) -> u64 {
        std::future::pending().await
    }
}

impl Handler<Other> for Host {
    async fn handle(&mut self, _: Other, _: &mut Context<Self>) -> u64 {
        7
    }
}

#[test]
fn a_recipient_is_asked_as_an_address_is() {
    let runtime = runtime();
    let (hangs, answers) = (scribe("hangs").0.shutdown(SECOND / 50), idle("answers").0.mailbox(1, Overflow::Reject));
    let hangs: Recipient<Other> = runtime.block_on(runtime.spawn(hangs)).unwrap().recipient();
    let answers = runtime.block_on(runtime.spawn(answers)).unwrap();
    let ask = |to: &Recipient<Other>, after| runtime.block_on(to.ask(Other).deadline(after).into_future());
    assert_eq!(ask(&answers.recipient(), 10 * SECOND).unwrap(), 7);
    let late = ask(&hangs, SECOND / 50).unwrap_err();
    assert!(matches!(late.error, Error::DeadlineExceeded { .. }));
    let (go, held) = tokio::sync::oneshot::channel::<()>();
    answers.try_tell(host::run(move |_| Box::pin(async move { drop(held.await) }))).unwrap();
    eventually(|| answers.depth() == 0);
    answers.try_tell(note("fills it")).unwrap();
    let refused = ask(&answers.recipient(), 10 * SECOND).unwrap_err();
    assert!(matches!(refused.error, Error::MailboxFull { .. }) && refused.message.is_some());
    drop(go);
    let notes: Recipient<Note> = answers.recipient();
    assert!(notes.is_alive());
    runtime.shutdown(10 * SECOND).unwrap();
    assert!(!notes.is_alive());
}
