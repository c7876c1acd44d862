//! Numpy arrays, both ways without a copy.
//!
//! In: an array is borrowed (`lending.rs`). Out: an array views a pooled buffer, which
//! its base object owns; when the last view dies, the buffer returns to the pool.

use ironcliw_actors::image::{Channels, Image, ImageView, Input, Planes, Size, Source, Strides};
use ironcliw_actors::inference::Tensor;
use ironcliw_actors::lent::Lent;
use ironcliw_actors::pool::Buffer;
use numpy::ndarray::{ArrayViewD, IxDyn, ShapeBuilder};
use numpy::{Element, PyArray, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::args::invalid;
use crate::bridge::{Keep, Outcome};
use crate::errors::to_py_err;
use crate::lending::{Lending, data, extent};
use crate::overlap::Extent;

pub(crate) fn as_array<'a, 'py>(object: &'a Bound<'py, PyAny>, what: &str) -> PyResult<&'a Bound<'py, PyUntypedArray>> {
    object.cast::<PyUntypedArray>().map_err(|_| {
        let kind = object.get_type().qualname().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("{what} must be a numpy array, not {kind}"))
    })
}

/// Borrows an image: uint8, `(H, W)` or `(H, W, 1 | 3 | 4)`, of any strides.
pub(crate) fn image(object: &Bound<'_, PyAny>, lending: &mut Lending) -> PyResult<Source> {
    let array = as_array(object, "an image")?;
    let py = object.py();
    if !array.dtype().is_equiv_to(&numpy::dtype::<u8>(py)) {
        return Err(invalid(format!("an image must have dtype uint8, not {}", array.dtype())));
    }
    let shape = array.shape();
    let channels = match shape {
        [_, _] => 1,
        [_, _, channels] => *channels,
        _ => return Err(invalid(format!("an image has the shape (H, W) or (H, W, C), not {}", tuple(shape)))),
    };
    let channels = Channels::from_count(channels).map_err(|_| {
        invalid(format!("an image has 1, 3 or 4 channels, not {channels}: its shape is {}", tuple(shape)))
    })?;
    let size = Size::new(shape[1], shape[0]).map_err(to_py_err)?;
    let strides = array.strides();
    let strides = Strides {
        row: strides[0],
        pixel: strides[1],
        channel: strides.get(2).copied().unwrap_or(size_of::<u8>() as isize),
    };
    let keeper = lending.input(object, size.bytes(channels), || extent(array))?;
    // SAFETY: numpy's shape and strides describe memory that the array keeps alive, and the keeper keeps the array; that
    // nobody writes meanwhile is the documented promise of the caller, whose breach yields wrong pixels, read as plain
    // bytes.
    unsafe {
        let view = ImageView::from_raw_parts(data(array).cast_const(), size, channels, strides);
        Ok(Source::lent(view, keeper))
    }
}

/// Borrows what a pipeline begins with: an image, or the bytes of a JPEG or PNG file, which have one dimension.
pub(crate) fn input(object: &Bound<'_, PyAny>, lending: &mut Lending) -> PyResult<Input> {
    let is_file = match object.cast::<PyUntypedArray>() {
        Ok(array) => array.ndim() == 1,
        // What is no array and no bytes either is told that it should have been an array.
        Err(_) => PyMemoryView::from(object).is_ok(),
    };
    if is_file {
        Input::file(bytes(object, lending)?).map_err(to_py_err)
    } else {
        image(object, lending).map(Input::Pixels)
    }
}

/// Borrows a model's input: float32 of any shape and strides.
pub(crate) fn tensor(object: &Bound<'_, PyAny>, lending: &mut Lending) -> PyResult<Tensor> {
    let array = as_array(object, "a model's input")?;
    if !array.dtype().is_equiv_to(&numpy::dtype::<f32>(object.py())) {
        let message = format!("a model's input must have dtype float32, not {}", array.dtype());
        return Err(to_py_err(ironcliw_actors::Error::Model(message)));
    }
    let (shape, strides) = (array.shape().to_vec(), array.strides().to_vec());
    let bytes = array.len().saturating_mul(size_of::<f32>());
    let keeper = lending.input(object, bytes, || extent(array))?;
    // SAFETY: as in `image`.
    unsafe { Tensor::lent(data(array).cast::<f32>().cast_const(), shape, strides, keeper).map_err(to_py_err) }
}

