//! Pressure stall information: the share of time in which tasks waited for memory.
//!
//! A *trigger* has the kernel tell when tasks were stalled for so long within a window. Without privileges the window must be
//! a multiple of two seconds, the period of the kernel's averages, and kernels before that rule (Linux 6.4) refuse it
//! altogether; the averages can be read anyway. See "PSI" in the kernel's documentation (accounting/psi.rst). The figures are
//! near those of systemd's `MEMORY_PRESSURE_WATCH` (200 ms of 2 s) and of GLib's `GMemoryMonitor` (70 and 100 ms of 2 s).

use std::fs;
use std::path::Path;

use super::super::source::Stall;

/// The averages over ten seconds.
pub(super) fn read(path: &Path) -> Option<Stall> {
    let text = fs::read_to_string(path).ok()?;
    let average = |kind: &str| -> Option<f32> {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let value = line.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?;
        value.parse().ok().filter(|percent: &f32| percent.is_finite())
    };
    Some(Stall { some: average("some ")?, full: average("full ").unwrap_or(0.0) })
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

    /// Stalls in microseconds, of a window in microseconds, and what they stand for.
    const TRIGGERS: [(&str, Pressure); 2] =
        [("some 150000 2000000", Pressure::Medium), ("full 100000 2000000", Pressure::High)];

    /// Those that the kernel grants.
    pub(in super::super) fn triggers(path: &Path) -> Vec<AlarmStream> {
        let begin = |(trigger, level): &(&str, Pressure)| {
            let alarm = Alarm { cause: Cause::Psi, level: *level };
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
