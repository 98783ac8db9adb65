//! Both engines against a slow one, and the gradient against finite differences.

mod merging;
mod reference;

use proptest::prelude::*;
use rand::RngExt;
use refrain_core::rng::stream;

use super::Architecture::{self, Cbow, SkipGram};
use super::hot::Hot;
use super::kernel::{Rows, Step};
use super::ngrams::{NgramRows, Ngrams};
use super::paths::Paths;
use super::sampling::{Negatives, keep_chances};
use super::shards::Direct;
use super::tensors::{CAP, Tensors};
use super::windows::{Loss, Plan, Targets, Window, Windows};
use super::worker::{Piece, Worker};
use crate::Vocabulary;
use crate::vocabulary::END;
use reference::{Pair, window_reference};

/// Rows of n-grams and of documents in these tests.
const BUCKETS: usize = 7;
const DOCUMENTS: usize = 60;

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

/// Every combination of what is given, what is told, and of what words are made; and with documents.
fn plans(counts: &[u64]) -> Vec<Plan> {
    let names = counts
        .iter()
        .enumerate()
        .map(|(i, &n)| (format!("w{i}"), n));
    let vocabulary = Vocabulary::from_counts(names).unwrap();
    let mut plans = Vec::new();
    for architecture in [SkipGram, Cbow] {
        for hierarchical in [false, true] {
            for ngrams in [false, true] {
                plans.push(plan(&vocabulary, architecture, hierarchical, ngrams));
            }
        }
        for words in [false, true] {
            let mut plan = plan(&vocabulary, architecture, words, false);
            plan.documents = Some(((counts.len() + BUCKETS) as u32, words));
            plans.push(plan);
        }
    }
    plans
}

fn plan(
    vocabulary: &Vocabulary,
    architecture: Architecture,
    hierarchical: bool,
    ngrams: bool,
) -> Plan {
    let counts = vocabulary.counts();
    let lengths = Ngrams {
        least: 2,
        most: 3,
        buckets: BUCKETS,
    };
    Plan {
        architecture,
        targets: match hierarchical {
            true => Targets::Paths(Paths::new(counts)),
            false => Targets::Negatives(Negatives::new(counts, 0.75), 4),
        },
        ngrams: ngrams.then(|| NgramRows::new(vocabulary, &lengths)),
        documents: None,
        keep: keep_chances(counts, 1e-2),
        window: 3,
        learning_rate: 0.05,
        large: usize::MAX,
        hot: Hot::default(),
    }
}

/// The whole of `tokens`, as the first of 2,000.
fn piece(tokens: &[u32]) -> Piece<'_> {
    Piece {
        tokens,
        first: 0,
        total: 2000,
        sentence: 0,
        rng: stream(1, 2),
    }
}

/// The pairs of a window, each for itself; `document` is the row of its document.
fn pairs(
    plan: &Plan,
    document: Option<usize>,
    centre: u32,
    contexts: &[u32],
    negatives: &[u32],
) -> Vec<Pair> {
    let rows = |word: u32| match &plan.ngrams {
        Some(ngrams) => ngrams.of(word).iter().map(|&row| row as usize).collect(),
        None => vec![word as usize],
    };
    let given_and_told: Vec<(Vec<usize>, u32)> = match (plan.architecture, &plan.ngrams) {
        (SkipGram, None) => contexts.iter().map(|&c| (rows(c), centre)).collect(),
        (SkipGram, Some(_)) => contexts.iter().map(|&c| (rows(centre), c)).collect(),
        (Cbow, _) => {
            let contexts = contexts.iter().flat_map(|&c| rows(c));
            vec![(contexts.chain(document).collect(), centre)]
        }
    };
    // Words that the same input tells have negatives of their own.
    let inputs = match (plan.architecture, &plan.ngrams) {
        (SkipGram, Some(_)) => contexts.len(),
        _ => 1,
    };
    let own = |at: usize| match inputs > 1 {
        true => {
            let each = (negatives.len() / inputs).max(1);
            negatives.chunks(each).nth(at).unwrap_or_default()
        }
        false => negatives,
    };
    let words = given_and_told.into_iter().enumerate();
    words
        .flat_map(|(at, (given, word))| told(plan, given, word, own(at)))
        .collect()
}

/// The pairs of one input and one word it is to tell.
fn told(plan: &Plan, given: Vec<usize>, word: u32, negatives: &[u32]) -> Vec<Pair> {
    match &plan.targets {
        Targets::Negatives(..) => {
            let others = negatives.iter().filter(|&&negative| negative != word);
            let others = others.map(|&negative| (given.clone(), negative as usize, 0.0));
            let others: Vec<Pair> = others.collect();
            [(given, word as usize, 1.0)]
                .into_iter()
                .chain(others)
                .collect()
        }
        Targets::Paths(paths) => {
            let turn = |&(node, label): &(u32, f32)| (given.clone(), node as usize, label.into());
            paths.of(word).iter().map(turn).collect()
        }
    }
}

