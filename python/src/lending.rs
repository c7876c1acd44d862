//! What one call borrows from Python: inputs, each an array or bytes, and perhaps the array that its result goes to.
//!
//! A borrowed object is kept alive by a [`Keep`] that travels with the pointer to it. The caller promises not to write to an
//! input, nor to touch `out`, until the call has released it; what can be checked of that at once is checked here.

use ironcliw_actors::lent::{Keeper, LentMut};
use numpy::npyffi::{NPY_ARRAY_ALIGNED, NPY_ARRAY_WRITEABLE};
use numpy::{Element, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::args::invalid;
use crate::arrays::{as_array, tuple};
use crate::bridge::{Keep, Loan, Terms};
use crate::overlap::{Claim, Extent, is_being_written};

/// A borrowed object. Its reference is handed back before the loan ends.
struct Borrowed {
    _object: Keep,
    _claim: Option<Claim>,
    _loan: Loan,
}

/// The borrowings of a call that is being made.
pub(crate) struct Lending {
    inputs: Loan,
    all: Loan,
    extents: Vec<Extent>,
    /// Bytes of the inputs, which are to be copied if `copies`.
    pub(crate) bytes: usize,
    pub(crate) copies: bool,
    writes: bool,
}

impl Lending {
    /// `copies`: the inputs are read to be copied only; `writes`: an `out` will follow.
    pub(crate) fn new(copies: bool, writes: bool) -> Self {
        let all = Loan::new();
        let inputs = if writes { Loan::within(&all) } else { all.clone() };
        Self { inputs, all, extents: Vec::new(), bytes: 0, copies, writes }
    }

    /// Borrows an input of so many bytes, once dense, that lie in `extent`.
    pub(crate) fn input(
        &mut self,
        object: &Bound<'_, PyAny>,
        bytes: usize,
        extent: impl Fn() -> Extent,
    ) -> PyResult<Keeper> {
        if is_being_written(&extent) {
            return Err(invalid("an input is the out of another call, which is not done with it"));
        }
        if self.writes && !self.copies {
            self.extents.push(extent());
        }
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(Box::new(Borrowed { _object: Keep::new(object), _claim: None, _loan: self.inputs.clone() }))
    }

    /// Borrows the array that the result goes to, an array of `T` of this shape. The inputs have been borrowed before.
    pub(crate) fn output<T: Element>(&self, out: &Bound<'_, PyAny>, shape: &[usize]) -> PyResult<LentMut<u8>> {
        self.output_where::<T>(out, &tuple(shape), |given| given == shape)
    }

    /// The same of a shape that only the work can tell in full; `expected` names it.
    pub(crate) fn output_where<T: Element>(
        &self,
        out: &Bound<'_, PyAny>,
        expected: &str,
        fits: impl FnOnce(&[usize]) -> bool,
    ) -> PyResult<LentMut<u8>> {
        let array = as_array(out, "out")?;
        let dtype = numpy::dtype::<T>(out.py());
        if !array.dtype().is_equiv_to(&dtype) {
            return Err(invalid(format!("out must have dtype {dtype}, not {}", array.dtype())));
        }
        if !fits(array.shape()) {
            return Err(invalid(format!("out must have the shape {expected}, not {}", tuple(array.shape()))));
        }
        if !array.is_c_contiguous() {
            return Err(invalid("out must be C-contiguous: the result is written without gaps"));
        }
        if !has_flag(array, NPY_ARRAY_WRITEABLE) {
            return Err(invalid("out must be writeable"));
        }
        if !has_flag(array, NPY_ARRAY_ALIGNED) {
            return Err(invalid("out must be aligned"));
        }
        let start = data(array);
        let len = array.len() * size_of::<T>();
        let bytes = start as usize..start as usize + len;
        if self.extents.iter().any(|extent| extent.covers_any(&bytes)) {
            return Err(invalid("out overlaps an input: give it memory of its own, or pass copy=True"));
        }
        let claim = Claim::of(&bytes);
        let claim = claim.ok_or_else(|| invalid("out is the out of another call, which is not done with it"))?;
        let keeper = Borrowed { _object: Keep::new(out), _claim: Some(claim), _loan: self.all.clone() };
        // SAFETY: the array covers these bytes without gaps, is writable, and is kept alive by the keeper. Any bytes are
        // valid `u8`. That nobody else touches them meanwhile is what the claim ensures among calls of ours and the
        // documented promise of the caller otherwise.
        Ok(unsafe { LentMut::new(start, len, Box::new(keeper)) })
    }

    /// How the call can wait for what it has borrowed.
    pub(crate) fn terms(&self) -> Terms {
        Terms { inputs: self.inputs.term(), all: self.all.term() }
    }
}

/// The bytes of an array.
pub(crate) fn extent(array: &Bound<'_, PyUntypedArray>) -> Extent {
    Extent {
        start: data(array) as usize,
        shape: array.shape().to_vec(),
        strides: array.strides().to_vec(),
        item_bytes: array.dtype().itemsize(),
    }
}

/// Where an array's first element is.
pub(crate) fn data(array: &Bound<'_, PyUntypedArray>) -> *mut u8 {
    // SAFETY: it is an array, which the GIL keeps as it is meanwhile.
    unsafe { (*array.as_array_ptr()).fields.data.cast() }
}

fn has_flag(array: &Bound<'_, PyUntypedArray>, flag: i32) -> bool {
    // SAFETY: as in `data`.
    unsafe { (*array.as_array_ptr()).fields.flags & flag != 0 }
}
