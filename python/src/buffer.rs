//! `Buffer`: a lease of pooled memory that Python may write to.
//!
//! A view pins the lease: memory goes back to the pool when the buffer was released *and* its last view has died. A view is
//! a `Py_buffer` (memoryview, numpy) or a [`Pin`] (DLPack), which is plain Rust and may die on any thread.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use ironcliw_actors::Error;
use ironcliw_actors::pool;
use parking_lot::Mutex;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyTuple};

use crate::args::invalid;
use crate::caller;
use crate::dlpack::{self, Export};
use crate::errors::to_py_err;

struct Lease {
    /// None once it went back to the pool.
    buffer: Option<pool::Buffer>,
    /// Views that live.
    views: usize,
    released: bool,
    /// From now on views are read-only. No view that could write lives.
    frozen: bool,
}

impl Lease {
    /// The buffer, if nobody can need it any more.
    fn take_idle(&mut self) -> Option<pool::Buffer> {
        if self.released && self.views == 0 { self.buffer.take() } else { None }
    }
}

/// A lease of pooled memory: writable bytes that `memoryview`, numpy and DLPack view without a copy.
///
/// A release while views live is deferred until the last of them has died: a view never dangles.
#[pyclass(frozen, module = "ironcliw", weakref)]
pub(crate) struct Buffer {
    lease: Arc<Mutex<Lease>>,
    id: u64,
    len: usize,
    /// Whether the lease's record keeps touches.
    is_traced: bool,
}

/// A buffer's memory, kept in place.
struct Pin {
    lease: Arc<Mutex<Lease>>,
    start: *mut u8,
    frozen: bool,
}

// SAFETY: it is a count in a shared lease and a pointer that it does not read through.
unsafe impl Send for Pin {}

impl Pin {
    /// The same bytes in a lease of its own.
    fn copy(self) -> ironcliw_actors::Result<pool::Buffer> {
        // The lock is held only to ask for memory: another view must not wait for the copy.
        let room = self.lease.lock().buffer.as_ref().map(pool::Buffer::same_sized);
        let mut copy = room.expect("a pinned lease has its buffer")?;
        // SAFETY: the pin keeps as many initialised bytes at `start`, and the copy is memory of its own. Who writes to the
        // buffer from another thread meanwhile races as with `bytes(buffer)`.
        unsafe { std::ptr::copy_nonoverlapping(self.start, copy.as_mut_ptr(), copy.len()) };
        Ok(copy)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        unpin(&self.lease);
    }
}

/// A view has died.
fn unpin(lease: &Mutex<Lease>) {
    let ended = {
        let mut lease = lease.lock();
        lease.views -= 1;
        lease.take_idle()
    };
    if let Some(buffer) = ended {
        buffer.release();
    }
}

impl Buffer {
    pub(crate) fn new(buffer: pool::Buffer) -> Self {
        let (id, len, is_traced) = (buffer.id().get(), buffer.len(), buffer.is_traced());
        let lease = Lease { buffer: Some(buffer), views: 0, released: false, frozen: false };
        Self { lease: Arc::new(Mutex::new(lease)), id, len, is_traced }
    }

    /// Notes in the lease's record, if it keeps such notes, what is done here.
    #[inline]
    pub(crate) fn note(&self, py: Python<'_>, hint: &str) {
        if self.is_traced {
            self.note_traced(py, hint);
        }
    }

    /// The same of one that is sent to an actor.
    pub(crate) fn note_sent(&self, py: Python<'_>, path: &str) {
        if self.is_traced {
            self.note_traced(py, &format!("sent to {path}"));
        }
    }

    #[cold]
    fn note_traced(&self, py: Python<'_>, hint: &str) {
        // Before the lock is taken: it calls Python.
        let site = caller::site(py);
        if let Some(buffer) = &self.lease.lock().buffer {
            buffer.touch_at(hint, || site);
        }
    }

    /// From now on it is somebody else's than its owner's, should that be an actor that crashes.
    pub(crate) fn mark_handed_over(&self) {
        if let Some(buffer) = &mut self.lease.lock().buffer {
            buffer.mark_handed_over();
        }
    }

    fn gone(&self) -> PyErr {
        to_py_err(Error::BufferReleased { id: self.id })
    }

    /// Ends the lease; whether its memory went back at once.
    fn end(&self) -> PyResult<bool> {
        let ended = {
            let mut lease = self.lease.lock();
            if lease.released {
                return Err(self.gone());
            }
            lease.released = true;
            lease.take_idle()
        };
        let at_once = ended.is_some();
        if let Some(buffer) = ended {
            buffer.release();
        }
        Ok(at_once)
    }

    fn pin(&self) -> PyResult<Pin> {
        let mut lease = self.lease.lock();
        let start = match (&lease.buffer, lease.released) {
            (Some(buffer), false) => buffer.data_ptr().as_ptr(),
            _ => return Err(self.gone()),
        };
        lease.views += 1;
        Ok(Pin { lease: Arc::clone(&self.lease), start, frozen: lease.frozen })
    }

    /// A lease of its own with the same bytes, made without the GIL.
    fn duplicate(&self, py: Python<'_>) -> PyResult<pool::Buffer> {
        let pin = self.pin()?;
        py.detach(move || pin.copy()).map_err(to_py_err)
    }
}

#[pymethods]
impl Buffer {
    #[getter]
    fn id(&self) -> u64 {
        self.id
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.len
    }

    #[getter]
    fn released(&self) -> bool {
        self.lease.lock().released
    }

