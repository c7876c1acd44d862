//! The memory of this process, as Linux tells it; elsewhere nothing is known here.

/// Bytes and counts; what the system does not tell is `None`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) resident: Option<u64>,
    pub(super) resident_peak: Option<u64>,
    pub(super) faults: Option<u64>,
    pub(super) major_faults: Option<u64>,
}

impl Process {
    pub(super) fn now() -> Self {
        if !cfg!(target_os = "linux") {
            return Self::default();
        }
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self::parse(&read("status"), &read("stat"))
    }

    /// Each figure, or what `other` has in its place.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            resident: self.resident.or(other.resident),
            resident_peak: self.resident_peak.or(other.resident_peak),
            faults: self.faults.or(other.faults),
            major_faults: self.major_faults.or(other.major_faults),
        }
    }

    /// Of `/proc/self/status` and `/proc/self/stat`: see proc(5).
    fn parse(status: &str, stat: &str) -> Self {
        let kibibytes = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        // A program's name may hold spaces and brackets, but what follows the last bracket are numbers.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        Self {
            resident: kibibytes("VmRSS"),
            resident_peak: kibibytes("VmHWM"),
            faults: field(10),
            major_faults: field(12),
        }
    }
}
