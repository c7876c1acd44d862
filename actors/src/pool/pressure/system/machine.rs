//! `/proc/meminfo`: what the kernel holds to be available without swapping, of all there is.

use std::fs;
use std::path::Path;

use super::super::source::MemoryReading;

pub(super) fn reading(meminfo: &Path) -> Option<MemoryReading> {
    let text = fs::read_to_string(meminfo).ok()?;
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: usize = line.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
        kib.checked_mul(1024)
    };
    let limit = bytes("MemTotal").filter(|&total| total > 0)?;
    Some(MemoryReading { used: limit.saturating_sub(bytes("MemAvailable")?), limit })
}