/// Borrows bytes-like data.
pub(crate) fn bytes(object: &Bound<'_, PyAny>, lending: &mut Lending) -> PyResult<Lent<u8>> {
    // The memoryview pins the exporter's memory (a bytearray cannot be resized meanwhile) for as long as it lives.
    let pin = PyMemoryView::from(object)?;
    let buffer = PyBuffer::<u8>::get(&pin).map_err(|_| invalid("the data must be bytes: one dimension of uint8"))?;
    if !buffer.is_c_contiguous() {
        return Err(invalid("the data must be contiguous"));
    }
    let (start, len) = (buffer.buf_ptr().cast::<u8>().cast_const(), buffer.len_bytes());
    let start = if start.is_null() { std::ptr::NonNull::dangling().as_ptr() } else { start };
    let keeper = lending.input(pin.as_any(), len, || Extent::solid(start as usize, len))?;
    // SAFETY: the memoryview, which the keeper holds, keeps the exporter's memory in place; not writing to it is the caller's
    // promise, as for arrays.
    Ok(unsafe { Lent::new(start, len, keeper) })
}

/// Copies an array of weights to row-major float32; float64 is narrowed.
pub(crate) fn weights(object: &Bound<'_, PyAny>, name: &str) -> PyResult<(Vec<f32>, Vec<usize>)> {
    let array = as_array(object, name)?;
    let py = object.py();
    let dtype = array.dtype();
    let known = dtype.is_equiv_to(&numpy::dtype::<f32>(py)) || dtype.is_equiv_to(&numpy::dtype::<f64>(py));
    if !known {
        let message = format!("{name} must have dtype float32 or float64, not {dtype}");
        return Err(to_py_err(ironcliw_actors::Error::Model(message)));
    }
    let shape = array.shape().to_vec();
    let dense = py.import("numpy")?.call_method1("ascontiguousarray", (array, numpy::dtype::<f32>(py)))?;
    let dense = dense.cast::<PyArrayDyn<f32>>()?.try_readonly()?;
    Ok((dense.as_slice()?.to_vec(), shape))
}

/// Owns the pooled buffer that an array views.
#[pyclass(frozen, module = "ironcliw._native", name = "_Pooled")]
struct Pooled {
    _buffer: Buffer,
}

/// An array over a pooled buffer.
fn pooled<T: Element>(py: Python<'_>, buffer: Buffer, shape: &[usize]) -> PyResult<Py<PyAny>> {
    let needed: usize = shape.iter().product::<usize>() * size_of::<T>();
    assert!(needed <= buffer.len(), "a result's buffer holds its shape");
    let start = buffer.data_ptr().cast::<T>().as_ptr();
    let owner = Bound::new(py, Pooled { _buffer: buffer })?;
    // SAFETY: the block is aligned to 64, initialised, long enough by the assertion, and stays where it is while the
    // buffer lives, which the array's base object owns. Nobody else has a reference to it.
    let array = unsafe {
        let view = ArrayViewD::from_shape_ptr(IxDyn(shape).into_shape_with_order(), start);
        PyArray::borrow_from_array(&view, owner.into_any())
    };
    Ok(array.into_any().unbind())
}

/// Whether an image that came with one channel came as `(H, W, 1)`.
pub(crate) fn has_channel_axis(object: &Bound<'_, PyAny>) -> bool {
    object.cast::<PyUntypedArray>().is_ok_and(|array| array.ndim() == 3)
}

/// An image as an array: `(H, W)` for gray, unless its axis of one channel is to be kept, else `(H, W, C)`.
pub(crate) fn from_image(image: Image, keep_axis: bool) -> Outcome {
    Outcome::value(move |py| {
        let (height, width) = (image.size.height(), image.size.width());
        match image.channels {
            Channels::Gray if !keep_axis => pooled::<u8>(py, image.buffer, &[height, width]),
            channels => pooled::<u8>(py, image.buffer, &[height, width, channels.count()]),
        }
    })
}

/// Float32 values as an array.
pub(crate) fn from_planes(planes: Planes) -> Outcome {
    Outcome::value(move |py| pooled::<f32>(py, planes.buffer, &planes.shape))
}

/// Bytes as an array.
pub(crate) fn from_bytes(planes: Planes) -> Outcome {
    Outcome::value(move |py| pooled::<u8>(py, planes.buffer, &planes.shape))
}

/// The array that a result was written to.
pub(crate) fn from_out(out: Option<Keep>) -> Outcome {
    Outcome::value(move |py| Ok(out.and_then(|array| array.into_inner(py)).unwrap_or_else(|| py.None())))
}

/// A shape as Python prints it.
pub(crate) fn tuple(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => format!("({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}
