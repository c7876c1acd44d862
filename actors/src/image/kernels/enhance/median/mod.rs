//! The median of every 3×3 neighbourhood of a row, channels apart.
//!
//! Each column of three is sorted; the median of the nine is then the median of three numbers: the largest minimum, the
//! median of the medians and the smallest maximum. That is 19 exchanges without a branch, the same in every path.

#[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
mod avx2;
mod scalar;
#[cfg(feature = "simd-accel")]
mod wide;

use crate::image::kernels::Isa;
use crate::image::kernels::window::reflect101;

/// The nine values around one value: rows from the top, columns from the left. A `T` holds one or many pixels.
type Nine<T> = [[T; 3]; 3];

/// The median network over whatever `min` and `max` compare. A macro, because a function could not be inlined into
/// callers that enable CPU features of their own.
macro_rules! median_of_nine {
    ($nine:expr, $min:path, $max:path) => {{
        let [[a0, b0, c0], [a1, b1, c1], [a2, b2, c2]] = $nine;
        let sort = |x, y, z| {
            let (x, y) = ($min(x, y), $max(x, y));
            let (y, z) = ($min(y, z), $max(y, z));
            ($min(x, y), $max(x, y), z)
        };
        let (low_a, middle_a, high_a) = sort(a0, a1, a2);
        let (low_b, middle_b, high_b) = sort(b0, b1, b2);
        let (low_c, middle_c, high_c) = sort(c0, c1, c2);
        let low = $max($max(low_a, low_b), low_c);
        let high = $min($min(high_a, high_b), high_c);
        let (_, middle, _) = sort(middle_a, middle_b, middle_c);
        let (_, median, _) = sort(low, middle, high);
        median
    }};
}
use median_of_nine;

/// Writes the medians around every value of the middle row, with the borders reflected. `rows` and `out` are of one
/// length, `channels` bytes a pixel.
pub(super) fn median_row(isa: Isa, rows: [&[u8]; 3], channels: usize, out: &mut [u8]) {
    let width = out.len() / channels;
    for x in [0, width - 1] {
        for c in 0..channels {
            let column = |dx: isize| reflect101(x as isize + dx, width) * channels + c;
            let columns = [column(-1), column(0), column(1)];
            out[columns[1]] = scalar::median(rows.map(|row| columns.map(|at| row[at])));
        }
    }
    let Some(inside) = out.len().checked_sub(2 * channels) else {
        return;
    };
    let nine: Nine<&[u8]> = rows.map(|row| [0, 1, 2].map(|tap| &row[tap * channels..][..inside]));
    let out = &mut out[channels..][..inside];
    match isa {
        #[cfg(all(feature = "simd-accel", target_arch = "x86_64"))]
        Isa::Avx2 => {
            // SAFETY: `Isa::Avx2` is made by `Isa::detect` alone, on a CPU that has AVX2.
            unsafe { avx2::medians(nine, out) }
        }
        #[cfg(feature = "simd-accel")]
        Isa::Wide => wide::medians(nine, out),
        _ => scalar::medians(nine, out, 0),
    }
}
