//! A lease that Python objects share, and the views that pin it.
//!
//! Memory goes back to the pool when the lease was released *and* its last view has died. A view is a `Py_buffer` (memoryview,
//! numpy), a part (`view.rs`) or a [`Pin`] (DLPack), which is plain Rust and may die on any thread. A view that could write is
//! a writer: a lease is frozen while there is none.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use ironcliw_actors::pool::{self, MisuseCounter};
use parking_lot::Mutex;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyTuple};

use crate::args::invalid;
use crate::buffer::Buffer;
use crate::caller;
use crate::dlpack::{self, Export};
use crate::errors::to_py_err;
use crate::view::BufferView;

/// See the module's documentation.
pub(crate) struct Lease {
    state: Mutex<State>,
    pub(crate) misuse: Arc<MisuseCounter>,
    pub(crate) id: u64,
    /// Whether the lease's record keeps touches.
    is_traced: bool,
}

struct State {
    /// None once it went back to the pool.
    buffer: Option<pool::Buffer>,
    views: usize,
    /// Of the views, those that can write.
    writers: usize,
    released: bool,
    /// From now on views are read-only.
    frozen: bool,
}

impl State {
    /// The buffer, if nobody can need it any more.
    fn take_idle(&mut self) -> Option<pool::Buffer> {
        if self.released && self.views == 0 { self.buffer.take() } else { None }
    }
}

/// Whether there ever was a lease in Python whose record keeps touches.
static IS_ANY_TRACED: AtomicBool = AtomicBool::new(false);

/// Whether any lease's record may keep touches: no, for nothing more than a look, in a process that never was at `advanced`.
#[inline]
pub(crate) fn is_any_traced() -> bool {
    IS_ANY_TRACED.load(Relaxed)
}

/// Leases that Python has a handle or a view of.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Whether Python has a handle or a view of any lease.
#[inline]
pub(crate) fn is_any_held() -> bool {
    HELD.load(Relaxed) > 0
}

/// The lease that an object stands for, if it is a buffer or a part of one.
pub(crate) fn of<'a>(object: &'a Bound<'_, PyAny>) -> Option<&'a Lease> {
    let buffer = || Some(object.cast_exact::<Buffer>().ok()?.get().lease());
    buffer().or_else(|| Some(object.cast_exact::<BufferView>().ok()?.get().lease()))
}

impl Drop for Lease {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Relaxed);
    }
}

/// What a lease looks like at a moment.
pub(crate) struct Look {
    pub(crate) views: usize,
    pub(crate) released: bool,
    pub(crate) frozen: bool,
}

impl Lease {
    pub(crate) fn new(buffer: pool::Buffer) -> Arc<Self> {
        let (misuse, id, is_traced) = (Arc::clone(buffer.misuse()), buffer.id().get(), buffer.is_traced());
        if is_traced {
            IS_ANY_TRACED.store(true, Relaxed);
        }
        HELD.fetch_add(1, Relaxed);
        let state = State { buffer: Some(buffer), views: 0, writers: 0, released: false, frozen: false };
        Arc::new(Self { state: Mutex::new(state), misuse, id, is_traced })
    }

    pub(crate) fn look(&self) -> Look {
        let State { views, released, frozen, .. } = *self.state.lock();
        Look { views, released, frozen }
    }

    /// Notes in the lease's record, if it keeps such notes, what is done here.
    #[inline]
    pub(crate) fn note(&self, py: Python<'_>, hint: &str) {
        if self.is_traced {
            self.note_traced(py, hint);
        }
    }

    /// The same, in words that are made only then.
    pub(crate) fn note_with(&self, py: Python<'_>, hint: impl FnOnce() -> String) {
        if self.is_traced {
            self.note_traced(py, &hint());
        }
    }

    #[cold]
    fn note_traced(&self, py: Python<'_>, hint: &str) {
        // Before the lock is taken: it calls Python.
        let site = caller::site(py);
        if let Some(buffer) = &self.state.lock().buffer {
            buffer.touch_at(caller::cut(hint), || site);
        }
    }

    /// From now on it is somebody else's than its owner's, should that be an actor that crashes.
    pub(crate) fn mark_handed_over(&self) {
        if let Some(buffer) = &mut self.state.lock().buffer {
            buffer.mark_handed_over();
        }
    }

    /// Counts a use after the end, and tells it.
    pub(crate) fn gone(&self) -> PyErr {
        to_py_err(self.misuse.used_after_release(self.id))
    }

