//! The readings, on files of our own making.

use super::super::source::Stall;
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
    let machine = Machine::new("garbage", &[("proc/self/cgroup", "::\nx\n0::/a\n"), ("proc/meminfo", "MemTotal: x\n")]);
    assert!(SystemMemory::rooted(&machine.0).is_none());
    assert!(SystemMemory::rooted(Path::new("/nonexistent")).is_none());
}

const GROUP: (&str, &str) = ("proc/self/cgroup", "0::/a\n");

#[test]
fn version_2s_throttling_limit_counts_where_it_is_lower() {
    let of_group = [
        GROUP,
        ("sys/fs/cgroup/a/memory.max", "2147483648\n"),
        ("sys/fs/cgroup/a/memory.high", "1073741824\n"),
        ("sys/fs/cgroup/a/memory.current", "536870912\n"),
    ];
    let machine = Machine::new("v2-high", &of_group);
    assert_eq!(machine.system().limit(), GIB);
    assert_eq!(machine.system().look().cgroup, Some(MemoryReading { used: GIB / 2, limit: GIB }));
}

#[test]
fn version_1s_memory_and_swap_together_may_be_the_tighter() {
    let machine = Machine::new(
        "v1-swap",
        &[
            ("proc/self/cgroup", "4:memory:/a\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1073741824\n"),
            ("sys/fs/cgroup/memory/a/memory.memsw.limit_in_bytes", "3221225472\n"),
            ("sys/fs/cgroup/memory/a/memory.memsw.usage_in_bytes", "3000000000\n"),
        ],
    );
    assert_eq!(machine.system().look().cgroup, Some(MemoryReading { used: 3_000_000_000, limit: 3 * GIB }));
}

#[test]
fn a_limit_that_is_set_or_lifted_later_counts_from_then_on() {
    let current = ("sys/fs/cgroup/a/memory.current", "999999999\n");
    let machine = Machine::new("v2-later", &[GROUP, current, ("sys/fs/cgroup/a/memory.max", "max\n")]);
    let system = machine.system();
    assert_eq!(system.look().cgroup, None);
    let set = |limit: &str| fs::write(machine.0.join("sys/fs/cgroup/a/memory.max"), limit).unwrap();
    set("1000000000\n");
    assert_eq!(system.look().cgroup, Some(MemoryReading { used: 999_999_999, limit: 1_000_000_000 }));
    set("max\n");
    assert_eq!(system.look().cgroup, None);
    // A container that has ended, or files that cannot be read any more.
    fs::remove_dir_all(machine.0.join("sys")).unwrap();
    assert_eq!(system.look().cgroup, None);
    assert!(system.look().machine.is_some());
}

