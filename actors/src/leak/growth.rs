//! Growth: an owner's leases of a class that become more and more.
//!
//! What lives rises and falls as a program works; what leaks never falls. So of each window the *fewest* leases that lived
//! at a time count, and growth is when these rise in every one of the last windows. That is a high-water mark of minima: a
//! sawtooth comes back to its floor, whatever its height.
//!
//! Two things must not deceive it. Windows that are about as long as the sawtooth may meet it later and later, or with no
//! low point in one: so growth is also more than twice what was ever lost from a high point within these windows. And a
//! slow leak does not add to every short window, or hides below a high sawtooth: so the same is asked of windows twice as
//! long, and twice as long again, in which the leak adds up and the sawtooth does not. A slow leak is found later, not
//! never.
//!
//! What it cannot tell from a leak is a load that rises for all these windows: the report says how much, and goes when
//! the rise ends.
//!
//! A plain value that is told the time, so that a test needs no clock.

use super::group::{Finding, Group, Key};
use super::report::LeakKind;
use super::sites::Rise;
use crate::pool::{Owner, SizeClass};
use crate::{Error, Result};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Looks in a window.
const LOOKS: u32 = 10;
/// The longest time between two looks, and the shortest.
const LOOK_PERIODS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Lengths of windows, each twice the one before: from 10 s to 5.7 hours by default.
const SCALES: usize = 12;
/// Owners and classes watched at most: some 12 MB.
const TRACKS_MAX: usize = 4096;

/// When growth is called a leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrowthConfig {
    /// In so many windows in a row the fewest that lived must have risen, 2 to 64. Default: 6.
    pub windows: usize,
    /// The length of the shortest windows, 10 ms to a day. Default: 10 s.
    pub window: Duration,
    /// By at least so many leases. Default: 8.
    pub rise_min: u64,
    /// And by at least so many bytes of blocks. Default: 16 KiB.
    pub rise_bytes_min: u64,
}

impl Default for GrowthConfig {
    fn default() -> Self {
        Self { windows: 6, window: Duration::from_secs(10), rise_min: 8, rise_bytes_min: 16 << 10 }
    }
}

impl GrowthConfig {
    /// # Errors
    /// [`Error::InvalidInput`] for numbers out of their ranges.
    pub fn checked(self) -> Result<Self> {
        let lengths = Duration::from_millis(10)..=Duration::from_secs(24 * 3600);
        if !(2..=64).contains(&self.windows) {
            return Err(Error::invalid(format!("growth is seen in 2 to 64 windows, not {}", self.windows)));
        }
        if !lengths.contains(&self.window) {
            let seconds = self.window.as_secs_f64();
            return Err(Error::invalid(format!("a window of growth has 0.01 to 86400 seconds, not {seconds}")));
        }
        Ok(self)
    }

    fn look_period(&self) -> Duration {
        (self.window / LOOKS).clamp(LOOK_PERIODS.0, LOOK_PERIODS.1)
    }
}

/// What lives of an owner and class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// The owner.
    pub owner: Owner,
    /// The class.
    pub class: SizeClass,
    /// Leases.
    pub count: u64,
    /// Bytes of their blocks.
    pub bytes: u64,
}

/// What was seen in a window.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// The fewest, and their bytes.
    low: u64,
    low_bytes: u64,
    high: u64,
    /// The most that was lost from a high point to a later low one.
    fall: u64,
}

impl Window {
    fn of(live: &Live) -> Self {
        Self { low: live.count, low_bytes: live.bytes, high: live.count, fall: 0 }
    }

    /// The two as one; `next` is the later.
    fn then(self, next: Self) -> Self {
        let lower = if next.low < self.low { next } else { self };
        let fall = self.fall.max(next.fall).max(self.high.saturating_sub(next.low));
        Self { high: self.high.max(next.high), fall, ..lower }
    }
}

/// Windows of one length.
#[derive(Debug, Default)]
struct Scale {
    closed: VecDeque<Window>,
    /// Waits for its second half.
    half: Option<Window>,
}

impl Scale {
    /// Adds a window; if it is the second of two, the two are one of the next scale.
    fn close(&mut self, window: Window, kept: usize) -> Option<Window> {
        if self.closed.len() == kept {
            self.closed.pop_front();
        }
        self.closed.push_back(window);
        match self.half.take() {
            Some(first) => Some(first.then(window)),
            None => {
                self.half = Some(window);
                None
            }
        }
    }

