//! Float32 values to eight-bit codes with one symmetric scale.
//!
//! Rounding is to nearest, ties to even, by adding 1.5 · 2²³: the sum's low byte is the code, and the loop vectorizes
//! on every instruction set with the same bits.

use super::isa::{Isa, vectorize};

/// Adding this to |v| < 2²² leaves `round_ties_even(v)` in the low bits of the mantissa.
const ROUNDER: f32 = 12_582_912.0;

/// What is added to an activation's code for kernels that want it unsigned.
pub(crate) const OFFSET: u8 = 128;

/// Bits of +∞: the magnitude bits of a finite float are below.
const INFINITY_BITS: u32 = 0x7f80_0000;

/// The largest magnitude of `values`, or `None` if one of them is NaN or infinite.
pub(crate) fn magnitude(isa: Isa, values: &[f32]) -> Option<f32> {
    let bits = vectorize!(isa, largest_bits(values: &[f32]) -> u32);
    (bits < INFINITY_BITS).then(|| f32::from_bits(bits))
}

/// Magnitudes order as their bits do, and NaN and infinity come out on top.
#[inline(always)]
fn largest_bits(values: &[f32]) -> u32 {
    let mut largest = 0;
    for value in values {
        largest = largest.max(value.to_bits() & 0x7fff_ffff);
    }
    largest
}

/// Codes `values`, whose largest magnitude is `magnitude`, as `code + 128`; returns the scale of a code.
///
/// Below about 4e-37 the reciprocal of the scale overflows: such values are zeros.
pub(crate) fn to_u8(isa: Isa, values: &[f32], magnitude: f32, codes: &mut [u8]) -> f32 {
    let factor = factor(magnitude);
    let offset = OFFSET;
    vectorize!(isa, encode(values: &[f32], factor: f32, offset: u8, codes: &mut [u8]));
    if factor == 0.0 { 0.0 } else { magnitude / 127.0 }
}

/// As [`to_u8`], without the offset: the bytes are those of `i8`.
pub(crate) fn to_i8(isa: Isa, values: &[f32], magnitude: f32, codes: &mut [u8]) -> f32 {
    let factor = factor(magnitude);
    let offset = 0;
    vectorize!(isa, encode(values: &[f32], factor: f32, offset: u8, codes: &mut [u8]));
    if factor == 0.0 { 0.0 } else { magnitude / 127.0 }
}

fn factor(magnitude: f32) -> f32 {
    let factor = 127.0 / magnitude;
    if factor.is_finite() { factor } else { 0.0 }
}

#[inline(always)]
fn encode(values: &[f32], factor: f32, offset: u8, codes: &mut [u8]) {
    for (value, code) in values.iter().zip(codes) {
        *code = ((value * factor + ROUNDER).to_bits() as u8).wrapping_add(offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_to_nearest_even_and_keep_the_extremes() {
        let values = [127.0, -127.0, 0.5, 1.5, -0.5, -1.5, 0.49, 0.0];
        for isa in Isa::available() {
            let mut codes = [0; 8];
            let magnitude = magnitude(isa, &values).unwrap();
            assert_eq!(to_u8(isa, &values, magnitude, &mut codes), 1.0);
            assert_eq!(codes.map(|code| i32::from(code) - 128), [127, -127, 0, 2, 0, -2, 0, 0]);
        }
    }

    #[test]
    fn what_is_not_finite_has_no_magnitude_and_the_tiny_are_zeros() {
        for isa in Isa::available() {
            assert_eq!(magnitude(isa, &[1.0, f32::NAN]), None);
            assert_eq!(magnitude(isa, &[1.0, f32::NEG_INFINITY]), None);
            let mut codes = [1; 2];
            assert_eq!(to_i8(isa, &[1e-40, -1e-40], 1e-40, &mut codes), 0.0);
            assert_eq!(codes, [0, 0]);
        }
    }
}
