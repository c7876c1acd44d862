//! The work that every peer does, without an actor around it.

use std::hint::black_box;

use numpy::{IntoPyArray, PyArray1};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Channels of an expanded frame.
const CHANNELS: usize = 3;

/// The small request.
#[pyfunction]
pub(crate) fn add_one(number: u64) -> u64 {
    number + 1
}

/// Computes for so many steps, which take the same time each: a count and not a deadline, so that a thread that has to
/// share its core takes longer, as real work does.
pub(crate) fn burn(steps: u64) -> u64 {
    (0..steps)
        .fold(steps, |state, step| black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step | 1)))
}

/// The job of some 200 µs, without the GIL.
#[pyfunction]
pub(crate) fn spin(py: Python<'_>, steps: u64) -> u64 {
    py.detach(|| burn(steps))
}

/// The same on so many threads at once, `jobs` times each.
#[pyfunction]
pub(crate) fn spin_together(py: Python<'_>, steps: u64, jobs: u32, threads: usize) {
    py.detach(|| {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..jobs).for_each(|_| _ = black_box(burn(black_box(steps)))));
            }
        });
    });
}

/// Bytes of a Python object, borrowed and kept alive; dropping it takes the GIL.
pub(crate) struct Frame(PyBuffer<u8>);

impl Frame {
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyBuffer::get(object)?;
        if buffer.is_c_contiguous() { Ok(Self(buffer)) } else { Err(PyValueError::new_err("a frame is contiguous")) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the buffer is held, contiguous and as long as it says. That nobody writes to it meanwhile is the
        // benchmark's to see to.
        unsafe { std::slice::from_raw_parts(self.0.buf_ptr().cast::<u8>(), self.0.len_bytes()) }
    }

    /// Reads all of it.
    pub(crate) fn total(&self) -> u64 {
        self.bytes().chunks(1 << 12).map(|part| part.iter().map(|&byte| u64::from(byte)).sum::<u64>()).sum()
    }

    /// Gray to RGB, into fresh memory.
    pub(crate) fn expanded(&self) -> Vec<u8> {
        let gray = self.bytes();
        let mut out = vec![0; gray.len() * CHANNELS];
        for (pixel, &level) in out.chunks_exact_mut(CHANNELS).zip(gray) {
            pixel.fill(level);
        }
        out
    }
}

/// The sum of a frame's bytes, without the GIL.
#[pyfunction]
pub(crate) fn sum(py: Python<'_>, frame: &Bound<'_, PyAny>) -> PyResult<u64> {
    let frame = Frame::of(frame)?;
    Ok(py.detach(|| frame.total()))
}

/// A gray frame as RGB, without the GIL; the array owns the memory that was written.
#[pyfunction]
pub(crate) fn expand<'py>(py: Python<'py>, frame: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let frame = Frame::of(frame)?;
    Ok(py.detach(|| frame.expanded()).into_pyarray(py))
}

/// An expanded frame on its way to Python.
pub(crate) struct Expanded(pub(crate) Vec<u8>);

impl<'py> IntoPyObject<'py> for Expanded {
    type Target = PyArray1<u8>;
    type Output = Bound<'py, PyArray1<u8>>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(self.0.into_pyarray(py))
    }
}
