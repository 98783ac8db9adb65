use std::collections::BTreeMap;

use burn::nn::loss::CTCLossConfig;
use burn::tensor::{Device, Int};
use proptest::prelude::*;

use super::*;

fn cpu() -> Device {
    refrain_core::device("flex").unwrap()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

fn tensor(values: &[f32], shape: [usize; 3], device: &Device) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// The probability of every labelling, by listing every alignment.
fn all(scores: &[f32], classes: usize, blank: u32) -> BTreeMap<Vec<u32>, f64> {
    let steps = scores.len() / classes;
    let probabilities: Vec<f64> = scores
        .chunks(classes)
        .flat_map(|row| {
            let sum: f64 = row.iter().map(|&s| f64::from(s).exp()).sum();
            row.iter()
                .map(move |&s| f64::from(s).exp() / sum)
                .collect::<Vec<_>>()
        })
        .collect();
    let mut found = BTreeMap::new();
    for code in 0..classes.pow(steps as u32) {
        let path: Vec<usize> = (0..steps)
            .map(|t| code / classes.pow(t as u32) % classes)
            .collect();
        let likely: f64 = path
            .iter()
            .enumerate()
            .map(|(t, &c)| probabilities[t * classes + c])
            .product();
        let mut read: Vec<u32> = path.iter().map(|&c| c as u32).collect();
        read.dedup();
        read.retain(|&c| c != blank);
        *found.entry(read).or_insert(0.0) += likely;
    }
    found
}

fn scores(classes: usize, steps: usize) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(-3.0f32..3.0, classes * steps)
}

