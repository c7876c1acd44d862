//! Memory that belongs to somebody else and is read by a worker: a numpy array, a `bytes`, a vector.
//!
//! Invariant: what `start` and `len` name is readable and unchanged for as long as the value lives. The safe
//! constructors own the memory; [`Lent::new`] is for foreign memory, whose keeper travels along and is dropped last.

use std::ops::Deref;

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
