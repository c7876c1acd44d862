//! How often which duration came, in buckets that grow with what they count.
//!
//! An octave, from one power of two nanoseconds to the next, has four buckets, so whatever is read from one is at most an
//! eighth off. One thread records, with a load and a store to memory that is its own; anybody reads.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::clock::seconds;

/// Buckets an octave, as a shift.
const FINE: u32 = 2;

/// Below 2⁵ = 32 ns, about the length of a clock reading, all is one.
const FIRST_OCTAVE: u32 = 5;

/// From 2³⁷ ns, some two minutes, on all is one.
const LAST_OCTAVE: u32 = 37;

const BUCKETS: usize = ((LAST_OCTAVE - FIRST_OCTAVE) as usize) << FINE;

/// The bounds that are exported, as octaves: each is 4 times the one before, 1.02 µs to 68.7 s.
const EXPORTED: std::ops::RangeInclusive<u32> = 10..=36;
const EXPORTED_STEP: usize = 2;

pub(crate) struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BUCKETS], sum_ns: AtomicU64::new(0), max_ns: AtomicU64::new(0) }
    }

    /// Called by one thread at a time; if another one interferes, a count is lost.
    pub(crate) fn record(&self, ns: u64) {
        add(&self.counts[bucket_of(ns)], 1);
        add(&self.sum_ns, ns);
        if ns > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.store(ns, Ordering::Relaxed);
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let count = counts.iter().sum();
        let max_ns = self.max_ns.load(Ordering::Relaxed);
        let sum_s = seconds(self.sum_ns.load(Ordering::Relaxed));
        let quantile = |share: f64| {
            // The smallest duration that so many were no longer than.
            let rank = (share * count as f64).ceil() as u64;
            let mut passed = 0;
            let bucket = counts.iter().position(|&here| {
                passed += here;
                passed >= rank.max(1)
            });
            bucket.map_or(0.0, |bucket| seconds(middle(bucket).min(max_ns)))
        };
        let buckets = EXPORTED.step_by(EXPORTED_STEP).map(|octave| {
            let below = ((octave - FIRST_OCTAVE) as usize) << FINE;
            (seconds(1 << octave), counts[..below].iter().sum())
        });
        Summary {
            count,
            mean_s: if count == 0 { 0.0 } else { sum_s / count as f64 },
            p50_s: quantile(0.5),
            p90_s: quantile(0.9),
            p99_s: quantile(0.99),
            max_s: seconds(max_ns),
            sum_s,
            buckets: buckets.collect(),
        }
    }
}

fn add(to: &AtomicU64, n: u64) {
    to.store(to.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

fn bucket_of(ns: u64) -> usize {
    let ns = ns.clamp(1 << FIRST_OCTAVE, (1 << LAST_OCTAVE) - 1);
    let octave = ns.ilog2();
    let fine = (ns >> (octave - FINE)) & ((1 << FINE) - 1);
    (((octave - FIRST_OCTAVE) << FINE) as u64 + fine) as usize
}

/// The duration that stands for all of a bucket.
fn middle(bucket: usize) -> u64 {
    let octave = FIRST_OCTAVE + (bucket >> FINE) as u32;
    let fine = (bucket & ((1 << FINE) - 1)) as u64;
    let width = 1 << (octave - FINE);
    (1 << octave) + fine * width + width / 2
}

/// What a histogram says, in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Durations that were measured; not every message's is.
    pub count: u64,
    /// Their mean.
    pub mean_s: f64,
    /// Half of them were no longer, within an eighth.
    pub p50_s: f64,
    /// Nine of ten, likewise.
    pub p90_s: f64,
    /// 99 of 100, likewise.
    pub p99_s: f64,
    /// The longest.
    pub max_s: f64,
    /// Their sum.
    #[serde(skip)]
    pub sum_s: f64,
    /// Bounds, and how many were shorter than each.
    #[serde(skip)]
    pub buckets: Vec<(f64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_has_a_bucket_whose_middle_is_no_more_than_an_eighth_off() {
        let mut last = 0;
        for octave in FIRST_OCTAVE..LAST_OCTAVE {
            for ns in [1 << octave, (1 << octave) * 9 / 8, (1 << octave) * 7 / 4, (2 << octave) - 1] {
                let bucket = bucket_of(ns);
                assert!(bucket >= last && bucket < BUCKETS, "{ns} ns is in bucket {bucket} after {last}");
                assert!(middle(bucket).abs_diff(ns) <= ns / 8, "{ns} ns is read as {}", middle(bucket));
                last = bucket;
            }
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn a_summary_says_what_was_recorded() {
        let histogram = Histogram::new();
        assert_eq!(histogram.summary().count, 0);
        assert_eq!(histogram.summary().p99_s, 0.0);
        (0..90).for_each(|_| histogram.record(1_000));
        (0..10).for_each(|_| histogram.record(1_000_000));
        let summary = histogram.summary();
        assert_eq!((summary.count, summary.max_s), (100, 1e-3));
        assert!((summary.mean_s - 100.9e-6).abs() < 1e-9, "{summary:?}");
        assert!((summary.p50_s - 1e-6).abs() <= 1e-6 / 8.0 && summary.p90_s == summary.p50_s, "{summary:?}");
        assert!((summary.p99_s - 1e-3).abs() <= 1e-3 / 8.0, "{summary:?}");
        assert_eq!(summary.buckets.first(), Some(&(1.024e-6, 90)));
        assert_eq!(summary.buckets.last().map(|(_, below)| *below), Some(100));
    }
}
