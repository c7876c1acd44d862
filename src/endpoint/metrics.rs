//! OpenMetrics text: the runtime's own numbers, then what the subsystems add.

use std::collections::HashMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode as encode_registry;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tracing::warn;

use super::durations::{self, Durations};
use crate::{
    ActorSnapshot, ActorState, ArbiterSnapshot, Metric, MetricKind, Snapshot, SupervisorSnapshot, WaitSnapshot,
};

const PREFIX: &str = "ironcliw";

const STATES: [ActorState; 6] = [
    ActorState::Starting,
    ActorState::Running,
    ActorState::Restarting,
    ActorState::Stopping,
    ActorState::Stopped,
    ActorState::Stuck,
];

/// Integers up to here are exact in an `f64`, and are written without a fraction.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What a snapshot says, as metrics.
pub(super) fn of_runtime(snapshot: &Snapshot, ready: bool) -> Vec<Metric> {
    let version = vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)];
    let mut metrics = vec![
        Metric { samples: version, ..Metric::gauge("build_info", "The version that runs", 1.0) },
        Metric::gauge("uptime_seconds", "Time since the runtime was built", snapshot.uptime_s),
        Metric::gauge("ready", "Whether the tree stands with no actor down", flag(ready)),
        Metric::counter("restarts", "Starts that were not an actor's first", snapshot.restarts as f64),
        Metric::counter("dead_letters", "Messages neither handled nor skipped", snapshot.dead_letters as f64),
        Metric::gauge("lost_threads", "Threads given up and not yet back", snapshot.lost_threads as f64),
        Metric::counter("deadlocks", "Circles of asks that were met", snapshot.deadlocks_seen as f64),
    ];
    metrics.extend(of_actors(&snapshot.actors));
    metrics.push(of_waits(snapshot));
    metrics.extend(of_supervisors(&snapshot.supervisors));
    metrics.push(of_arbiters(&snapshot.arbiters));
    metrics
}

fn of_actors(actors: &[ActorSnapshot]) -> Vec<Metric> {
    let family = |metric: Metric, value: fn(&ActorSnapshot) -> f64| Metric {
        samples: actors.iter().map(|actor| (vec![("path", actor.path.clone())], value(actor))).collect(),
        ..metric
    };
    let gauge = |name, help, value| family(Metric::gauge(name, help, 0.0), value);
    let counter = |name, help, value| family(Metric::counter(name, help, 0.0), value);
    let states = actors.iter().flat_map(|actor| {
        STATES
            .map(|state| (vec![("path", actor.path.clone()), ("state", state.to_string())], flag(actor.state == state)))
    });
    vec![
        Metric {
            samples: states.collect(),
            ..Metric::gauge("actor_state", "1 for the state the actor is in, 0 for the others", 0.0)
        },
        gauge("mailbox_depth", "Messages that wait", |actor| actor.depth as f64),
        gauge("mailbox_capacity", "Messages that may wait", |actor| actor.capacity as f64),
        gauge("mailbox_high_water", "The most messages that ever waited", |actor| actor.high_water as f64),
        counter("actor_handled", "Messages handled to the end", |actor| actor.handled as f64),
        counter("actor_skipped", "Messages nobody waited for any more", |actor| actor.skipped as f64),
        counter("actor_stuck", "Times the actor held its thread past its limit", |actor| actor.stuck as f64),
        counter("actor_failures", "Incarnations that ended in a failure", |actor| actor.failures as f64),
        counter("actor_restarts", "Times the actor was started again", |actor| actor.restarts as f64),
        counter("actor_dead_letters", "The actor's messages neither handled nor skipped", |actor| {
            actor.dead_letters as f64
        }),
        counter("actor_busy_seconds", "Time the actor's thread has spent on it", |actor| actor.busy_s),
    ]
}

fn of_waits(snapshot: &Snapshot) -> Metric {
    let mut of_each: HashMap<&str, u32> = HashMap::new();
    for wait in &snapshot.waits {
        *of_each.entry(&wait.from).or_default() += 1;
    }
    let waits = |actor: &ActorSnapshot| of_each.get(actor.path.as_str()).copied().unwrap_or(0).into();
    Metric {
        samples: snapshot.actors.iter().map(|actor| (vec![("path", actor.path.clone())], waits(actor))).collect(),
        ..Metric::gauge("actor_waits", "Answers of other actors that its handler waits for", 0.0)
    }
}

fn of_arbiters(arbiters: &[ArbiterSnapshot]) -> Metric {
    Metric {
        samples: arbiters.iter().map(|one| (vec![("thread", one.name.clone())], one.busy_s)).collect(),
        ..Metric::counter("thread_busy_seconds", "Time the thread has run actors", 0.0)
    }
}

