//! Which thread keeps which free blocks.
//!
//! The counts are read while the threads lease and release: nobody is stopped and no gate is closed. Each is one that there
//! was at its moment, and the moments differ: a block that goes from one thread to another meanwhile may be missed or met
//! twice. While no thread uses the pool they are exact.

use std::collections::HashMap;

use super::model::{IdleClass, ThreadHolding};
use crate::pool::{Pool, SizeClass};

pub(super) fn read(pool: &Pool) -> Vec<ThreadHolding> {
    let kept = pool.kept_by_thread().into_iter().map(|kept| {
        let classes = kept.blocks.iter().filter_map(|&(class, len)| {
            // The huge class has no bins.
            class.bytes().map(|size| IdleClass { size, idle: len as u64 })
        });
        let classes: Vec<IdleClass> = classes.collect();
        let id = (kept.thread != 0).then_some(kept.thread);
        ThreadHolding {
            id,
            name: id.and_then(name_of),
            idle_bytes: classes.iter().map(|of| of.size as u64 * of.idle).sum(),
            classes,
        }
    });
    let mut threads: Vec<ThreadHolding> = kept.collect();
    threads.sort_by_key(|thread| (std::cmp::Reverse(thread.idle_bytes), thread.id));
    threads
}

/// Free blocks of each class in all caches.
pub(super) fn idle_by_class(threads: &[ThreadHolding]) -> HashMap<SizeClass, u64> {
    let mut sums = HashMap::new();
    for of in threads.iter().flat_map(|thread| &thread.classes) {
        *sums.entry(SizeClass::of(of.size)).or_default() += of.idle;
    }
    sums
}

/// What the system calls the thread now; `None` if it has just ended.
#[cfg(target_os = "linux")]
fn name_of(id: u64) -> Option<String> {
    let name = std::fs::read(format!("/proc/self/task/{id}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned())
}

#[cfg(not(target_os = "linux"))]
fn name_of(_id: u64) -> Option<String> {
    None
}
