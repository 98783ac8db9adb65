use burn::optim::GradientsParams;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::adamw;

fn cpu() -> Device {
    refrain_core::device("flex").unwrap()
}

const CELLS: [Cell; 3] = [Cell::Elman, Cell::Gru, Cell::Lstm];

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// `scale · f(step · i)`.
fn wave(n: usize, scale: f64, f: fn(f64) -> f64, step: f64) -> Vec<f32> {
    (0..n)
        .map(|i| (scale * f(step * i as f64)) as f32)
        .collect()
}

fn close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * (1.0 + b.abs()),
            "{what} {i}: {a} and {b}"
        );
    }
}

#[derive(Deserialize)]
struct Case {
    cell: Cell,
    layers: usize,
    bidirectional: bool,
    bias: bool,
    lengths: Vec<usize>,
    names: Vec<(String, Vec<usize>)>,
    output: Vec<f32>,
    hidden: Vec<f32>,
    cells: Option<Vec<f32>>,
    input_gradient: Vec<f32>,
    state_gradient: Vec<f32>,
    gradient: Vec<f32>,
}

/// `tests/golden/make_rnn.py`, PyTorch 2.15.0 in double precision.
#[test]
fn agrees_with_pytorch() {
    let golden = include_str!("../../tests/golden/rnn.json");
    let cases: Vec<Case> = serde_json::from_str(golden).unwrap();
    assert_eq!(cases.len(), 9);
    let (device, plain) = (cpu().autodiff(), cpu());
    for case in cases {
        let config = RecurrentConfig {
            cell: case.cell,
            input: 3,
            hidden: 4,
            layers: case.layers,
            bidirectional: case.bidirectional,
            bias: case.bias,
            ..RecurrentConfig::default()
        };
        let what = format!("{config:?}");
        let mut at = 0;
        let weights = case.names.iter().map(|(name, shape)| {
            let n: usize = shape.iter().product();
            at += n;
            NamedTensor {
                name: name.clone(),
                shape: shape.clone(),
                values: wave(at, 0.5, f64::sin, 0.7).split_off(at - n),
            }
        });
        let model = Recurrent::from_pytorch(&config, weights, &device).unwrap();
        let (batch, time) = (case.lengths.len(), 5);
        let x = tensor(
            wave(batch * time * 3, 1.0, f64::cos, 0.9),
            [batch, time, 3],
            &device,
        );
        let x = x.require_grad();
        let shape = [case.layers * config.directions(), batch, 4];
        let n: usize = shape.iter().product();
        let h = tensor(wave(n, 0.3, f64::sin, 1.1), shape, &device).require_grad();
        let c = tensor(wave(n, 0.3, f64::cos, 1.3), shape, &device);
        let pass = Pass {
            lengths: Some(&case.lengths),
            state: Some(RecurrentState {
                hidden: h.clone(),
                cell: (case.cell == Cell::Lstm).then_some(c),
            }),
            dropout: None,
        };
        let (y, end) = model.forward(x.clone(), pass).unwrap();
        close(&what, &values(y.clone()), &case.output, 1e-6);
        close(&what, &values(end.hidden.clone()), &case.hidden, 1e-6);
        assert_eq!(end.cell.is_some(), case.cells.is_some());
        let weigh = |n: usize, f, step| tensor(wave(n, 1.0, f, step), [n], &plain);
        let sum = |t: Tensor<3>, f, step| {
            let n = t.shape().num_elements();
            (t.reshape([n]) * weigh(n, f, step)).sum()
        };
        let mut loss = sum(y, f64::sin, 0.5) + sum(end.hidden, f64::cos, 0.4);
        if let (Some(cell), Some(expected)) = (end.cell, &case.cells) {
            close(&what, &values(cell.clone()), expected, 1e-6);
            loss = loss + sum(cell, f64::sin, 0.3);
        }
        let mut gradients = loss.backward();
        let dx = values(x.grad_remove(&mut gradients).unwrap());
        let dh = values(h.grad_remove(&mut gradients).unwrap());
        close(&what, &dx, &case.input_gradient, 5e-6);
        close(&what, &dh, &case.state_gradient, 5e-6);
        let own = GradientsParams::from_grads(gradients, &model);
        let dw = adamw::read_gradients(&model, &own).unwrap();
        close(&what, &dw, &case.gradient, 5e-6);
    }
}

