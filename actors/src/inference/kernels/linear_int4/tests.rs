use super::*;
use crate::inference::kernels::quantize;
use crate::inference::tests::{noise, same_bits};

struct Case {
    codes: Vec<u8>,
    scales: Vec<f32>,
    sums: Vec<f32>,
}

fn quantized(values: &[f32], inputs: usize, weights: &Weights) -> Case {
    let mut case = Case { codes: Vec::new(), scales: Vec::new(), sums: Vec::new() };
    for row in values.chunks(inputs) {
        let mut codes = vec![0; weights.row_bytes()];
        let mut sums = vec![0.0; weights.groups()];
        let magnitude = quantize::magnitude(Isa::Scalar, row).unwrap();
        case.scales.push(quantize::to_i8(Isa::Scalar, row, magnitude, &mut codes));
        group_sums(Isa::choose(true), &codes, &mut sums);
        case.codes.extend(codes);
        case.sums.extend(sums);
    }
    case
}

fn run(isa: Isa, case: &Case, weights: &Weights) -> Vec<f32> {
    let codes = bytemuck::cast_slice(&case.codes);
    let rows = Rows { codes, stride: weights.row_bytes(), scales: &case.scales, sums: &case.sums };
    let mut out = vec![f32::NAN; case.scales.len() * weights.columns()];
    matmul(isa, rows, weights, &mut out, weights.columns());
    out
}

#[test]
fn every_instruction_set_gives_the_oracles_bits_at_odd_sizes() {
    for count in [1, 2, 3, 5, 8, 15] {
        for (columns, inputs) in [(1, 1), (7, 31), (16, 32), (17, 33), (33, 65), (65, 7), (48, 200)] {
            let bias = noise(columns, 2);
            let weights = Weights::pack(&noise(columns * inputs, 1), columns, inputs, Some(&bias), Clamp::RELU);
            let case = quantized(&noise(count * inputs, 3), inputs, &weights);
            let oracle = run(Isa::Scalar, &case, &weights);
            for isa in Isa::available() {
                assert!(same_bits(&run(isa, &case, &weights), &oracle), "{isa}: {count} rows, {columns} x {inputs}");
            }
        }
    }
}

#[test]
fn the_extremes_do_not_saturate() {
    let inputs = 64;
    // Half of each group at the minimum, half at the maximum: codes 0 and 15.
    let values: Vec<f32> = (0..16 * inputs).map(|i| if i % 2 == 0 { 0.0 } else { 15.0 }).collect();
    let weights = Weights::pack(&values, 16, inputs, None, Clamp::NONE);
    for value in [1.0, -1.0] {
        let case = quantized(&vec![value; inputs], inputs, &weights);
        for isa in Isa::available() {
            let out = run(isa, &case, &weights);
            assert!(out.iter().all(|&got| (got - value * 15.0 * 32.0).abs() < 1e-3), "{isa}: {}", out[0]);
        }
    }
}

#[test]
fn a_tiny_scale_does_not_underflow_and_a_wide_range_stays_finite() {
    for (low, high) in [(1e-12, 2e-12), (-1e33, 1e33), (0.0, 0.0), (5.0, 5.0)] {
        let values: Vec<f32> = (0..32).map(|i| if i % 2 == 0 { low } else { high }).collect();
        let weights = Weights::pack(&values, 1, 32, None, Clamp::NONE);
        let case = quantized(&noise(32, 9).iter().map(|v| v * 1e-3).collect::<Vec<_>>(), 32, &weights);
        let out = run(Isa::Scalar, &case, &weights);
        assert!(out[0].is_finite(), "{low} to {high}");
        assert_eq!(out[0] == 0.0, low == 0.0 && high == 0.0, "{low} to {high}");
    }
}
