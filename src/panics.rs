//! Panics of user code, caught and kept off the terminal.
//!
//! Rust's panic hook runs before unwinding starts, so a caught panic would still print. While user code runs under
//! [`catch`], a thread-local flag diverts the hook: the message and the place are kept for the supervision event and the
//! log, and every other panic in the process goes to the hook that was there before.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    static THREAD: Thread = const { Thread { guarded: Cell::new(0), has_last: Cell::new(false) } };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What is looked at in each call: it is never dropped, and so cheaper to reach.
struct Thread {
    /// Guards within guards.
    guarded: Cell<u32>,
    /// Whether there is a last description.
    has_last: Cell<bool>,
}

/// What a caught panic said, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panicked(pub(crate) String);

/// Installs the diverting hook in front of whatever hook the process has. Later calls do nothing.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if THREAD.with(|thread| thread.guarded.get() > 0) {
                swap_last(Some(describe(info)));
            } else {
                previous(info);
            }
        }));
    });
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("a panic whose payload is not text");
    match info.location() {
        Some(place) => format!("{message} ({}:{})", place.file(), place.line()),
        None => message.to_owned(),
    }
}

/// Marks the thread as running guarded code for as long as it lives.
struct Guard;

impl Guard {
    #[inline]
    fn enter() -> Self {
        THREAD.with(|thread| thread.guarded.set(thread.guarded.get() + 1));
        Self
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        THREAD.with(|thread| thread.guarded.set(thread.guarded.get() - 1));
    }
}

/// Runs `work`, turning a panic into an error.
///
/// The caller must treat whatever `work` borrowed mutably as broken after an error; the runtime drops it.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    let _guard = Guard::enter();
    // A panic that is unwinding around this call, as when a `Drop` catches, keeps its own description.
    let outer = swap_last(None);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    let description = swap_last(outer);
    outcome.map_err(|payload| {
        let reason = description.unwrap_or_else(|| payload_text(payload.as_ref()));
        drop_guarded(payload);
        Panicked(bounded(reason))
    })
}

#[inline]
fn swap_last(description: Option<String>) -> Option<String> {
    if description.is_none() && !THREAD.with(|thread| thread.has_last.get()) {
        return None;
    }
    exchange_last(description)
}

#[cold]
fn exchange_last(description: Option<String>) -> Option<String> {
    THREAD.with(|thread| thread.has_last.set(description.is_some()));
    // A panic may come while the thread's locals are being destroyed.
    LAST.try_with(|last| last.replace(description)).ok().flatten()
}

/// The most that is kept of what a failure says: it is shown in snapshots, logs and errors, again and again.
const REASON_BYTES_MAX: usize = 8 << 10;

/// The same text if it is short, else its beginning and its end: a traceback has its cause at one of the two.
pub(crate) fn bounded(reason: String) -> String {
    if reason.len() <= REASON_BYTES_MAX {
        return reason;
    }
    let half = REASON_BYTES_MAX / 2;
    let head = &reason[..reason.floor_char_boundary(half)];
    let tail = &reason[reason.ceil_char_boundary(reason.len() - half)..];
    let left_out = reason.len() - head.len() - tail.len();
    format!("{head}\n… {left_out} bytes left out …\n{tail}")
}

/// Drops a payload whose own `Drop` may panic, with a payload whose `Drop` may panic, and so on: not for ever.
fn drop_guarded(mut payload: Box<dyn std::any::Any + Send>) {
    for _ in 0..8 {
        match panic::catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            Ok(()) => return,
            Err(next) => payload = next,
        }
    }
    std::mem::forget(payload);
}

fn payload_text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic whose payload is not text".to_owned())
}

/// Runs code that may panic on a thread that must not: its panic is kept off the terminal and becomes an error with the
/// message and the place.
///
/// What the code borrowed mutably must be treated as broken after an error.
///
/// # Errors
/// The panic's message.
///
/// ```
/// let outcome = ironcliw::catch_panic(|| -> u32 { panic!("no") });
/// assert!(outcome.unwrap_err().starts_with("no"));
/// ```
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    install_hook();
    catch(work).map_err(|Panicked(reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_talks_too_much_keeps_its_beginning_and_its_end() {
        let long = format!("begin {} end", "ä".repeat(100_000));
        let Panicked(reason) = catch(|| {
            if !long.is_empty() {
                panic::resume_unwind(Box::new(long))
            }
        })
        .unwrap_err();
        assert!(reason.starts_with("begin ä") && reason.ends_with("ä end"), "{reason}");
        assert!(reason.len() < 9000 && reason.contains("bytes left out"), "{}", reason.len());
        assert_eq!(bounded("short".to_owned()), "short");
    }
}
