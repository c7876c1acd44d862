//! How a call is a coroutine to `create_task` and not one to `asyncio.wait`.
//!
//! `create_task`, `TaskGroup.create_task` and `asyncio.run` take nothing but a coroutine: a type with `send`,
//! `throw` and `close`. `asyncio.wait` takes a future but refuses whatever is a coroutine as well, and asyncio
//! remembers the answer by type. What tells the two apart is that `wait` puts its arguments into a set
//! first. So a call begins as a [`CoroutineCall`], which is a `Call` with `close`, and the first `hash()` turns it
//! into a plain `Call`: a future, and a coroutine no more. Either way it is awaited alike.

use pyo3::PyTypeInfo;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::Call;

/// A `Call` that nobody has hashed: a future and a coroutine.
#[pyclass(extends = Call, module = "ironcliw", name = "Call", frozen)]
pub(super) struct CoroutineCall;

#[pymethods]
impl CoroutineCall {
    /// Part of the coroutine protocol: whoever awaited has gone. The call goes on; ``cancel`` ends it.
    #[allow(clippy::unused_self)]
    fn close(&self) {}
}

/// A new call, as a coroutine.
pub(in crate::bridge) fn new<'py>(py: Python<'py>, call: Call) -> PyResult<Bound<'py, Call>> {
    let both = PyClassInitializer::from(call).add_subclass(CoroutineCall);
    Ok(Bound::new(py, both)?.into_super())
}

/// Makes a call a future only.
pub(super) fn end(call: &Bound<'_, Call>) -> PyResult<()> {
    let py = call.py();
    let coroutine = CoroutineCall::type_object(py);
    if !call.get_type().is(&coroutine) || !same_layout(py)? {
        return Ok(());
    }
    let plain = Call::type_object(py).into_ptr();
    // SAFETY: both types are heap types of ours, and `same_layout` says that an instance of one is an instance
    // of the other bit by bit: `CoroutineCall` adds a method and no field, so `Call`'s slots, its deallocation
    // included, do right by the object. An instance owns a reference to its type: `plain` was taken with one
    // by `into_ptr`, the former type's is given back. The GIL is held throughout.
    unsafe {
        let former = (*call.as_ptr()).ob_type;
        (*call.as_ptr()).ob_type = plain.cast();
        ffi::Py_DECREF(former.cast());
    }
    Ok(())
}

/// Whether the two types differ in nothing but their methods. If ever not, `asyncio.wait` refuses calls.
fn same_layout(py: Python<'_>) -> PyResult<bool> {
    static SAME: PyOnceLock<bool> = PyOnceLock::new();
    SAME.get_or_try_init(py, || {
        let (plain, coroutine) = (Call::type_object(py), CoroutineCall::type_object(py));
        for name in [
            intern!(py, "__basicsize__"),
            intern!(py, "__itemsize__"),
            intern!(py, "__dictoffset__"),
            intern!(py, "__weakrefoffset__"),
        ] {
            if !plain.getattr(name)?.eq(coroutine.getattr(name)?)? {
                return Ok(false);
            }
        }
        // SAFETY: both are types.
        let gc = unsafe {
            [plain.as_type_ptr(), coroutine.as_type_ptr()]
                .map(|found| ffi::PyType_GetFlags(found) & ffi::Py_TPFLAGS_HAVE_GC)
        };
        Ok(gc[0] == gc[1])
    })
    .copied()
}
