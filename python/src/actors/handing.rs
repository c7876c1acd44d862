//! What an actor hands to others is theirs: should it crash, a buffer among that is no leftover of its. And a buffer that is sent
//! knows where it went, if its record keeps such things.
//!
//! Messages are looked into only in a process in which that may matter to anybody.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use numpy::PyUntypedArray;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple};

use crate::lease::{self, Lease};

/// Containers that are looked into, one in the other.
const DEPTH_MAX: usize = 16;
/// Members of all of them that are looked at, those of the outer ones first.
const MEMBERS_MAX: usize = 65_536;
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
    Buffers::of(value).each(Lease::mark_handed_over);
}

/// Notes that the buffers in `values` were given to a job.
pub(crate) fn note_given<'py>(values: impl IntoIterator<Item = Bound<'py, PyAny>>, job: impl Fn() -> String) {
    for value in values {
        Buffers::of(&value).each(|lease| lease.note_with(value.py(), || format!("given to {}", job())));
    }
}

/// The buffers that a value is, views or, in lists, tuples and dictionaries, contains.
pub(super) struct Buffers<'py>(Vec<Bound<'py, PyAny>>);

impl<'py> Buffers<'py> {
    /// Those of what has none.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Those of a message that is about to be sent, if that may matter.
    #[inline]
    pub(super) fn to_send(message: &Bound<'py, PyAny>) -> Self {
        if HAVE_LEASED.load(Relaxed) || lease::is_any_traced() { Self::of(message) } else { Self::none() }
    }

    /// The actor at `path` has accepted the message. It may be done with the buffers already: to mark one that has gone back is
    /// nothing.
    #[inline]
    pub(super) fn sent_to(&self, path: &str) {
        for object in &self.0 {
            if let Some(lease) = lease::of(object) {
                lease.note_with(object.py(), || format!("sent to {path}"));
                lease.mark_handed_over();
            }
        }
    }

    fn of(value: &Bound<'py, PyAny>) -> Self {
        if !lease::is_any_held() {
            return Self::none();
        }
        // To look below an array may run Python code, which may change what contains it: the members come first.
        Self(if is_plain(value) { Vec::new() } else { members(value).into_iter().filter_map(buffer_below).collect() })
    }

    fn each(&self, show: impl FnMut(&Lease)) {
        self.0.iter().filter_map(lease::of).for_each(show);
    }
}

/// Whether it is of the kinds that most members are, none of which has a buffer.
fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyBytes>()
        || value.is_exact_instance_of::<PyBool>()
}

/// The value, or what its containers contain that may be a buffer or a view of one. Runs nothing of Python's: a container stays as
/// it is meanwhile.
fn members<'py>(value: &Bound<'py, PyAny>) -> Vec<Bound<'py, PyAny>> {
    let mut found = Vec::new();
    let mut left = MEMBERS_MAX;
    let mut level = vec![value.clone()];
    for _ in 0..=DEPTH_MAX {
        let mut below = Vec::new();
        let mut enter = |count: usize, members: &mut dyn Iterator<Item = Bound<'py, PyAny>>| {
            let taken = count.min(left);
            left -= taken;
            below.extend(members.take(taken).filter(|member| !is_plain(member)));
        };
        for value in level {
            if let Ok(list) = value.cast_exact::<PyList>() {
                enter(list.len(), &mut list.iter());
            } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
                enter(tuple.len(), &mut tuple.iter());
            } else if let Ok(dict) = value.cast_exact::<PyDict>() {
                enter(dict.len(), &mut dict.iter().map(|(_, member)| member));
            } else {
                found.push(value);
            }
        }
        level = below;
    }
    found
}

/// The buffer, or the part of one, that an object is or views. An array's base may be another array, or a memoryview of what it was
/// made of.
fn buffer_below(object: Bound<'_, PyAny>) -> Option<Bound<'_, PyAny>> {
    if lease::of(&object).is_some() {
        return Some(object);
    }
    if object.cast::<PyUntypedArray>().is_err() && !object.is_exact_instance_of::<PyMemoryView>() {
        return None;
    }
    let mut view = object;
    for _ in 0..VIEWS_MAX {
        let py = view.py();
        let name = if view.is_exact_instance_of::<PyMemoryView>() { intern!(py, "obj") } else { intern!(py, "base") };
        let below = view.getattr(name).ok()?;
        if lease::of(&below).is_some() {
            return Some(below);
        }
        view = below;
    }
    None
}