    /// Ends the lease: whether its memory went back at once; `None` if it had been ended.
    pub(crate) fn end(&self) -> Option<bool> {
        let ended = {
            let mut state = self.state.lock();
            if std::mem::replace(&mut state.released, true) {
                return None;
            }
            state.take_idle()
        };
        let at_once = ended.is_some();
        if let Some(buffer) = ended {
            buffer.release();
        }
        Some(at_once)
    }

    /// Makes it read-only, for good.
    pub(crate) fn freeze(&self) -> PyResult<()> {
        let mut state = self.state.lock();
        if state.released {
            drop(state);
            return Err(self.gone());
        }
        if state.writers > 0 {
            let writers = state.writers;
            return Err(invalid(format!("the buffer has {writers} views that can write: let go of them first")));
        }
        state.frozen = true;
        Ok(())
    }

    /// A view begins, which [`Lease::leave`] ends; `None` when there is nothing to view. What views a view may do so after the
    /// release.
    fn enter(&self, reads_only: bool, is_of_view: bool) -> Option<Entered> {
        let mut state = self.state.lock();
        let start = match &state.buffer {
            Some(buffer) if is_of_view || !state.released => buffer.data_ptr().as_ptr(),
            _ => return None,
        };
        let reads_only = reads_only || state.frozen;
        state.views += 1;
        state.writers += usize::from(!reads_only);
        Some(Entered { start, reads_only })
    }

    /// A view has died.
    pub(crate) fn leave(&self, reads_only: bool) {
        let ended = {
            let mut state = self.state.lock();
            state.views -= 1;
            state.writers -= usize::from(!reads_only);
            state.take_idle()
        };
        if let Some(buffer) = ended {
            buffer.release();
        }
    }
}

/// A view that has begun: where the buffer's bytes are, and whether they must not be written.
pub(crate) struct Entered {
    start: *mut u8,
    reads_only: bool,
}

/// Bytes of a lease that an object stands for. Its methods are what the protocols ask of the object.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) lease: Arc<Lease>,
    pub(crate) offset: usize,
    pub(crate) len: usize,
    /// Whether views of it must not write, whatever the lease allows.
    pub(crate) reads_only: bool,
    /// Whether the object is a view itself, which pins the lease.
    pub(crate) is_view: bool,
}

/// A part's memory, kept in place.
pub(crate) struct Pin {
    lease: Arc<Lease>,
    start: *mut u8,
    len: usize,
    reads_only: bool,
}

// SAFETY: it is a count in a shared lease and a pointer that it does not read through.
unsafe impl Send for Pin {}
// SAFETY: likewise.
unsafe impl Sync for Pin {}

impl Pin {
    /// The same bytes in a lease of its own.
    fn copy(self) -> ironcliw_actors::Result<pool::Buffer> {
        // The lock is held only to ask for memory: another view must not wait for the copy.
        let room = self.lease.state.lock().buffer.as_ref().map(pool::Buffer::same_sized);
        let mut copy = room.expect("a pinned lease has its buffer")?;
        copy.truncate(self.len);
        // SAFETY: the pin keeps as many initialised bytes at `start`, and the copy is memory of its own. Who writes to the
        // buffer from another thread meanwhile races as with `bytes(buffer)`.
        unsafe { std::ptr::copy_nonoverlapping(self.start, copy.as_mut_ptr(), copy.len()) };
        Ok(copy)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.lease.leave(self.reads_only);
    }
}

impl Part {
    /// Keeps the bytes in place.
    pub(crate) fn pin(&self) -> PyResult<Pin> {
        let Entered { start, reads_only } = self.enter().ok_or_else(|| self.lease.gone())?;
        // SAFETY: a part lies within its lease.
        let start = unsafe { start.add(self.offset) };
        Ok(Pin { lease: Arc::clone(&self.lease), start, len: self.len, reads_only })
    }

    /// A lease of its own with the same bytes, made without the GIL.
    pub(crate) fn duplicate(&self, py: Python<'_>) -> PyResult<pool::Buffer> {
        let pin = self.pin()?;
        py.detach(move || pin.copy()).map_err(to_py_err)
    }

    /// A view of the part begins: see [`Lease::enter`].
    pub(crate) fn enter(&self) -> Option<Entered> {
        self.lease.enter(self.reads_only, self.is_view)
    }

