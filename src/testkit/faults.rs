//! [`Faults`]: what is to go wrong, where and when.
//!
//! Whether a rule with a probability strikes is a function of the seed, the rule, the path and the number of the message
//! at that path: not of what other actors do in between.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// Which of the occasions at one path a fault is for. They are counted from one, from when the rule was made, for each path
/// by itself, and on through restarts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// That one.
    Nth(u64),
    /// Those up to this one.
    First(u64),
    /// Each that is a multiple of this.
    Every(u64),
    /// Each by itself with this probability, drawn from the kit's seed.
    Probability(f64),
    /// All of them.
    Always,
}

/// What a point of the embedder's own code gets where it was told to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectedFault {
    /// The point, or the actor's path.
    pub at: String,
    /// Which occasion it was there.
    pub occasion: u64,
    /// What was done, in words.
    pub what: &'static str,
}

impl fmt::Display for InjectedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an injected fault: {} at {}, occasion {}", self.what, self.at, self.occasion)
    }
}

impl std::error::Error for InjectedFault {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Site {
    Message,
    Started,
    Factory,
    Point,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Panic,
    Delay(Duration),
    LoseThread,
    Fail,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Delay(_) => "delay",
            Self::LoseThread => "lost thread",
            Self::Fail => "failure",
        }
    }
}

struct Rule {
    number: u64,
    pattern: String,
    site: Site,
    when: When,
    kind: Kind,
    /// Occasions so far, by path.
    seen: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Plan {
    rules: Vec<Rule>,
    made: u64,
    injected: Vec<InjectedFault>,
}

/// What is in store for one message.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) delay: Option<Duration>,
    pub(crate) loses_thread: bool,
    pub(crate) panic: Option<String>,
}

