//! The rows around a row: how every neighbourhood filter reads its source.

/// Where an index outside `0..length` is read: reflected at the border pixel, which is not repeated (`dcb|abcd|cba`,
/// OpenCV's default, `BORDER_REFLECT_101`).
pub(super) fn reflect101(index: isize, length: usize) -> usize {
    let last = length as isize - 1;
    if last == 0 {
        return 0;
    }
    let at = index.rem_euclid(2 * last);
    at.min(2 * last - at) as usize
}

/// The longest side of a kernel: rows that a [`Ring`] may hold.
pub(super) const SIDE_MAX: usize = 7;

/// The last few rows of something made row by row, each made once while a window of `side` rows slides down.
///
/// Row `r` lives in slot `r % side`. A window's rows, reflections included, lie in a run of at most `side` rows, so they
/// never share a slot.
pub(super) struct Ring<'s, T> {
    slots: &'s mut [T],
    row_length: usize,
    height: usize,
    side: usize,
    held: [usize; SIDE_MAX],
}

impl<'s, T: Copy + Default> Ring<'s, T> {
    /// A ring of `side` rows in `memory`, whose contents are lost.
    pub(super) fn new(memory: &'s mut Vec<T>, side: usize, row_length: usize, height: usize) -> Self {
        memory.resize((side * row_length).max(memory.len()), T::default());
        Self::over(memory, side, row_length, height)
    }

    /// As [`Ring::new`], in a slice of at least `side × row_length` elements.
    pub(super) fn over(memory: &'s mut [T], side: usize, row_length: usize, height: usize) -> Self {
        debug_assert!(side % 2 == 1 && side <= SIDE_MAX);
        Self { slots: &mut memory[..side * row_length], row_length, height, side, held: [usize::MAX; SIDE_MAX] }
    }

    /// The `N == side` rows around row `y`; `make` writes those that are not held yet.
    pub(super) fn around<const N: usize>(&mut self, y: usize, mut make: impl FnMut(usize, &mut [T])) -> [&[T]; N] {
        debug_assert_eq!(N, self.side);
        self.fill(y, &mut make);
        let this = &*self;
        std::array::from_fn(|i| this.row(this.neighbour(y, i)))
    }

    /// Makes the rows around row `y` that are not held yet.
    pub(super) fn fill(&mut self, y: usize, make: &mut impl FnMut(usize, &mut [T])) {
        for i in 0..self.side {
            let row = self.neighbour(y, i);
            let slot = row % self.side;
            if self.held[slot] != row {
                make(row, &mut self.slots[slot * self.row_length..][..self.row_length]);
                self.held[slot] = row;
            }
        }
    }

    /// The row that stands `i` rows below the top of the window around row `y`.
    pub(super) fn neighbour(&self, y: usize, i: usize) -> usize {
        reflect101(y as isize + i as isize - (self.side / 2) as isize, self.height)
    }

    /// A row that is held.
    pub(super) fn row(&self, row: usize) -> &[T] {
        &self.slots[row % self.side * self.row_length..][..self.row_length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_are_reflected_without_repeating_the_border_pixel() {
        let read = |length: usize| -> Vec<usize> { (-4..length as isize + 4).map(|i| reflect101(i, length)).collect() };
        assert_eq!(read(4), [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(read(2), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(read(1), [0; 9]);
    }

    #[test]
    fn a_sliding_window_shows_the_right_rows_and_makes_each_once() {
        for height in 1..12 {
            let mut memory = Vec::new();
            let mut ring = Ring::<u8>::new(&mut memory, 5, 1, height);
            let mut made = 0;
            for y in 0..height {
                let rows: [&[u8]; 5] = ring.around(y, |row, out| {
                    made += 1;
                    out[0] = row as u8;
                });
                for (i, row) in rows.iter().enumerate() {
                    assert_eq!(usize::from(row[0]), reflect101(y as isize + i as isize - 2, height));
                }
            }
            assert_eq!(made, height);
        }
    }
}
