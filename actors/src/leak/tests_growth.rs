//! What growth detection promises, tried with a clock of the test's own.

use super::growth::{Growth, GrowthConfig, Live};
use super::report::LeakReport;
use super::{LeakKind, Level, RecorderConfig, Tracker, TrackerConfig, describe};
use crate::pool::{AllocOptions, Buffer, Owner, Pool, PoolConfig, SizeClass};
use proptest::prelude::*;
use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// Ten looks a window, as the detector itself takes them.
const LOOK: Duration = Duration::from_secs(1);

struct Watched {
    growth: Growth,
    now: Instant,
    block_bytes: u64,
}

impl Watched {
    fn new(config: GrowthConfig) -> Self {
        Self { growth: Growth::new(config), now: Instant::now(), block_bytes: 65_536 }
    }

    /// Lets time pass to the next look, at which so many live.
    fn look(&mut self, count: u64) {
        self.now += LOOK;
        assert!(self.growth.is_due(self.now));
        let class = SizeClass::of(self.block_bytes as usize);
        let live = Live { owner: Owner::named("growth-test"), class, count, bytes: count * self.block_bytes };
        self.growth.look(self.now, (count > 0).then_some(live));
    }

    fn find(&self) -> Vec<LeakReport> {
        self.growth.find().iter().map(|finding| finding.report()).collect()
    }

    /// The first report, and after how many looks it came.
    fn first_report(&mut self, counts: impl IntoIterator<Item = u64>) -> Option<(usize, LeakReport)> {
        counts.into_iter().enumerate().find_map(|(at, count)| {
            self.look(count);
            // It changes with the windows only.
            if at % 10 == 1 { Some((at, self.find().into_iter().next()?)) } else { None }
        })
    }
}

#[test]
fn a_leak_is_named_with_its_counts_once_it_has_risen_for_all_windows() {
    let mut watched = Watched::new(GrowthConfig::default());
    let (looks, report) = watched.first_report((0..).map(|second| 100 + 2 * second)).unwrap();
    assert!((60..=70).contains(&looks), "{looks}");
    assert_eq!(report.counts.len(), 6);
    assert!(report.counts.is_sorted() && report.counts[0] >= 100, "{report}");
    assert_eq!((report.equal, report.bytes), (100, 100 * 65_536));
    assert_eq!(report.window, Duration::from_secs(10));
    let told = report.to_string();
    assert!(told.starts_with("growth-test: 100 buffers more (6553600 bytes, class 65536) than 6 windows of 10 s ago"));
}

/// A pool in which a class grows from one place while it is used from another, and the tracker that has seen it.
struct Growing {
    pool: Pool,
    tracker: Tracker,
    held: Vec<Buffer>,
    /// When the cache was full, before anything grew.
    filled: Instant,
}

impl Growing {
    fn new(level: Level, lease: impl Fn(&Pool, &str) -> Buffer) -> Self {
        let leaks = RecorderConfig { level, sample_every: NonZeroU32::MIN, ..RecorderConfig::default() };
        let pool = Pool::new(PoolConfig { leaks, ..PoolConfig::limited(64 << 20) }).unwrap();
        let growth = GrowthConfig { windows: 2, window: Duration::from_secs(10), ..GrowthConfig::default() };
        let config = TrackerConfig { growth: Some(growth), ..TrackerConfig::default() };
        let tracker = Tracker::new(pool.clone(), config).unwrap();
        // Filled long ago, and larger than all that leaks.
        let held: Vec<_> = (0..100).map(|_| lease(&pool, "cache.py:1")).collect();
        let filled = Instant::now();
        while Instant::now() == filled {}
        let mut growing = Self { pool, tracker, held, filled };
        let mut now = filled;
        for _ in 0..4 {
            growing.held.extend((0..10).map(|_| lease(&growing.pool, "leak.py:2")));
            growing.held.push(lease(&growing.pool, "slower.py:3"));
            for _ in 0..10 {
                now += LOOK;
                growing.tracker.absorb(now);
            }
        }
        growing
    }

    fn report(&self) -> LeakReport {
        // The moment at which the two windows and the one that is open have begun just after the cache was full.
        let now = self.filled + 3 * Duration::from_secs(10) + Duration::from_nanos(1);
        let reports = self.tracker.check_at(now);
        reports.into_iter().find(|report| report.kind == LeakKind::Growing).unwrap()
    }
}

#[test]
fn growth_names_the_places_where_most_of_it_began_and_the_calls_of_the_first() {
    let lease = |pool: &Pool, site: &str| {
        pool.allocate_with(4096, Owner::named("growing-test"), AllocOptions::default().at(site)).unwrap()
    };
    for level in [Level::Simple, Level::Paranoid] {
        let growing = Growing::new(level, lease);
        let report = growing.report();
        let sites: Vec<_> = report.sites.iter().map(|of| (of.site.as_deref().unwrap(), of.live, of.recent)).collect();
        assert_eq!(sites, [("leak.py:2", 40, 40), ("slower.py:3", 4, 4), ("cache.py:1", 100, 0)]);
        assert_eq!(!report.frames.is_empty(), level >= Level::Advanced);
        assert!(report.to_string().ends_with("; most from leak.py:2"), "{report}");
        let table = describe(&[report]);
        assert!(table.contains("    sites  leak.py:2 (40 that live have a record, 40 since it grows)\n"), "{table}");
        assert!(table.contains("           cache.py:1 (100 that live have a record, 0 since it grows)\n"), "{table}");
    }
}

