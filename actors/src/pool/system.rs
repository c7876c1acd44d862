//! How much memory this process may use, and how much is used.
//!
//! On Linux the control group's limit (version 2 or 1, the group's own and its ancestors') and `/proc/meminfo`; the
//! tightest counts. Elsewhere these files do not exist, [`SystemMemory::detect`] finds nothing, and pressure is the
//! pool's occupancy alone.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes used and bytes that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct MemoryReading {
    /// Bytes in use that could not be given back at once.
    pub used: usize,
    /// Bytes that may be used.
    pub limit: usize,
}

/// Where readings come from.
pub trait MemorySource: Send + Sync {
    /// A current reading; `None` when the source cannot be read now.
    fn reading(&self) -> Option<MemoryReading>;
}

/// The machine and the control groups this process runs in.
#[derive(Debug, Clone)]
pub struct SystemMemory {
    meminfo: PathBuf,
    groups: Vec<Group>,
    limit: usize,
}

/// The files of one level of one version of control groups.
#[derive(Debug, Clone)]
struct Group {
    folder: PathBuf,
    files: &'static GroupFiles,
}

#[derive(Debug)]
struct GroupFiles {
    limit: &'static str,
    used: &'static str,
    /// The line of `memory.stat` with the file cache that the kernel drops first: used, but not needed.
    inactive_file: &'static str,
}

const VERSION_2: GroupFiles =
    GroupFiles { limit: "memory.max", used: "memory.current", inactive_file: "inactive_file" };
const VERSION_1: GroupFiles =
    GroupFiles { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", inactive_file: "total_inactive_file" };

impl SystemMemory {
    /// What this process runs in; `None` where the platform does not say.
    pub fn detect() -> Option<Self> {
        Self::rooted(Path::new("/"))
    }

    /// The same with another root for `proc` and `sys`.
    fn rooted(root: &Path) -> Option<Self> {
        let meminfo = root.join("proc/meminfo");
        let machine = machine(&meminfo)?;
        let mounts = root.join("sys/fs/cgroup");
        let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let mut groups: Vec<Group> = own.lines().flat_map(|line| levels(&mounts, line)).collect();
        // A group without a limit of its own, which version 1 writes as a huge number, binds nobody.
        groups.retain(|group| group.reading().is_some_and(|reading| reading.limit < machine.limit));
        let limits = groups.iter().filter_map(|group| group.reading().map(|reading| reading.limit));
        let limit = limits.min().unwrap_or(machine.limit);
        Some(Self { meminfo, groups, limit })
    }

    /// Bytes that this process may use at most, when it was detected.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl MemorySource for SystemMemory {
    /// The tightest of all: where the largest part is used.
    fn reading(&self) -> Option<MemoryReading> {
        let groups = self.groups.iter().filter_map(Group::reading);
        groups.chain(machine(&self.meminfo)).max_by(|a, b| {
            let (a_share, b_share) = (a.used as u128 * b.limit as u128, b.used as u128 * a.limit as u128);
            a_share.cmp(&b_share)
        })
    }
}

impl Group {
    fn reading(&self) -> Option<MemoryReading> {
        let number = |file: &str| fs::read_to_string(self.folder.join(file)).ok()?.trim().parse::<usize>().ok();
        let limit = number(self.files.limit).filter(|&limit| limit > 0)?;
        let used = number(self.files.used)?;
        let stat = fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let inactive = stat.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            if key == self.files.inactive_file { value.trim().parse::<usize>().ok() } else { None }
        });
        Some(MemoryReading { used: used.saturating_sub(inactive.unwrap_or(0)), limit })
    }
}

/// The levels that a line of `/proc/self/cgroup` names, from the process's own group up to the mount. A path that a
/// container does not show is skipped; the mount itself is then what the container was given.
fn levels(mounts: &Path, line: &str) -> Vec<Group> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (mount, files) = if controllers.is_empty() {
        (mounts.to_path_buf(), &VERSION_2)
    } else if controllers.split(',').any(|name| name == "memory") {
        (mounts.join("memory"), &VERSION_1)
    } else {
        return Vec::new();
    };
    let own = mount.join(path.trim_start_matches('/'));
    own.ancestors()
        .take_while(|folder| folder.starts_with(&mount))
        .map(|folder| Group { folder: folder.to_path_buf(), files })
        .collect()
}

fn machine(meminfo: &Path) -> Option<MemoryReading> {
    let text = fs::read_to_string(meminfo).ok()?;
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: usize = line.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    };
    let limit = bytes("MemTotal").filter(|&total| total > 0)?;
    Some(MemoryReading { used: limit.saturating_sub(bytes("MemAvailable")?), limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: usize = 1 << 30;

    /// A machine of 8 GiB, 2 of them used, with these files besides; removed when dropped.
    struct Machine(PathBuf);

    impl Machine {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("ironcliw-{}-{name}", std::process::id()));
            let meminfo = "MemTotal:        8388608 kB\nMemFree:   1 kB\nMemAvailable:    6291456 kB\n";
            for (path, text) in [("proc/meminfo", meminfo)].iter().chain(files) {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn system(&self) -> SystemMemory {
            SystemMemory::rooted(&self.0).unwrap()
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn without_a_control_group_the_machine_counts() {
        let machine = Machine::new("plain", &[]);
        assert_eq!(machine.system().limit(), 8 * GIB);
        assert_eq!(machine.system().reading(), Some(MemoryReading { used: 2 * GIB, limit: 8 * GIB }));
    }

    #[test]
    fn version_2_counts_the_tightest_level_without_droppable_cache() {
        let machine = Machine::new(
            "v2",
            &[
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/memory.max", "1073741824\n"),
                ("sys/fs/cgroup/a/memory.current", "1063741824\n"),
                ("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 1000000\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("sys/fs/cgroup/a/b/memory.current", "77\n"),
            ],
        );
        assert_eq!(machine.system().limit(), GIB);
        assert_eq!(machine.system().reading(), Some(MemoryReading { used: 1_062_741_824, limit: GIB }));
    }

    #[test]
    fn version_1_counts_and_its_huge_number_is_no_limit() {
        let cgroup = ("proc/self/cgroup", "5:cpu:/x\n4:memory:/hidden/by/the/container\n");
        let used = ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2147483648\n");
        let limited = [cgroup, used, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4294967296\n")];
        let machine = Machine::new("v1", &limited);
        assert_eq!(machine.system().reading(), Some(MemoryReading { used: 2 * GIB, limit: 4 * GIB }));
        let unlimited = [cgroup, used, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")];
        let machine = Machine::new("v1-unlimited", &unlimited);
        assert_eq!(machine.system().limit(), 8 * GIB);
    }

    #[test]
    fn garbage_and_absence_are_no_reading() {
        let machine =
            Machine::new("garbage", &[("proc/self/cgroup", "::\nx\n0::/a\n"), ("proc/meminfo", "MemTotal: x\n")]);
        assert!(SystemMemory::rooted(&machine.0).is_none());
        assert!(SystemMemory::rooted(Path::new("/nonexistent")).is_none());
    }
}