fn config(cell: Cell, layers: usize, bidirectional: bool) -> RecurrentConfig {
    RecurrentConfig {
        cell,
        input: 3,
        hidden: 5,
        layers,
        bidirectional,
        ..RecurrentConfig::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_batch_gives_what_each_sequence_gives_alone(
        lengths in proptest::collection::vec(0usize..7, 1..5),
        cell in 0usize..3,
        layers in 1usize..3,
        bidirectional: bool,
        padding in prop_oneof![Just(f32::NAN), Just(7.0f32), Just(f32::INFINITY)],
    ) {
        let config = config(CELLS[cell], layers, bidirectional);
        let (device, time) = (cpu().autodiff(), 7);
        let model = Recurrent::new(&config, 3, &device).unwrap();
        let batch = lengths.len();
        let mut x = wave(batch * time * 3, 1.0, f64::sin, 0.37);
        for (row, &n) in x.chunks_mut(time * 3).zip(&lengths) {
            row[n * 3..].fill(padding);
        }
        let whole = tensor(x.clone(), [batch, time, 3], &device);
        let pass = Pass { lengths: Some(&lengths), ..Pass::default() };
        let (y, state) = model.forward(whole, pass).unwrap();
        let loss = (y.clone() * y.clone()).sum() + state.hidden.clone().sum();
        let gradient = |loss: Tensor<1>| {
            let own = GradientsParams::from_grads(loss.backward(), &model);
            adamw::read_gradients(&model, &own).unwrap()
        };
        let (rows, ends) = (values(y), values(state.hidden));
        let got = gradient(loss);
        let mut expected = vec![0.0f32; got.len()];
        let width = config.output();
        for (b, &n) in lengths.iter().enumerate() {
            let row = &rows[b * time * width..][..time * width];
            prop_assert!(row[n * width..].iter().all(|&v| v == 0.0));
            if n == 0 {
                continue;
            }
            let alone = tensor(x[b * time * 3..][..n * 3].to_vec(), [1, n, 3], &device);
            let (y, state) = model.forward(alone, Pass::default()).unwrap();
            let loss = (y.clone() * y.clone()).sum() + state.hidden.clone().sum();
            close("output", &row[..n * width], &values(y), 1e-6);
            let own: Vec<f32> =
                ends.chunks(5).skip(b).step_by(batch).flatten().copied().collect();
            close("state", &own, &values(state.hidden), 1e-6);
            expected.iter_mut().zip(gradient(loss)).for_each(|(e, g)| *e += g);
        }
        if lengths.iter().any(|&n| n > 0) {
            close("gradient", &got, &expected, 1e-4);
        }
    }
}

#[test]
fn a_text_read_in_pieces_is_the_text_read_at_once() {
    for cell in CELLS {
        let model = Recurrent::new(&config(cell, 2, false), 1, &cpu()).unwrap();
        let x = tensor(wave(2 * 9 * 3, 1.0, f64::cos, 0.6), [2, 9, 3], &cpu());
        let (whole, end) = model.forward(x.clone(), Pass::default()).unwrap();
        let (first, state) = model
            .forward(x.clone().narrow(1, 0, 4), Pass::default())
            .unwrap();
        let pass = Pass {
            state: Some(state),
            ..Pass::default()
        };
        let (second, state) = model.forward(x.narrow(1, 4, 5), pass).unwrap();
        let pieces = Tensor::cat(vec![first, second], 1);
        close("output", &values(pieces), &values(whole), 1e-6);
        close("state", &values(state.hidden), &values(end.hidden), 1e-6);
    }
}

#[test]
fn no_gradient_passes_a_detached_state() {
    let device = cpu().autodiff();
    let model = Recurrent::new(&config(Cell::Lstm, 1, false), 1, &device).unwrap();
    let x = tensor(wave(12, 1.0, f64::cos, 0.6), [1, 4, 3], &device).require_grad();
    let (_, state) = model.forward(x.clone(), Pass::default()).unwrap();
    let later = tensor(wave(6, 1.0, f64::sin, 0.6), [1, 2, 3], &device);
    for cut in [false, true] {
        let state = match cut {
            true => state.clone().detach(),
            false => state.clone(),
        };
        let pass = Pass {
            state: Some(state),
            ..Pass::default()
        };
        let (y, _) = model.forward(later.clone(), pass).unwrap();
        let gradients = y.sum().backward();
        let reached = x
            .grad(&gradients)
            .is_some_and(|g| values(g).iter().any(|&v| v != 0.0));
        assert_eq!(reached, !cut);
    }
}

#[test]
fn dropout_is_drawn_per_sequence_and_variational_dropout_once() {
    let x = || Tensor::<2>::ones([4 * 3, 50], &cpu());
    let dropout = Dropout { rate: 0.4, seed: 2 };
    let drop = |sequences: &[u64], variational| {
        let drops = Drops {
            dropout,
            sequences,
            lengths: None,
            variational,
        };
        values(drops.apply(x().narrow(0, 0, 4 * sequences.len()), 1, &cpu()))
    };
    let plain = drop(&[7, 8, 9], false);
    let variational = drop(&[7, 8, 9], true);
    // [time, batch, 50]
    let at =
        |all: &[f32], batch: usize, t: usize, b: usize| all[(t * batch + b) * 50..][..50].to_vec();
    for b in 0..3 {
        for t in 1..4 {
            assert_eq!(at(&variational, 3, t, b), at(&variational, 3, 0, b));
            assert_ne!(at(&plain, 3, t, b), at(&plain, 3, 0, b));
        }
    }
    assert_ne!(at(&plain, 3, 0, 0), at(&plain, 3, 0, 1));
    let alone = drop(&[8], false);
    assert!((0..4).all(|t| at(&alone, 1, t, 0) == at(&plain, 3, t, 1)));
    let kept = plain.iter().filter(|&&v| v > 0.0).count() as f64 / plain.len() as f64;
    assert!((kept - 0.6).abs() < 0.06, "{kept}");

    // The layers drop only between themselves, and only when asked.
    let run = |config: &RecurrentConfig, sequences: Option<&[u64]>| {
        let model = Recurrent::new(config, 1, &cpu()).unwrap();
        let dropout = sequences.map(|sequences| DropoutDraw { seed: 5, sequences });
        let x = tensor(wave(18, 1.0, f64::cos, 0.6), [2, 3, 3], &cpu());
        let pass = Pass {
            dropout,
            ..Pass::default()
        };
        values(model.forward(x, pass).unwrap().0)
    };
    for (layers, changes) in [(1, false), (2, true)] {
        let dropping = RecurrentConfig {
            dropout: 0.5,
            ..config(Cell::Gru, layers, true)
        };
        let without = run(&config(Cell::Gru, layers, true), Some(&[1, 2]));
        assert_eq!(run(&dropping, None), without);
        assert_eq!(run(&dropping, Some(&[1, 2])) != without, changes);
        assert_eq!(run(&dropping, Some(&[1, 2])), run(&dropping, Some(&[1, 2])));
    }
}

#[test]
fn weights_go_to_pytorch_and_back() {
    for cell in CELLS {
        let config = config(cell, 2, true);
        let model = Recurrent::new(&config, 4, &cpu()).unwrap();
        let tensors = model.to_pytorch().unwrap();
        let names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names[..2], ["weight_ih_l0", "weight_hh_l0"]);
        assert_eq!(names[15], "bias_hh_l1_reverse");
        assert_eq!(tensors[8].shape, [cell.gates() * 5, 10]);
        let count: usize = tensors.iter().map(|t| t.values.len()).sum();
        assert_eq!(count, config.parameters().unwrap());
        let bound = 1.0 / 5f32.sqrt();
        assert!(
            tensors
                .iter()
                .all(|t| t.values.iter().all(|v| v.abs() <= bound))
        );

        let mut shuffled = tensors.clone();
        shuffled.reverse();
        let back = Recurrent::from_pytorch(&config, shuffled, &cpu()).unwrap();
        assert_eq!(back.to_pytorch().unwrap(), tensors);

        let refused = |change: fn(&mut Vec<NamedTensor>)| {
            let mut tensors = tensors.clone();
            change(&mut tensors);
            let error = Recurrent::from_pytorch(&config, tensors, &cpu()).unwrap_err();
            error.to_string()
        };
        assert!(refused(|t| drop(t.remove(1))).contains("weight_hh_l0 is missing"));
        assert!(refused(|t| t.push(t[0].clone())).contains("twice"));
        assert!(refused(|t| t[1].shape = vec![1, 2]).contains("has shape [1, 2]"));
        assert!(refused(|t| t[3].values.truncate(3)).contains("bias_hh_l0"));
        assert!(refused(|t| t[2].values[1] = f32::NAN).contains("value 1"));
        assert!(
            refused(|t| {
                let extra = NamedTensor {
                    name: "weight_ih_l7".to_string(),
                    ..t[0].clone()
                };
                t.push(extra);
            })
            .contains("no tensor of these layers")
        );
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let good = config(Cell::Lstm, 1, false);
    for bad in [
        RecurrentConfig {
            input: 0,
            ..good.clone()
        },
        RecurrentConfig {
            hidden: 0,
            ..good.clone()
        },
        RecurrentConfig {
            layers: 0,
            ..good.clone()
        },
        RecurrentConfig {
            layers: usize::MAX,
            ..good.clone()
        },
        RecurrentConfig {
            hidden: 1 << 20,
            ..good.clone()
        },
        RecurrentConfig {
            dropout: 1.0,
            ..good.clone()
        },
        RecurrentConfig {
            dropout: f32::NAN,
            ..good.clone()
        },
    ] {
        assert!(Recurrent::new(&bad, 0, &cpu()).is_err(), "{bad:?}");
        assert!(bad.parameters().is_err());
    }
    let model = Recurrent::new(&good, 0, &cpu()).unwrap();
    let zeros = |shape: [usize; 3]| Tensor::<3>::zeros(shape, &cpu());
    let state = |rows, cell: bool| RecurrentState {
        hidden: zeros([1, rows, 5]),
        cell: cell.then(|| zeros([1, rows, 5])),
    };
    let sequences = DropoutDraw {
        seed: 0,
        sequences: &[1],
    };
    for (shape, pass) in [
        ([2, 4, 4], Pass::default()),
        ([0, 4, 3], Pass::default()),
        ([2, 0, 3], Pass::default()),
        (
            [2, 4, 3],
            Pass {
                lengths: Some(&[4]),
                ..Pass::default()
            },
        ),
        (
            [2, 4, 3],
            Pass {
                lengths: Some(&[4, 5]),
                ..Pass::default()
            },
        ),
        (
            [2, 4, 3],
            Pass {
                state: Some(state(3, true)),
                ..Pass::default()
            },
        ),
        (
            [2, 4, 3],
            Pass {
                state: Some(state(2, false)),
                ..Pass::default()
            },
        ),
        (
            [2, 4, 3],
            Pass {
                dropout: Some(sequences),
                ..Pass::default()
            },
        ),
    ] {
        assert!(model.forward(zeros(shape), pass).is_err());
    }
    let pass = Pass {
        state: Some(state(2, true)),
        ..Pass::default()
    };
    assert!(model.forward(zeros([2, 4, 3]), pass).is_ok());
}

/// Kernels and tensor program have the same values and gradients, whatever the lengths.
#[test]
fn kernels_agree_with_the_tensor_program() {
    let taped = cpu().autodiff();
    let lengths: [Option<&[usize]>; 3] =
        [None, Some(&[7, 0, 3, 1, 7, 2, 5, 4, 6, 7]), Some(&[0; 10])];
    for (i, &cell) in CELLS.iter().enumerate() {
        for (j, &lengths) in lengths.iter().enumerate() {
            let config = RecurrentConfig {
                cell,
                input: 3,
                hidden: 5,
                layers: 2,
                bidirectional: j != 0,
                bias: j != 1,
                ..RecurrentConfig::default()
            };
            let model = Recurrent::new(&config, i as u64, &taped).unwrap();
            let gates = model.gates(0, tensor(wave(210, 1.0, f64::cos, 0.9), [70, 3], &taped));
            let zeros = || Tensor::zeros([10, 5], &cpu());
            let begin = (zeros(), (cell == Cell::Lstm).then(zeros));
            let kernels = model.kernels(0, &gates, &begin, false, lengths, &cpu());
            assert!(kernels.is_some(), "or the program is held against itself");
            let layers = config.layers * config.directions();
            let state = |scale| {
                let n = layers * 10 * 5;
                tensor(wave(n, scale, f64::sin, 1.7), [layers, 10, 5], &taped).require_grad()
            };
            let run = |compute| {
                let x = tensor(wave(210, 1.0, f64::cos, 0.9), [10, 7, 3], &taped).require_grad();
                let (h, c) = (state(0.4), state(0.7));
                let pass = Pass {
                    lengths,
                    state: Some(RecurrentState {
                        hidden: h.clone(),
                        cell: (cell == Cell::Lstm).then(|| c.clone()),
                    }),
                    dropout: None,
                };
                let (y, end) = model.forward_by(compute, x.clone(), pass).unwrap();
                let weigh = |t: Tensor<3>| {
                    let n = t.shape().num_elements();
                    let flat = t.reshape([n]);
                    let weights = tensor(wave(n, 1.0, f64::sin, 0.5), [n], &cpu());
                    (flat.clone() * flat * weights).sum()
                };
                let mut found = vec![values(y.clone()), values(end.hidden.clone())];
                let mut loss = weigh(y) + weigh(end.hidden);
                if let Some(cell) = end.cell {
                    found.push(values(cell.clone()));
                    loss = loss + weigh(cell);
                }
                let mut gradients = loss.backward();
                let leaves = [&x, &h]
                    .into_iter()
                    .chain((cell == Cell::Lstm).then_some(&c));
                for leaf in leaves {
                    found.push(values(leaf.grad(&gradients).unwrap()));
                }
                for direction in &model.directions {
                    for matrix in [&direction.input, &direction.hidden] {
                        let gradient = matrix.val().grad_remove(&mut gradients);
                        found.extend(gradient.map(values));
                    }
                    for bias in [&direction.input_bias, &direction.hidden_bias] {
                        let bias = bias
                            .as_ref()
                            .and_then(|b| b.val().grad_remove(&mut gradients));
                        found.extend(bias.map(values));
                    }
                }
                found
            };
            let (own, program) = (run(Compute::Auto), run(Compute::Program));
            assert_eq!(own.len(), program.len());
            for (k, (own, program)) in own.iter().zip(&program).enumerate() {
                close(&format!("{config:?} {lengths:?} {k}"), own, program, 2e-5);
            }
        }
    }
}
