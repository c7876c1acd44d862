//! Who waits for whom, and who for himself by way of others.
//!
//! An ask that is made in a handler, or a hook, and not answered when it is first polled is kept with its asker until it
//! ends or is dropped. An asker that is about to wait follows the asks from its callee on. If they lead back to it,
//! none of them can be answered before another one is, unless one gives up: that is told at once, by name.
//!
//! Of those who close a cycle at the same time at least one sees all of it, for each keeps its own ask before it looks
//! at the others', under the same locks. No two of these locks are held at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;
use tracing::warn;

use super::events::What;
use super::info::Info;
use crate::reply::Peephole;
use crate::{clock, current};

/// Asks that are followed from one that begins to wait: a longer way back is left to whoever looks.
const FOLLOWED: usize = 64;

/// Deadlocks that are remembered so that each is told once.
const REMEMBERED: usize = 64;

/// One actor that waits for the answer of another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wait {
    /// The path of the one that waits.
    pub from: String,
    /// The path of the one that is to answer.
    pub to: String,
    /// How long it has waited, in seconds.
    pub waited_s: f64,
}

/// Somebody who can be asked.
pub(crate) trait Asked: Send + Sync {
    fn info(&self) -> &Arc<Info>;
}

/// An actor's asks that wait.
#[derive(Default)]
pub(crate) struct Pending(Mutex<Asks>);

#[derive(Default)]
struct Asks {
    /// Numbers tell one of its asks from another.
    next: u64,
    waiting: Vec<Ask>,
}

struct Ask {
    number: u64,
    to: Arc<dyn Asked>,
    since: Instant,
    answer: Peephole,
}

impl Ask {
    /// It may have been answered without its asker having been polled since; and then nobody waits.
    fn waits(&self) -> bool {
        // SAFETY: whoever began the wait keeps the asker's end until it has ended, which takes the list's lock.
        !unsafe { self.answer.is_answered() }
    }
}

/// An ask that waits, for as long as this lives.
pub(crate) struct Waiting {
    asker: Arc<Info>,
    number: u64,
}

impl Waiting {
    /// Keeps an ask, if it is an actor that asks.
    ///
    /// # Safety
    /// The answer is taken or dropped only once what is returned has been dropped.
    #[cold]
    pub(crate) unsafe fn begin<T: Asked + 'static>(to: &Arc<T>, answer: Peephole) -> Option<Self> {
        current::with(|current| {
            let asker = current.info.clone();
            let number = {
                let mut asks = asker.activity_made().pending.0.lock();
                asks.next += 1;
                let number = asks.next;
                asks.waiting.push(Ask { number, to: to.clone(), since: clock::now(), answer });
                number
            };
            if Arc::ptr_eq(&asker, to.info()) || to.info().waits_for_others() {
                let look = || cycle_back(&asker, to.info(), number);
                // Its asks were looked at one after the other. They waited at the same time if they all do so again.
                let found = look().filter(|cycle| look().as_ref() == Some(cycle));
                if let Some(cycle) = found.filter(|cycle| current.runtime.deadlocks().is_new(cycle)) {
                    let names = rotated(cycle.into_iter().map(|(path, _)| path).collect());
                    warn!(cycle = names.join(" -> "), "actors ask each other in a circle: a deadlock");
                    current.runtime.events().push(current.info, What::Deadlock { cycle: names });
                }
            }
            Self { asker, number }
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let ended = {
            let mut asks = self.asker.activity_made().pending.0.lock();
            let place = asks.waiting.iter().position(|ask| ask.number == self.number);
            place.map(|place| asks.waiting.swap_remove(place))
        };
        // Outside the lock: it may be the last to hold the actor.
        drop(ended);
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        !self.0.lock().waiting.iter().any(Ask::waits)
    }

    fn list(&self) -> Vec<(u64, Arc<dyn Asked>, Instant)> {
        let asks = self.0.lock();
        asks.waiting.iter().filter(|ask| ask.waits()).map(|ask| (ask.number, ask.to.clone(), ask.since)).collect()
    }
}

impl Info {
    fn waits_for_others(&self) -> bool {
        self.activity().is_some_and(|activity| !activity.pending.is_empty())
    }

