//! Values that are to be queued together.

use std::mem::MaybeUninit;

/// Up to `N` values in a row, to be queued together.
pub(crate) struct Batch<T, const N: usize> {
    values: [MaybeUninit<T>; N],
    begin: usize,
    end: usize,
}

impl<T, const N: usize> Batch<T, N> {
    pub(crate) fn new() -> Self {
        Self { values: [const { MaybeUninit::uninit() }; N], begin: 0, end: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.begin
    }

    /// Takes values until it is full or there are no more.
    #[inline]
    pub(crate) fn fill(&mut self, values: impl Iterator<Item = T>) {
        debug_assert!(self.is_empty());
        (self.begin, self.end) = (0, 0);
        for value in values.take(N) {
            self.values[self.end].write(value);
            self.end += 1;
        }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        self.begin += 1;
        // SAFETY: values from `begin` to `end` are there, and this one is passed over from here on.
        Some(unsafe { self.values[self.begin - 1].assume_init_read() })
    }
}

impl<T, const N: usize> Drop for Batch<T, N> {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}
