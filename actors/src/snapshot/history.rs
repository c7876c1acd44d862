//! The pool's last ten minutes: a sample a second, and what happened in between.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ironcliw::{SupervisionEvent, What};
use parking_lot::Mutex;

use crate::pool::{Owner, Pool, PoolStats, Pressure};

/// Between samples: a second is finer than a picture of ten minutes can show.
const PERIOD: Duration = Duration::from_secs(1);
/// Samples are taken so far apart that taking them costs less than this part of a core, however many owners there are.
const COST_SHARE: u32 = 100;
/// Ten minutes of samples.
const SAMPLES_MAX: usize = 600;
/// Owners of a sample, the largest ones: more lines make no better picture.
const OWNERS_MAX: usize = 12;
/// Changes of pressure that are kept.
const MARKS_MAX: usize = 256;

/// What the pool held at a moment.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Sample {
    /// Seconds since the Unix epoch, by a clock that never steps back.
    pub at_unix_s: f64,
    /// Bytes from the system, leased and idle.
    pub held_bytes: u64,
    /// Bytes leased.
    pub live_bytes: u64,
    /// Bytes that the pool may hold.
    pub limit_bytes: u64,
    /// The level that was published.
    pub pressure: Pressure,
    /// Bytes leased by the owners that hold most, the largest first; the rest is what `live_bytes` has besides.
    pub owners: Vec<(Owner, u64)>,
}

impl Sample {
    pub(super) fn of(stats: &PoolStats, pressure: Pressure, at_unix_s: f64) -> Self {
        let mut owners: Vec<(Owner, u64)> =
            stats.owners.iter().map(|of| (of.owner, of.live_bytes)).filter(|&(_, bytes)| bytes > 0).collect();
        owners.sort_by_key(|&(_, bytes)| std::cmp::Reverse(bytes));
        owners.truncate(OWNERS_MAX);
        let live_bytes = stats.owners.iter().map(|of| of.live_bytes).sum::<u64>();
        let held_bytes = (stats.live_bytes + stats.cached_bytes) as u64;
        let limit_bytes = stats.limit_bytes as u64;
        Self { at_unix_s, held_bytes: held_bytes.max(live_bytes), live_bytes, limit_bytes, pressure, owners }
    }
}

/// Something that explains a bend of the curve.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Mark {
    /// Seconds since the Unix epoch, by the samples' clock.
    pub at_unix_s: f64,
    /// What kind of thing happened.
    pub kind: MarkKind,
    /// The same in words: `Low to High`, `images/0: panicked`.
    pub text: String,
}

/// What a [`Mark`] marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// The published pressure changed.
    Pressure,
    /// An actor failed.
    Crash,
}

impl Mark {
    /// The failures among supervision events.
    pub(super) fn of_failures(events: &[SupervisionEvent]) -> impl Iterator<Item = Self> {
        events.iter().filter_map(|event| match &event.what {
            What::Exited { reason, failure: true } => Some(Self {
                at_unix_s: event.at_unix_s,
                kind: MarkKind::Crash,
                text: format!("{}: {reason}", event.path),
            }),
            _ => None,
        })
    }
}

/// The ring of samples and marks. Outlives the actor that fills it.
#[derive(Debug)]
pub(crate) struct History {
    began: (Instant, SystemTime),
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    samples: VecDeque<Sample>,
    marks: VecDeque<Mark>,
    level: Pressure,
    /// When the next sample is due; `None`: now.
    due: Option<Instant>,
}

impl Default for History {
    fn default() -> Self {
        Self { began: (Instant::now(), SystemTime::now()), kept: Mutex::default() }
    }
}

impl History {
    /// Takes note of the pressure, and of the pool if a sample is due. To be called several times a second.
    pub(crate) fn note(&self, now: Instant, pool: &Pool, level: Pressure) {
        let mut kept = self.kept.lock();
        let before = std::mem::replace(&mut kept.level, level);
        if level != before {
            let text = format!("{before} to {level}");
            push(
                &mut kept.marks,
                MARKS_MAX,
                Mark { at_unix_s: self.unix_seconds(now), kind: MarkKind::Pressure, text },
            );
        }
        if kept.due.is_some_and(|due| now < due) {
            return;
        }
        let begin = Instant::now();
        let sample = Sample::of(&pool.stats(), level, self.unix_seconds(now));
        kept.due = now.checked_add(PERIOD.max(begin.elapsed() * COST_SHARE));
        push(&mut kept.samples, SAMPLES_MAX, sample);
    }

