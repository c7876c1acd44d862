//! Channels-first images to channels-last and back: a transposition for each sample.

/// Side of a square tile: two of them, read and written, stay in the first-level cache.
const TILE: usize = 32;

/// `(samples, rows, columns)` to `(samples, columns, rows)`.
pub(crate) fn transpose(input: &[f32], rows: usize, columns: usize, out: &mut [f32]) {
    if rows == 1 || columns == 1 {
        out.copy_from_slice(input);
        return;
    }
    let sample = rows * columns;
    for (input, out) in input.chunks_exact(sample).zip(out.chunks_exact_mut(sample)) {
        for top in (0..rows).step_by(TILE) {
            for left in (0..columns).step_by(TILE) {
                for column in left..columns.min(left + TILE) {
                    let bottom = rows.min(top + TILE);
                    for (out, row) in out[column * rows + top..column * rows + bottom]
                        .iter_mut()
                        .zip(top..)
                    {
                        *out = input[row * columns + column];
                    }
                }
            }
        }
    }
}
