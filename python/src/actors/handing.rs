//! What an actor hands to others is theirs: should it crash, a buffer among that is no leftover of its.

use numpy::PyUntypedArray;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMemoryView, PyTuple};

use crate::lease;

/// Containers that are looked into, one in the other.
const DEPTH_MAX: usize = 3;
/// Members that are looked at of each.
const MEMBERS_MAX: usize = 64;
/// Views between an array and the buffer that it views.
const VIEWS_MAX: usize = 8;

/// Marks the buffers that `value` is, views or, in lists, tuples and dictionaries, contains.
pub(super) fn hand_over(value: &Bound<'_, PyAny>) {
    look(value, DEPTH_MAX);
}

fn look(value: &Bound<'_, PyAny>, depth: usize) {
    if let Some(lease) = lease::of(value) {
        lease.mark_handed_over();
    } else if value.cast::<PyUntypedArray>().is_ok() || value.is_exact_instance_of::<PyMemoryView>() {
        look_below(value.clone());
    } else if depth == 0 {
        // Deeper than answers are nested.
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        list.iter().take(MEMBERS_MAX).for_each(|member| look(&member, depth - 1));
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        tuple.iter().take(MEMBERS_MAX).for_each(|member| look(&member, depth - 1));
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        dict.iter().take(MEMBERS_MAX).for_each(|(_, member)| look(&member, depth - 1));
    }
}

/// An array's base may be another array, or a memoryview of what it was made of.
fn look_below(mut view: Bound<'_, PyAny>) {
    for _ in 0..VIEWS_MAX {
        let py = view.py();
        let name = if view.is_exact_instance_of::<PyMemoryView>() { intern!(py, "obj") } else { intern!(py, "base") };
        let Ok(below) = view.getattr(name) else { return };
        if let Some(lease) = lease::of(&below) {
            return lease.mark_handed_over();
        }
        view = below;
    }
}
