use super::*;
use crate::inference::tests::{noise, same_bits};

fn run<T: Element>(isa: Isa, values: &[f32], count: usize, weights: &Weights<T>) -> Vec<f32> {
    let rows = Rows { values, count, stride: weights.inputs() };
    let mut out = vec![f32::NAN; count * weights.columns()];
    matmul(isa, rows, weights, &mut out, weights.columns());
    out
}

fn agrees_with_exact_sums<T: Element>(round: fn(f32) -> f32) {
    for count in [1, 2, 3, 6, 8, 13] {
        for (columns, inputs) in [(1, 1), (7, 31), (16, 256), (17, 257), (33, 65), (65, 7), (130, 600)] {
            let (weights, bias) = (noise(columns * inputs, 1), noise(columns, 2));
            let values = noise(count * inputs, 3);
            let packed = Weights::<T>::pack(&weights, columns, inputs, Some(&bias), Clamp::NONE);
            for isa in Isa::available() {
                let out = run(isa, &values, count, &packed);
                for (at, &got) in out.iter().enumerate() {
                    let (row, column) = (&values[at / columns * inputs..], &weights[at % columns * inputs..]);
                    let products =
                        row.iter().zip(column).take(inputs).map(|(x, w)| f64::from(*x) * f64::from(round(*w)));
                    let (want, size) = products.fold((0.0, 1.0), |(sum, size), p| (sum + p, size + p.abs()));
                    let error = (f64::from(got) - want - f64::from(bias[at % columns])).abs();
                    assert!(error < size * 1e-6, "{isa}: {count} rows, {columns} x {inputs}");
                }
            }
        }
    }
}

#[test]
fn float_weights_agree_with_exact_sums_at_odd_sizes() {
    agrees_with_exact_sums::<f32>(|weight| weight);
}

#[test]
fn half_weights_agree_with_exact_sums_at_odd_sizes() {
    agrees_with_exact_sums::<f16>(|weight| f16::from_f32(weight).to_f32());
}

#[test]
fn a_row_gives_the_same_bits_whatever_comes_with_it() {
    let (count, columns, inputs) = (29, 70, 515);
    let values = noise(count * inputs, 5);
    let packed = Weights::<f32>::pack(&noise(columns * inputs, 6), columns, inputs, None, Clamp::RELU);
    for isa in Isa::available() {
        let whole = run(isa, &values, count, &packed);
        for size in [1, 2, 3, 4, 11] {
            let parts: Vec<f32> = values
                .chunks(size * inputs)
                .flat_map(|values| run(isa, values, values.len() / inputs, &packed))
                .collect();
            assert!(same_bits(&parts, &whole), "{isa}: {size} rows at a time");
        }
    }
}

#[test]
fn nan_and_infinity_pass_through_a_clamp_as_in_pytorch() {
    let packed = Weights::<f32>::pack(&[1.0], 1, 1, None, Clamp::RELU);
    for isa in Isa::available() {
        let out = run(isa, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0], 4, &packed);
        assert!(out[0].is_nan(), "{isa}");
        assert_eq!(out[1..], [f32::INFINITY, 0.0, 0.0], "{isa}");
    }
}
