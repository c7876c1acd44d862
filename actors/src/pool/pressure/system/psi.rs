//! Pressure stall information: the share of time in which tasks waited for memory.
//!
//! A *trigger* has the kernel tell when tasks were stalled for so long within a window. Without privileges the window must be
//! a multiple of two seconds, the period of the kernel's averages, and kernels before that rule (Linux 6.4) refuse it
//! altogether; the averages and sums can be read anyway. An event is a reason to look and no more: triggers without
//! privileges were seen to fire when nothing had stalled (Linux 6.18), so `gauge.rs` adds the stalls up itself. See "PSI" in the kernel's documentation (accounting/psi.rst). The figures are
//! near those of systemd's `MEMORY_PRESSURE_WATCH` (200 ms of 2 s) and of GLib's `GMemoryMonitor` (70 and 100 ms of 2 s).

use std::fs;
use std::path::Path;

use super::super::source::Stall;

/// The averages over ten seconds, and the sums.
pub(super) fn read(path: &Path) -> Option<Stall> {
    let text = fs::read_to_string(path).ok()?;
    let (some, some_total_us) = line(&text, "some ")?;
    // Not every kernel has both of every file.
    let (full, full_total_us) = line(&text, "full ").unwrap_or_default();
    Some(Stall { some, full, some_total_us, full_total_us })
}

fn line(text: &str, kind: &str) -> Option<(f32, u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
    let value = |key: &str| line.split_whitespace().find_map(|field| field.strip_prefix(key));
    let average = value("avg10=")?.parse().ok().filter(|percent: &f32| percent.is_finite())?;
    Some((average, value("total=")?.parse().ok()?))
}

#[cfg(target_os = "linux")]
pub(super) use trigger::triggers;

#[cfg(target_os = "linux")]
mod trigger {
    use std::fs::File;
    use std::io::Write;
    use std::path::Path;

    use tokio::io::Interest;
    use tracing::debug;

    use super::super::super::level::{Cause, Pressure};
    use super::super::super::source::{Alarm, AlarmStream};
    use super::super::descriptor;

    /// Stalls in microseconds, of a window in microseconds: those that raise a level (`gauge.rs`).
    const TRIGGERS: [&str; 2] = ["some 150000 2000000", "full 100000 2000000"];

    /// Those that the kernel grants.
    pub(in super::super) fn triggers(path: &Path) -> Vec<AlarmStream> {
        let begin = |trigger: &&str| {
            // Time to look, and no more.
            let alarm = Alarm { cause: Cause::Psi, level: Pressure::Low };
            let begun = register(path, trigger)
                .and_then(|file| descriptor::alarms(file, Interest::PRIORITY, move |_| Ok(Some(alarm))));
            begun.inspect_err(|error| debug!(path = %path.display(), %error, "no trigger for stalls")).ok()
        };
        TRIGGERS.iter().filter_map(begin).collect()
    }

    /// The trigger lives as long as the file is open. One file has one.
    fn register(path: &Path, trigger: &str) -> std::io::Result<File> {
        let mut file = File::options().read(true).write(true).open(path)?;
        // The kernel wants it in one write, with the end of a string of C.
        file.write_all(format!("{trigger}\0").as_bytes())?;
        Ok(file)
    }
}
