//! What was done with a buffer since it was leased: the last few steps, as Netty's `touch` keeps them.

use crate::pool::fallible::try_text;
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Touches that a record keeps, the latest; Netty's `io.netty.leakDetection.targetRecords` is 4 by default.
pub const TOUCHES_MAX: usize = 8;

/// One use of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// What was done: `view`, `freeze`, or what the program says.
    pub hint: Box<str>,
    /// Where in the program, if that is known.
    pub site: Option<Site>,
    /// When.
    pub at: Instant,
}

/// Where in a program something was done. It prints as `app.py:12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Site {
    /// In Rust.
    Rust(&'static Location<'static>),
    /// In another language, which says it in words.
    Foreign(Arc<str>),
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rust(here) => write!(f, "{}:{}", here.file(), here.line()),
            Self::Foreign(site) => f.write_str(site),
        }
    }
}

impl Touch {
    /// One now. `None` when the system has no memory for it.
    pub(crate) fn try_now(hint: &str, site: Option<Site>) -> Option<Self> {
        Some(Self { hint: try_text(hint)?, site, at: Instant::now() })
    }
}

/// The latest [`TOUCHES_MAX`] touches of one buffer.
#[derive(Debug, Default)]
pub struct Touches {
    latest: VecDeque<Touch>,
    dropped: u64,
}

impl Touches {
    /// Keeps one more; `None` is one for which the system had no memory.
    pub(crate) fn push(&mut self, touch: Option<Touch>) {
        let Some(touch) = touch else {
            self.dropped += 1;
            return;
        };
        if self.latest.len() >= TOUCHES_MAX {
            self.latest.pop_front();
            self.dropped += 1;
        }
        if self.latest.try_reserve(1).is_ok() {
            self.latest.push_back(touch);
        } else {
            self.dropped += 1;
        }
    }

    /// How many there were besides those that are kept: before them, unless the system had no memory for one.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Those that are kept, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Touch> {
        self.latest.iter().rev()
    }

    /// The same as a report shows them, of a lease that began at `began`.
    pub(crate) fn report(&self, began: Instant) -> Vec<TouchReport> {
        let report = |touch: &Touch| TouchReport {
            hint: touch.hint.to_string(),
            site: touch.site.as_ref().map(Site::to_string),
            after: touch.at.saturating_duration_since(began),
        };
        self.newest_first().map(report).collect()
    }
}

/// One use of a buffer, as people read it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TouchReport {
    /// What was done: `view`, `freeze`, or what the program says.
    pub hint: String,
    /// Where in the program, if that is known.
    pub site: Option<String>,
    /// How long after the lease had begun, in seconds when serialised.
    #[serde(rename = "after_s", serialize_with = "super::report::as_seconds")]
    pub after: Duration,
}

/// `view at app.py:12 after 0.5 s`.
impl fmt::Display for TouchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hint)?;
        if let Some(site) = &self.site {
            write!(f, " at {site}")?;
        }
        write!(f, " after {:.1} s", self.after.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_in_order_and_the_others_counted() {
        let (mut touches, at) = (Touches::default(), Instant::now());
        for step in 0..TOUCHES_MAX + 3 {
            touches.push(Some(Touch { hint: step.to_string().into(), site: None, at }));
        }
        let hints: Vec<_> = touches.newest_first().map(|touch| &*touch.hint).collect();
        assert_eq!(hints, ["10", "9", "8", "7", "6", "5", "4", "3"]);
        assert_eq!(touches.dropped(), 3);
    }
}