    /// Everything that is kept, oldest first.
    pub(super) fn read(&self) -> (Vec<Sample>, Vec<Mark>) {
        let kept = self.kept.lock();
        (kept.samples.iter().cloned().collect(), kept.marks.iter().cloned().collect())
    }

    /// From when on it knows what happened: before its first sample, as long as none was forgotten.
    pub(super) fn since_unix_s(&self, samples: &[Sample]) -> f64 {
        match samples.first() {
            Some(first) if samples.len() >= SAMPLES_MAX => first.at_unix_s,
            _ => self.unix_seconds(self.began.0),
        }
    }

    /// The steady clock, anchored once, so that a step of the wall clock bends no curve.
    pub(super) fn unix_seconds(&self, now: Instant) -> f64 {
        let (began, began_at) = self.began;
        let at = began_at + now.saturating_duration_since(began);
        at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }
}

fn push<T>(ring: &mut VecDeque<T>, most: usize, item: T) {
    if ring.len() == most {
        ring.pop_front();
    }
    ring.push_back(item);
}

#[cfg(test)]
mod tests {
    use super::super::Observer;
    use super::*;
    use crate::leak::{Tracker, TrackerConfig};
    use crate::pool::PoolConfig;
    use std::sync::{Arc, mpsc};

    #[test]
    fn a_sample_is_taken_each_second_and_the_oldest_are_forgotten() {
        let pool = Pool::new(PoolConfig::limited(1 << 20)).unwrap();
        let (history, begin) = (History::default(), Instant::now());
        let buffer = pool.allocate(5000, Owner::named("history-test")).unwrap();
        for tenth in 0..30 {
            history.note(begin + tenth * PERIOD / 10, &pool, Pressure::Low);
        }
        let (samples, marks) = history.read();
        assert_eq!((samples.len(), marks.len()), (3, 0));
        assert!(samples.windows(2).all(|pair| (pair[1].at_unix_s - pair[0].at_unix_s - 1.0).abs() < 0.001));
        assert_eq!(samples[0].owners, [(Owner::named("history-test"), 5120)]);
        assert_eq!((samples[0].live_bytes, samples[0].held_bytes, samples[0].limit_bytes), (5120, 5120, 1 << 20));
        drop(buffer);
        for second in 3..3 + 2 * SAMPLES_MAX as u32 {
            history.note(begin + second * PERIOD * 2, &pool, Pressure::Low);
        }
        let (samples, _) = history.read();
        assert_eq!(samples.len(), SAMPLES_MAX);
        assert!(samples.iter().all(|sample| sample.live_bytes == 0 && sample.owners.is_empty()));
    }

    #[test]
    fn a_snapshot_in_a_child_waits_for_no_thread_that_the_parent_had_in_the_history() {
        let pool = Pool::new(PoolConfig::limited(1 << 20)).unwrap();
        let tracker = Tracker::new(pool.clone(), TrackerConfig::default()).unwrap();
        let history = Arc::<History>::default();
        history.note(Instant::now(), &pool, Pressure::Low);
        let observer = Observer::new(pool.clone(), tracker, history.clone());
        let _buffer = pool.allocate(5000, Owner::named("history-test/child")).unwrap();
        // As if one had been in it at the fork.
        let _theirs = history.kept.lock();
        pool.recorder().forget_channel();
        let (taken, answer) = mpsc::channel();
        std::thread::spawn(move || _ = taken.send(observer.snapshot(&[])));
        let snapshot = answer.recv_timeout(Duration::from_secs(60)).expect("it waits");
        assert_eq!((snapshot.totals.live_bytes, snapshot.history.len(), snapshot.leases.len()), (5120, 1, 0));
    }

    #[test]
    fn each_change_of_pressure_is_marked_between_samples_too() {
        let pool = Pool::new(PoolConfig::limited(1 << 20)).unwrap();
        let (history, begin) = (History::default(), Instant::now());
        for (tenth, level) in [Pressure::Low, Pressure::High, Pressure::High, Pressure::Low].into_iter().enumerate() {
            history.note(begin + tenth as u32 * PERIOD / 10, &pool, level);
        }
        let (samples, marks) = history.read();
        assert_eq!(samples.len(), 1);
        let texts: Vec<&str> = marks.iter().map(|mark| mark.text.as_str()).collect();
        assert_eq!(texts, ["Low to High", "High to Low"]);
        for n in 0..2 * MARKS_MAX as u32 {
            let level = if n % 2 == 0 { Pressure::High } else { Pressure::Low };
            history.note(begin + n * PERIOD, &pool, level);
        }
        assert_eq!(history.read().1.len(), MARKS_MAX);
    }
}
