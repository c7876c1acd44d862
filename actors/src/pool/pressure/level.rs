//! How short memory is, in four words, and who says so.

/// How short memory is. Ordered: more pressure is greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Pressure {
    /// Nothing needs to be done.
    #[default]
    Low,
    /// From 60 % used: the threads' caches are emptied onto the shelves, and the pool keeps half of what it may.
    Medium,
    /// From 80 % used: idle memory and scratch space are given back.
    High,
    /// From 95 % used: if it is the system's memory, leases that need more of it are refused.
    Critical,
}

impl Pressure {
    /// All levels, the lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The pressure of `used` of `limit` bytes, without a history.
    pub fn of(used: usize, limit: usize) -> Self {
        Scale::Limit.level(used, limit, Slack::None)
    }

    /// `Low`, `Medium`, `High` or `Critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }
}

impl std::fmt::Display for Pressure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What says that memory is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The pool's own occupancy, of its limit.
    Pool,
    /// Stalls: tasks that wait for memory, as Linux's pressure stall information counts them.
    Psi,
    /// The machine's free memory.
    Machine,
    /// The control group: what it uses of its limit, or an event of it.
    Cgroup,
}

impl Cause {
    /// All causes. Of two with the same level the later is told: it is the more specific.
    pub const ALL: [Self; 4] = [Self::Pool, Self::Psi, Self::Machine, Self::Cgroup];

    /// `pool`, `psi`, `machine` or `cgroup`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Psi => "psi",
            Self::Machine => "machine",
            Self::Cgroup => "cgroup",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

const GIB: u128 = 1 << 30;

/// Where a level begins.
struct Step {
    level: Pressure,
    /// Percent used.
    percent: u128,
    /// A system that has more bytes than this left is not at this level, whatever the percentage: five percent of a large
    /// machine are no shortage.
    room: u128,
}

const STEPS: [Step; 3] = [
    Step { level: Pressure::Critical, percent: 95, room: GIB },
    Step { level: Pressure::High, percent: 80, room: 4 * GIB },
    Step { level: Pressure::Medium, percent: 60, room: 8 * GIB },
];

/// A level is left only this many percent below where it began (or, of a large system, half as much room above).
const FALLS_BELOW: u128 = 5;

/// Of what a reading is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Scale {
    /// A limit that is ours: percentages are what is meant.
    #[default]
    Limit,
    /// A system's memory: the room that is left counts as well.
    System,
}

/// Whether a level is to be entered or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slack {
    None,
    Some,
}

impl Scale {
    pub(super) fn level(self, used: usize, limit: usize, slack: Slack) -> Pressure {
        if used == 0 {
            return Pressure::Low;
        }
        let (limit, room) = (limit as u128, limit.saturating_sub(used) as u128);
        let below = if slack == Slack::Some { FALLS_BELOW } else { 0 };
        let holds = |step: &&Step| {
            let most = if slack == Slack::Some { step.room + step.room / 2 } else { step.room };
            100 * room <= (100 - step.percent + below) * limit && (self == Self::Limit || room <= most)
        };
        STEPS.iter().find(holds).map_or(Pressure::Low, |step| step.level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_are_answered() {
        assert_eq!(Pressure::of(0, 0), Pressure::Low);
        assert_eq!(Pressure::of(1, 0), Pressure::Critical);
        assert_eq!(Pressure::of(usize::MAX, usize::MAX), Pressure::Critical);
        assert_eq!(Pressure::of(1, usize::MAX), Pressure::Low);
        assert_eq!(Pressure::High.to_string(), "High");
    }

    #[test]
    fn a_large_system_with_gibibytes_left_is_not_short() {
        let (used, limit) = (243_usize << 30, 256_usize << 30);
        assert_eq!(Scale::System.level(used, limit, Slack::None), Pressure::Low, "13 GiB are left");
        assert_eq!(Scale::System.level(limit - (3 << 30), limit, Slack::None), Pressure::High);
        assert_eq!(Scale::System.level(limit - (1 << 30), limit, Slack::None), Pressure::Critical);
        // Of a limit that somebody set, the percentage counts.
        assert_eq!(Pressure::of(used, limit), Pressure::High);
        // A small one is measured alike by both.
        assert_eq!(Scale::System.level(97, 100, Slack::None), Pressure::Critical);
    }
}