    /// `__getbuffer__` of `object`, of a view that has `entered`, if it could. What it fills in is ended by [`Lease::leave`].
    ///
    /// # Safety
    /// `view` comes from the interpreter, to be filled in.
    pub(crate) unsafe fn fill(
        &self,
        object: &Bound<'_, PyAny>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
        entered: Option<Entered>,
    ) -> PyResult<()> {
        let Some(Entered { start, reads_only }) = entered else {
            if !view.is_null() {
                // SAFETY: `view` is not null; the protocol wants `obj` null after an error.
                unsafe { (*view).obj = std::ptr::null_mut() };
            }
            return Err(self.lease.gone());
        };
        if view.is_null() {
            self.lease.leave(reads_only);
            return Err(PyBufferError::new_err("there is no view to fill in"));
        }
        // SAFETY: `view` is the interpreter's to fill; a part lies within its lease, whose memory is valid, writable unless it
        // says that it is not, and kept by the view: the lease is not ended while a view is counted.
        let filled = unsafe {
            let start = start.add(self.offset).cast::<c_void>();
            let len = self.len as ffi::Py_ssize_t;
            ffi::PyBuffer_FillInfo(view, object.as_ptr(), start, len, c_int::from(reads_only), flags)
        };
        if filled != 0 {
            self.lease.leave(reads_only);
            // SAFETY: as above.
            unsafe { (*view).obj = std::ptr::null_mut() };
            return Err(PyErr::fetch(object.py()));
        }
        Ok(())
    }

    /// `__releasebuffer__`.
    ///
    /// # Safety
    /// [`Part::fill`] filled `view` in, and this is the only call for it.
    pub(crate) unsafe fn unfill(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: the caller's promise.
        self.lease.leave(unsafe { (*view).readonly != 0 });
    }

    /// `__dlpack__`.
    pub(crate) fn dlpack<'py>(
        &self,
        py: Python<'py>,
        stream: Option<Bound<'py, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if stream.is_some() {
            return Err(invalid("memory of the CPU has no streams: stream must be None"));
        }
        if let Some(device) = dl_device.filter(|device| *device != dlpack::CPU) {
            return Err(PyBufferError::new_err(format!("a Buffer is memory of the CPU, not of device {device:?}")));
        }
        let len = self.len;
        let export = if copy == Some(true) {
            let buffer = self.duplicate(py)?;
            let start = buffer.data_ptr().as_ptr();
            Export { start, len, read_only: false, is_copy: true, keeper: Box::new(buffer) }
        } else {
            let pin = self.pin()?;
            self.lease.note(py, "dlpack");
            Export { start: pin.start, len, read_only: pin.reads_only, is_copy: false, keeper: Box::new(pin) }
        };
        dlpack::capsule(py, export, max_version)
    }

    /// `__array__` of `object`. numpy asks here when the buffer protocol has failed, which counted that: to hear why.
    pub(crate) fn array<'py>(
        &self,
        object: &Bound<'py, PyAny>,
        is_gone: bool,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if is_gone {
            return Err(to_py_err(ironcliw_actors::Error::BufferReleased { id: self.lease.id }));
        }
        let numpy = object.py().import("numpy")?;
        let dtype = dtype.map(|dtype| numpy.call_method1("dtype", (dtype,))).transpose()?;
        let array = numpy.call_method1("frombuffer", (PyMemoryView::from(object)?, "uint8"))?;
        match (dtype, copy) {
            (Some(dtype), copy) if !dtype.eq(array.getattr("dtype")?)? => {
                if copy == Some(false) {
                    return Err(invalid(format!("a Buffer is uint8: {dtype} needs a copy")));
                }
                array.call_method1("astype", (dtype,))
            }
            (_, Some(true)) => array.call_method0("copy"),
            _ => Ok(array),
        }
    }

    /// `__reduce_ex__` of `object`, by value: what is unpickled belongs to no pool. From protocol 5 on the bytes can travel out
    /// of band, without a copy.
    pub(crate) fn reduce<'py>(&self, object: &Bound<'py, PyAny>, protocol: u32) -> PyResult<Bound<'py, PyTuple>> {
        let py = object.py();
        let kind = if self.is_readonly() { py.get_type::<PyBytes>() } else { py.get_type::<PyByteArray>() };
        let bytes = if protocol >= 5 {
            py.import("pickle")?.call_method1("PickleBuffer", (object,))?
        } else {
            py.get_type::<PyBytes>().call1((object,))?
        };
        PyTuple::new(py, [kind.into_any(), PyTuple::new(py, [bytes])?.into_any()])
    }

    pub(crate) fn is_readonly(&self) -> bool {
        self.reads_only || self.lease.look().frozen
    }
}
