//! What an actor hands to others is theirs: should it crash, a buffer among that is no leftover of its. And a buffer that is sent
//! knows where it went, if its record keeps such things.
//!
//! Messages are looked into only in a process in which that may matter to anybody.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use numpy::PyUntypedArray;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMemoryView, PyTuple};

use crate::lease::{self, Lease};

/// Containers that are looked into, one in the other.
const DEPTH_MAX: usize = 3;
/// Members that are looked at of each.
const MEMBERS_MAX: usize = 64;
/// And of all together.
const ALL_MEMBERS_MAX: usize = 512;
/// Views between an array and the buffer that it views.
const VIEWS_MAX: usize = 8;

/// Whether an actor in Python ever leased a buffer.
static HAVE_LEASED: AtomicBool = AtomicBool::new(false);

/// An actor is about to lease its first buffer.
pub(super) fn begin() {
    HAVE_LEASED.store(true, Relaxed);
}

/// Marks the buffers that `value` is, views or, in lists, tuples and dictionaries, contains.
pub(super) fn hand_over(value: &Bound<'_, PyAny>) {
    each_lease(value, &mut Lease::mark_handed_over);
}

/// The same of a message that is sent to the actor at `path`; the buffers know it.
#[inline]
pub(super) fn send(message: &Bound<'_, PyAny>, path: &str) {
    if HAVE_LEASED.load(Relaxed) || lease::is_any_traced() {
        each_lease(message, &mut |lease| {
            lease.note_with(message.py(), || format!("sent to {path}"));
            lease.mark_handed_over();
        });
    }
}

/// Notes that the buffers in `values` were given to a job.
pub(crate) fn note_given<'py>(values: impl IntoIterator<Item = Bound<'py, PyAny>>, job: impl Fn() -> String) {
    for value in values {
        each_lease(&value, &mut |lease| lease.note_with(value.py(), || format!("given to {}", job())));
    }
}

/// Shows the leases of the buffers that `value` is, views or, in lists, tuples and dictionaries, contains.
fn each_lease(value: &Bound<'_, PyAny>, show: &mut dyn FnMut(&Lease)) {
    look(value, DEPTH_MAX, &mut ALL_MEMBERS_MAX.clone(), show);
}

fn look(value: &Bound<'_, PyAny>, depth: usize, left: &mut usize, show: &mut dyn FnMut(&Lease)) {
    let mut look_at = |member: Bound<'_, PyAny>| {
        if *left > 0 {
            *left -= 1;
            look(&member, depth - 1, left, show);
        }
    };
    if let Some(lease) = lease::of(value) {
        show(lease);
    } else if value.cast::<PyUntypedArray>().is_ok() || value.is_exact_instance_of::<PyMemoryView>() {
        look_below(value.clone(), show);
    } else if depth == 0 {
        // Deeper than answers are nested.
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        list.iter().take(MEMBERS_MAX).for_each(look_at);
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        tuple.iter().take(MEMBERS_MAX).for_each(look_at);
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        dict.iter().take(MEMBERS_MAX).for_each(|(_, member)| look_at(member));
    }
}

/// An array's base may be another array, or a memoryview of what it was made of.
fn look_below(mut view: Bound<'_, PyAny>, show: &mut dyn FnMut(&Lease)) {
    for _ in 0..VIEWS_MAX {
        let py = view.py();
        let name = if view.is_exact_instance_of::<PyMemoryView>() { intern!(py, "obj") } else { intern!(py, "base") };
        let Ok(below) = view.getattr(name) else { return };
        if let Some(lease) = lease::of(&below) {
            return show(lease);
        }
        view = below;
    }
}