/// The faults of one [`TestRuntime`](super::TestRuntime). Clones are the same faults.
///
/// A path may have `*` in it, which stands for any characters but `/`. Rules add up; a delay comes before what else befalls
/// the same message. Actors that were written for actix meet none.
#[derive(Clone)]
pub struct Faults {
    seed: u64,
    plan: Arc<Mutex<Plan>>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan.lock();
        write!(f, "Faults({} rules, {} injected)", plan.rules.len(), plan.injected.len())
    }
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, plan: Arc::default() }
    }

    /// The handler panics as it begins with the message.
    pub fn panic_on(&self, path: &str, when: When) {
        self.add(path, Site::Message, when, Kind::Panic);
    }

    /// The same with a probability for each message.
    ///
    /// # Panics
    /// As all of these, if a probability is not between 0 and 1 or an occasion is 0.
    pub fn panic_with_probability(&self, path: &str, probability: f64) {
        self.panic_on(path, When::Probability(probability));
    }

    /// The handler begins that much later, with the message in hand.
    pub fn delay(&self, path: &str, when: When, by: Duration) {
        self.add(path, Site::Message, when, Kind::Delay(by));
    }

    /// The actor's thread ends with the message in hand, and takes every other actor on it along.
    pub fn lose_thread_on(&self, path: &str, when: When) {
        self.add(path, Site::Message, when, Kind::LoseThread);
    }

    /// The actor panics in `started`.
    pub fn panic_in_started(&self, path: &str, when: When) {
        self.add(path, Site::Started, when, Kind::Panic);
    }

    /// The actor's factory fails instead of being called.
    pub fn fail_factory(&self, path: &str, when: When) {
        self.add(path, Site::Factory, when, Kind::Fail);
    }

    /// [`Faults::point`] fails, where the embedder's code asks at a point of this name.
    pub fn fail_at(&self, point: &str, when: When) {
        self.add(point, Site::Point, when, Kind::Fail);
    }

    /// A point of the embedder's own code at which it may be told to fail.
    ///
    /// ```
    /// # use ironcliw::testkit::{TestRuntime, When};
    /// let kit = TestRuntime::new(1);
    /// kit.faults().fail_at("disk/write", When::Nth(2));
    /// assert!(kit.faults().point("disk/write").is_ok());
    /// assert!(kit.faults().point("disk/write").is_err());
    /// ```
    ///
    /// # Errors
    /// If it was.
    pub fn point(&self, point: &str) -> Result<(), InjectedFault> {
        self.strike(Site::Point, point).into_iter().next().map_or(Ok(()), |(_, fault)| Err(fault))
    }

    /// Takes all rules back.
    pub fn clear(&self) {
        self.plan.lock().rules.clear();
    }

    /// What has been done so far, in order.
    pub fn injected(&self) -> Vec<InjectedFault> {
        self.plan.lock().injected.clone()
    }

    fn add(&self, pattern: &str, site: Site, when: When, kind: Kind) {
        match when {
            When::Nth(0) | When::Every(0) => panic!("occasions are counted from one"),
            When::Probability(p) => assert!((0.0..=1.0).contains(&p), "{p} is no probability"),
            When::Nth(_) | When::First(_) | When::Every(_) | When::Always => {}
        }
        let mut plan = self.plan.lock();
        let number = plan.made;
        plan.made += 1;
        plan.rules.push(Rule { number, pattern: pattern.to_owned(), site, when, kind, seen: BTreeMap::new() });
    }

    pub(crate) fn on_message(&self, path: &str) -> Trouble {
        let mut trouble = Trouble::default();
        for (kind, fault) in self.strike(Site::Message, path) {
            match kind {
                Kind::Delay(by) => *trouble.delay.get_or_insert_default() += by,
                Kind::LoseThread => trouble.loses_thread = true,
                Kind::Panic | Kind::Fail => trouble.panic = Some(fault.to_string()),
            }
        }
        trouble
    }

    pub(crate) fn on_start(&self, path: &str) -> Option<String> {
        self.strike(Site::Started, path).pop().map(|(_, fault)| fault.to_string())
    }

    pub(crate) fn on_factory(&self, path: &str) -> Option<String> {
        self.strike(Site::Factory, path).pop().map(|(_, fault)| fault.to_string())
    }

    /// Counts one more occasion at `path`, and says what happens there.
    fn strike(&self, site: Site, path: &str) -> Vec<(Kind, InjectedFault)> {
        let mut plan = self.plan.lock();
        let mut struck = Vec::new();
        for rule in plan.rules.iter_mut().filter(|rule| rule.site == site && matches(&rule.pattern, path)) {
            let seen = rule.seen.entry(path.to_owned()).or_default();
            *seen += 1;
            if is_now(rule.when, *seen, || self.share(rule.number, path, *seen)) {
                let fault = InjectedFault { at: path.to_owned(), occasion: *seen, what: rule.kind.name() };
                struck.push((rule.kind, fault));
            }
        }
        plan.injected.extend(struck.iter().map(|(_, fault)| fault.clone()));
        struck
    }

    /// Uniform in 0..1, and always the same for the same occasion.
    fn share(&self, rule: u64, path: &str, occasion: u64) -> f64 {
        let of_path = path.bytes().fold(mix(self.seed ^ mix(rule)), |hash, byte| mix(hash ^ u64::from(byte)));
        let bits = mix(of_path ^ mix(occasion)) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }
}

fn is_now(when: When, occasion: u64, share: impl FnOnce() -> f64) -> bool {
    match when {
        When::Nth(n) => occasion == n,
        When::First(n) => occasion <= n,
        When::Every(n) => occasion.is_multiple_of(n),
        When::Probability(probability) => share() < probability,
        When::Always => true,
    }
}

/// The step of SplitMix64: seeds that are close to each other become numbers that are not.
pub(super) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Whether `path` is what `pattern` says, in which `*` stands for any characters but `/`.
fn matches(pattern: &str, path: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == path };
    let Some(rest) = path.strip_prefix(before) else { return false };
    let end = rest.find('/').unwrap_or(rest.len());
    (0..=end).filter(|&at| rest.is_char_boundary(at)).any(|at| matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_characters_but_a_slash() {
        for (pattern, path, expected) in [
            ("user/db", "user/db", true),
            ("user/db", "user/db2", false),
            ("user/*", "user/db", true),
            ("user/*", "user/team/db", false),
            ("user/*/db", "user/team/db", true),
            ("*/d*b", "user/double-b", true),
            ("user/*é", "user/caé", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
