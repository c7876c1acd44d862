//! Channels-first images to channels-last and back: a transposition for each sample.

use wide::f32x4;

use super::isa::{Isa, vectorize};

/// Side of a block that is transposed in registers.
const SIDE: usize = 4;

/// `(samples, rows, columns)` to `(samples, columns, rows)`.
pub(crate) fn transpose(isa: Isa, input: &[f32], rows: usize, columns: usize, out: &mut [f32]) {
    if rows == 1 || columns == 1 {
        out.copy_from_slice(input);
        return;
    }
    let sample = rows * columns;
    for (input, out) in input.chunks_exact(sample).zip(out.chunks_exact_mut(sample)) {
        vectorize!(isa, matrix(input: &[f32], rows: usize, columns: usize, out: &mut [f32]));
    }
}

#[inline(always)]
fn matrix(input: &[f32], rows: usize, columns: usize, out: &mut [f32]) {
    let (whole_rows, whole_columns) = (rows - rows % SIDE, columns - columns % SIDE);
    for left in (0..whole_columns).step_by(SIDE) {
        for top in (0..whole_rows).step_by(SIDE) {
            let mut block = [f32x4::ZERO; SIDE];
            for (row, line) in block.iter_mut().enumerate() {
                let mut values = [0.0; SIDE];
                values.copy_from_slice(&input[(top + row) * columns + left..][..SIDE]);
                *line = f32x4::new(values);
            }
            for (column, line) in f32x4::transpose(block).into_iter().enumerate() {
                let out = &mut out[(left + column) * rows + top..][..SIDE];
                out.copy_from_slice(&line.to_array());
            }
        }
        for row in whole_rows..rows {
            for (column, value) in input[row * columns + left..][..SIDE].iter().enumerate() {
                out[(left + column) * rows + row] = *value;
            }
        }
    }
    for column in whole_columns..columns {
        for (row, out) in out[column * rows..][..rows].iter_mut().enumerate() {
            *out = input[row * columns + column];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_changes_its_row_for_its_column() {
        for (rows, columns) in [(1, 5), (3, 17), (8, 8), (9, 16), (31, 33), (20, 1)] {
            let input: Vec<f32> = (0..2 * rows * columns).map(|i| i as f32).collect();
            for isa in Isa::available() {
                let mut out = vec![0.0; input.len()];
                transpose(isa, &input, rows, columns, &mut out);
                for (at, &value) in out.iter().enumerate() {
                    let (sample, within) = (at / (rows * columns), at % (rows * columns));
                    let (column, row) = (within / rows, within % rows);
                    let from = (sample * rows + row) * columns + column;
                    assert_eq!(value, from as f32, "{isa}: {rows} x {columns}");
                }
            }
        }
    }
}