    /// By how much the windows rise, if that is growth.
    fn rise(&self, config: &GrowthConfig) -> Option<(u64, u64)> {
        let windows = &self.closed;
        if windows.len() < config.windows || !windows.iter().is_sorted_by(|a, b| a.low < b.low) {
            return None;
        }
        let (first, last) = (windows.front()?, windows.back()?);
        let (rise, bytes) = (last.low - first.low, last.low_bytes.saturating_sub(first.low_bytes));
        let fall = windows.iter().copied().reduce(Window::then)?.fall;
        let is_growth = rise >= config.rise_min && bytes >= config.rise_bytes_min && rise > fall.saturating_mul(2);
        is_growth.then_some((rise, bytes))
    }
}

/// One owner and class.
#[derive(Debug, Default)]
struct Track {
    open: Option<Window>,
    scales: [Scale; SCALES],
    /// Seen at the latest look.
    is_live: bool,
    told: bool,
}

impl Track {
    fn look(&mut self, live: &Live) {
        let seen = Window::of(live);
        self.open = Some(self.open.map_or(seen, |open| open.then(seen)));
        self.is_live = true;
    }

    fn close(&mut self, kept: usize) {
        let mut closing = self.open.take();
        for scale in &mut self.scales {
            let Some(window) = closing else { break };
            closing = scale.close(window, kept);
        }
    }
}

/// The counts of the last windows, and which of them grow.
#[derive(Debug)]
pub struct Growth {
    config: GrowthConfig,
    tracks: HashMap<(Owner, SizeClass), Track>,
    next_look: Option<Instant>,
    window_ends: Option<Instant>,
}

impl Growth {
    /// Nothing seen yet.
    pub fn new(config: GrowthConfig) -> Self {
        Self { config, tracks: HashMap::new(), next_look: None, window_ends: None }
    }

    /// Whether it is time to look again.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next_look.is_none_or(|next| now >= next)
    }

    /// Looks at all that lives now.
    pub fn look(&mut self, now: Instant, live: impl IntoIterator<Item = Live>) {
        self.next_look = Some(now + self.config.look_period());
        let ends = *self.window_ends.get_or_insert(now + self.config.window);
        if now >= ends {
            self.tracks.values_mut().for_each(|track| track.close(self.config.windows));
            // Who comes much later than that begins anew.
            let next = ends + self.config.window;
            self.window_ends = Some(if next > now { next } else { now + self.config.window });
        }
        self.tracks.values_mut().for_each(|track| track.is_live = false);
        for live in live {
            let key = (live.owner, live.class);
            if let Some(track) = self.tracks.get_mut(&key) {
                track.look(&live);
            } else if self.tracks.len() < TRACKS_MAX {
                self.tracks.entry(key).or_default().look(&live);
            }
        }
        // Where nothing lives, nothing leaked.
        self.tracks.retain(|_, track| track.is_live);
    }

    /// What grows, by the shortest windows that show it.
    pub(super) fn find(&self) -> Vec<Finding> {
        let mut found: Vec<Finding> = self.tracks.iter().filter_map(|(key, track)| self.finding(*key, track)).collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    }

    fn finding(&self, (owner, class): (Owner, SizeClass), track: &Track) -> Option<Finding> {
        let (scale, (rise, bytes)) =
            track.scales.iter().enumerate().find_map(|(at, scale)| Some((at, scale.rise(&self.config)?)))?;
        let counts = track.scales[scale].closed.iter().map(|window| window.low).collect();
        let new = if track.told { 0 } else { rise };
        let group = Group { count: rise, new, bytes, ..Group::default() };
        let growth = Some(Rise { window: self.config.window * (1 << scale), counts, places: Vec::new() });
        Some(Finding { kind: LeakKind::Growing, key: Key::new(owner, class, None), group, growth })
    }

    /// What grows has been told: it is new no more, until it has stopped.
    pub(super) fn mark_told(&mut self) {
        let config = self.config;
        for track in self.tracks.values_mut() {
            track.told = track.scales.iter().any(|scale| scale.rise(&config).is_some());
        }
    }
}
