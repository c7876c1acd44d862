//! Version 1's notifications: an eventfd that is registered in `cgroup.event_control` becomes readable. See "Memory pressure",
//! "OOM control" and "Memory thresholds" in the kernel's documentation (admin-guide/cgroup-v1/memory.rst).
//!
//! A registration holds the group and ends as its eventfd is closed; the file that it is about may be closed at once.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::Interest;
use tracing::debug;

use super::super::level::{Cause, Pressure};
use super::super::source::{Alarm, AlarmStream};
use super::descriptor;

/// By how hard the kernel finds it to reclaim: at `low` it succeeds, which costs file cache alone; at `medium` it swaps or
/// drops what is in use; at `critical` it is about to give up.
const LEVELS: [(&str, Pressure); 3] =
    [("low", Pressure::Medium), ("medium", Pressure::High), ("critical", Pressure::Critical)];

/// Percent of the limit at whose crossing there is a look: where levels begin.
const THRESHOLDS: [usize; 3] = [60, 80, 95];

/// All that the kernel grants.
pub(super) fn alarms(folder: &Path, limit: Option<usize>) -> Vec<AlarmStream> {
    let levels = LEVELS.map(|(name, level)| ("memory.pressure_level", name.to_owned(), level));
    let oom = ("memory.oom_control", String::new(), Pressure::Critical);
    let thresholds = limit.into_iter().flat_map(|limit| THRESHOLDS.map(|percent| limit / 100 * percent));
    // Crossed upwards or downwards: the look will say.
    let thresholds = thresholds.map(|bytes| ("memory.usage_in_bytes", bytes.to_string(), Pressure::Low));
    let begin = |(file, argument, level): (&str, String, Pressure)| {
        let begun = register(folder, file, &argument, Alarm { cause: Cause::Cgroup, level });
        begun.inspect_err(|error| debug!(folder = %folder.display(), file, argument, %error, "no notifications")).ok()
    };
    levels.into_iter().chain([oom]).chain(thresholds).filter_map(begin).collect()
}

fn register(folder: &Path, file: &str, argument: &str, alarm: Alarm) -> io::Result<AlarmStream> {
    let about = File::open(folder.join(file))?;
    let event = File::from(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let line = format!("{} {} {argument}", event.as_raw_fd(), about.as_raw_fd());
    // Not made if it is missing: then this is no control group.
    io::Write::write_all(&mut File::options().write(true).open(folder.join("cgroup.event_control"))?, line.as_bytes())?;
    let control = folder.join("cgroup.event_control");
    descriptor::alarms(event, Interest::READABLE, move |mut event| {
        let mut count = [0; 8];
        match io::Read::read(&mut event, &mut count) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
            // The end of the group is notified as well.
            Ok(_) if !control.exists() => Err(io::ErrorKind::NotFound.into()),
            Ok(_) => Ok(Some(alarm)),
        }
    })
}
