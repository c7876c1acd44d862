//! Actors that are linked: they fail together, whoever supervises them.

mod cast;
#[path = "cast/host.rs"]
mod host;

use cast::{SECOND, eventually, runtime};
use host::*;
use ironcliw::{Address, Child, Error, ExitReason, Link, Restart, Runtime, Supervisor, SupervisorRef, What};

/// A supervisor that bears whatever the tests do.
fn team(runtime: &Runtime, name: &str) -> SupervisorRef {
    let spec = Supervisor::new(name).restarts(1_000, SECOND);
    runtime.block_on(runtime.supervise(spec)).unwrap()
}

fn spawn(runtime: &Runtime, team: &SupervisorRef, child: Child<Host>) -> Address<Host> {
    runtime.block_on(team.spawn(child)).unwrap()
}

fn link(runtime: &Runtime, from: &Address<Host>, to: &Address<Host>) -> Link {
    let to = to.clone();
    ask(runtime, from, act(move |ctx| ctx.link(&to))).unwrap()
}

/// The reasons of an actor's exits, in order.
fn exits(runtime: &Runtime, actor: &Address<Host>) -> Vec<String> {
    let events = runtime.snapshot().events.into_iter().filter(|event| event.path == actor.path());
    let exits = events.filter_map(|event| match event.what {
        What::Exited { reason, .. } => Some(reason),
        _ => None,
    });
    exits.collect()
}

fn linked_to(path: &str) -> String {
    ExitReason::Linked(path.to_owned()).to_string()
}

#[test]
fn linked_actors_fail_together_whoever_made_the_link_and_whoever_fails() {
    for made_by in [0, 1] {
        for fails in [0, 1] {
            let runtime = runtime();
            let teams = [team(&runtime, "x"), team(&runtime, "y")];
            let hosts = [0, 1].map(|n| spawn(&runtime, &teams[n], idle("host").0));
            link(&runtime, &hosts[made_by], &hosts[1 - made_by]);
            ask(&runtime, &hosts[fails], trip()).unwrap_err();
            eventually(|| runtime.snapshot().restarts == 2);
            assert_eq!(exits(&runtime, &hosts[1 - fails]), [linked_to(hosts[fails].path())]);
            // The failure has used the link up.
            for (n, host) in hosts.iter().enumerate() {
                ask(&runtime, host, trip()).unwrap_err();
                eventually(|| runtime.snapshot().restarts == 3 + n as u64);
            }
            assert_eq!(exits(&runtime, &hosts[1 - fails]).len(), 2);
        }
    }
}

#[test]
fn a_linked_actor_keeps_its_queue_and_finishes_what_it_has_in_hand_within_its_bound() {
    let runtime = runtime();
    let team = team(&runtime, "team");
    let cause = spawn(&runtime, &team, idle("cause").0);
    for (bound, finishes) in [(10 * SECOND, true), (SECOND / 50, false)] {
        let (child, told) = idle(if finishes { "finishes" } else { "is cut" });
        let host = spawn(&runtime, &team, child.shutdown(bound));
        link(&runtime, &host, &cause);
        let (go, held) = tokio::sync::oneshot::channel::<()>();
        let (begun, holds) = std::sync::mpsc::channel();
        let in_hand = std::thread::spawn({
            let (runtime, host) = (runtime.handle().clone(), host.clone());
            let hold = run(move |_| {
                begun.send(()).unwrap();
                Box::pin(async move { held.await.is_ok() })
            });
            move || runtime.block_on(host.ask(hold).into_future())
        });
        cast::heard(&holds);
        host.try_tell(note("queued")).unwrap();
        ask(&runtime, &cause, trip()).unwrap_err();
        // It is back: its failure has reached the other by now.
        ask(&runtime, &cause, note("again")).unwrap();
        if finishes {
            go.send(()).unwrap();
            assert!(in_hand.join().unwrap().unwrap());
        } else {
            let refused = in_hand.join().unwrap().unwrap_err();
            assert_eq!(refused.error, Error::ActorRestarting { path: host.path().to_owned() });
        }
        eventually(|| !texts(&told).is_empty());
        assert_eq!(exits(&runtime, &host), [linked_to(cause.path())]);
        assert!(texts(&told).iter().all(|text| text == "queued"));
    }
}

#[test]
fn a_link_ends_with_the_incarnation_that_made_it_and_with_unlink() {
    let runtime = runtime();
    let team = team(&runtime, "team");
    let hosts = ["a", "b", "c"].map(|name| spawn(&runtime, &team, idle(name).0));
    let [a, b, c] = &hosts;
    link(&runtime, a, b);
    link(&runtime, a, c).unlink();
    // A normal stop is no failure.
    ask(&runtime, a, act(|ctx| ctx.stop())).unwrap();
    ask(&runtime, a, note("again")).unwrap();
    ask(&runtime, b, trip()).unwrap_err();
    ask(&runtime, c, trip()).unwrap_err();
    eventually(|| runtime.snapshot().restarts == 3);
    assert_eq!(exits(&runtime, a), ["normal"]);
    // One that is made and undone leaves nothing behind, and dropping a handle undoes none.
    for _ in 0..100 {
        link(&runtime, a, b).unlink();
    }
    drop(link(&runtime, a, b));
    ask(&runtime, a, trip()).unwrap_err();
    eventually(|| runtime.snapshot().restarts == 5);
    assert_eq!(exits(&runtime, b)[1..], [linked_to(a.path())]);
}

