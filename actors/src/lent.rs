//! Memory that belongs to somebody else and is read by a worker: a numpy array, a `bytes`, a vector.
//!
//! Invariant: what `start` and `len` name is readable and unchanged for as long as the value lives. The safe
//! constructors own the memory; [`Lent::new`] is for foreign memory, whose keeper travels along and is dropped last.
//! [`LentMut`] is the same for memory that a worker writes its result to: there nobody else reads or writes.

use std::ops::{Deref, DerefMut};

use crate::Result;
use crate::pool::{Owner, Pool};

/// Whoever keeps borrowed memory alive; dropped when the last reader is done, on whatever thread that is.
pub type Keeper = Box<dyn Send + Sync>;

/// A slice kept alive by its keeper.
pub struct Lent<T> {
    start: *const T,
    len: usize,
    _keeper: Keeper,
}

// SAFETY: it is a shared borrow of plain values, as `&[T]` is, and the keeper is `Send`.
unsafe impl<T: Sync> Send for Lent<T> {}
// SAFETY: likewise; only shared access is given.
unsafe impl<T: Sync> Sync for Lent<T> {}

impl<T> Lent<T> {
    /// A slice of foreign memory.
    ///
    /// # Safety
    /// `start` is aligned, and the `len` values from it are initialised and neither written nor freed until `keeper` has
    /// been dropped. For `len` 0 any aligned pointer that is not null will do.
    pub unsafe fn new(start: *const T, len: usize, keeper: Keeper) -> Self {
        Self { start, len, _keeper: keeper }
    }
}

impl Lent<u8> {
    /// The same bytes in memory of `pool`; the keeper of these is dropped.
    ///
    /// # Errors
    /// Those of the pool.
    pub fn copied(self, pool: &Pool, owner: Owner) -> Result<Self> {
        let mut buffer = pool.allocate_for_overwrite(self.len, owner)?;
        buffer.copy_from_slice(&self);
        let (start, len) = (buffer.as_ptr(), buffer.len());
        // SAFETY: a pooled block stays where it is while its buffer lives, which is the keeper; nobody else has it.
        Ok(unsafe { Self::new(start, len, Box::new(buffer)) })
    }
}

impl<T: Send + Sync + 'static> From<Vec<T>> for Lent<T> {
    fn from(values: Vec<T>) -> Self {
        let (start, len) = (values.as_ptr(), values.len());
        // SAFETY: the vector's heap block does not move with the vector, which lives as the keeper.
        unsafe { Self::new(start, len, Box::new(values)) }
    }
}

impl<T> Deref for Lent<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: by the invariant.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T> std::fmt::Debug for Lent<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lent({} × {})", self.len, std::any::type_name::<T>())
    }
}

/// A slice that is written to, kept alive by its keeper.
pub struct LentMut<T> {
    start: *mut T,
    len: usize,
    _keeper: Keeper,
}

// SAFETY: it is an exclusive borrow of plain values, as `&mut [T]` is, and the keeper is `Send`.
unsafe impl<T: Send> Send for LentMut<T> {}
// SAFETY: likewise; a shared one gives shared access only.
unsafe impl<T: Sync> Sync for LentMut<T> {}

impl<T> LentMut<T> {
    /// A slice of foreign memory.
    ///
    /// # Safety
    /// `start` is aligned and not null, the `len` values from it are writable and valid whatever bytes they hold, and nobody
    /// else reads, writes or frees them until `keeper` has been dropped.
    pub unsafe fn new(start: *mut T, len: usize, keeper: Keeper) -> Self {
        Self { start, len, _keeper: keeper }
    }
}

impl<T: Send + Sync + 'static> From<Vec<T>> for LentMut<T> {
    fn from(mut values: Vec<T>) -> Self {
        let (start, len) = (values.as_mut_ptr(), values.len());
        // SAFETY: the vector's heap block does not move with the vector, which lives as the keeper and is touched no more.
        unsafe { Self::new(start, len, Box::new(values)) }
    }
}

impl<T> Deref for LentMut<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: by the constructor's contract.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T> DerefMut for LentMut<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: by the constructor's contract, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T> std::fmt::Debug for LentMut<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LentMut({} × {})", self.len, std::any::type_name::<T>())
    }
}
