//! Both engines against a slow one, and the gradient against finite differences.

use proptest::prelude::*;
use rand::RngExt;
use refrain_core::rng::stream;

use super::kernel::{Rows, Step, Window, window_reference};
use super::sampling::{Negatives, keep_chances};
use super::shards::{Covered, Direct, Overlay, merge};
use super::tensors::{CAP, Tensors};
use super::worker::{Loss, Plan, Windows, Worker, add};
use crate::vocabulary::END;

/// A table of random values, `[words, dim]`.
fn table(words: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut rng = stream(seed, 9);
    (0..words * dim)
        .map(|_| rng.random_range(-1.0f32..1.0))
        .collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn assert_near(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(
            error <= tolerance * expected.abs().max(1.0),
            "{i}: {found} {expected}"
        );
    }
}

fn kernel_step(
    inputs: &mut Rows,
    outputs: &mut Rows,
    contexts: &[usize],
    centre: usize,
    negatives: &[usize],
    rate: f32,
) -> (f64, f64) {
    let stride = inputs.stride();
    let (mut window, mut xs, mut ys) = (Window::default(), Vec::new(), Vec::new());
    for &word in contexts {
        add(&mut xs, &mut window.input_weights, word as u32);
    }
    add(&mut ys, &mut window.output_weights, centre as u32);
    for &word in negatives.iter().filter(|&&word| word != centre) {
        add(&mut ys, &mut window.output_weights, word as u32);
    }
    window.inputs = xs.iter().map(|&word| word as usize * stride).collect();
    window.outputs = ys.iter().map(|&word| word as usize * stride).collect();
    let (inputs, outputs) = (inputs.as_mut_slice(), outputs.as_mut_slice());
    pulp::Arch::new().dispatch(Step {
        window: &mut window,
        inputs,
        outputs,
        stride,
        rate,
    });
    window.loss()
}

proptest! {
    #[test]
    fn kernel_equals_reference(
        dim in 1usize..70,
        contexts in proptest::collection::vec(0usize..12, 1..14),
        centre in 0usize..12,
        negatives in proptest::collection::vec(0usize..12, 0..20),
        seed in any::<u64>(),
    ) {
        let (x, y) = (table(12, dim, seed), table(12, dim, seed ^ 1));
        let (mut xs, mut ys) = (Rows::from_dense(&x, dim), Rows::from_dense(&y, dim));
        let (loss, pairs) = kernel_step(&mut xs, &mut ys, &contexts, centre, &negatives, 0.1);
        let (mut slow_x, mut slow_y) = (wide(&x), wide(&y));
        let slow = window_reference(
            &mut slow_x, &mut slow_y, dim, &contexts, centre, &negatives, f64::from(0.1f32),
        );
        assert_near(&xs.to_dense(dim), &slow_x, 3e-6);
        assert_near(&ys.to_dense(dim), &slow_y, 3e-6);
        prop_assert!((loss - slow).abs() < 1e-4 * slow.max(1.0), "{} {}", loss, slow);
        prop_assert_eq!(pairs, contexts.len() as f64);
        let rows = xs.as_slice().chunks_exact(xs.stride());
        prop_assert!(rows.flat_map(|r| &r[dim..]).all(|&v| v == 0.0), "padding changed");
    }
}

#[test]
fn the_step_is_the_gradient() {
    let dim = 7;
    let (x, y) = (wide(&table(5, dim, 3)), wide(&table(5, dim, 4)));
    let (contexts, centre, negatives) = ([0, 1, 1], 2, [3, 4, 3, 2]);
    let loss = |x: &[f64], y: &[f64]| {
        window_reference(
            &mut x.to_vec(),
            &mut y.to_vec(),
            dim,
            &contexts,
            centre,
            &negatives,
            1.0,
        )
    };
    let (mut new_x, mut new_y) = (x.clone(), y.clone());
    window_reference(
        &mut new_x, &mut new_y, dim, &contexts, centre, &negatives, 1.0,
    );
    let h = 1e-5;
    for i in 0..x.len() {
        let (mut up, mut down) = (x.clone(), x.clone());
        up[i] += h;
        down[i] -= h;
        let slope = (loss(&up, &y) - loss(&down, &y)) / (2.0 * h);
        assert!((x[i] - new_x[i] - slope).abs() < 1e-7, "input {i}");
        let (mut up, mut down) = (y.clone(), y.clone());
        up[i] += h;
        down[i] -= h;
        let slope = (loss(&x, &up) - loss(&x, &down)) / (2.0 * h);
        assert!((y[i] - new_y[i] - slope).abs() < 1e-7, "output {i}");
    }
}

fn plan(counts: &[u64]) -> Plan {
    Plan {
        negatives: Negatives::new(counts, 0.75),
        keep: keep_chances(counts, 1e-2),
        window: 3,
        negatives_per_window: 4,
        learning_rate: 0.05,
        total: 2000,
    }
}

fn text(words: u32, tokens: usize) -> Vec<u32> {
    let mut rng = stream(5, 5);
    (0..tokens)
        .map(|i| {
            if i % 9 == 8 {
                END
            } else {
                rng.random_range(0..words)
            }
        })
        .collect()
}

