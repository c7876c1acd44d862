//! The oracle, and the loops that compilers vectorise well by themselves.

use super::Rows;

/// The weights of a Gaussian of `N` taps: a row of Pascal's triangle.
const fn binomial<const N: usize>() -> [u16; N] {
    let mut row = [0u16; N];
    row[0] = 1;
    let mut n = 1;
    while n < N {
        let mut i = n;
        while i > 0 {
            row[i] += row[i - 1];
            i -= 1;
        }
        n += 1;
    }
    row
}

/// Sums down the columns. At most 255·16 for five rows, so that five of them across, with the rounding, fit 16 bits.
#[inline(always)]
pub(super) fn gaussian_down<const N: usize>(rows: [&[u8]; N], sums: &mut [u16]) {
    let weights = const { binomial::<N>() };
    let rows = rows.map(|row| &row[..sums.len()]);
    for (i, sum) in sums.iter_mut().enumerate() {
        let mut total = 0;
        for (row, weight) in rows.iter().zip(weights) {
            total += weight * u16::from(row[i]);
        }
        *sum = total;
    }
}

/// Sums across the padded row, divided by the sum of all weights, halves rounded up.
#[inline(always)]
pub(super) fn gaussian_across<const N: usize>(sums: &[u16], channels: usize, out: &mut [u8]) {
    let weights = const { binomial::<N>() };
    let shift = 2 * (N - 1);
    let shifted: [&[u16]; N] = std::array::from_fn(|tap| &sums[tap * channels..][..out.len()]);
    for (i, out) in out.iter_mut().enumerate() {
        let mut total = 1 << (shift - 1);
        for (sums, weight) in shifted.iter().zip(weights) {
            total += weight * sums[i];
        }
        *out = (total >> shift) as u8;
    }
}

/// Weighted sums of the values from `first` on. The products are added in the kernel's order, which every path keeps.
pub(super) fn weighted(rows: &Rows<'_, '_>, weights: &[f32], channels: usize, out: &mut [u8], first: usize) {
    for (i, out) in out.iter_mut().enumerate().skip(first) {
        let mut total = 0.0;
        for (ky, weights) in weights.chunks_exact(rows.side).enumerate() {
            let row = rows.get(ky);
            for (kx, weight) in weights.iter().enumerate() {
                total += weight * row[i + kx * channels];
            }
        }
        *out = (total.clamp(0.0, 255.0) + 0.5) as u8;
    }
}