fn of_supervisors(supervisors: &[SupervisorSnapshot]) -> Vec<Metric> {
    // To Prometheus an empty label is no label at all, so the root goes by a name that no child can have.
    let name = |path: &str| if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    let family = |metric: Metric, value: fn(&SupervisorSnapshot) -> f64| Metric {
        samples: supervisors.iter().map(|one| (vec![("path", name(&one.path))], value(one))).collect(),
        ..metric
    };
    let waits = |metric: Metric, value: fn(&WaitSnapshot) -> f64| Metric {
        samples: supervisors
            .iter()
            .flat_map(|one| &one.waiting)
            .map(|wait| (vec![("path", wait.path.clone())], value(wait)))
            .collect(),
        ..metric
    };
    vec![
        family(Metric::gauge("supervisor_children", "Its children, those that are down included", 0.0), |one| {
            one.children as f64
        }),
        family(Metric::gauge("supervisor_max_restarts", "Restarts it bears in its window", 0.0), |one| {
            f64::from(one.max_restarts)
        }),
        family(Metric::gauge("supervisor_window_seconds", "Its window", 0.0), |one| one.within_s),
        family(Metric::gauge("supervisor_children_waiting", "Children that wait to be started again", 0.0), |one| {
            one.waiting.len() as f64
        }),
        waits(Metric::gauge("backoff_seconds", "How long the child waits in all to be started again", 0.0), |wait| {
            wait.delay_s
        }),
        waits(Metric::gauge("backoff_left_seconds", "How long the child still waits", 0.0), |wait| wait.left_s),
        family(Metric::gauge("supervisor_budget_left", "Restarts left in the window", 0.0), |one| {
            f64::from(one.budget_left)
        }),
        family(Metric::counter("supervisor_restarts", "Restarts of its children", 0.0), |one| one.restarts as f64),
        family(Metric::gauge("supervisor_exhausted", "Whether it has given up", 0.0), |one| flag(one.exhausted)),
    ]
}

fn flag(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

/// The text of an exposition, with its end mark. Metrics of one name and kind become one family, as the format demands;
/// one whose kind contradicts an earlier one's is left out and logged.
pub(super) fn encode(metrics: Vec<Metric>, durations: Vec<Durations>) -> Result<String, fmt::Error> {
    let mut families: Vec<Family> = Vec::new();
    for metric in metrics {
        let family = Family::from(metric);
        match families.iter_mut().find(|earlier| earlier.name == family.name) {
            None => families.push(family),
            Some(earlier) if earlier.kind == family.kind => earlier.samples.extend(family.samples),
            Some(earlier) => warn!(name = earlier.name, "two metrics of one name and different kinds"),
        }
    }
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Families(families)));
    registry.register_collector(Box::new(durations::Families(durations)));
    let mut text = String::new();
    encode_registry(&mut text, &registry)?;
    Ok(text)
}

/// A [`Metric`] whose every part is legal in the format.
#[derive(Debug)]
struct Family {
    name: String,
    help: String,
    kind: MetricKind,
    samples: Vec<(Vec<(String, String)>, f64)>,
}

impl From<Metric> for Family {
    fn from(metric: Metric) -> Self {
        let legal = |(labels, value): (Vec<(&str, String)>, f64)| {
            (labels.into_iter().map(|(key, text)| (identifier(key), text)).collect(), value)
        };
        Self {
            name: identifier(metric.name.strip_suffix("_total").unwrap_or(metric.name)),
            help: metric.help.replace(['\n', '\r', '\\'], " "),
            kind: metric.kind,
            samples: metric.samples.into_iter().map(legal).collect(),
        }
    }
}

/// Letters, digits and underscores, not beginning with a digit.
fn identifier(name: &str) -> String {
    let mut legal: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if legal.chars().next().is_none_or(|first| first.is_ascii_digit()) {
        legal.insert(0, '_');
    }
    legal
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let kind = match family.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(&family.name, &family.help, None, kind)?;
            for (labels, value) in &family.samples {
                // An empty set of labels would be written as `{}`.
                if labels.is_empty() {
                    write_sample(&mut metric, family.kind, *value)?;
                } else {
                    write_sample(&mut metric.encode_family(labels)?, family.kind, *value)?;
                }
            }
        }
        Ok(())
    }
}

fn write_sample(to: &mut MetricEncoder<'_>, kind: MetricKind, value: f64) -> fmt::Result {
    let whole = value.fract() == 0.0 && value.abs() <= EXACT_MAX;
    match kind {
        MetricKind::Counter if whole && value >= 0.0 => to.encode_counter::<NoLabelSet, _, u64>(&(value as u64), None),
        MetricKind::Counter => to.encode_counter::<NoLabelSet, _, u64>(&value, None),
        MetricKind::Gauge if whole => to.encode_gauge(&(value as i64)),
        MetricKind::Gauge => to.encode_gauge(&value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_labels_and_help_become_legal() {
        let metric = Metric {
            name: "9 lives_total",
            help: "two\nlines",
            kind: MetricKind::Counter,
            samples: vec![(vec![("bad key", "quote \" slash \\ line\n".to_owned())], 2.0)],
        };
        let text = encode(vec![metric], Vec::new()).unwrap();
        assert_eq!(
            text,
            "# HELP ironcliw__9_lives two lines\n# TYPE ironcliw__9_lives counter\n\
             ironcliw__9_lives_total{bad_key=\"quote \\\" slash \\\\ line\\n\"} 2\n# EOF\n"
        );
    }

    #[test]
    fn one_name_is_one_family() {
        let part = |owner: &str, value| Metric {
            samples: vec![(vec![("owner", owner.to_owned())], value)],
            ..Metric::gauge("bytes", "Bytes", 0.0)
        };
        let clash = Metric::counter("bytes", "Bytes", 7.0);
        let text = encode(vec![part("a", 1.5), clash, part("b", -2.0)], Vec::new()).unwrap();
        assert_eq!(
            text,
            "# HELP ironcliw_bytes Bytes\n# TYPE ironcliw_bytes gauge\n\
             ironcliw_bytes{owner=\"a\"} 1.5\nironcliw_bytes{owner=\"b\"} -2\n# EOF\n"
        );
    }

    #[test]
    fn numbers_that_are_not_finite_are_written() {
        let all = vec![Metric::gauge("a", "A", f64::NAN), Metric::gauge("b", "B", f64::INFINITY)];
        let text = encode(all, Vec::new()).unwrap();
        assert!(text.contains("ironcliw_a NaN\n") && text.contains("ironcliw_b inf\n"), "{text}");
    }
}
