//! The oracle: one value at a time.

use super::Normalization;

/// Pixels from `first` on of a row, into the row of each plane.
pub(super) fn row(how: &Normalization, row: &[u8], out: [&mut [f32]; 4], first: usize) {
    let count = how.channels.count();
    for (c, out) in out.into_iter().take(count).enumerate() {
        let (scale, bias) = (how.scale[c], how.bias[c]);
        let values = row.iter().skip(first * count + c).step_by(count);
        for (out, x) in out[first..].iter_mut().zip(values) {
            *out = f32::from(*x) * scale + bias;
        }
    }
}