#[test]
fn a_circle_of_links_fails_once_for_each_failure_though_each_link_is_renewed() {
    let runtime = runtime();
    let team = team(&runtime, "team");
    let names = ["a", "b", "c"];
    let hosts = names.map(|name| {
        let (child, _) = host(name, move |ctx| {
            for other in names.iter().filter(|other| **other != name) {
                if let Some(other) = ctx.runtime().find::<Host>(&format!("user/team/{other}")) {
                    ctx.link(&other);
                }
            }
            Box::pin(async {})
        });
        spawn(&runtime, &team, child)
    });
    let mut failures = 0;
    for round in 0..10 {
        let last = &hosts[(round + 2) % 3];
        // One of them takes its time to fail: the others are back, and linked to it again, before it has.
        let (go, held) = tokio::sync::oneshot::channel::<()>();
        last.try_tell(run(move |_| Box::pin(async move { held.await.unwrap_or_default() }))).unwrap();
        eventually(|| last.depth() == 0);
        ask(&runtime, &hosts[round % 3], trip()).unwrap_err();
        failures += 3;
        eventually(|| runtime.snapshot().restarts == failures - 1);
        for host in hosts.iter().filter(|host| host.path() != last.path()) {
            ask(&runtime, host, note("back")).unwrap();
        }
        drop(go);
        eventually(|| runtime.snapshot().restarts == failures);
        ask(&runtime, last, note("back")).unwrap();
    }
    std::thread::sleep(SECOND / 50);
    assert_eq!(runtime.snapshot().restarts, failures);
}

#[test]
fn one_that_traps_hears_of_each_failure_and_of_the_end_instead_of_failing() {
    let runtime = runtime();
    let team = team(&runtime, "team");
    let other = spawn(&runtime, &team, idle("other").0);
    let watched = other.clone();
    let (child, told) = host("host", move |ctx| {
        ctx.trap(&watched, note);
        Box::pin(async {})
    });
    let host = spawn(&runtime, &team, child);
    for n in 1..=3 {
        ask(&runtime, &other, trip()).unwrap_err();
        eventually(|| texts(&told).len() == n);
    }
    // It fails with this one nevertheless, and this one's next incarnation traps again.
    ask(&runtime, &host, trip()).unwrap_err();
    eventually(|| exits(&runtime, &other).last() == Some(&linked_to(host.path())));
    ask(&runtime, &host, note("again")).unwrap();
    runtime.block_on(team.stop_child(other.path()));
    eventually(|| texts(&told).last().unwrap() == "shutdown");
    let told = texts(&told);
    assert!(told[..3].iter().all(|text| text.starts_with("panicked: tripped")), "{told:?}");
    assert_eq!(exits(&runtime, &host).len(), 1);

    // A failure that is the end is told once.
    let brief = spawn(&runtime, &team, idle("brief").0.restart(Restart::Temporary));
    let (child, told) = idle("heir");
    let heir = spawn(&runtime, &team, child);
    let watched = brief.clone();
    ask(&runtime, &heir, act(move |ctx| drop(ctx.trap(&watched, note)))).unwrap();
    ask(&runtime, &brief, trip()).unwrap_err();
    runtime.block_on(brief.stopped());
    eventually(|| !texts(&told).is_empty());
    ask(&runtime, &heir, note("last")).unwrap();
    assert_eq!(texts(&told).len(), 2);
}

#[test]
fn the_end_of_an_actor_fails_those_linked_to_it_and_at_once_those_who_come_late() {
    let runtime = runtime();
    let team = team(&runtime, "team");
    let [ends, early, late, trapper] =
        ["ends", "early", "late", "trapper"].map(|name| spawn(&runtime, &team, idle(name).0));
    link(&runtime, &early, &ends);
    runtime.block_on(team.stop_child(ends.path()));
    eventually(|| exits(&runtime, &early) == [linked_to(ends.path())]);
    link(&runtime, &late, &ends);
    eventually(|| exits(&runtime, &late) == [linked_to(ends.path())]);
    let (tell, told) = std::sync::mpsc::channel();
    let trap = act(move |ctx| {
        ctx.trap(&ends, move |reason| {
            tell.send(reason).unwrap();
            note("heard")
        })
    });
    ask(&runtime, &trapper, trap).unwrap();
    assert_eq!(cast::heard(&told), ExitReason::Shutdown);
    assert!(exits(&runtime, &trapper).is_empty());
}

#[test]
fn a_runtime_that_shuts_down_fails_nobody() {
    let runtime = runtime();
    let first = team(&runtime, "first");
    let second = team(&runtime, "second");
    let stays = spawn(&runtime, &first, idle("stays").0);
    let goes = spawn(&runtime, &second, idle("goes").0);
    link(&runtime, &stays, &goes);
    link(&runtime, &goes, &stays);
    runtime.shutdown(SECOND).unwrap();
    assert_eq!(exits(&runtime, &stays), ["shutdown"]);
    assert_eq!(exits(&runtime, &goes), ["shutdown"]);
}

#[test]
fn actors_that_link_and_fail_all_the_time_come_to_rest() {
    let runtime = runtime();
    let team = team(&runtime, "team");
    let hosts: Vec<_> = (0..8).map(|n| spawn(&runtime, &team, idle(&format!("host-{n}")).0)).collect();
    std::thread::scope(|scope| {
        for (n, host) in hosts.iter().enumerate() {
            let (runtime, hosts) = (&runtime, &hosts);
            scope.spawn(move || {
                for round in 0..40 {
                    let other = hosts[(n + round) % hosts.len()].clone();
                    let _ = ask(runtime, host, act(move |ctx| drop(ctx.link(&other))));
                    if round % 4 == 3 {
                        let _ = ask(runtime, host, trip());
                    }
                }
            });
        }
    });
    for host in &hosts {
        let alive = || ask(&runtime, host, note("alive")).is_ok();
        eventually(alive);
    }
    runtime.shutdown(5 * SECOND).unwrap();
}