    /// The asks of its own that have no answer yet.
    pub(crate) fn waits(&self) -> Vec<Wait> {
        let asks = self.activity().map(|activity| activity.pending.list()).unwrap_or_default();
        let wait = |(_, to, since): (u64, Arc<dyn Asked>, Instant)| Wait {
            from: self.path().to_owned(),
            to: to.info().path().to_owned(),
            waited_s: since.elapsed().as_secs_f64(),
        };
        asks.into_iter().map(wait).collect()
    }
}

/// The asks that lead from `asker`, by way of its ask of `to`, back to itself: the path of each asker and the number of its
/// ask.
fn cycle_back(asker: &Arc<Info>, to: &Arc<Info>, number: u64) -> Option<Vec<(String, u64)>> {
    struct Step {
        from: Arc<Info>,
        number: u64,
        to: Arc<Info>,
        before: Option<usize>,
    }
    let mut steps = vec![Step { from: asker.clone(), number, to: to.clone(), before: None }];
    let mut at = 0;
    while at < steps.len() {
        let to = steps[at].to.clone();
        if Arc::ptr_eq(&to, asker) {
            let mut cycle = Vec::new();
            let mut step = Some(at);
            while let Some(Step { from, number, before, .. }) = step.map(|at| &steps[at]) {
                cycle.push((from.path().to_owned(), *number));
                step = *before;
            }
            cycle.reverse();
            return Some(cycle);
        }
        let is_known = steps[..at].iter().any(|step| Arc::ptr_eq(&step.to, &to));
        let further = to.activity().filter(|_| !is_known).map(|activity| activity.pending.list()).unwrap_or_default();
        for (number, next, _) in further.into_iter().take(FOLLOWED - steps.len().min(FOLLOWED)) {
            steps.push(Step { from: to.clone(), number, to: next.info().clone(), before: Some(at) });
        }
        at += 1;
    }
    None
}

/// Begins with the least name, so that a cycle has one way to be told.
fn rotated(mut cycle: Vec<String>) -> Vec<String> {
    let least = cycle.iter().enumerate().min_by_key(|(_, name)| name.as_str()).map_or(0, |(at, _)| at);
    cycle.rotate_left(least);
    cycle
}

/// The cycles among what waits: of those through one actor, the shortest.
pub(crate) fn cycles(waits: &[Wait]) -> Vec<Vec<String>> {
    let mut asked_by: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for wait in waits {
        asked_by.entry(&wait.from).or_default().insert(&wait.to);
    }
    let shortest = |start: &str| {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(from) = queue.pop_front() {
            for &to in asked_by.get(from).into_iter().flatten() {
                if to == start {
                    let mut cycle = vec![from.to_owned()];
                    let mut at = from;
                    while let Some(&before) = came_from.get(at) {
                        cycle.push(before.to_owned());
                        at = before;
                    }
                    cycle.reverse();
                    return Some(rotated(cycle));
                }
                if to != start && !came_from.contains_key(to) {
                    came_from.insert(to, from);
                    queue.push_back(to);
                }
            }
        }
        None
    };
    let found: BTreeSet<_> = asked_by.keys().filter_map(|start| shortest(start)).collect();
    found.into_iter().collect()
}

/// Those that were seen, of one runtime.
#[derive(Default)]
pub(crate) struct Deadlocks {
    seen: AtomicU64,
    last: Mutex<VecDeque<Vec<(String, u64)>>>,
}

impl Deadlocks {
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Whether nobody else has come upon it; it is counted then.
    fn is_new(&self, cycle: &[(String, u64)]) -> bool {
        let mut asks = cycle.to_vec();
        asks.sort();
        let mut last = self.last.lock();
        if last.contains(&asks) {
            return false;
        }
        if last.len() == REMEMBERED {
            last.pop_front();
        }
        last.push_back(asks);
        self.seen.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(waits: &[(&str, &str)]) -> Vec<String> {
        let waits: Vec<_> =
            waits.iter().map(|(from, to)| Wait { from: (*from).into(), to: (*to).into(), waited_s: 0.0 }).collect();
        cycles(&waits).iter().map(|cycle| cycle.join(" ")).collect()
    }

    #[test]
    fn cycles_are_found_once_and_chains_are_none() {
        assert_eq!(found(&[]), [""; 0]);
        assert_eq!(found(&[("a", "b"), ("b", "c"), ("d", "c"), ("a", "c")]), [""; 0]);
        assert_eq!(found(&[("b", "a"), ("a", "b")]), ["a b"]);
        assert_eq!(found(&[("a", "a"), ("a", "b")]), ["a"]);
        assert_eq!(found(&[("c", "a"), ("b", "c"), ("a", "b"), ("x", "a"), ("c", "y")]), ["a b c"]);
        assert_eq!(found(&[("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("b", "c")]), ["a b", "c d"]);
    }
}