/// The whole of training on a piece, window by window; `batch` windows see the same tables.
fn slow_training(
    plan: &Plan,
    piece: &[u32],
    (x, y): (&mut [f64], &mut [f64]),
    dim: usize,
    batch: usize,
) {
    let mut rng = stream(1, 2);
    let mut all = Vec::new();
    let mut done = 0;
    for sentence in piece.split(|&id| id == END) {
        let rate = f64::from(plan.rate(done) as f32);
        done += sentence.len() as u64;
        Windows::default().draw(plan, sentence, &mut rng, |centre, contexts, negatives| {
            let list = |words: &[u32]| words.iter().map(|&w| w as usize).collect::<Vec<_>>();
            all.push((centre as usize, list(contexts), list(negatives), rate));
        });
    }
    for windows in all.chunks(batch) {
        let (old_x, old_y) = (x.to_vec(), y.to_vec());
        // The sum of learning rates of each row, which a step of several windows holds to a cap.
        let (mut load_x, mut load_y) = (vec![0.0; x.len() / dim], vec![0.0; y.len() / dim]);
        for (centre, contexts, negatives, rate) in windows {
            for &context in contexts {
                load_x[context] += rate * (1 + negatives.len()) as f64;
            }
            for &target in negatives.iter().chain([centre]) {
                load_y[target] += rate * contexts.len() as f64;
            }
        }
        let scale = |load: f64| {
            if batch == 1 {
                1.0
            } else {
                (f64::from(CAP) / load).min(1.0)
            }
        };
        for (centre, contexts, negatives, rate) in windows {
            let (mut new_x, mut new_y) = (old_x.clone(), old_y.clone());
            window_reference(
                &mut new_x, &mut new_y, dim, contexts, *centre, negatives, *rate,
            );
            for i in 0..x.len() {
                x[i] += scale(load_x[i / dim]) * (new_x[i] - old_x[i]);
                y[i] += scale(load_y[i / dim]) * (new_y[i] - old_y[i]);
            }
        }
    }
}

#[test]
fn both_engines_follow_the_reference() {
    let (words, dim) = (30, 10);
    let (x, y) = (table(words, dim, 1), table(words, dim, 2));
    let counts: Vec<u64> = (1..=words as u64).rev().collect();
    let (plan, piece) = (plan(&counts), text(words as u32, 300));

    let (mut slow_x, mut slow_y) = (wide(&x), wide(&y));
    slow_training(&plan, &piece, (&mut slow_x, &mut slow_y), dim, 1);
    let (mut xs, mut ys) = (Rows::from_dense(&x, dim), Rows::from_dense(&y, dim));
    let mut worker = Worker::default();
    let (mut a, mut b) = (Direct::new(&mut xs), Direct::new(&mut ys));
    worker.train(&plan, &piece, 0, stream(1, 2), &mut a, &mut b);
    assert_near(&xs.to_dense(dim), &slow_x, 2e-5);
    assert_near(&ys.to_dense(dim), &slow_y, 2e-5);

    for batch in [2, 16] {
        let (mut slow_x, mut slow_y) = (wide(&x), wide(&y));
        slow_training(&plan, &piece, (&mut slow_x, &mut slow_y), dim, batch);
        let device = refrain_core::device("cpu").unwrap();
        let mut tensors = Tensors::new(x.clone(), y.clone(), dim, &device);
        let loss: Loss = tensors
            .train(&plan, batch, &piece, 0, stream(1, 2))
            .unwrap();
        let (fast_x, fast_y) = tensors.read().unwrap();
        assert_near(&fast_x, &slow_x, 2e-5);
        assert_near(&fast_y, &slow_y, 2e-5);
        assert!(loss.mean() > 0.0 && loss.mean().is_finite());
    }
}

#[test]
fn one_overlay_merged_is_the_table_trained_directly() {
    let (words, dim) = (300, 20);
    let (x, y) = (table(words, dim, 1), table(words, dim, 2));
    let counts = vec![3; words];
    let (plan, piece) = (plan(&counts), text(words as u32, 500));
    let (mut xs, mut ys) = (Rows::from_dense(&x, dim), Rows::from_dense(&y, dim));
    let (mut a, mut b) = (Direct::new(&mut xs), Direct::new(&mut ys));
    Worker::default().train(&plan, &piece, 0, stream(1, 2), &mut a, &mut b);

    let (mut base_x, mut base_y) = (Rows::from_dense(&x, dim), Rows::from_dense(&y, dim));
    let (mut over_x, mut over_y) = (Overlay::new(words, dim), Overlay::new(words, dim));
    let mut a = Covered {
        base: &base_x,
        overlay: &mut over_x,
    };
    let mut b = Covered {
        base: &base_y,
        overlay: &mut over_y,
    };
    Worker::default().train(&plan, &piece, 0, stream(1, 2), &mut a, &mut b);
    merge(&mut base_x, &mut [&mut over_x], 0.1);
    merge(&mut base_y, &mut [&mut over_y], 0.1);
    assert_eq!(base_x.to_dense(dim), xs.to_dense(dim));
    assert_eq!(base_y.to_dense(dim), ys.to_dense(dim));
}

#[test]
fn merging_adds_rare_changes_and_averages_frequent_ones() {
    use super::worker::Table;
    let mut base = Rows::from_dense(&[1.0; 3], 1);
    let mut overlays = [Overlay::new(3, 1), Overlay::new(3, 1)];
    for overlay in &mut overlays {
        let mut covered = Covered {
            base: &base,
            overlay,
        };
        let rare = covered.row(1);
        covered.values()[rare] += 0.5;
        for _ in 0..10_000 {
            let frequent = covered.row(2);
            covered.values()[frequent] = 3.0;
        }
    }
    let [a, b] = &mut overlays;
    merge(&mut base, &mut [a, b], 1e-2);
    let values = base.to_dense(1);
    assert_eq!(values[0], 1.0);
    assert!((values[1] - 2.0).abs() < 0.01, "{values:?}");
    assert!((values[2] - 3.0).abs() < 0.01, "{values:?}");
}
