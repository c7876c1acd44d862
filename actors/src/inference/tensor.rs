//! [`Tensor`]: float32 values of any strides on their way to a model.

use crate::image::Planes;
use crate::lent::Keeper;
use crate::pool::{Owner, Pool};
use crate::{Error, Result};

/// A borrowed array of `f32`, row-major or of any strides.
pub struct Tensor {
    start: *const f32,
    shape: Vec<usize>,
    /// In bytes; may be negative or zero.
    strides: Vec<isize>,
    len: usize,
    _keeper: Keeper,
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?})", self.shape)
    }
}

// SAFETY: a shared borrow of plain values, as `&[f32]` is; the keeper is `Send`.
unsafe impl Send for Tensor {}
// SAFETY: likewise; only shared access is given.
unsafe impl Sync for Tensor {}

impl Tensor {
    /// An array in foreign memory; `strides` are in bytes.
    ///
    /// # Errors
    /// [`Error::Model`] for an array without values or with more than can be counted.
    ///
    /// # Safety
    /// For every index inside `shape`, the four bytes at `start + Σ index·stride` lie in one live allocation, hold an
    /// initialised value and are neither written nor freed until `keeper` has been dropped. `strides` is as long as
    /// `shape`. The values need not be aligned.
    pub unsafe fn lent(start: *const f32, shape: Vec<usize>, strides: Vec<isize>, keeper: Keeper) -> Result<Self> {
        assert_eq!(shape.len(), strides.len(), "a stride an axis");
        let len = shape.iter().try_fold(1_usize, |len, &side| len.checked_mul(side)).filter(|&len| len > 0);
        let Some(len) = len else {
            return Err(Error::Model(format!("an input of shape {shape:?} has no values, or too many")));
        };
        Ok(Self { start, shape, strides, len, _keeper: keeper })
    }

    /// A dense array.
    ///
    /// # Errors
    /// [`Error::Model`] if `values` is not as long as `shape` says.
    pub fn owned(values: Vec<f32>, shape: Vec<usize>) -> Result<Self> {
        let (start, len) = (values.as_ptr(), values.len());
        // SAFETY: the `len` values from `start` are the vector's heap block, which does not move with the vector, and the
        // vector is the keeper.
        unsafe { Self::dense(start, len, shape, Box::new(values)) }
    }

    /// # Safety
    /// The `len` values from `start` are aligned, initialised, and neither written nor freed until `keeper` has been
    /// dropped.
    unsafe fn dense(start: *const f32, len: usize, shape: Vec<usize>, keeper: Keeper) -> Result<Self> {
        let strides = dense_strides(&shape);
        // SAFETY: for a shape of `len` values, dense strides reach exactly these. Any other is refused before a value can
        // be read.
        let tensor = unsafe { Self::lent(start, shape, strides, keeper)? };
        if tensor.len == len {
            Ok(tensor)
        } else {
            Err(Error::Model(format!("an input of shape {:?} has {} values, not {len}", tensor.shape, tensor.len)))
        }
    }

    /// The sizes of its axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of values, at least 1.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: an array without values is refused.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The values as they lie in memory, if they are dense and aligned.
    pub fn as_dense(&self) -> Option<&[f32]> {
        let dense = self
            .shape
            .iter()
            .zip(&self.strides)
            .zip(dense_strides(&self.shape))
            .all(|((&side, &stride), dense)| side == 1 || stride == dense);
        (dense && self.start.is_aligned()).then(|| {
            // SAFETY: by the constructor's contract, and dense strides reach exactly these `len` values.
            unsafe { std::slice::from_raw_parts(self.start, self.len) }
        })
    }

    /// The same values in dense memory of `pool`; the keeper of these is dropped.
    ///
    /// # Errors
    /// Those of the pool.
    pub fn copied(self, pool: &Pool, owner: Owner) -> Result<Self> {
        let mut buffer = pool.allocate_for_overwrite(self.len.saturating_mul(size_of::<f32>()), owner)?;
        match self.as_dense() {
            Some(values) => buffer.as_f32_mut()?.copy_from_slice(values),
            None => self.gather(buffer.as_f32_mut()?),
        }
        Planes { buffer, shape: self.shape }.try_into()
    }

    /// Writes the values, row-major, to `out`, which has [`Tensor::len`] elements.
    pub fn gather(&self, out: &mut [f32]) {
        assert_eq!(out.len(), self.len);
        let Some((&row, outer)) = self.shape.split_last() else {
            // SAFETY: an array without axes has one value, at `start`.
            out[0] = unsafe { self.start.read_unaligned() };
            return;
        };
        let step = self.strides[outer.len()];
        let mut index = vec![0_usize; outer.len()];
        for out in out.chunks_exact_mut(row) {
            let offset: isize = index.iter().zip(&self.strides).map(|(&at, &stride)| at as isize * stride).sum();
            for (at, value) in out.iter_mut().enumerate() {
                // SAFETY: the index is inside the shape, so the constructor's contract covers the value.
                *value = unsafe { self.start.byte_offset(offset + at as isize * step).read_unaligned() };
            }
            for (at, &side) in index.iter_mut().zip(outer).rev() {
                *at += 1;
                if *at < side {
                    break;
                }
                *at = 0;
            }
        }
    }
}

/// A worker's result goes on to a model without a copy.
impl TryFrom<Planes> for Tensor {
    type Error = Error;

    fn try_from(planes: Planes) -> Result<Self> {
        let Planes { buffer, shape } = planes;
        let values = buffer.as_f32()?;
        let (start, len) = (values.as_ptr(), values.len());
        // SAFETY: a pooled block stays where it is while its buffer lives, the buffer is the keeper, and nobody else has it
        // to write to.
        unsafe { Self::dense(start, len, shape, Box::new(buffer)) }
    }
}

fn dense_strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![0; shape.len()];
    let mut step = size_of::<f32>() as isize;
    for (stride, &side) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.saturating_mul(side as isize);
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strided_array_is_gathered_in_row_major_order() {
        let values: Vec<f32> = (0..24).map(|n| n as f32).collect();
        let keep = values.clone();
        // (2, 3) of every other column of the rows of a (2, 12), from the last column backwards.
        // SAFETY: all indices stay inside `keep`, which outlives the tensor.
        let tensor = unsafe { Tensor::lent(keep.as_ptr().add(11), vec![2, 3], vec![48, -8], Box::new(())) }.unwrap();
        let mut out = [0.0; 6];
        tensor.gather(&mut out);
        assert_eq!(out, [11.0, 9.0, 7.0, 23.0, 21.0, 19.0]);
        assert!(tensor.as_dense().is_none());
        let dense = Tensor::owned(values, vec![2, 3, 4]).unwrap();
        assert_eq!(dense.as_dense().unwrap().len(), 24);
        let mut all = vec![0.0; 24];
        dense.gather(&mut all);
        assert_eq!(all, keep);
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        assert!(Tensor::owned(vec![0.0; 5], vec![2, 3]).is_err());
        assert!(Tensor::owned(vec![], vec![0, 3]).is_err());
        assert!(Tensor::owned(vec![1.0], vec![usize::MAX, 2]).is_err());
        assert_eq!(Tensor::owned(vec![1.0], vec![]).unwrap().as_dense(), Some(&[1.0][..]));
    }
}
