//! How long things take, as OpenMetrics histograms: of those actors that anything was measured of.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::{ActorSnapshot, Snapshot, Summary};

/// One family, with a histogram a path.
#[derive(Debug)]
pub(super) struct Durations {
    name: &'static str,
    help: &'static str,
    samples: Vec<(String, Summary)>,
}

pub(super) fn of_runtime(snapshot: &Snapshot) -> Vec<Durations> {
    let family = |name, help, of: fn(&ActorSnapshot) -> &Summary| {
        let measured = snapshot.actors.iter().filter(|actor| of(actor).count > 0);
        Durations { name, help, samples: measured.map(|actor| (actor.path.clone(), of(actor).clone())).collect() }
    };
    vec![
        family("actor_handler_seconds", "How long handlers take; a sample of the messages", |actor| &actor.handler),
        family("mailbox_wait_seconds", "How long messages wait for their handler; a sample of them", |actor| {
            &actor.mailbox_wait
        }),
    ]
}

#[derive(Debug)]
pub(super) struct Families(pub(super) Vec<Durations>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Durations { name, help, samples } in &self.0 {
            if samples.is_empty() {
                continue;
            }
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for (path, summary) in samples {
                let each = each_alone(summary);
                let labels = [("path", path.as_str())];
                metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                    summary.sum_s,
                    summary.count,
                    &each,
                    None,
                )?;
            }
        }
        Ok(())
    }
}

/// The encoder adds up itself, and takes the rest as what is below infinity.
fn each_alone(summary: &Summary) -> Vec<(f64, u64)> {
    let bounds = summary.buckets.iter().copied().chain([(f64::INFINITY, summary.count)]);
    let mut below = 0;
    bounds.map(|(bound, count)| (bound, count - std::mem::replace(&mut below, count))).collect()
}