#[test]
fn a_growing_class_without_sites_names_the_calls_and_one_without_records_says_so() {
    let bare = |pool: &Pool, _: &str| pool.allocate(4096, Owner::named("growing-test")).unwrap();
    let with_stacks = Growing::new(Level::Paranoid, bare).report();
    let first = with_stacks.sites[0].site.as_deref().unwrap();
    assert!(first.contains("tests_growth") && first.contains("tests_growth.rs:"), "{first}");
    let growing = Growing::new(Level::Disabled, bare);
    assert_eq!(growing.report().sites, []);
    assert!(growing.tracker.table().to_string().contains("sites  unknown"), "{}", growing.tracker.table());
}

#[test]
fn calls_that_end_in_one_place_are_one_place_however_they_came_there() {
    // Twice as much comes from here, by two ways that each bring less than the other place.
    #[inline(never)]
    fn leaking(pool: &Pool) -> Buffer {
        pool.allocate(4096, Owner::named("growing-test")).unwrap()
    }
    let turn = Cell::new(0);
    let growing = Growing::new(Level::Paranoid, |pool, _| {
        turn.set((turn.get() + 1) % 7);
        match turn.get() {
            0 | 1 => leaking(pool),
            2 | 3 => std::hint::black_box(leaking)(pool),
            _ => pool.allocate(4096, Owner::named("growing-test")).unwrap(),
        }
    });
    let report = growing.report();
    let sites: Vec<_> = report.sites.iter().map(|of| of.site.as_deref().unwrap()).collect();
    assert_eq!(sites.len(), 2, "{sites:?}");
    assert!(sites[0].contains("leaking at") && report.frames[0].function.contains("leaking"), "{sites:?}");
    assert_eq!(report.sites.iter().map(|of| of.live).sum::<u64>(), 144);
}

#[test]
fn a_leak_that_stops_is_growth_no_more() {
    let mut watched = Watched::new(GrowthConfig::default());
    assert!(watched.first_report((0..200).map(|second| 2 * second)).is_some());
    // The longest windows that saw it take a while to forget it.
    (0..3000).for_each(|_| watched.look(400));
    assert_eq!(watched.find(), []);
}

#[test]
fn a_slow_leak_below_a_high_sawtooth_is_found_by_longer_windows() {
    let mut watched = Watched::new(GrowthConfig::default());
    let counts = (0..40_000_u64).map(|second| second / 30 + 100 * (second % 7) / 7);
    let (looks, report) = watched.first_report(counts).unwrap();
    assert!(looks > 600 && report.window > Duration::from_secs(10), "{looks}: {report}");
}

#[test]
fn little_growth_is_not_worth_a_report() {
    let config = GrowthConfig { rise_min: 50, ..GrowthConfig::default() };
    // One a window: 5 in six windows, 49 before the counts stand still.
    let counts = (0..4000_u64).map(|second| 100 + (second / 10).min(49));
    assert_eq!(Watched::new(config).first_report(counts), None);
    let mut small = Watched { block_bytes: 64, ..Watched::new(GrowthConfig::default()) };
    assert_eq!(small.first_report((0..300).map(|second| (100 + 2 * second).min(300))), None, "12.5 KiB");
}

#[test]
fn a_configuration_out_of_its_range_is_refused() {
    let default = GrowthConfig::default();
    for windows in [0, 1, 65] {
        assert!(GrowthConfig { windows, ..default }.checked().is_err());
    }
    for window in [Duration::ZERO, Duration::MAX] {
        assert!(GrowthConfig { window, ..default }.checked().is_err());
    }
    assert_eq!(default.checked(), Ok(default));
}

/// A level that rises to `height` above its floor and falls back, once a period; or falls and jumps back.
fn sawtooth(floor: u64, height: f64, period: f64, phase: f64, falling: bool) -> impl Iterator<Item = u64> {
    (0..).map(move |look| {
        let at = (f64::from(look) / period + phase).fract();
        floor + (height * if falling { 1.0 - at } else { at }) as u64
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Of whatever height, phase and period, up to four of the six windows, for two hours.
    #[test]
    fn a_bounded_sawtooth_is_never_growth(
        floor in 0u64..1000,
        height in 0.0f64..100_000.0,
        period in 2.0f64..40.0,
        phase in 0.0f64..1.0,
        falling in any::<bool>(),
    ) {
        let counts = sawtooth(floor, height, period, phase, falling).take(7200);
        prop_assert_eq!(Watched::new(GrowthConfig::default()).first_report(counts), None);
    }

    /// Nor is what rises and falls at random.
    #[test]
    fn a_level_that_wavers_is_never_growth(counts in prop::collection::vec(1u64..1000, 2000)) {
        prop_assert_eq!(Watched::new(GrowthConfig::default()).first_report(counts), None);
    }

    /// Whatever sawtooth it hides below: within the time in which it has leaked some ten times the sawtooth's height.
    #[test]
    fn a_steady_leak_is_always_found(
        every in 1u32..20,
        height in 0.0f64..500.0,
        period in 2.0f64..40.0,
        phase in 0.0f64..1.0,
        falling in any::<bool>(),
    ) {
        let noise = sawtooth(10, height, period, phase, falling);
        let counts = noise.zip(0u32..).map(|(noise, look)| noise + u64::from(look / every));
        let enough = (20.0 * height + 200.0) as usize * every as usize + 2000;
        prop_assert!(Watched::new(GrowthConfig::default()).first_report(counts.take(enough)).is_some());
    }
}