    #[getter]
    fn readonly(&self) -> bool {
        self.lease.lock().frozen
    }

    #[getter]
    fn views(&self) -> usize {
        self.lease.lock().views
    }

    fn release(&self) -> PyResult<bool> {
        self.end()
    }

    #[pyo3(signature = (hint=None))]
    fn touch(&self, py: Python<'_>, hint: Option<&str>) -> PyResult<()> {
        if self.released() {
            return Err(self.gone());
        }
        self.note(py, hint.unwrap_or("touch"));
        Ok(())
    }

    fn hand_over(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        if slf.released() {
            return Err(slf.gone());
        }
        slf.mark_handed_over();
        Ok(slf)
    }

    fn freeze(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.note(slf.py(), "freeze");
        {
            let mut lease = slf.lease.lock();
            if lease.released {
                return Err(slf.gone());
            }
            if !lease.frozen && lease.views > 0 {
                let views = lease.views;
                return Err(invalid(format!("the buffer has {views} views that can write: let go of them first")));
            }
            lease.frozen = true;
        }
        Ok(slf)
    }

    fn __len__(&self) -> usize {
        self.len
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        PyMemoryView::from(slf.as_any())?.get_item(index)
    }

    fn __setitem__(slf: &Bound<'_, Self>, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        PyMemoryView::from(slf.as_any())?.set_item(index, value)
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        if slf.lease.lock().released { Err(slf.gone()) } else { Ok(slf) }
    }

    #[pyo3(signature = (exc_type, exc, tb, /))]
    fn __exit__(
        &self,
        exc_type: Option<Bound<'_, PyAny>>,
        exc: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) {
        let _ = (exc_type, exc, tb);
        // A release inside the block is no mistake.
        let _ = self.end();
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        self.duplicate(py).map(Self::new)
    }

    #[pyo3(signature = (memo, /))]
    fn __deepcopy__(&self, py: Python<'_>, memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        let _ = memo;
        self.__copy__(py)
    }

    /// By value: what is unpickled belongs to no pool. From protocol 5 on the bytes can travel out of band, without a copy.
    #[pyo3(signature = (protocol, /))]
    fn __reduce_ex__<'py>(slf: &Bound<'py, Self>, protocol: u32) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let kind = if slf.get().readonly() { py.get_type::<PyBytes>() } else { py.get_type::<PyByteArray>() };
        let bytes = if protocol >= 5 {
            py.import("pickle")?.call_method1("PickleBuffer", (slf,))?
        } else {
            py.get_type::<PyBytes>().call1((slf,))?
        };
        PyTuple::new(py, [kind.into_any(), PyTuple::new(py, [bytes])?.into_any()])
    }

    #[pyo3(signature = (*, stream=None, max_version=None, dl_device=None, copy=None))]
    fn __dlpack__<'py>(
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
            self.note(py, "dlpack");
            Export { start: pin.start, len, read_only: pin.frozen, is_copy: false, keeper: Box::new(pin) }
        };
        dlpack::capsule(py, export, max_version)
    }

    #[allow(clippy::unused_self)]
    fn __dlpack_device__(&self) -> (i32, i32) {
        dlpack::CPU
    }

    /// numpy asks here when the buffer protocol has failed: to hear why.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if slf.get().released() {
            return Err(slf.get().gone());
        }
        let numpy = py.import("numpy")?;
        let view = PyMemoryView::from(slf.as_any())?;
        let array = numpy.call_method1("frombuffer", (view, "uint8"))?;
        match (dtype, copy) {
            (Some(dtype), copy) if !dtype.eq(numpy.getattr("uint8")?)? => {
                if copy == Some(false) {
                    return Err(invalid(format!("a Buffer is uint8: {dtype} needs a copy")));
                }
                array.call_method1("astype", (dtype,))
            }
            (_, Some(true)) => array.call_method0("copy"),
            _ => Ok(array),
        }
    }

    /// # Safety
    /// Called by the interpreter, with a view to fill in.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("there is no view to fill in"));
        }
        let this = slf.get();
        this.note(slf.py(), "view");
        let mut lease = this.lease.lock();
        let start = match (&lease.buffer, lease.released) {
            (Some(buffer), false) => buffer.data_ptr().as_ptr().cast::<c_void>(),
            _ => {
                // SAFETY: `view` is not null; the protocol wants `obj` null after an error.
                unsafe { (*view).obj = std::ptr::null_mut() };
                return Err(this.gone());
            }
        };
        let len = ffi::Py_ssize_t::try_from(this.len)?;
        let read_only = c_int::from(lease.frozen);
        // SAFETY: `view` is the interpreter's to fill, the memory is valid for `len` bytes, writable unless it says that it
        // is not, and the view's reference to `slf` keeps it so: the lease is not ended while a view is counted.
        let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, len, read_only, flags) };
        if filled != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        lease.views += 1;
        Ok(())
    }

    /// # Safety
    /// Called by the interpreter, once for each view that `__getbuffer__` filled in.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        unpin(&self.lease);
    }

    fn __repr__(&self) -> String {
        let lease = self.lease.lock();
        let state = match (lease.released, lease.frozen, lease.views) {
            (false, false, _) => String::new(),
            (false, true, _) => ", read-only".to_owned(),
            (true, _, 0) => ", released".to_owned(),
            (true, _, 1) => ", released when its last view dies".to_owned(),
            (true, _, views) => format!(", released when its {views} views die"),
        };
        format!("<ironcliw.Buffer id={} of {} bytes{state}>", self.id, self.len)
    }
}