fn small() -> impl Strategy<Value = (usize, u32, Vec<f32>)> {
    (2usize..5, 1usize..5).prop_flat_map(|(classes, steps)| {
        (Just(classes), 0..classes as u32, scores(classes, steps))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn agrees_with_listing_every_alignment((classes, blank, scores) in small()) {
        let ctc = Ctc { blank };
        let steps = scores.len() / classes;
        let all = all(&scores, classes, blank);
        let x = tensor(&scores, [1, steps, classes], &cpu());
        for (labels, &likely) in &all {
            let loss = values(ctc.loss(x.clone(), None, &[labels]).unwrap())[0];
            prop_assert!((f64::from(loss) + likely.ln()).abs() < 1e-5, "{labels:?} {loss}");
        }
        // Nothing dropped: every labelling with its exact probability, the best first.
        let found = &ctc.beam(x.clone(), None, 10_000).unwrap()[0];
        prop_assert_eq!(found.len(), all.len());
        for hypothesis in found {
            let expected = all[&hypothesis.labels].ln();
            prop_assert!((f64::from(hypothesis.log_probability) - expected).abs() < 1e-5);
        }
        prop_assert!(found.windows(2).all(|p| p[0].log_probability >= p[1].log_probability));
        let narrow = &ctc.beam(x.clone(), None, 2).unwrap()[0];
        prop_assert!(narrow.len() <= 2);
        prop_assert!(narrow[0].log_probability <= found[0].log_probability + 1e-6);

        let best: Vec<u32> = scores
            .chunks(classes)
            .map(|row| (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32)
            .collect();
        let mut read = best;
        read.dedup();
        read.retain(|&c| c != blank);
        prop_assert_eq!(&ctc.greedy(x, None).unwrap()[0], &read);
    }

    #[test]
    fn gradients_agree_with_finite_differences((classes, blank, scores) in small()) {
        let ctc = Ctc { blank };
        let steps = scores.len() / classes;
        let targets: Vec<Vec<u32>> = all(&scores, classes, blank).into_keys().collect();
        let target = &targets[targets.len() / 2];
        // Beside another sequence, padded with NaN.
        let mut both = scores.clone();
        both.extend(std::iter::repeat_n(f32::NAN, classes));
        both.extend((0..(steps + 1) * classes).map(|i| (i as f32).sin()));
        let x = tensor(&both, [2, steps + 1, classes], &cpu().autodiff()).require_grad();
        let lengths = [steps, steps + 1];
        let losses = ctc.loss(x.clone(), Some(&lengths), &[target, &[]]).unwrap();
        let weights = Tensor::<1>::from_data([2.0, 0.0], &cpu());
        let mut gradients = (losses * weights).sum().backward();
        let got = values(x.grad_remove(&mut gradients).unwrap());
        for (i, got) in got.iter().enumerate() {
            let expected = if i < scores.len() {
                let at = |step: f32| {
                    let mut moved = scores.clone();
                    moved[i] += step;
                    -2.0 * all(&moved, classes, blank)[target].ln()
                };
                (at(1e-2) - at(-1e-2)) / 2e-2
            } else {
                0.0
            };
            prop_assert!((f64::from(*got) - expected).abs() < 1e-3, "{i}: {got} {expected}");
        }
    }

    #[test]
    fn agrees_with_burns_loss(
        values_ in scores(5, 3 * 12),
        targets in proptest::collection::vec(proptest::collection::vec(1u32..5, 1..6), 3),
    ) {
        let lengths = [12usize, 10, 11];
        let device = cpu().autodiff();
        let x = tensor(&values_, [3, 12, 5], &device).require_grad();
        let slices: Vec<&[u32]> = targets.iter().map(Vec::as_slice).collect();
        let ours = Ctc::default().loss(x.clone(), Some(&lengths), &slices).unwrap();
        let mut gradients = ours.clone().sum().backward();
        let slope = values(x.grad_remove(&mut gradients).unwrap());

        let y = tensor(&values_, [3, 12, 5], &device).require_grad();
        let longest = targets.iter().map(Vec::len).max().unwrap();
        let mut padded = Vec::new();
        for target in &targets {
            padded.extend(target.iter().map(|&l| l as i32));
            padded.resize(padded.len() + longest - target.len(), 0);
        }
        let int = |v: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(v, [3]), &device);
        let theirs = CTCLossConfig::new().init().forward(
            log_softmax(y.clone(), 2).swap_dims(0, 1),
            Tensor::<2, Int>::from_data(TensorData::new(padded, [3, longest]), &device),
            int(lengths.iter().map(|&n| n as i32).collect()),
            int(targets.iter().map(|t| t.len() as i32).collect()),
        );
        let mut gradients = theirs.clone().sum().backward();
        let expected = values(y.grad_remove(&mut gradients).unwrap());
        for (a, b) in values(ours.inner()).iter().zip(values(theirs.inner())) {
            prop_assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        for (a, b) in slope.iter().zip(expected) {
            prop_assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
}

#[test]
fn impossible_targets_are_refused() {
    let ctc = Ctc::default();
    let x = Tensor::<3>::zeros([2, 4, 3], &cpu());
    // Two equal neighbours need a blank between them.
    assert!(
        ctc.loss(x.clone(), None, &[&[1, 2, 1, 2], &[1, 1, 2]])
            .is_ok()
    );
    let error = ctc
        .loss(x.clone(), None, &[&[1], &[1, 1, 2, 2]])
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooShort {
                needed: 6,
                found: 4,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("sequence 1"), "{error}");
    let error = ctc
        .loss(x.clone(), Some(&[4, 1]), &[&[1], &[1, 2]])
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooShort {
                needed: 2,
                found: 1,
                ..
            }
        ),
        "{error}"
    );
    for targets in [&[&[1u32][..]][..], &[&[0], &[1]], &[&[1], &[3]]] {
        assert!(ctc.loss(x.clone(), None, targets).is_err());
    }
    for lengths in [&[4][..], &[4, 5]] {
        assert!(ctc.loss(x.clone(), Some(lengths), &[&[1], &[1]]).is_err());
        assert!(ctc.greedy(x.clone(), Some(lengths)).is_err());
        assert!(ctc.beam(x.clone(), Some(lengths), 2).is_err());
    }
    assert!(ctc.beam(x.clone(), None, 0).is_err());
    assert!(Ctc { blank: 3 }.greedy(x, None).is_err());
    assert!(ctc.greedy(Tensor::zeros([0, 4, 3], &cpu()), None).is_err());
    assert!(ctc.greedy(Tensor::zeros([1, 0, 3], &cpu()), None).is_err());
}

#[test]
fn edges_have_their_limits() {
    let ctc = Ctc::default();
    let x = Tensor::<3>::zeros([2, 3, 2], &cpu());
    // No step and no label: certain. Three steps of two classes without a label: one in eight.
    let losses = values(ctc.loss(x.clone(), Some(&[0, 3]), &[&[], &[]]).unwrap());
    assert_eq!(losses[0], 0.0);
    assert!((losses[1] - 8f32.ln()).abs() < 1e-6);
    let beam = ctc.beam(x, Some(&[0, 3]), 5).unwrap();
    assert_eq!(beam[0][0].labels, [0u32; 0]);
    assert_eq!(beam[0][0].log_probability, 0.0);

    // A target of probability 0 costs infinity and moves nothing; NaN stays NaN.
    let mut scores = vec![0.0f32; 6];
    scores
        .iter_mut()
        .skip(1)
        .step_by(2)
        .for_each(|s| *s = f32::NEG_INFINITY);
    let x = tensor(&scores, [1, 3, 2], &cpu().autodiff()).require_grad();
    let loss = ctc.loss(x.clone(), None, &[&[1]]).unwrap();
    assert_eq!(values(loss.clone().inner()), [f32::INFINITY]);
    let slope = values(x.grad(&loss.sum().backward()).unwrap());
    assert!(slope.iter().all(|&g| g == 0.0), "{slope:?}");
    let lost = tensor(&[f32::NAN; 6], [1, 3, 2], &cpu());
    assert!(values(ctc.loss(lost.clone(), None, &[&[1]]).unwrap())[0].is_nan());
    let _ = (
        ctc.greedy(lost.clone(), None).unwrap(),
        ctc.beam(lost, None, 3).unwrap(),
    );
}

/// Steps without a label are not dropped from a long sequence's sum.
#[test]
fn long_sequences_stay_exact() {
    // Two classes, equal scores: C(n + 1, 2) of 2ⁿ alignments read as one label.
    let n = 500;
    let x = Tensor::<3>::zeros([1, n, 2], &cpu());
    let loss = values(Ctc::default().loss(x, None, &[&[1]]).unwrap())[0];
    let ways = (n * (n + 1) / 2) as f64;
    let expected = n as f64 * 2f64.ln() - ways.ln();
    assert!(
        (f64::from(loss) / expected - 1.0).abs() < 1e-6,
        "{loss} {expected}"
    );
}
