//! `Buffer`: a lease of pooled memory that Python may write to.

use std::ffi::{c_int, c_void};

use ironcliw_actors::Error;
use ironcliw_actors::pool;
use parking_lot::Mutex;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::errors::to_py_err;

struct Lease {
    /// None once it went back to the pool.
    buffer: Option<pool::Buffer>,
    /// Views through the buffer protocol that live.
    views: usize,
    released: bool,
}

/// A lease of pooled memory: writable bytes that `memoryview` and `numpy.asarray` view without a copy.
///
/// A release while views live is deferred until the last of them has died: a view never dangles.
#[pyclass(frozen, module = "ironcliw", weakref)]
pub(crate) struct Buffer {
    lease: Mutex<Lease>,
    id: u64,
    len: usize,
}

impl Buffer {
    pub(crate) fn new(buffer: pool::Buffer) -> Self {
        let (id, len) = (buffer.id().get(), buffer.len());
        Self { lease: Mutex::new(Lease { buffer: Some(buffer), views: 0, released: false }), id, len }
    }

    fn gone(&self) -> PyErr {
        to_py_err(Error::BufferReleased { id: self.id })
    }

    fn end(&self) -> PyResult<()> {
        let ended = {
            let mut lease = self.lease.lock();
            if lease.released {
                return Err(self.gone());
            }
            lease.released = true;
            if lease.views == 0 { lease.buffer.take() } else { None }
        };
        if let Some(buffer) = ended {
            buffer.release();
        }
        Ok(())
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

    fn release(&self) -> PyResult<()> {
        self.end()
    }

    fn __len__(&self) -> usize {
        self.len
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
        let view = pyo3::types::PyMemoryView::from(slf.as_any())?;
        let array = numpy.call_method1("frombuffer", (view, "uint8"))?;
        match (dtype, copy) {
            (Some(dtype), copy) if !dtype.eq(numpy.getattr("uint8")?)? => {
                if copy == Some(false) {
                    let message = format!("a Buffer is uint8: {dtype} needs a copy");
                    return Err(crate::args::invalid(message));
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
        // SAFETY: `view` is the interpreter's to fill, the memory is valid for `len` writable bytes, and the view's
        // reference to `slf` keeps it so: the lease is not ended while a view is counted.
        let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, len, 0, flags) };
        if filled != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        lease.views += 1;
        Ok(())
    }

    /// # Safety
    /// Called by the interpreter, once for each view that `__getbuffer__` filled in.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        let ended = {
            let mut lease = self.lease.lock();
            lease.views -= 1;
            if lease.views == 0 && lease.released { lease.buffer.take() } else { None }
        };
        if let Some(buffer) = ended {
            buffer.release();
        }
    }

    fn __repr__(&self) -> String {
        let lease = self.lease.lock();
        let state = match (lease.released, lease.views) {
            (false, _) => "",
            (true, 0) => ", released",
            (true, _) => ", released when its views die",
        };
        format!("<ironcliw.Buffer id={} of {} bytes{state}>", self.id, self.len)
    }
}
