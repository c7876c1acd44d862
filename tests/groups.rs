//! Groups from outside: who gets a message, and what becomes of it when members stop.

mod cast;

use std::collections::HashMap;
use std::future::IntoFuture;

use cast::*;
use ironcliw::{
    Address, Context, Error, Group, Handler, Message, Overflow, Router, Runtime, Supervisor, SupervisorRef,
    least_loaded,
};

/// What can be sent to several.
#[derive(Debug, Clone, PartialEq)]
struct Note(u64);
impl Message for Note {
    type Reply = ();
}

impl Handler<Note> for Scribe {
    async fn handle(&mut self, Note(n): Note, ctx: &mut Context<Self>) {
        self.handle(Write(n), ctx).await;
    }
}

struct Team {
    group: Group<Scribe>,
    members: Vec<Address<Scribe>>,
    logs: HashMap<String, Log>,
    supervisor: SupervisorRef,
}

impl Team {
    async fn new(runtime: &Runtime, router: Router, count: usize) -> Self {
        let supervisor = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let mut team = Self { group: Group::new(router), members: Vec::new(), logs: HashMap::new(), supervisor };
        for n in 0..count {
            team.hire(&format!("m{n}")).await;
        }
        team
    }

    async fn hire(&mut self, name: &str) {
        let (child, log) = scribe(name);
        let member = self.supervisor.spawn(child.mailbox(8, Overflow::Reject)).await.unwrap();
        self.logs.insert(member.path().to_owned(), log);
        self.group.add(member.clone());
        self.members.push(member);
    }

    fn written(&self, path: &str) -> usize {
        self.logs[path].lock().unwrap().len()
    }

    fn owners(&self, keys: u32) -> Vec<String> {
        (0..keys).map(|key| self.group.pick_by(&key).unwrap().path().to_owned()).collect()
    }
}

#[test]
fn an_empty_group_gives_the_message_back() {
    let runtime = runtime();
    runtime.block_on(async {
        let mut team = Team::new(&runtime, Router::LeastLoaded, 0).await;
        for _ in 0..2 {
            let refused = team.group.tell(Write(7)).await.unwrap_err();
            assert_eq!((refused.error, refused.message.unwrap().0), (Error::GroupEmpty, 7));
            let refused = team.group.ask_by("key", Write(8)).deadline(SECOND).await.unwrap_err();
            assert_eq!((refused.error, refused.message.unwrap().0), (Error::GroupEmpty, 8));
            let refused = team.group.broadcast(Note(9)).await.unwrap_err();
            assert_eq!((refused.error, refused.message.unwrap().0), (Error::GroupEmpty, 9));
            assert!(team.group.pick().is_none() && team.group.pick_by("key").is_none());
            // A group whose members have all stopped is as empty.
            team.hire("short").await;
            team.supervisor.stop_child("user/team/short").await;
        }
    });
}

#[test]
fn members_take_turns() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = Team::new(&runtime, Router::RoundRobin, 3).await;
        for n in 0..9 {
            team.group.ask(Write(n)).await.unwrap();
        }
        for (n, member) in (0..).zip(&team.members) {
            assert_eq!(*team.logs[member.path()].lock().unwrap(), [n, n + 3, n + 6]);
        }
    });
}

#[test]
fn the_least_loaded_member_is_chosen_and_equals_take_turns() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = Team::new(&runtime, Router::LeastLoaded, 3).await;
        let _held: Vec<_> = team.members.iter().map(hold).collect();
        // Depths 2, 0, 1: the next three go to 1, then to 1 and 2 in some order; then all are equal.
        for (member, n) in [(0, 0), (0, 0), (2, 0)] {
            team.members[member].try_tell(Write(n)).unwrap();
        }
        for n in 0..3 {
            team.group.tell(Write(n)).await.unwrap();
        }
        assert!(team.members.iter().all(|member| member.depth() == 2));
        for n in 0..3 {
            team.group.tell(Write(n)).await.unwrap();
        }
        assert!(team.members.iter().all(|member| member.depth() == 3));
        assert_eq!(least_loaded(team.members.iter(), 4).unwrap().path(), team.members[1].path());
        assert!(least_loaded::<Scribe>([].iter(), 4).is_none());
    });
}

