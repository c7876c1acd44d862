//! Times in buckets that double: cheap to record from any thread, right within a factor of two.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Buckets: the last one begins at 2^46 ns, some 20 hours, and holds whatever is longer.
const BUCKETS: usize = 48;

/// Recorded from any thread.
pub(crate) struct Histogram {
    /// Bucket 0 holds zero; bucket `n` holds what has `n` bits: 2^(n-1) up to, but not with, 2^n ns.
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_ns: AtomicU64::new(0) }
    }
}

impl Histogram {
    pub(crate) fn record(&self, time: Duration) {
        let ns = nanos(time);
        let bucket = (u64::BITS - ns.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Times {
        let buckets: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let used = buckets.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        let times = Times {
            count: buckets.iter().sum(),
            sum_s: self.sum_ns.load(Ordering::Relaxed) as f64 * 1e-9,
            p50_s: None,
            p99_s: None,
            buckets: buckets[..used].to_vec(),
        };
        let seconds = |quantile: f64| times.quantile(quantile).map(|time| time.as_secs_f64());
        Times { p50_s: seconds(0.5), p99_s: seconds(0.99), ..times }
    }
}

/// What a histogram of times said at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Times {
    /// How many times were recorded.
    pub count: u64,
    /// Their sum, in seconds.
    pub sum_s: f64,
    /// The median, as [`Times::quantile`] has it.
    pub p50_s: Option<f64>,
    /// The 99th percentile, as [`Times::quantile`] has it.
    pub p99_s: Option<f64>,
    /// How many had so many bits, in nanoseconds: entry 0 counts zeros, entry `n` those from 2^(n-1) to below 2^n ns. It
    /// ends with the last entry that is not zero.
    pub buckets: Vec<u64>,
}

impl Times {
    /// The time that a share of `quantile` (0 to 1) of the recorded ones did not exceed: the upper end of its bucket, so
    /// never too small, and less than twice too large. `None` if nothing was recorded.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let rank = (quantile.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_nanos((1_u64 << bucket) - 1))
    }

    /// The mean. `None` if nothing was recorded.
    pub fn mean(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_secs_f64(self.sum_s / self.count as f64))
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Histogram;

    #[test]
    fn a_quantile_is_never_too_small_and_less_than_twice_too_large() {
        let histogram = Histogram::default();
        assert_eq!((histogram.read().quantile(0.5), histogram.read().mean()), (None, None));
        let mut times: Vec<u64> = (0..1000).map(|n| n * n * 37 + 1).collect();
        times.iter().for_each(|&ns| histogram.record(Duration::from_nanos(ns)));
        times.sort_unstable();
        let read = histogram.read();
        assert_eq!(read.count, 1000);
        for (quantile, rank) in [(0.0, 1), (0.5, 500), (0.9, 900), (0.99, 990), (1.0, 1000)] {
            let (is, said) = (times[rank - 1], read.quantile(quantile).unwrap().as_nanos() as u64);
            assert!(is <= said && said < 2 * is, "{quantile}: {is} {said}");
        }
    }

    #[test]
    fn the_shortest_and_the_longest_time_have_a_bucket() {
        let histogram = Histogram::default();
        histogram.record(Duration::ZERO);
        assert_eq!(histogram.read().quantile(1.0), Some(Duration::ZERO));
        histogram.record(Duration::MAX);
        assert_eq!(histogram.read().buckets.len(), super::BUCKETS);
        assert_eq!(histogram.read().count, 2);
    }
}
