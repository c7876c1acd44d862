//! `Buffer`: a lease of pooled memory that Python may write to.

use std::ffi::c_int;
use std::sync::Arc;

use ironcliw_actors::Error;
use ironcliw_actors::pool::{self, Misuse, MisuseCounter};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PyTuple};

use crate::dlpack;
use crate::errors::to_py_err;
use crate::lease::{Lease, Look, Part};
use crate::view::BufferView;

/// A lease of pooled memory: writable bytes that `memoryview`, numpy and DLPack view without a copy.
///
/// A release while views live is deferred until the last of them has died: a view never dangles.
#[pyclass(frozen, module = "ironcliw", weakref)]
pub(crate) struct Buffer(Part);

impl Buffer {
    pub(crate) fn new(buffer: pool::Buffer) -> Self {
        let len = buffer.len();
        Self(Part { lease: Lease::new(buffer), offset: 0, len, reads_only: false, is_view: false })
    }

    pub(crate) fn lease(&self) -> &Lease {
        &self.0.lease
    }

    /// Ends the lease; whether its memory went back at once.
    pub(crate) fn end(&self) -> PyResult<bool> {
        let lease = self.lease();
        lease.end().ok_or_else(|| to_py_err(lease.misuse.released_twice(lease.id)))
    }

    /// The same, where it is brought to the pool with this counter.
    pub(crate) fn end_in(&self, pool: &Arc<MisuseCounter>) -> PyResult<bool> {
        let lease = self.lease();
        if Arc::ptr_eq(&lease.misuse, pool) {
            return self.end();
        }
        pool.count(Misuse::ForeignRelease);
        Err(to_py_err(Error::ForeignBuffer { id: lease.id }))
    }
}

#[pymethods]
impl Buffer {
    #[getter]
    fn id(&self) -> u64 {
        self.lease().id
    }

    #[getter]
    fn nbytes(&self) -> usize {
        self.0.len
    }

    #[getter]
    fn released(&self) -> bool {
        self.lease().look().released
    }

    #[getter]
    fn readonly(&self) -> bool {
        self.0.is_readonly()
    }

    #[getter]
    fn views(&self) -> usize {
        self.lease().look().views
    }

    fn release(&self) -> PyResult<bool> {
        self.end()
    }

    #[pyo3(signature = (hint=None))]
    fn touch(&self, py: Python<'_>, hint: Option<&str>) -> PyResult<()> {
        if self.released() {
            return Err(self.lease().gone());
        }
        self.lease().note(py, hint.unwrap_or("touch"));
        Ok(())
    }

    fn hand_over(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        if slf.released() {
            return Err(slf.lease().gone());
        }
        slf.lease().mark_handed_over();
        Ok(slf)
    }

    fn freeze(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.lease().freeze()?;
        slf.lease().note(slf.py(), "freeze");
        Ok(slf)
    }

    #[pyo3(signature = (start=None, stop=None, *, readonly=false))]
    fn view(
        &self,
        py: Python<'_>,
        start: Option<&Bound<'_, PyAny>>,
        stop: Option<&Bound<'_, PyAny>>,
        readonly: bool,
    ) -> PyResult<BufferView> {
        let zero = 0usize.into_pyobject(py)?.into_any();
        BufferView::of_range(py, &self.0, start.unwrap_or(&zero), stop, readonly)
    }

    #[pyo3(signature = (offset, nbytes, *, readonly=false))]
    fn slice(
        &self,
        py: Python<'_>,
        offset: &Bound<'_, PyAny>,
        nbytes: &Bound<'_, PyAny>,
        readonly: bool,
    ) -> PyResult<BufferView> {
        BufferView::of_bytes(py, &self.0, offset, nbytes, readonly)
    }

    fn __len__(&self) -> usize {
        self.0.len
    }

    fn __getitem__<'py>(slf: &Bound<'py, Self>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        PyMemoryView::from(slf.as_any())?.get_item(index)
    }

    fn __setitem__(slf: &Bound<'_, Self>, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        PyMemoryView::from(slf.as_any())?.set_item(index, value)
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        if slf.released() { Err(slf.lease().gone()) } else { Ok(slf) }
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
        self.lease().end();
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Self> {
        self.0.duplicate(py).map(Self::new)
    }

    #[pyo3(signature = (memo, /))]
    fn __deepcopy__(&self, py: Python<'_>, memo: &Bound<'_, PyAny>) -> PyResult<Self> {
        let _ = memo;
        self.__copy__(py)
    }

    #[pyo3(signature = (protocol, /))]
    fn __reduce_ex__<'py>(slf: &Bound<'py, Self>, protocol: u32) -> PyResult<Bound<'py, PyTuple>> {
        slf.get().0.reduce(slf.as_any(), protocol)
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
        self.0.dlpack(py, stream, max_version, dl_device, copy)
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
        slf.get().0.array(slf.as_any(), slf.get().released(), dtype, copy)
    }

    /// # Safety
    /// Called by the interpreter, with a view to fill in.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        // SAFETY: as said.
        unsafe { slf.get().0.fill(slf.as_any(), view, flags, slf.get().0.enter()) }?;
        slf.get().lease().note(slf.py(), "view");
        Ok(())
    }

    /// # Safety
    /// Called by the interpreter, once for each view that `__getbuffer__` filled in.
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: as said.
        unsafe { self.0.unfill(view) }
    }

    fn __repr__(&self) -> String {
        let Look { views, released, frozen } = self.lease().look();
        let state = match (released, frozen, views) {
            (false, false, _) => String::new(),
            (false, true, _) => ", read-only".to_owned(),
            (true, _, 0) => ", released".to_owned(),
            (true, _, 1) => ", released when its last view dies".to_owned(),
            (true, _, views) => format!(", released when its {views} views die"),
        };
        format!("<ironcliw.Buffer id={} of {} bytes{state}>", self.lease().id, self.0.len)
    }
}
