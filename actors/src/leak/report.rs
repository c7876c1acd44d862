//! One leak, or many equal ones, as people read it.

use super::sites::SiteCount;
use super::stack::Frame;
use super::touch::TouchReport;
use crate::pool::{LeaseId, Owner};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Why a lease is called a leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakKind {
    /// It had to be released explicitly and was only dropped. Its memory went back to the pool.
    DroppedUnreleased,
    /// It is still held, longer than leases of its kind should be.
    TooOld,
    /// It began within a [`Scope`](super::Scope) and was still held when that ended.
    StillOut,
    /// It is still held after its owner, an actor, has crashed, and the actor had not handed it over to anybody.
    OutlivedOwner,
    /// Its owner holds more and more of its class.
    Growing,
}

impl LeakKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::DroppedUnreleased, Self::TooOld, Self::StillOut, Self::OutlivedOwner, Self::Growing];

    /// `dropped_unreleased`, `too_old`, `still_out`, `outlived_owner` or `growing`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DroppedUnreleased => "dropped_unreleased",
            Self::TooOld => "too_old",
            Self::StillOut => "still_out",
            Self::OutlivedOwner => "outlived_owner",
            Self::Growing => "growing",
        }
    }
}

impl fmt::Display for LeakKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A leak, with all that are equal to it: the same kind of leak, owner, size class and site.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeakReport {
    /// The first such lease; `None` where only their count is known: when the events of all of them were lost, and of
    /// growth.
    pub id: Option<LeaseId>,
    /// Why it is a leak.
    pub kind: LeakKind,
    /// How many equal leaks this report stands for, at least 1. Of growth: by how many the class has grown.
    pub equal: u64,
    /// How many of them no earlier check reported.
    pub new: u64,
    /// Bytes of all their buffers; of their blocks where only the count is known.
    pub bytes: u64,
    /// Bytes of one block of their class; 0 for the huge class, whose blocks differ.
    pub class_size: usize,
    /// Who held them.
    pub owner: Owner,
    /// Which incarnation of the owner crashed, from 0; of [`LeakKind::OutlivedOwner`] only.
    pub incarnation: Option<u64>,
    /// Where the program asked for them, if it said so.
    pub site: Option<String>,
    /// The task that asked for the first of them, by name, if one did.
    pub task: Option<String>,
    /// How long the oldest of them was held, in seconds when serialised; zero when that is not known.
    #[serde(rename = "age_s", serialize_with = "as_seconds")]
    pub age: Duration,
    /// The fewest that lived at a time in each of the last windows, the oldest first; of [`LeakKind::Growing`] only.
    pub counts: Vec<u64>,
    /// How long a window of `counts` is, in seconds when serialised.
    #[serde(rename = "window_s", serialize_with = "as_seconds")]
    pub window: Duration,
    /// Where the recorded ones among those that live were asked for: the places where most began since the class grows
    /// first, [`SITES_MAX`](super::SITES_MAX) of them at most; of [`LeakKind::Growing`] only. Empty if none has a record.
    pub sites: Vec<SiteCount>,
    /// The calls that led to the first of them, the innermost first; empty if they were not captured. Of growth, this and
    /// what follows, and the task, are of the newest lease at the first of `sites`.
    pub frames: Vec<Frame>,
    /// What was done with the first of them, the newest first; empty if that was not kept.
    pub touches: Vec<TouchReport>,
    /// How often it was touched before that.
    pub touches_dropped: u64,
}

pub(super) fn as_seconds<S: serde::Serializer>(age: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(age.as_secs_f64())
}

/// The text with what would end the line, or steer a terminal, escaped as Rust does it.
pub(super) fn in_one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut line = String::new();
    for letter in text.chars() {
        if letter.is_control() { line.extend(letter.escape_default()) } else { line.push(letter) }
    }
    Cow::Owned(line)
}

/// One line: `python: 3 buffers (196608 bytes, class 65536) from app.py:12 dropped without release, …`. The frames
/// are left out.
impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.equal == 1 { "buffer" } else { "buffers" };
        let more = if self.kind == LeakKind::Growing { " more" } else { "" };
        let owner = in_one_line(self.owner.name());
        write!(f, "{owner}: {} {plural}{more} ({} bytes, class ", self.equal, self.bytes)?;
        match self.class_size {
            0 => f.write_str("huge")?,
            size => write!(f, "{size}")?,
        }
        f.write_str(")")?;
        if let Some(site) = &self.site {
            write!(f, " from {}", in_one_line(site))?;
        }
        match self.kind {
            LeakKind::DroppedUnreleased => f.write_str(" dropped without release")?,
            LeakKind::TooOld => f.write_str(" still held")?,
            LeakKind::StillOut => f.write_str(" still out at the end of the scope")?,
            LeakKind::OutlivedOwner => {
                write!(f, " still held after incarnation {} crashed", self.incarnation.unwrap_or(0))?;
            }
            LeakKind::Growing => {
                let counts: Vec<String> = self.counts.iter().map(u64::to_string).collect();
                let window = self.window.as_secs_f64();
                write!(f, " than {} windows of {window} s ago: {}", self.counts.len(), counts.join(", "))?;
                return match self.sites.first().and_then(|first| first.site.as_ref()) {
                    Some(site) => write!(f, "; most from {}", in_one_line(site)),
                    None => Ok(()),
                };
            }
        }
        if !self.age.is_zero() {
            write!(f, " after {:.1} s", self.age.as_secs_f64())?;
        }
        match self.id {
            Some(id) if self.equal == 1 => write!(f, ", lease {id}"),
            Some(id) => write!(f, ", first lease {id}"),
            None => f.write_str(", by count alone: their events were lost"),
        }
    }
}
