use proptest::prelude::*;

use super::*;
use crate::inference::kernels::quantize;
use crate::inference::tests::{noise, same_bits};

/// Runs every instruction set on the same codes; all must give the oracle's bits, which this returns.
fn on_every_isa(rows: Rows<'_>, weights: &Weights, out_stride: usize) -> Vec<f32> {
    let count = rows.scales.len();
    let fresh = || vec![f32::NAN; (count - 1) * out_stride + weights.columns()];
    let mut oracle = fresh();
    matmul(Isa::Scalar, rows, weights, &mut oracle, out_stride);
    for isa in Isa::available() {
        let mut out = fresh();
        matmul(isa, rows, weights, &mut out, out_stride);
        assert!(same_bits(&out, &oracle), "{isa}: {count} rows, {} x {}", weights.columns, weights.inputs);
    }
    oracle
}

#[test]
fn every_instruction_set_gives_the_oracles_bits_at_odd_sizes() {
    for count in [1, 2, 3, 5, 7, 8, 13, 31] {
        for (columns, inputs) in [(1, 1), (7, 3), (16, 4), (17, 31), (33, 65), (65, 33), (130, 7), (200, 127)] {
            let weights = noise(columns * inputs, 1);
            let bias = noise(columns, 2);
            let weights = Weights::pack(&weights, columns, inputs, Some(&bias), Clamp::RELU);
            let stride = weights.row_bytes() + 5;
            let codes: Vec<u8> = noise(count * stride, 3).iter().map(|value| (value * 60.0) as i32 as u8).collect();
            let scales = noise(count, 4);
            on_every_isa(Rows { codes: &codes, stride, scales: &scales }, &weights, columns + 3);
        }
    }
}

#[test]
fn the_extremes_do_not_saturate() {
    let (columns, inputs) = (48, 4096);
    for sign in [1.0, -1.0] {
        let weights = Weights::pack(&vec![sign; columns * inputs], columns, inputs, None, Clamp::NONE);
        for code in [0u8, 1, 255] {
            let rows = Rows { codes: &vec![code; 9 * inputs], stride: inputs, scales: &[1.0; 9] };
            let out = on_every_isa(rows, &weights, columns);
            let sum = (i64::from(code) - 128) * 127 * inputs as i64;
            let want = sum as f32 * (sign * (1.0 / 127.0));
            assert!(out.iter().all(|&value| value == want), "{code}: {} is not {want}", out[0]);
        }
    }
}

#[test]
fn the_longest_sum_is_still_exact() {
    let inputs = MAX_INPUTS;
    let weights = Weights::pack(&vec![-1.0; inputs], 1, inputs, None, Clamp::NONE);
    let out = on_every_isa(Rows { codes: &vec![255; inputs], stride: inputs, scales: &[1.0] }, &weights, 1);
    assert_eq!(out[0], (-127i64 * 127 * inputs as i64) as f32 * (1.0 / 127.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_product_is_the_one_of_the_codes(
        count in 1usize..12, columns in 1usize..70, inputs in 1usize..90, seed in any::<u64>()
    ) {
        let values = noise(columns * inputs, seed);
        let weights = Weights::pack(&values, columns, inputs, None, Clamp::NONE);
        let stride = weights.row_bytes();
        let rows = noise(count * inputs, seed ^ 1);
        let mut codes = vec![77; count * stride];
        let mut scales = Vec::new();
        for (row, codes) in rows.chunks(inputs).zip(codes.chunks_mut(stride)) {
            let magnitude = quantize::magnitude(Isa::Scalar, row).unwrap();
            scales.push(quantize::to_u8(Isa::Scalar, row, magnitude, codes));
        }
        let out = on_every_isa(Rows { codes: &codes, stride, scales: &scales }, &weights, columns);
        for (m, out) in out.chunks(columns).enumerate() {
            for (n, &got) in out.iter().enumerate() {
                let row = &values[n * inputs..][..inputs];
                let magnitude = row.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                let sum: i64 = row.iter().zip(&codes[m * stride..]).map(|(&value, &code)| {
                    let weight = (f64::from(value) * 127.0 / f64::from(magnitude)).round() as i64;
                    weight * (i64::from(code) - 128)
                }).sum();
                let want = sum as f32 * (scales[m] * (magnitude / 127.0));
                prop_assert!((got - want).abs() <= want.abs() * 1e-6, "row {} column {}: {} is not {}", m, n, got, want);
            }
        }
    }
}