proptest! {
    #[test]
    fn kernel_equals_reference(
        dim in 1usize..70,
        contexts in proptest::collection::vec(0u32..12, 1..14),
        centre in 0u32..12,
        negatives in proptest::collection::vec(0u32..12, 0..20),
        counts in proptest::collection::vec(1u64..50, 12),
        seed in any::<u64>(),
    ) {
        let (x, y) = (table(12 + BUCKETS, dim, seed), table(12, dim, seed ^ 1));
        for plan in plans(&counts) {
            let (mut xs, mut ys) = (Rows::from_dense(&x, dim), Rows::from_dense(&y, dim));
            let stride = xs.stride();
            let mut window = Window::default();
            window.fill(&plan, None, centre, &contexts, &negatives);
            let (mut a, mut b) = (Direct::new(&mut xs), Direct::new(&mut ys));
            window.locate(&mut a, &mut b);
            let (inputs, outputs) = (xs.as_mut_slice(), ys.as_mut_slice());
            let rate = 0.1;
            let step = Step { window: &mut window, inputs, outputs, stride, rate };
            pulp::Arch::new().dispatch(step);
            let (loss, _) = window.loss();

            let pairs = pairs(&plan, None, centre, &contexts, &negatives);
            let (mut slow_x, mut slow_y) = (wide(&x), wide(&y));
            let slow = window_reference(&mut slow_x, &mut slow_y, dim, &pairs, f64::from(rate));
            assert_near(&xs.to_dense(dim), &slow_x, 1e-5);
            assert_near(&ys.to_dense(dim), &slow_y, 1e-5);
            prop_assert!((loss - slow).abs() < 1e-4 * slow.max(1.0), "{} {}", loss, slow);
            let rows = xs.as_slice().chunks_exact(xs.stride());
            prop_assert!(rows.flat_map(|r| &r[dim..]).all(|&v| v == 0.0), "padding changed");
        }
    }
}

