//! Version 2's counts of events, `memory.events` and `memory.swap.events`: a change makes the open file ready, and the
//! counts that rose say what has happened. See "Memory" in the kernel's documentation (admin-guide/cgroup-v2.rst).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tokio::io::Interest;
use tracing::debug;

use super::super::level::{Cause, Pressure};
use super::super::source::{Alarm, AlarmStream};
use super::descriptor;

/// More than the file ever has.
const FILE_BYTES_MAX: usize = 1024;

/// What it stands for that a count rose. A group that runs at its limit because of file cache reclaims all the time, which
/// is no shortage (the reading is for that): so `high` and `max` are worth a look and a little care. `oom` is an allocation
/// that found nothing to reclaim.
const OF_MEMORY: Counts = Counts {
    file: "memory.events",
    levels: &[
        ("low", Pressure::Low),
        ("high", Pressure::Medium),
        ("max", Pressure::Medium),
        ("oom", Pressure::Critical),
        ("oom_kill", Pressure::Critical),
    ],
};
/// Swap that is full, or that the group may not use, makes reclaiming harder and says no more.
const OF_SWAP: Counts =
    Counts { file: "memory.swap.events", levels: &[("high", Pressure::Medium), ("max", Pressure::Medium)] };

pub(super) struct Counts {
    pub(super) file: &'static str,
    pub(super) levels: &'static [(&'static str, Pressure)],
}

impl Counts {
    /// In the order of `levels`; what is not there never rises.
    fn parse(&self, text: &str) -> Vec<u64> {
        let value = |key: &str| {
            text.lines().find_map(|line| line.split_once(' ').filter(|(name, _)| *name == key)?.1.trim().parse().ok())
        };
        self.levels.iter().map(|(key, _)| value(key).unwrap_or(0)).collect()
    }

    /// The worst that has happened between two readings.
    fn risen(&self, before: &[u64], now: &[u64]) -> Option<Pressure> {
        let counts = self.levels.iter().zip(before.iter().zip(now));
        counts.filter(|(_, (before, now))| now > before).map(|((_, level), _)| *level).max()
    }

    pub(super) fn watch(&'static self, folder: &Path) -> io::Result<AlarmStream> {
        let file = File::open(folder.join(self.file))?;
        let mut before = self.parse(&read(&file)?);
        descriptor::alarms(file, Interest::PRIORITY, move |file| {
            let now = self.parse(&read(file)?);
            let risen = self.risen(&before, &now);
            before = now;
            Ok(risen.map(|level| Alarm { cause: Cause::Cgroup, level }))
        })
    }
}

/// From its beginning, which also tells the kernel that this open file has seen what there is.
fn read(file: &File) -> io::Result<String> {
    let mut bytes = [0; FILE_BYTES_MAX];
    let len = file.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes[..len]).into_owned())
}

pub(super) fn alarms(folder: &Path) -> Vec<AlarmStream> {
    let begin = |counts: &'static Counts| {
        let begun = counts.watch(folder);
        begun.inspect_err(|error| debug!(folder = %folder.display(), file = counts.file, %error, "no events")).ok()
    };
    [&OF_MEMORY, &OF_SWAP].into_iter().filter_map(begin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_count_that_rose_is_told() {
        let before = OF_MEMORY.parse("low 0\nhigh 3\nmax 7\noom 0\noom_kill 0\noom_group_kill 0\n");
        let level = |text: &str| OF_MEMORY.risen(&before, &OF_MEMORY.parse(text));
        assert_eq!(level("low 0\nhigh 3\nmax 7\noom 0\noom_kill 0\n"), None);
        assert_eq!(level("low 9\nhigh 3\nmax 7\noom 0\noom_kill 0\n"), Some(Pressure::Low));
        assert_eq!(level("low 0\nhigh 3\nmax 8\noom 0\noom_kill 0\n"), Some(Pressure::Medium));
        assert_eq!(level("low 1\nhigh 4\nmax 8\noom 1\noom_kill 0\n"), Some(Pressure::Critical));
        // Garbage and what is missing are no rise.
        assert_eq!(level("high many\noom\n"), None);
        assert_eq!(level(""), None);
    }
}
