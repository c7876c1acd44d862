//! mimalloc as the allocator, and its statistics.
//!
//! They come as JSON, whose keys are stable where the layout of its C structure is not: see `mimalloc-stats.h`. A release
//! build of mimalloc counts pages and what it has from the system, but not single allocations.

use std::ffi::CStr;
use std::ptr::null_mut;

use serde_json::{Map, Value};

use super::Told;
use super::process::Process;

pub(crate) const NAME: &str = "mimalloc";

#[global_allocator]
static ALLOCATOR: ::mimalloc::MiMalloc = ::mimalloc::MiMalloc;

/// Has a trim of a pool give back what mimalloc keeps.
pub(super) fn collect_at_trims() {
    // SAFETY: may be called at any time, on any thread, whose own free memory it collects with what no thread has.
    ironcliw_actors::pool::collect_with(|| unsafe { libmimalloc_sys::mi_collect(true) });
}

pub(super) fn told() -> Told {
    let Some(mut all) = all() else {
        return Told::default();
    };
    let process = all.remove("process").unwrap_or_default();
    let of = |name: &str| process.get(name).and_then(Value::as_u64);
    let process = Process {
        resident: of("rss_current"),
        resident_peak: of("rss_peak"),
        faults: None,
        major_faults: of("page_faults"),
    };
    // A count below zero is one of a thread that has not reported yet.
    let count = |name: &str, part: &str| all.get(name)?.get(part)?.as_i64().map(|value| value.max(0) as u64);
    let (committed, committed_peak) = (count("committed", "current"), count("committed", "peak"));
    let reserved = count("reserved", "current");
    let purged = all.get("purged").and_then(Value::as_u64);
    let version = all.get("mimalloc_version").and_then(Value::as_u64).map(version);
    // Figures by size, of which there are hundreds, and none in a release build.
    all.retain(|_, value| !value.is_array());
    Told { version, committed, committed_peak, reserved, used: None, purged, details: all, process }
}

/// All that mimalloc tells; `None` if it has no memory for that.
fn all() -> Option<Map<String, Value>> {
    // SAFETY: without a buffer it allocates one itself, which is ours to free; any thread may ask.
    let text = unsafe { libmimalloc_sys::mi_stats_get_json(0, null_mut()) };
    if text.is_null() {
        return None;
    }
    // SAFETY: it ends with a zero, and nobody else has it.
    let parsed = serde_json::from_slice(unsafe { CStr::from_ptr(text) }.to_bytes()).ok();
    // SAFETY: mimalloc allocated it just now, and `parsed` borrows nothing of it.
    unsafe { libmimalloc_sys::mi_free(text.cast()) };
    parsed
}

/// Of one number: major, two digits minor, two digits patch.
fn version(number: u64) -> String {
    format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
}