#[test]
fn stalls_are_the_machines_and_the_groups() {
    let text = |some: &str, full: &str| {
        format!("some avg10={some} avg60=9.00 avg300=9.00 total=7\nfull avg10={full} avg60=9.00 avg300=9.00 total=3\n")
    };
    let stall = |some, full| Some(Stall { some, full, some_total_us: 7, full_total_us: 3 });
    let (machines, groups) = (text("3.25", "1.00"), text("0.50", "2.50"));
    let machine = Machine::new(
        "stalls",
        &[GROUP, ("proc/pressure/memory", &machines), ("sys/fs/cgroup/a/memory.pressure", &groups)],
    );
    assert_eq!(machine.system().look().stalls, [stall(3.25, 1.0), stall(0.5, 2.5)]);
    // Beside version 1, version 2 has the stalls alone, at a place of its own.
    let hybrid = [
        ("proc/self/cgroup", "4:memory:/\n0::/a\n"),
        ("sys/fs/cgroup/unified/a/memory.pressure", &groups),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
    ];
    assert_eq!(Machine::new("hybrid", &hybrid).system().look().stalls, [None, stall(0.5, 2.5)]);
    for garbage in
        ["", "some avg10=x total=1\n", "some avg10=NaN total=1\n", "some avg10=1.0\n", "full avg10=1.0 total=1\n"]
    {
        let machine = Machine::new("no-stalls", &[("proc/pressure/memory", garbage)]);
        assert_eq!(machine.system().look().stalls, [None, None], "{garbage:?}");
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    //! Against the kernel that runs; what it does not offer, or not to us, is said and left out.

    use std::fs::File;
    use std::process::{Child, Command};
    use std::time::Duration;

    use futures_util::StreamExt;

    use super::super::super::level::{Cause, Pressure};
    use super::super::super::source::Alarm;
    use super::super::{events, notify, psi};
    use super::*;

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// On a thread like that of the pool's actor.
    fn on_a_thread_with_descriptors<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") })
    }

    /// Descriptors of this process that are open on `path`.
    fn open_on(path: &str) -> usize {
        let all = fs::read_dir("/proc/self/fd").unwrap().flatten();
        all.filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == Path::new(path))).count()
    }

    /// Whether it is, within a while: files are closed on a thread of their own.
    fn is_closed(path: &str) -> bool {
        let begun = std::time::Instant::now();
        while open_on(path) > 0 && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        open_on(path) == 0
    }

    /// A control group of our own below the one we are in; removed when dropped, after the processes in it.
    struct OwnGroup {
        folder: PathBuf,
        inside: Vec<Child>,
    }

    impl OwnGroup {
        fn new(name: &str, mount: &str, line: impl Fn(&str) -> bool) -> Option<Self> {
            let all = fs::read_to_string("/proc/self/cgroup").ok()?;
            let own = all.lines().find(|one| line(one))?.splitn(3, ':').nth(2)?.trim_start_matches('/').to_owned();
            let folder = Path::new(mount).join(own).join(format!("ironcliw-{}-{name}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            Some(Self { folder, inside: Vec::new() })
        }

        fn file(&self, name: &str) -> PathBuf {
            self.folder.join(name)
        }

        fn run(&mut self, command: &mut Command) {
            let child = command.spawn().unwrap();
            fs::write(self.file("cgroup.procs"), child.id().to_string()).unwrap();
            self.inside.push(child);
        }
    }

    impl Drop for OwnGroup {
        fn drop(&mut self) {
            for child in &mut self.inside {
                let _ = child.kill();
                let _ = child.wait();
            }
            // Empty only once the kernel has taken the last of them out.
            let begun = std::time::Instant::now();
            while fs::remove_dir(&self.folder).is_err() && self.folder.exists() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn triggers_for_stalls_are_registered_and_end_with_their_streams() {
        const STALLS: &str = "/proc/pressure/memory";
        if File::options().write(true).open(STALLS).is_err() {
            return eprintln!("left out: {STALLS} cannot be opened for triggers");
        }
        on_a_thread_with_descriptors(async {
            let mut triggers = psi::triggers(Path::new(STALLS));
            if triggers.is_empty() {
                return eprintln!("left out: this kernel grants no triggers without privileges");
            }
            assert_eq!((triggers.len(), open_on(STALLS)), (2, 2));
            // They wait: nothing here stalls for long enough, and if it did they would say so.
            let first = tokio::time::timeout(Duration::from_millis(50), triggers[0].next()).await;
            assert!(first.is_err() || first == Ok(Some(Alarm { cause: Cause::Psi, level: Pressure::Low })));
            drop(triggers);
            assert!(is_closed(STALLS));
        });
        assert!(psi::triggers(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn a_count_of_events_that_rises_is_told() {
        // The file that every group of version 2 has, whoever has the memory controller; it works as `memory.events` does.
        const POPULATED: events::Counts =
            events::Counts { file: "cgroup.events", levels: &[("populated", Pressure::High)] };
        let mounts = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let Some(mount) = mounts.into_iter().find(|mount| Path::new(mount).join("cgroup.controllers").exists()) else {
            return eprintln!("left out: no control groups of version 2");
        };
        let Some(mut group) = OwnGroup::new("events", mount, |line| line.starts_with("0::")) else {
            return eprintln!("left out: no right to make a control group in {mount}");
        };
        on_a_thread_with_descriptors(async {
            let mut alarms = POPULATED.watch(&group.folder).unwrap();
            group.run(Command::new("sleep").arg("1000"));
            assert_eq!(alarms.next().await, Some(Alarm { cause: Cause::Cgroup, level: Pressure::High }));
            // Its fall is no news, and the group's end is the stream's.
            let path = group.file("cgroup.events");
            assert_eq!(open_on(path.to_str().unwrap()), 1);
            drop(alarms);
            assert!(is_closed(path.to_str().unwrap()));
        });
    }

    #[test]
    fn version_1_notifies_of_a_threshold_that_is_crossed() {
        let of_memory =
            |line: &str| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == "memory"));
        let Some(mut group) = OwnGroup::new("notify", "/sys/fs/cgroup/memory", of_memory) else {
            return eprintln!("left out: no control groups of version 1, or no right to make one");
        };
        const LIMIT: usize = 64 << 20;
        fs::write(group.file("memory.limit_in_bytes"), LIMIT.to_string()).unwrap();
        on_a_thread_with_descriptors(async {
            let alarms = notify::alarms(&group.folder, Some(LIMIT));
            assert_eq!(alarms.len(), 7, "three levels, three thresholds and the end of all memory");
            // A shell that doubles a string until it is stopped: it crosses all thresholds.
            group.run(Command::new("sh").args(["-c", "sleep 0.2; x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"]));
            let mut all = futures_util::stream::select_all(alarms);
            let mut worst = Pressure::Low;
            while worst < Pressure::Critical {
                let alarm = all.next().await.expect("the group exists");
                assert_eq!(alarm.cause, Cause::Cgroup);
                worst = worst.max(alarm.level);
            }
        });
        assert!(notify::alarms(Path::new("/nonexistent"), Some(LIMIT)).is_empty());
    }
}
