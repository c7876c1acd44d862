//! `BufferView`: a part of a buffer that pins it, and is bytes like it.

use std::ffi::c_int;

use ironcliw_actors::pool::Misuse;
use parking_lot::Mutex;
use pyo3::exceptions::PyOverflowError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PyTuple};

use crate::args;
use crate::buffer::Buffer;
use crate::dlpack;
use crate::errors::{classes, to_py_err};
use crate::lease::{Lease, Part, Pin};

#[pyclass(frozen, module = "ironcliw", weakref)]
pub(crate) struct BufferView {
    part: Part,
    /// None once it was released. Pins as a reader: what could write are views of this view.
    pin: Mutex<Option<Pin>>,
}

/// A place in a buffer; `Err` is its text when it is no number that a place could be.
fn place(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Result<usize, String>> {
    match object.extract::<usize>() {
        Ok(at) => Ok(Ok(at)),
        Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => Ok(Err(args::shown(object))),
        Err(error) => Err(args::not_an_int(object, name, error)),
    }
}

impl BufferView {
    /// `bytes[start:stop]` of `of`, a counted error where a slice would be shorter.
    pub(crate) fn of_range(
        py: Python<'_>,
        of: &Part,
        start: &Bound<'_, PyAny>,
        stop: Option<&Bound<'_, PyAny>>,
        readonly: bool,
    ) -> PyResult<Self> {
        let start = place(start, "start")?;
        let stop = stop.map_or(Ok(Ok(of.len)), |stop| place(stop, "stop"))?;
        Self::within(py, of, start, stop, readonly)
    }

    /// `nbytes` bytes of `of` from `offset` on.
    pub(crate) fn of_bytes(
        py: Python<'_>,
        of: &Part,
        offset: &Bound<'_, PyAny>,
        nbytes: &Bound<'_, PyAny>,
        readonly: bool,
    ) -> PyResult<Self> {
        let (start, nbytes) = (place(offset, "offset")?, place(nbytes, "nbytes")?);
        let stop = nbytes.map(|nbytes| start.as_ref().map_or(nbytes, |start| start.saturating_add(nbytes)));
        Self::within(py, of, start, stop, readonly)
    }

    fn within(
        py: Python<'_>,
        of: &Part,
        start: Result<usize, String>,
        stop: Result<usize, String>,
        readonly: bool,
    ) -> PyResult<Self> {
        let mut part = of.clone();
        part.reads_only |= readonly;
        // First: a use after the end is that, whatever the range.
        let pin = Part { reads_only: true, ..of.clone() }.pin()?;
        let range = match (start, stop) {
            (Ok(start), Ok(stop)) => of.lease.misuse.range(start..stop, of.len).map_err(to_py_err)?,
            (start, stop) => {
                of.lease.misuse.count(Misuse::OutOfBounds);
                let text = |at: Result<usize, String>| at.map_or_else(|text| text, |at| at.to_string());
                let message = format!("bytes {} to {} of {}", text(start), text(stop), of.len);
                return Err(classes::OutOfBounds::new_err(message));
            }
        };
        part.offset += range.start;
        part.len = range.len();
        part.is_view = true;
        part.lease.note(py, "slice");
        Ok(Self { part, pin: Mutex::new(Some(pin)) })
    }

    fn is_released(&self) -> bool {
        self.pin.lock().is_none()
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.part.lease
    }

    /// The part, unless it was released.
    fn part(&self) -> PyResult<&Part> {
        if self.is_released() { Err(self.part.lease.gone()) } else { Ok(&self.part) }
    }
}

#[pymethods]
impl BufferView {
    #[getter]
    fn id(&self) -> u64 {
        self.part.lease.id
    }

    #[getter]
    fn offset(&self) -> usize {
        self.part.offset
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.part.len
    }

    #[getter]
    fn released(&self) -> bool {
        self.is_released()
    }

    #[getter]
    fn readonly(&self) -> bool {
        self.part.is_readonly()
    }

    #[pyo3(signature = (start=None, stop=None, *, readonly=false))]
    fn view(
        &self,
        py: Python<'_>,
        start: Option<&Bound<'_, PyAny>>,
        stop: Option<&Bound<'_, PyAny>>,
        readonly: bool,
    ) -> PyResult<Self> {
        let zero = 0usize.into_pyobject(py)?.into_any();
        Self::of_range(py, self.part()?, start.unwrap_or(&zero), stop, readonly)
    }

    #[pyo3(signature = (offset, nbytes, *, readonly=false))]
    fn slice(
        &self,
        py: Python<'_>,
        offset: &Bound<'_, PyAny>,
        nbytes: &Bound<'_, PyAny>,
        readonly: bool,
    ) -> PyResult<Self> {
        Self::of_bytes(py, self.part()?, offset, nbytes, readonly)
    }

    #[pyo3(signature = (hint=None))]
    fn touch(&self, py: Python<'_>, hint: Option<&str>) -> PyResult<()> {
        self.part()?.lease.note(py, hint.unwrap_or("touch"));
        Ok(())
    }

    fn release(&self) -> PyResult<()> {
        let pin = self.pin.lock().take();
        match pin {
            Some(pin) => {
                drop(pin);
                Ok(())
            }
            None => Err(to_py_err(self.part.lease.misuse.released_twice(self.part.lease.id))),
        }
    }

    fn __len__(&self) -> usize {
        self.part.len
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        PyMemoryView::from(slf.as_any())?.get_item(index)
    }

    fn __setitem__(slf: &Bound<'_, Self>, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        PyMemoryView::from(slf.as_any())?.set_item(index, value)
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.part()?;
        Ok(slf)
    }

    #[pyo3(signature = (exc_type, exc, tb, /))]
    fn __exit__(
        &self,
        exc_type: Option<Bound<'_, PyAny>>,
        exc: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) {
        let _ = (exc_type, exc, tb);
        let pin = self.pin.lock().take();
        drop(pin);
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Buffer> {
        self.part()?.duplicate(py).map(Buffer::new)
    }

    #[pyo3(signature = (memo, /))]
    fn __deepcopy__(&self, py: Python<'_>, memo: &Bound<'_, PyAny>) -> PyResult<Buffer> {
        let _ = memo;
        self.__copy__(py)
    }

    #[pyo3(signature = (protocol, /))]
    fn __reduce_ex__<'py>(slf: &Bound<'py, Self>, protocol: u32) -> PyResult<Bound<'py, PyTuple>> {
        slf.get().part()?.reduce(slf.as_any(), protocol)
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
        self.part()?.dlpack(py, stream, max_version, dl_device, copy)
    }

    #[allow(clippy::unused_self)]
    fn __dlpack_device__(&self) -> (i32, i32) {
        dlpack::CPU
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().part.array(slf.as_any(), slf.get().is_released(), dtype, copy)
    }

    /// # Safety
    /// Called by the interpreter, with a view to fill in.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let Self { part, pin } = slf.get();
        // Under the lock, so that the lease stays pinned; what follows may call Python, and a finalizer may release this.
        let entered = pin.lock().as_ref().and_then(|_| part.enter());
        // SAFETY: the interpreter's view.
        unsafe { part.fill(slf.as_any(), view, flags, entered) }?;
        slf.get().lease().note(slf.py(), "view");
        Ok(())
    }

    /// # Safety
    /// Called by the interpreter, once for each view that `__getbuffer__` filled in.
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: as said.
        unsafe { self.part.unfill(view) }
    }

    fn __repr__(&self) -> String {
        let Part { lease, offset, len, .. } = &self.part;
        let state = match (self.is_released(), self.part.is_readonly()) {
            (true, _) => ", released",
            (false, true) => ", read-only",
            (false, false) => "",
        };
        format!("<ironcliw.BufferView of {len} bytes from {offset} on of buffer {}{state}>", lease.id)
    }
}
