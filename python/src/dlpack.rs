//! DLPack: handing bytes to numpy, PyTorch, JAX and others without a copy.
//!
//! A capsule holds a pointer to a *managed tensor*: where the bytes are, their shape, and a deleter. A consumer renames the
//! capsule and calls the deleter when it is done, on any thread and perhaps without the GIL; a capsule that nobody renamed
//! calls it itself. So what keeps the memory must be plain Rust. Two forms exist: the one of before DLPack 1.0, which
//! cannot say that memory is read-only, and the versioned one. The layouts are those of `dlpack.h` 1.0.

use std::ffi::{CStr, c_void};

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

/// `kDLCPU`.
pub(crate) const CPU: (i32, i32) = (1, 0);

/// The version of the layouts below.
const VERSION: Version = Version { major: 1, minor: 0 };

const READ_ONLY: u64 = 1;
const IS_COPIED: u64 = 2;

const PLAIN: &CStr = c"dltensor";
const VERSIONED: &CStr = c"dltensor_versioned";

/// What is exported: memory that `keeper` keeps, dropped on any thread.
pub(crate) struct Export {
    pub(crate) start: *mut u8,
    pub(crate) len: usize,
    pub(crate) read_only: bool,
    pub(crate) is_copy: bool,
    pub(crate) keeper: Box<dyn Send>,
}

#[repr(C)]
struct Version {
    major: u32,
    minor: u32,
}

#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    dtype_code: u8,
    dtype_bits: u8,
    dtype_lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLManagedTensor`.
#[repr(C)]
struct Managed {
    tensor: Tensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Self)>,
}

/// `DLManagedTensorVersioned`.
#[repr(C)]
struct ManagedVersioned {
    version: Version,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Self)>,
    flags: u64,
    tensor: Tensor,
}

/// Either form.
trait Form: Sized {
    const NAME: &'static CStr;

    fn new(tensor: Tensor, context: *mut c_void, flags: u64) -> Self;
    fn context(&self) -> *mut c_void;
}

impl Form for Managed {
    const NAME: &'static CStr = PLAIN;

    fn new(tensor: Tensor, context: *mut c_void, _flags: u64) -> Self {
        Self { tensor, context, deleter: Some(delete::<Self>) }
    }

    fn context(&self) -> *mut c_void {
        self.context
    }
}

impl Form for ManagedVersioned {
    const NAME: &'static CStr = VERSIONED;

    fn new(tensor: Tensor, context: *mut c_void, flags: u64) -> Self {
        Self { version: VERSION, context, deleter: Some(delete::<Self>), flags, tensor }
    }

    fn context(&self) -> *mut c_void {
        self.context
    }
}

/// A managed tensor with all that it points to. `context` is the address of the whole.
struct Whole<M> {
    managed: Option<M>,
    shape: [i64; 1],
    strides: [i64; 1],
    _keeper: Box<dyn Send>,
}

/// # Safety
/// `managed` is one that [`capsule`] made, and this is the only call for it.
unsafe extern "C" fn delete<M: Form>(managed: *mut M) {
    // SAFETY: the caller's promise; `context` came from `Box::into_raw` of this type.
    drop(unsafe { Box::from_raw((*managed).context().cast::<Whole<M>>()) });
}

/// The destructor of a capsule: nobody took the tensor out if its name is still the first one.
unsafe extern "C" fn drop_capsule<M: Form>(capsule: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls it with the capsule, which it is about to free; a capsule of this name holds a pointer
    // that `capsule` made.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, M::NAME.as_ptr()) == 1 {
            delete::<M>(ffi::PyCapsule_GetPointer(capsule, M::NAME.as_ptr()).cast());
        }
    }
}

/// A capsule of bytes, in the form that the consumer understands.
///
/// # Errors
/// `BufferError`, as the standard has it, for read-only memory in the old form.
pub(crate) fn capsule(py: Python<'_>, export: Export, max_version: Option<(u32, u32)>) -> PyResult<Bound<'_, PyAny>> {
    if max_version.is_some_and(|(major, _)| major >= VERSION.major) {
        return capsule_of::<ManagedVersioned>(py, export);
    }
    if export.read_only {
        let message = "this consumer speaks a DLPack before 1.0, which cannot say that memory is read-only";
        return Err(PyBufferError::new_err(message));
    }
    capsule_of::<Managed>(py, export)
}

fn capsule_of<M: Form>(py: Python<'_>, export: Export) -> PyResult<Bound<'_, PyAny>> {
    let Export { start, len, read_only, is_copy, keeper } = export;
    let shape = [i64::try_from(len)?];
    let whole = Box::into_raw(Box::new(Whole::<M> { managed: None, shape, strides: [1], _keeper: keeper }));
    let flags = if read_only { READ_ONLY } else { 0 } | if is_copy { IS_COPIED } else { 0 };
    // SAFETY: `whole` is ours alone until the capsule has it; its fields are taken the address of, and stay where they are
    // as long as it lives.
    let managed: *mut M = unsafe {
        let tensor = Tensor {
            data: start.cast(),
            device_type: CPU.0,
            device_id: CPU.1,
            ndim: 1,
            // kDLUInt of 8 bits.
            dtype_code: 1,
            dtype_bits: 8,
            dtype_lanes: 1,
            shape: (&raw mut (*whole).shape).cast(),
            strides: (&raw mut (*whole).strides).cast(),
            byte_offset: 0,
        };
        (*whole).managed.insert(M::new(tensor, whole.cast(), flags))
    };
    // SAFETY: the pointer is not null, the name is static, and the destructor fits the pointer.
    unsafe {
        let capsule = ffi::PyCapsule_New(managed.cast(), M::NAME.as_ptr(), Some(drop_capsule::<M>));
        if capsule.is_null() {
            delete(managed);
            return Err(PyErr::fetch(py));
        }
        Ok(Bound::from_owned_ptr(py, capsule))
    }
}