/// A mean's change is added to all it is made of, as word2vec and fastText do: for a mean of `n`
/// rows that is `n` times the gradient.
#[test]
fn the_step_is_the_gradient() {
    let dim = 7;
    let (x, y) = (wide(&table(5, dim, 3)), wide(&table(5, dim, 4)));
    let single = |i: usize| vec![i];
    let some: Vec<Pair> = vec![
        (single(0), 2, 1.0),
        (single(1), 2, 1.0),
        (single(1), 3, 0.0),
        (single(0), 3, 0.0),
    ];
    let means: Vec<Pair> = vec![(vec![0, 1, 4], 2, 1.0), (vec![0, 1, 4], 3, 0.0)];
    for (pairs, n) in [(some, 1.0), (means, 3.0)] {
        let step = |x: &mut Vec<f64>, y: &mut Vec<f64>| window_reference(x, y, dim, &pairs, 1.0);
        let loss = |x: &[f64], y: &[f64]| step(&mut x.to_vec(), &mut y.to_vec());
        let (mut new_x, mut new_y) = (x.clone(), y.clone());
        step(&mut new_x, &mut new_y);
        let h = 1e-5;
        for i in 0..x.len() {
            let (mut up, mut down) = (x.clone(), x.clone());
            up[i] += h;
            down[i] -= h;
            let slope = (loss(&up, &y) - loss(&down, &y)) / (2.0 * h);
            assert!((x[i] - new_x[i] - n * slope).abs() < 1e-7, "input {i}");
            let (mut up, mut down) = (y.clone(), y.clone());
            up[i] += h;
            down[i] -= h;
            let slope = (loss(&x, &up) - loss(&x, &down)) / (2.0 * h);
            assert!((y[i] - new_y[i] - slope).abs() < 1e-7, "output {i}");
        }
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
    for (number, sentence) in piece.split(|&id| id == END).enumerate() {
        let rate = f64::from(plan.rate(done, 2000) as f32);
        done += sentence.len() as u64;
        Windows::default().draw(plan, sentence, &mut rng, |centre, contexts, negatives| {
            let document = plan.documents.map(|(first, _)| first as usize + number);
            if let (Some(row), SkipGram) = (document, plan.architecture) {
                all.push((told(plan, vec![row], centre, negatives), rate));
            }
            let words = plan
                .documents
                .is_none_or(|(_, words)| words && !contexts.is_empty());
            if plan.architecture == Cbow || words {
                all.push((pairs(plan, document, centre, contexts, negatives), rate));
            }
        });
    }
    for windows in all.chunks(batch) {
        let (old_x, old_y) = (x.to_vec(), y.to_vec());
        // The sum of learning rates of each row, which a step of several windows holds to a cap.
        let (mut load_x, mut load_y) = (vec![0.0; x.len() / dim], vec![0.0; y.len() / dim]);
        for (pairs, rate) in windows {
            for (given, told, _) in pairs {
                given.iter().for_each(|&row| load_x[row] += rate);
                load_y[*told] += rate;
            }
        }
        let scale = |load: f64| match batch == 1 {
            true => 1.0,
            false => (f64::from(CAP) / load).min(1.0),
        };
        for (pairs, rate) in windows {
            let (mut new_x, mut new_y) = (old_x.clone(), old_y.clone());
            window_reference(&mut new_x, &mut new_y, dim, pairs, *rate);
            for i in 0..x.len() {
                x[i] += scale(load_x[i / dim]) * (new_x[i] - old_x[i]);
            }
            for i in 0..y.len() {
                y[i] += scale(load_y[i / dim]) * (new_y[i] - old_y[i]);
            }
        }
    }
}

#[test]
fn both_engines_follow_the_reference() {
    let (words, dim) = (30, 10);
    let (x, y) = (
        table(words + BUCKETS + DOCUMENTS, dim, 1),
        table(words, dim, 2),
    );
    let counts: Vec<u64> = (1..=words as u64).rev().collect();
    let text = text(words as u32, 300);
    for (which, plan) in plans(&counts).iter().enumerate() {
        let (mut slow_x, mut slow_y) = (wide(&x), wide(&y));
        slow_training(plan, &text, (&mut slow_x, &mut slow_y), dim, 1);
        let (mut xs, mut ys) = (Rows::from_dense(&x, dim), Rows::from_dense(&y, dim));
        let mut worker = Worker::default();
        let (mut a, mut b) = (Direct::new(&mut xs), Direct::new(&mut ys));
        worker.train(plan, piece(&text), &mut a, &mut b);
        assert_near(&xs.to_dense(dim), &slow_x, 1e-4);
        assert_near(&ys.to_dense(dim), &slow_y, 1e-4);
        let moved = slow_x
            .iter()
            .zip(&x)
            .any(|(a, &b)| (a - f64::from(b)).abs() > 1e-3);
        assert!(moved, "plan {which} trains nothing");

        for batch in [2, 16] {
            let (mut slow_x, mut slow_y) = (wide(&x), wide(&y));
            slow_training(plan, &text, (&mut slow_x, &mut slow_y), dim, batch);
            let device = refrain_core::device("cpu").unwrap();
            let mut tensors = Tensors::new(x.clone(), y.clone(), dim, &device);
            let loss: Loss = tensors.train(plan, batch, piece(&text)).unwrap();
            let (fast_x, fast_y) = tensors.read().unwrap();
            assert_near(&fast_x, &slow_x, 1e-4);
            assert_near(&fast_y, &slow_y, 1e-4);
            assert!(loss.mean() > 0.0 && loss.mean().is_finite());
        }
    }
}

#[test]
fn large_vocabularies_draw_negatives_from_few_words_at_a_time() {
    let counts: Vec<(String, u64)> = (0..20_000).map(|i| (format!("w{i}"), 10)).collect();
    let vocabulary = Vocabulary::from_counts(counts).unwrap();
    let mut plan = plan(&vocabulary, SkipGram, false, false);
    let sentence: Vec<u32> = (0..20_000).collect();
    let seen = |plan: &Plan, windows: &mut Windows, seed: u64| {
        let (mut rng, mut seen) = (stream(seed, 3), std::collections::HashMap::new());
        windows.begin(plan, &mut rng);
        windows.draw(plan, &sentence, &mut rng, |_, _, negatives| {
            for &word in negatives {
                *seen.entry(word).or_insert(0u32) += 1;
            }
        });
        seen
    };
    let mut windows = Windows::default();
    let all = seen(&plan, &mut windows, 1);
    assert!(all.len() > 18_000, "{}", all.len());
    plan.large = 20_000;
    let (a, b) = (seen(&plan, &mut windows, 1), seen(&plan, &mut windows, 2));
    // 4,096 draws of 20,000 equally likely words are 3,704 different ones, as a mean.
    for some in [&a, &b] {
        assert!((3_600..3_800).contains(&some.len()), "{}", some.len());
        assert_eq!(some.values().sum::<u32>(), all.values().sum::<u32>());
        // None of them is preferred: in the mean 19.5 for each draw of it.
        assert!(some.values().all(|&n| n < 19 * 12));
    }
    let both = a.keys().filter(|word| b.contains_key(word)).count();
    assert!(both < 1_000, "other words for another piece: {both}");
}