#[test]
fn a_key_stays_with_its_member_and_few_keys_move_when_members_come_and_go() {
    const KEYS: u32 = 4_000;
    let runtime = runtime();
    runtime.block_on(async {
        let mut team = Team::new(&runtime, Router::RoundRobin, 4).await;
        let before = team.owners(KEYS);
        assert_eq!(team.owners(KEYS), before);
        for member in &team.members {
            let share = before.iter().filter(|owner| *owner == member.path()).count();
            assert!((800..1200).contains(&share), "{share} of {KEYS} for one of four");
        }
        team.hire("late").await;
        let after = team.owners(KEYS);
        let moved: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
        assert!(moved.iter().all(|(_, after)| *after == "user/team/late"), "a key moved between old members");
        assert!((600..1000).contains(&moved.len()), "{} of {KEYS} moved to one of five", moved.len());
        // One that stops and one that is taken out leave only their own keys.
        team.supervisor.stop_child("user/team/late").await;
        assert_eq!(team.owners(KEYS), before);
        assert!(team.group.remove("user/team/m0") && !team.group.remove("user/team/m0"));
        for (before, after) in before.iter().zip(team.owners(KEYS)) {
            assert!(*before == after || before == "user/team/m0");
        }
    });
}

#[test]
fn a_member_that_restarts_keeps_its_keys_and_its_queue() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = Team::new(&runtime, Router::RoundRobin, 4).await;
        let owner = team.group.pick_by("camera").unwrap();
        let go = hold(&owner);
        owner.try_tell(Poison).unwrap();
        let asked = tokio::spawn(team.group.ask_by("camera", WhichLife).into_future());
        eventually(|| owner.depth() == 2);
        go.send(()).unwrap();
        assert_eq!(asked.await.unwrap().unwrap(), 1);
        assert_eq!(team.group.pick_by("camera").unwrap().path(), owner.path());
    });
}

#[test]
fn members_that_have_stopped_are_skipped_and_the_others_share_alike() {
    let runtime = runtime();
    for router in [Router::RoundRobin, Router::LeastLoaded] {
        runtime.block_on(async {
            let team = Team::new(&runtime, router, 4).await;
            team.supervisor.stop_child("user/team/m1").await;
            team.supervisor.stop_child("user/team/m2").await;
            for n in 0..10 {
                team.group.ask(Write(n)).await.unwrap();
            }
            assert_eq!((team.written("user/team/m0"), team.written("user/team/m3")), (5, 5));
            assert_eq!(team.group.members().len(), 2);
            runtime.root().unwrap().stop_child("user").await;
        });
    }
}

#[test]
fn what_a_member_refuses_because_it_stops_goes_to_another() {
    let runtime = runtime();
    runtime.block_on(async {
        let supervisor = runtime.supervise(Supervisor::new("team")).await.unwrap();
        let (full, left) = scribe("full");
        let full = supervisor.spawn(full.mailbox(1, Overflow::Block)).await.unwrap();
        let group: Group<Scribe> = [full.clone()].into_iter().collect();
        let go = hold(&full);
        full.try_tell(Write(1)).unwrap();
        // These wait for room in the member that is about to stop.
        let tell = tokio::spawn(group.tell(Write(2)));
        let ask = tokio::spawn(group.ask(Write(3)).deadline(10 * SECOND).into_future());
        tokio::time::sleep(SECOND / 50).await;
        let (other, log) = scribe("other");
        group.add(supervisor.spawn(other).await.unwrap());
        let stop = tokio::spawn(async move { supervisor.stop_child("user/team/full").await });
        tell.await.unwrap().unwrap();
        assert_eq!(ask.await.unwrap().unwrap(), 3);
        go.send(()).unwrap();
        stop.await.unwrap();
        assert_eq!(*left.lock().unwrap(), [1]);
        let mut taken = log.lock().unwrap().clone();
        taken.sort_unstable();
        assert_eq!(taken, [2, 3]);
    });
}

#[test]
fn a_broadcast_reaches_every_living_member_and_names_those_that_refuse() {
    let runtime = runtime();
    runtime.block_on(async {
        let team = Team::new(&runtime, Router::RoundRobin, 4).await;
        team.supervisor.stop_child("user/team/m3").await;
        assert!(team.group.broadcast(Note(5)).await.unwrap().is_empty());
        eventually(|| team.members[..3].iter().all(|member| team.written(member.path()) == 1));
        let _go = hold(&team.members[1]);
        for n in 0..8 {
            team.members[1].try_tell(Write(n)).unwrap();
        }
        let refusals = team.group.broadcast(Note(6)).await.unwrap();
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].error, Error::MailboxFull { path: "user/team/m1".into(), capacity: 8 });
        assert_eq!(refusals[0].message, Some(Note(6)));
        for path in ["user/team/m0", "user/team/m2"] {
            eventually(|| team.written(path) == 2);
        }
    });
}
