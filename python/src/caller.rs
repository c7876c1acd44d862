//! Who in Python asks for a buffer: the owner that it is booked on and, for leases that are recorded, the place in the
//! program, the frames and the asyncio task.
//!
//! A frame is known by its code object and the instruction that it is at. What people read of it (file, line, function) is
//! made the first time that it is met and kept, so that a stack that was met before costs its walk and a look-up a frame. What a
//! record carries are these texts and no Python object: records die on threads that have no GIL. The code objects are kept
//! beside the texts, or another one could come to have the address; both are bounded, and dropped here, with the GIL.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use ironcliw_actors::leak::{FRAMES_MAX, Frame, Level, Origin};
use ironcliw_actors::pool::Owner;
use parking_lot::Mutex;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::actors;
use crate::bridge;

/// The owner of what Python leases itself, outside of actors.
const OWNER: &str = "python";
/// Packages whose own frames nobody looks for.
const OURS: [&str; 2] = ["ironcliw", "jarvis_rust_core"];
/// Places that are remembered, about 300 bytes each, and the code objects that they are in. When there are more, all are
/// forgotten: a program that makes up code as it runs must not keep it all.
const PLACES_MAX: usize = 8192;
/// Bytes of a task's name or of what a buffer is said to be used for, as many as of an owner's name.
const TEXT_MAX: usize = 256;
/// Frames that are looked at for one of the program's own.
const DEPTH_MAX: usize = 64;

/// A place in a Python program.
struct Place {
    frame: Arc<Frame>,
    /// `app.py:12`.
    site: Arc<str>,
    is_ours: bool,
}

/// By code object and instruction.
#[derive(Default)]
struct Places {
    by_instruction: HashMap<(usize, i32), Arc<Place>>,
    codes: HashMap<usize, Py<PyAny>>,
}

static PLACES: LazyLock<Mutex<Places>> = LazyLock::new(Mutex::default);

/// Whose lease it is: the actor's whose handler runs, or Python's.
pub(crate) fn owner(py: Python<'_>) -> Owner {
    static PYTHON: OnceLock<Owner> = OnceLock::new();
    actors::owner(py).unwrap_or_else(|| *PYTHON.get_or_init(|| Owner::named(OWNER)))
}

/// What a record of this level carries of who asks.
#[cold]
pub(crate) fn origin(py: Python<'_>, level: Level) -> Origin {
    let mut origin = Origin { task: task(py), ..Origin::default() };
    let kept = if level >= Level::Advanced { FRAMES_MAX } else { 1 };
    let mut frames = Vec::with_capacity(kept);
    walk(py, |place| {
        if !place.is_ours {
            origin.site.get_or_insert_with(|| place.site.clone());
            frames.push(place.frame.clone());
        }
        frames.len() < kept
    });
    if level >= Level::Advanced {
        origin.frames = frames;
    }
    origin
}

/// `app.py:12` of the innermost frame that is not of our own packages.
#[cold]
pub(crate) fn site(py: Python<'_>) -> Option<Arc<str>> {
    let mut site = None;
    walk(py, |place| {
        if !place.is_ours {
            site = Some(place.site.clone());
        }
        site.is_none()
    });
    site
}

/// A text of the program's, at the length that a record keeps: one that keeps anything would be a leak itself.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

/// The name of the asyncio task that runs here.
fn task(py: Python<'_>) -> Option<Arc<str>> {
    let name: String = current_task(py)?.call_method0(intern!(py, "get_name")).ok()?.extract().ok()?;
    Some(cut(&name).into())
}

/// The asyncio task that runs here.
pub(crate) fn current_task(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    static CURRENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let event_loop = bridge::running_loop(py).ok()??;
    let task = CURRENT.import(py, "asyncio", "current_task").ok()?.call1((event_loop,)).ok()?;
    (!task.is_none()).then_some(task)
}

/// Shows the places of this thread's frames, the innermost first, until told to stop.
fn walk(py: Python<'_>, mut go_on: impl FnMut(&Place) -> bool) {
    // SAFETY: the thread has the GIL; what comes back is borrowed, or null where no Python code runs.
    let innermost = unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyEval_GetFrame().cast()) };
    let mut next = innermost;
    for _ in 0..DEPTH_MAX {
        let Some(frame) = next else { return };
        if place(&frame).is_some_and(|place| !go_on(&place)) {
            return;
        }
        next = frame.getattr(intern!(py, "f_back")).ok().filter(|back| !back.is_none());
    }
}

/// The place that a frame is at.
///
/// Nothing of Python's is called while the lock is held: it may run a collection, which may run anything.
fn place(frame: &Bound<'_, PyAny>) -> Option<Arc<Place>> {
    let py = frame.py();
    // SAFETY: it is a frame, and the code object that comes back is a new reference.
    let code = unsafe { Bound::from_owned_ptr_or_opt(py, ffi::PyFrame_GetCode(frame.as_ptr().cast()).cast()) }?;
    let instruction: i32 = frame.getattr(intern!(py, "f_lasti")).ok()?.extract().ok()?;
    let key = (code.as_ptr().addr(), instruction);
    let known = PLACES.lock().by_instruction.get(&key).cloned();
    if known.is_some() {
        return known;
    }
    let place = Arc::new(read(frame, &code)?);
    let forgotten = {
        let mut places = PLACES.lock();
        let is_full = places.by_instruction.len() >= PLACES_MAX;
        let forgotten = if is_full { std::mem::take(&mut *places) } else { Places::default() };
        places.by_instruction.insert(key, place.clone());
        places.codes.entry(key.0).or_insert_with(|| code.unbind());
        forgotten
    };
    drop(forgotten);
    Some(place)
}

fn read(frame: &Bound<'_, PyAny>, code: &Bound<'_, PyAny>) -> Option<Place> {
    let py = frame.py();
    let file: String = code.getattr(intern!(py, "co_filename")).ok()?.extract().ok()?;
    let function = code.getattr(intern!(py, "co_qualname")).and_then(|name| name.extract()).unwrap_or_default();
    // SAFETY: it is a frame.
    let line = u32::try_from(unsafe { ffi::PyFrame_GetLineNumber(frame.as_ptr().cast()) }).ok();
    let site = line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
    let globals = frame.getattr(intern!(py, "f_globals"));
    let module = globals.and_then(|globals| globals.get_item(intern!(py, "__name__")));
    let module: String = module.and_then(|name| name.extract()).unwrap_or_default();
    let is_ours = OURS.contains(&module.split('.').next().unwrap_or_default());
    Some(Place { frame: Arc::new(Frame { function, file: Some(file), line }), site: site.into(), is_ours })
}
