//! What a model promises: its accuracy, its independence of the split, its errors.

use proptest::prelude::*;

use super::kernels::isa::Isa;
use super::*;
use crate::interrupt::tests::Countdown;
use crate::{Error, Interrupt, Result};

/// Normally distributed values, the same for the same seed.
pub(crate) fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f64 + 0.5) / f64::from(1 << 24)
    };
    (0..count).map(|_| ((-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()) as f32).collect()
}

pub(crate) fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn run(model: &Model, input: &[f32], shape: &[usize]) -> Result<Vec<f32>> {
    let mut scratch = vec![f32::NAN; model.scratch_len(shape)?];
    let mut out = vec![f32::NAN; model.output_shape(shape)?.iter().product()];
    model.run(input, shape, &mut scratch, &mut out)?;
    Ok(out)
}

/// Relative Frobenius error.
fn error(got: &[f32], want: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = square(&mut got.iter().zip(want).map(|(a, b)| f64::from(a - b)));
    difference / square(&mut want.iter().map(|b| f64::from(*b)))
}

fn precisions() -> Vec<Precision> {
    Precision::ALL.into_iter().filter(|p| cfg!(feature = "quantized-ops") || !p.is_quantized()).collect()
}

fn message<T>(result: Result<T>) -> String {
    match result {
        Err(Error::Model(message)) => message,
        Err(other) => panic!("not a model error: {other:?}"),
        Ok(_) => panic!("this should have been refused"),
    }
}

#[test]
fn gaussian_layers_stay_within_the_error_of_their_precision() {
    let (rows, outputs, inputs) = (16, 256, 1024);
    let mut network = Network::new();
    network.linear(noise(outputs * inputs, 1), outputs, inputs, None).unwrap();
    let input = noise(rows * inputs, 2);
    let exact = Model::pack(&network, Precision::Fp32, PackOptions::default()).unwrap();
    let exact = run(&exact, &input, &[rows, inputs]).unwrap();
    for precision in precisions() {
        let model = Model::pack(&network, precision, PackOptions::default()).unwrap();
        let got = error(&run(&model, &input, &[rows, inputs]).unwrap(), &exact);
        // The scheme's own errors on gaussian weights and inputs, with a tenth to spare.
        let most = match precision {
            Precision::Int8 => 1.23e-2,
            Precision::Int4 => 8.1e-2,
            Precision::Fp16 => 2.9e-4,
            Precision::Fp32 => 0.0,
        };
        assert!(got <= most * 1.1, "{precision}: {got}");
    }
}

