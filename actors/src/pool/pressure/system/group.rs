//! One level of one version of control groups: its limit and what it uses of it.
//!
//! A group without a limit of its own, which version 1 writes as a huge number, binds nobody. In version 2 `memory.high`
//! counts as a limit: above it the kernel stops tasks until they have reclaimed what they took too much.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::level::{Pressure, Scale, Slack};
#[cfg(target_os = "linux")]
use super::super::source::AlarmStream;
use super::super::source::MemoryReading;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The files of one level of one version of control groups.
#[derive(Debug, Clone)]
pub(super) struct Group {
    folder: PathBuf,
    version: Version,
    /// Whether the process is in it, and not in a group below.
    is_own: bool,
}

/// Memory, and in version 1 memory and swap together: files of what is used and of the limits on it.
struct Pair {
    used: &'static str,
    limits: &'static [&'static str],
}

const VERSION_2: &[Pair] = &[Pair { used: "memory.current", limits: &["memory.max", "memory.high"] }];
const VERSION_1: &[Pair] = &[
    Pair { used: "memory.usage_in_bytes", limits: &["memory.limit_in_bytes"] },
    Pair { used: "memory.memsw.usage_in_bytes", limits: &["memory.memsw.limit_in_bytes"] },
];

impl Group {
    fn pairs(&self) -> &'static [Pair] {
        match self.version {
            Version::One => VERSION_1,
            Version::Two => VERSION_2,
        }
    }

    fn number(&self, file: &str) -> Option<usize> {
        fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()
    }

    /// What binds, of those that are there; `most` is the machine's memory.
    fn limit_of(&self, pair: &Pair, most: usize) -> Option<usize> {
        let limits = pair.limits.iter().filter_map(|file| self.number(file));
        limits.filter(|&limit| limit > 0 && limit < most).min()
    }

    /// Bytes that the group may use, if that is less than `most`.
    pub(super) fn limit(&self, most: usize) -> Option<usize> {
        self.pairs().iter().filter_map(|pair| self.limit_of(pair, most)).min()
    }

    /// What is used of the limit, if that is less than `most`.
    pub(super) fn reading(&self, most: usize) -> Option<MemoryReading> {
        let readings = self.pairs().iter().filter_map(|pair| {
            let limit = self.limit_of(pair, most)?;
            let used = self.number(pair.used)?;
            // Reading `memory.stat` has the kernel add up the counts of all cores: only where it can matter.
            let is_near = Scale::System.level(used, limit, Slack::Some) > Pressure::Low;
            let droppable = if is_near { self.droppable() } else { 0 };
            Some(MemoryReading { used: used.saturating_sub(droppable), limit })
        });
        readings.reduce(MemoryReading::tighter)
    }

    /// Bytes of the file cache that the kernel drops first: used, but not needed.
    fn droppable(&self) -> usize {
        let wanted = match self.version {
            Version::One => "total_inactive_file",
            Version::Two => "inactive_file",
        };
        let stat = fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let inactive = stat.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            if key == wanted { value.trim().parse().ok() } else { None }
        });
        inactive.unwrap_or(0)
    }

    /// The file of the stalls of our own group: version 2 has it, also where the memory controller is version 1's.
    pub(super) fn stalls(&self) -> Option<PathBuf> {
        (self.is_own && self.version == Version::Two).then(|| self.folder.join("memory.pressure"))
    }

    /// What the kernel tells of this group by itself.
    #[cfg(target_os = "linux")]
    pub(super) fn alarms(&self) -> Vec<AlarmStream> {
        match self.version {
            Version::One => super::notify::alarms(&self.folder, self.limit(usize::MAX)),
            Version::Two => super::events::alarms(&self.folder),
        }
    }
}

/// The levels that a line of `/proc/self/cgroup` names, from the process's own group up to the mount. A path that a
/// container does not show is skipped; the mount itself is then what the container was given.
pub(super) fn levels(mounts: &Path, line: &str) -> Vec<Group> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (mount, version) = if controllers.is_empty() {
        // Beside version 1 it has a place of its own.
        let hybrid = mounts.join("unified");
        let is_hybrid = hybrid.is_dir() && !mounts.join("cgroup.controllers").exists();
        (if is_hybrid { hybrid } else { mounts.to_path_buf() }, Version::Two)
    } else if controllers.split(',').any(|name| name == "memory") {
        (mounts.join("memory"), Version::One)
    } else {
        return Vec::new();
    };
    let own = mount.join(path.trim_start_matches('/'));
    let folders = own.ancestors().take_while(|folder| folder.starts_with(&mount));
    let group = |(index, folder): (usize, &Path)| Group { folder: folder.to_path_buf(), version, is_own: index == 0 };
    folders.enumerate().map(group).collect()
}
