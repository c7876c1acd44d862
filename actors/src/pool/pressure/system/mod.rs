//! The machine and the control groups that this process runs in, as Linux shows them.
//!
//! | file | says | of |
//! | --- | --- | --- |
//! | `/proc/meminfo` | how much is available (`machine`) | the machine |
//! | `memory.max`, `memory.high`, `memory.current`, or version 1's | how much is used (`group`) | each group from ours up |
//! | `/proc/pressure/memory`, `memory.pressure` | how long tasks waited (`psi`) | the machine, our group |
//! | `memory.events`, `memory.swap.events`, or version 1's notifications | what happened (`events`, `notify`) | each limited group |
//!
//! The first three are read at every look. The last two, and the triggers of the third, wake the pool's actor by
//! themselves: they are descriptors that its thread polls (`descriptor`), so there is no thread for them and they are
//! closed with the actor's life. What the kernel refuses or does not have is left out.
//!
//! Elsewhere these files do not exist, [`SystemMemory::detect`] finds nothing, and pressure is the pool's occupancy alone.

#[cfg(target_os = "linux")]
mod descriptor;
#[cfg(target_os = "linux")]
mod events;
mod group;
#[cfg(target_os = "linux")]
mod inherited;
mod machine;
#[cfg(target_os = "linux")]
mod notify;
mod psi;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use super::source::{AlarmStream, MemoryReading, MemorySource, Sight};
use group::Group;
#[cfg(target_os = "linux")]
pub use inherited::close_inherited_descriptors;

/// The machine and the control groups this process runs in.
#[derive(Debug, Clone)]
pub struct SystemMemory {
    meminfo: PathBuf,
    /// Limited or not: limits come and go while a process runs.
    groups: Vec<Group>,
    /// Of the machine and of our own group.
    stalls: [Option<PathBuf>; 2],
    limit: usize,
}

impl SystemMemory {
    /// What this process runs in; `None` where the platform does not say.
    pub fn detect() -> Option<Self> {
        Self::rooted(Path::new("/"))
    }

    /// The same with another root for `proc` and `sys`.
    fn rooted(root: &Path) -> Option<Self> {
        let meminfo = root.join("proc/meminfo");
        let machine = machine::reading(&meminfo)?;
        let mounts = root.join("sys/fs/cgroup");
        let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let groups: Vec<Group> = own.lines().flat_map(|line| group::levels(&mounts, line)).collect();
        let of_machine = Some(root.join("proc/pressure/memory"));
        let of_group = groups.iter().find_map(Group::stalls);
        let stalls = [of_machine, of_group].map(|path| path.filter(|path| path.exists()));
        let limits = groups.iter().filter_map(|group| group.limit(machine.limit));
        let limit = limits.min().unwrap_or(machine.limit);
        Some(Self { meminfo, stalls, groups, limit })
    }

    /// Bytes that this process may use at most, when it was detected.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl MemorySource for SystemMemory {
    /// The tightest of all: where the largest part is used.
    fn reading(&self) -> Option<MemoryReading> {
        let Sight { machine, cgroup, .. } = self.look();
        cgroup.into_iter().chain(machine).reduce(MemoryReading::tighter)
    }

    fn look(&self) -> Sight {
        let machine = machine::reading(&self.meminfo);
        let most = machine.map_or(usize::MAX, |machine| machine.limit);
        let cgroup = self.groups.iter().filter_map(|group| group.reading(most)).reduce(MemoryReading::tighter);
        let stalls = self.stalls.each_ref().map(|path| psi::read(path.as_ref()?));
        Sight { machine, cgroup, stalls }
    }

    #[cfg(target_os = "linux")]
    fn alarms(&self) -> Vec<AlarmStream> {
        let machine = machine::reading(&self.meminfo).map_or(usize::MAX, |machine| machine.limit);
        let triggers = self.stalls.iter().flatten().flat_map(|path| psi::triggers(path));
        let of_groups = self.groups.iter().filter(|group| group.limit(machine).is_some()).flat_map(Group::alarms);
        triggers.chain(of_groups).collect()
    }

    #[cfg(not(target_os = "linux"))]
    fn alarms(&self) -> Vec<AlarmStream> {
        Vec::new()
    }
}