/// Convolution by its definition.
fn naive_conv(
    input: &[f32],
    [samples, channels, height, width]: [usize; 4],
    weights: &[f32],
    [outputs, depth, kh, kw]: [usize; 4],
    bias: &[f32],
    [sh, sw]: [usize; 2],
    [ph, pw]: [usize; 2],
) -> Vec<f32> {
    let per_group = outputs / (channels / depth);
    let (down, across) = ((height + 2 * ph - kh) / sh + 1, (width + 2 * pw - kw) / sw + 1);
    let mut out = Vec::new();
    for n in 0..samples {
        for o in 0..outputs {
            for y in 0..down {
                for x in 0..across {
                    let mut sum = f64::from(bias[o]);
                    for c in 0..depth {
                        for ky in 0..kh {
                            for kx in 0..kw {
                                let (iy, ix) = ((y * sh + ky).wrapping_sub(ph), (x * sw + kx).wrapping_sub(pw));
                                if iy < height && ix < width {
                                    let channel = o / per_group * depth + c;
                                    let at = ((n * channels + channel) * height + iy) * width + ix;
                                    let weight = weights[((o * depth + c) * kh + ky) * kw + kx];
                                    sum += f64::from(input[at]) * f64::from(weight);
                                }
                            }
                        }
                    }
                    out.push(sum as f32);
                }
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_convolution_is_the_one_of_the_definition(
        samples in 1usize..3, groups in 1usize..5, depth in 1usize..6, per_group in 1usize..20,
        kernel in [1usize..4, 1usize..4], stride in [1usize..3, 1usize..3], pad in [0usize..3, 0usize..3],
        extra in [0usize..7, 0usize..7], depthwise in any::<bool>(), seed in any::<u64>(),
    ) {
        let (groups, depth, per_group) = if depthwise { (groups * 9, 1, 1) } else { (groups, depth, per_group) };
        let padding = [pad[0].min(kernel[0] - 1), pad[1].min(kernel[1] - 1)];
        let shape = [samples, groups * depth, kernel[0] + extra[0], kernel[1] + extra[1]];
        let weight_shape = [groups * per_group, depth, kernel[0], kernel[1]];
        let weights = noise(weight_shape.iter().product(), seed);
        let bias = noise(weight_shape[0], seed ^ 1);
        let input = noise(shape.iter().product(), seed ^ 2);
        let want = naive_conv(&input, shape, &weights, weight_shape, &bias, stride, padding);
        let mut network = Network::new();
        network.conv2d(weights, weight_shape, Some(bias), stride, padding, groups).unwrap();
        for precision in precisions() {
            let mut integers: Option<Vec<f32>> = None;
            for isa in Isa::available() {
                let model = Model::pack_for(&network, precision, isa).unwrap();
                let got = run(&model, &input, &shape).unwrap();
                let most = match precision { Precision::Fp32 => 1e-6, Precision::Fp16 => 2e-3, _ => 6e-2 };
                prop_assert!(error(&got, &want) < most, "{} {}: {}", precision, isa, error(&got, &want));
                if precision.is_quantized() {
                    let oracle = integers.get_or_insert_with(|| got.clone());
                    prop_assert!(same_bits(&got, oracle), "{} {}", precision, isa);
                }
            }
        }
    }
}

/// A small network with every kind of layer, for `(N, 3, H, W)`.
fn everything() -> Network {
    let mut squeeze = Network::new();
    squeeze.global_avg_pool().conv2d(noise(80, 1), [5, 16, 1, 1], None, [1, 1], [0, 0], 1).unwrap().relu();
    squeeze.conv2d(noise(80, 2), [16, 5, 1, 1], Some(noise(16, 3)), [1, 1], [0, 0], 1).unwrap();
    squeeze.hard_sigmoid(0.2, 0.5).unwrap();
    let mut block = Network::new();
    block.conv2d(noise(144, 4), [16, 1, 3, 3], None, [1, 1], [1, 1], 16).unwrap().hard_swish();
    block.gate(squeeze).unwrap().conv2d(noise(256, 5), [16, 16, 1, 1], None, [1, 1], [0, 0], 1).unwrap();
    let mut deep = Network::new();
    deep.linear(noise(90, 6), 10, 9, None).unwrap().gelu().linear(noise(90, 7), 9, 10, None).unwrap().sigmoid();
    let mut network = Network::new();
    network.conv2d(noise(432, 8), [16, 3, 3, 3], None, [2, 2], [1, 1], 1).unwrap();
    let (ones, spread) = (vec![1.0; 16], noise(16, 9).iter().map(|v| v * v + 0.5).collect::<Vec<_>>());
    network.batch_norm2d(&spread, &noise(16, 10), &noise(16, 11), &ones, 1e-5).unwrap().relu6();
    network.residual(block).unwrap().max_pool2d([2, 2], [2, 2], [0, 0]).unwrap();
    network.avg_pool2d([3, 3], [1, 1], [1, 1]).unwrap().flatten();
    network.linear(noise(9 * 16 * 6, 12), 9, 96, None).unwrap().residual(deep).unwrap().softmax();
    network
}

const EVERYTHING: [usize; 4] = [5, 3, 8, 12];

#[test]
fn a_batch_gives_the_same_bits_however_it_is_split() {
    let input = noise(EVERYTHING.iter().product(), 20);
    for precision in precisions() {
        let oracle = Model::pack_for(&everything(), precision, Isa::Scalar).unwrap();
        let oracle = run(&oracle, &input, &EVERYTHING).unwrap();
        for isa in Isa::available() {
            let model = Model::pack_for(&everything(), precision, isa).unwrap();
            let whole = run(&model, &input, &EVERYTHING).unwrap();
            assert_eq!(model.output_shape(&EVERYTHING).unwrap(), [5, 9]);
            assert!(!precision.is_quantized() || same_bits(&whole, &oracle), "{precision} {isa}");
            for size in [1, 2, 3] {
                let mut parts = Vec::new();
                for input in input.chunks(size * 3 * 8 * 12) {
                    parts.extend(run(&model, input, &[input.len() / (3 * 8 * 12), 3, 8, 12]).unwrap());
                }
                assert!(same_bits(&parts, &whole), "{precision} {isa}: {size} at a time");
            }
        }
    }
}

#[test]
fn quantized_models_follow_the_float_model() {
    let input = noise(EVERYTHING.iter().product(), 21);
    let exact = Model::pack(&everything(), Precision::Fp32, PackOptions::default().simd(false)).unwrap();
    let exact = run(&exact, &input, &EVERYTHING).unwrap();
    assert!(exact.chunks(9).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
    for precision in precisions() {
        let model = Model::pack(&everything(), precision, PackOptions::default()).unwrap();
        let most = match precision {
            Precision::Int8 => 0.1,
            Precision::Int4 => 0.4,
            Precision::Fp16 => 1e-2,
            Precision::Fp32 => 1e-4,
        };
        let got = error(&run(&model, &input, &EVERYTHING).unwrap(), &exact);
        assert!(got < most, "{precision}: {got}");
    }
}

#[test]
fn batch_normalisation_is_the_same_folded_and_alone() {
    let shape = [2, 4, 5, 3];
    let input = noise(120, 1);
    let normalise = |network: &mut Network| {
        network
            .batch_norm2d(&[1.0, 2.0, 0.5, -1.0], &[0.1; 4], &[0.3, 0.2, 0.1, 0.0], &[1.0, 2.0, 0.1, 0.0], 1e-3)
            .map(|_| ())
    };
    let identity: Vec<f32> = (0..16).map(|i| if i % 5 == 0 { 1.0 } else { 0.0 }).collect();
    let mut alone = Network::new();
    normalise(&mut alone).unwrap();
    let mut folded = Network::new();
    folded.conv2d(identity, [4, 4, 1, 1], None, [1, 1], [0, 0], 1).unwrap();
    normalise(&mut folded).unwrap();
    let [alone, folded] = [alone, folded].map(|n| Model::pack(&n, Precision::Fp32, PackOptions::default()).unwrap());
    assert_eq!(folded.describe().len(), 1);
    assert!(error(&run(&folded, &input, &shape).unwrap(), &run(&alone, &input, &shape).unwrap()) < 1e-6);
}

#[test]
fn linear_keeps_the_leading_axes_of_any_rank() {
    let mut network = Network::new();
    network.linear(noise(15, 1), 3, 5, None).unwrap();
    let model = Model::pack(&network, Precision::Fp32, PackOptions::default()).unwrap();
    assert_eq!(model.output_shape(&[5]).unwrap(), [3]);
    assert_eq!(model.output_shape(&[1, 16, 16, 5]).unwrap(), [1, 16, 16, 3]);
    assert_eq!(model.output_shape(&[1, 2, 3, 4, 5, 6, 5]).unwrap(), [1, 2, 3, 4, 5, 6, 3]);
}

#[test]
fn wrong_shapes_and_lengths_are_refused_with_what_was_expected() {
    let mut network = Network::new();
    network.linear(noise(15, 1), 3, 5, None).unwrap();
    let model = Model::pack(&network, Precision::Fp32, PackOptions::default()).unwrap();
    assert!(message(model.output_shape(&[2, 4])).contains("takes 5 values on the last axis"));
    assert!(message(model.output_shape(&[0, 5])).contains("at least 1"));
    assert!(message(model.output_shape(&[])).contains("no elements"));
    assert!(message(model.output_shape(&[usize::MAX, 5])).contains("larger than memory"));
    let mut out = [0.0; 6];
    assert!(message(model.run(&[0.0; 9], &[2, 5], &mut [], &mut out)).contains("has 9 values"));
    assert!(message(model.run(&[0.0; 10], &[2, 5], &mut [], &mut out[..5])).contains("has 5 values"));
    let model = Model::pack(&everything(), Precision::Fp32, PackOptions::default()).unwrap();
    let short = message(model.run(&[0.0; 288], &[1, 3, 8, 12], &mut [0.0; 3], &mut [0.0; 9]));
    assert!(short.contains("elements of scratch, got 3"), "{short}");
    assert!(message(model.output_shape(&[1, 4, 8, 12])).contains("layer 0 conv2d: expected 3 channels"));
    assert!(message(model.output_shape(&[3, 8, 12])).contains("(N, C, H, W)"));
    assert!(message(model.output_shape(&[1, 3, 2, 2])).contains("does not fit"));
}

#[test]
fn bad_layers_are_refused_and_leave_the_network_as_it_was() {
    let mut network = Network::new();
    assert!(message(network.linear(vec![0.0; 5], 2, 3, None)).contains("expected the shape [2, 3], got 5 values"));
    assert!(message(network.linear(vec![], 0, 3, None)).contains("out is 0"));
    assert!(message(network.linear(vec![f32::NAN], 1, 1, None)).contains("not a finite number"));
    assert!(message(network.linear(vec![0.0; 6], 2, 3, Some(vec![0.0]))).contains("bias"));
    assert!(message(network.linear(vec![], usize::MAX, 2, None)).contains("expected the shape"));
    let conv = |network: &mut Network, shape: [usize; 4], stride, padding, groups| {
        let length = shape.iter().product();
        message(network.conv2d(vec![0.0; length], shape, None, stride, padding, groups))
    };
    assert!(conv(&mut network, [2, 1, 0, 3], [1, 1], [0, 0], 1).contains("kernel height is 0"));
    assert!(conv(&mut network, [2, 1, 3, 3], [1, 0], [0, 0], 1).contains("stride width is 0"));
    assert!(conv(&mut network, [2, 1, 3, 3], [1, 1], [3, 0], 1).contains("padding"));
    assert!(conv(&mut network, [3, 1, 3, 3], [1, 1], [0, 0], 2).contains("do not divide"));
    assert!(conv(&mut network, [3, 1, 3, 3], [1, 1], [0, 0], 0).contains("groups is 0"));
    assert!(message(network.max_pool2d([2, 2], [1, 1], [2, 0])).contains("padding"));
    assert!(message(network.batch_norm2d(&[1.0], &[0.0, 0.0], &[0.0], &[1.0], 1e-5)).contains("beta"));
    assert!(message(network.batch_norm2d(&[1.0], &[0.0], &[0.0], &[-1.0], 1e-5)).contains("variance"));
    assert!(network.is_empty());
    assert!(message(Model::pack(&network, Precision::Fp32, PackOptions::default())).contains("at least one layer"));

    network.linear(vec![0.0; 6], 2, 3, None).unwrap();
    assert!(message(network.linear(vec![0.0; 9], 3, 3, None)).contains("the layer before gives 2"));
    let mut body = Network::new();
    body.linear(vec![0.0; 6], 3, 2, None).unwrap();
    assert!(message(network.residual(body)).contains("turns a width of 2 into 3"));
    assert_eq!(network.len(), 1);
}

#[test]
fn what_is_not_finite_is_an_error_for_integers_and_passes_through_floats() {
    for bad in [f32::NAN, f32::INFINITY] {
        for precision in precisions() {
            let model = Model::pack(&everything(), precision, PackOptions::default()).unwrap();
            let mut input = noise(EVERYTHING.iter().product(), 22);
            input[3] = bad;
            let result = run(&model, &input, &EVERYTHING);
            if precision.is_quantized() {
                assert!(message(result).contains("layer 0 conv2d: the input has a value that is not finite"));
            } else {
                assert!(result.unwrap()[9..].iter().all(|value| value.is_finite()), "{precision}");
            }
        }
    }
}

#[test]
fn a_model_tells_what_it_is() {
    let model = Model::pack(&everything(), Precision::Fp32, PackOptions::default().simd(false)).unwrap();
    let layers = model.describe();
    assert_eq!(layers[0].name, "0 conv2d");
    assert_eq!(layers[0].fused, ["batch_norm2d", "relu6"]);
    assert_eq!(layers[0].weights, [16, 3, 3, 3]);
    assert!(layers.iter().any(|layer| layer.name == "3 residual / 2 gate / 1 conv2d"));
    assert_eq!(model.weight_bytes(), layers.iter().map(|layer| layer.weight_bytes).sum::<usize>());
    assert!(model.to_string().starts_with("fp32 model of"), "{model}");
    assert_eq!(model.instruction_set(), "scalar");
}

#[test]
fn precisions_are_named() {
    for precision in Precision::ALL {
        assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
    }
    let refused = "int5".parse::<Precision>().unwrap_err();
    assert!(refused.to_string().contains("int8, int4, fp16, fp32"), "{refused}");
}

#[test]
fn symmetric_codes_round_halves_away_from_zero() {
    assert_eq!(quantize_symmetric(&[0.0; 3]).unwrap(), (vec![0; 3], 0.0));
    assert_eq!(quantize_symmetric(&[]).unwrap(), (vec![], 0.0));
    assert_eq!(quantize_symmetric(&[127.0, 2.5, -2.5, -127.0]).unwrap(), (vec![127, 3, -3, -127], 1.0));
    assert_eq!(quantize_symmetric(&[1e-45, 0.0]).unwrap().0, [127, 0]);
    assert!(matches!(quantize_symmetric(&[1.0, f32::NAN]), Err(Error::InvalidInput(_))));
}

#[cfg(not(feature = "quantized-ops"))]
#[test]
fn a_build_without_quantized_ops_says_so() {
    for precision in [Precision::Int8, Precision::Int4] {
        let refused = message(Model::pack(&everything(), precision, PackOptions::default()));
        assert!(refused.contains("quantized-ops"), "{refused}");
    }
}

#[test]
fn a_run_stops_at_the_first_look_that_says_so_in_every_precision() {
    for precision in precisions() {
        let model = Model::pack(&everything(), precision, PackOptions::default()).unwrap();
        let shape = [2, 3, 8, 12];
        let input = noise(shape.iter().product(), 4);
        let mut scratch = vec![0.0; model.scratch_len(&shape).unwrap()];
        let mut out = vec![0.0; model.output_shape(&shape).unwrap().iter().product()];
        let mut stopped = 0;
        loop {
            let countdown = Countdown::from(stopped);
            let outcome = model.run_unless(&Interrupt::by(countdown.clone()), &input, &shape, &mut scratch, &mut out);
            assert_eq!(countdown.ignored(), 0, "{precision} went on");
            match outcome {
                Ok(()) => break,
                Err(error) => assert_eq!(error, Error::Cancelled),
            }
            stopped += 1;
        }
        assert!(stopped >= 20, "{precision} looked {stopped} times only");
        assert!(same_bits(&out, &run(&model, &input, &shape).unwrap()), "{precision}");
    }
}
