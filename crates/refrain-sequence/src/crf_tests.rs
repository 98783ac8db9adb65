use burn::optim::GradientsParams;
use proptest::prelude::*;

use super::*;
use crate::adamw;

fn cpu() -> Device {
    refrain_core::device("flex").unwrap()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// A chain with its scores, small enough to list every labelling.
#[derive(Debug, Clone)]
struct Small {
    labels: usize,
    transitions: Vec<f32>,
    start: Vec<f32>,
    end: Vec<f32>,
    /// Each sequence `[length, labels]`.
    sequences: Vec<Vec<f32>>,
}

fn small() -> impl Strategy<Value = Small> {
    (1usize..4, proptest::collection::vec(1usize..5, 1..4)).prop_flat_map(|(n, lengths)| {
        let score = || -3.0f32..3.0;
        let some = move |k: usize| proptest::collection::vec(score(), k);
        let sequences: Vec<_> = lengths.into_iter().map(|l| some(l * n)).collect();
        (some(n * n), some(n), some(n), sequences).prop_map(
            move |(transitions, start, end, sequences)| Small {
                labels: n,
                transitions,
                start,
                end,
                sequences,
            },
        )
    })
}

impl Small {
    fn crf(&self, device: &Device) -> Crf {
        Crf::from_scores(&self.transitions, &self.start, &self.end, device).unwrap()
    }

    fn lengths(&self) -> Vec<usize> {
        self.sequences
            .iter()
            .map(|s| s.len() / self.labels)
            .collect()
    }

    /// `[batch, time, labels]`, padded with NaN.
    fn scores(&self, device: &Device) -> Tensor<3> {
        let time = self.lengths().into_iter().max().unwrap() + 1;
        let mut all = Vec::new();
        for (i, sequence) in self.sequences.iter().enumerate() {
            all.extend(sequence);
            all.resize((i + 1) * time * self.labels, f32::NAN);
        }
        let shape = [self.sequences.len(), time, self.labels];
        Tensor::from_data(TensorData::new(all, shape), device)
    }

    /// Every labelling of a sequence with its score.
    fn all(&self, sequence: &[f32]) -> Vec<(Vec<u32>, f64)> {
        let n = self.labels;
        let length = sequence.len() / n;
        (0..n.pow(length as u32))
            .map(|code| {
                let path: Vec<usize> = (0..length).map(|t| code / n.pow(t as u32) % n).collect();
                let mut score = f64::from(self.start[path[0]] + self.end[path[length - 1]]);
                for (t, &label) in path.iter().enumerate() {
                    score += f64::from(sequence[t * n + label]);
                }
                for pair in path.windows(2) {
                    score += f64::from(self.transitions[pair[0] * n + pair[1]]);
                }
                (path.iter().map(|&l| l as u32).collect(), score)
            })
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn agrees_with_listing_every_labelling(small in small()) {
        let crf = small.crf(&cpu());
        let (scores, lengths) = (small.scores(&cpu()), small.lengths());
        let log_z = values(crf.log_partition(scores.clone(), Some(&lengths)).unwrap());
        let best = crf.viterbi(scores.clone(), Some(&lengths)).unwrap();
        let marginals = crf.marginals(scores.clone(), Some(&lengths)).unwrap();
        let mut paths: Vec<Vec<u32>> = Vec::new();
        let mut expected_losses = Vec::new();
        for (i, sequence) in small.sequences.iter().enumerate() {
            let all = small.all(sequence);
            let z: f64 = all.iter().map(|(_, score)| score.exp()).sum();
            prop_assert!((f64::from(log_z[i]) - z.ln()).abs() < 1e-4);
            let most = all.iter().map(|(_, s)| *s).fold(f64::NEG_INFINITY, f64::max);
            prop_assert!((f64::from(best[i].score) - most).abs() < 1e-4);
            let own = all.iter().find(|(path, _)| *path == best[i].labels).unwrap().1;
            prop_assert!((own - most).abs() < 1e-5);
            for (at, &got) in marginals[i].iter().enumerate() {
                let (t, label) = (at / small.labels, (at % small.labels) as u32);
                let through = all.iter().filter(|(path, _)| path[t] == label);
                let share = through.map(|(_, score)| score.exp()).sum::<f64>() / z;
                prop_assert!((f64::from(got) - share).abs() < 1e-5, "{got} {share}");
            }
            let (path, score) = &all[all.len() / 2];
            paths.push(path.clone());
            expected_losses.push(z.ln() - score);
        }
        let paths: Vec<&[u32]> = paths.iter().map(Vec::as_slice).collect();
        let losses = values(crf.negative_log_likelihood(scores, &paths).unwrap());
        for (got, expected) in losses.iter().zip(expected_losses) {
            prop_assert!((f64::from(*got) - expected).abs() < 1e-4, "{got} {expected}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences(small in small()) {
        let device = cpu().autodiff();
        let crf = small.crf(&device);
        let scores = small.scores(&device).require_grad();
        let paths: Vec<Vec<u32>> =
            small.sequences.iter().map(|s| small.all(s).last().unwrap().0.clone()).collect();
        let paths: Vec<&[u32]> = paths.iter().map(Vec::as_slice).collect();
        // Weighted, so that a sequence's gradient is seen to be its own.
        let weights: Vec<f32> = (0..paths.len()).map(|i| 1.0 + i as f32).collect();
        let total = |small: &Small| -> f64 {
            let losses = small.sequences.iter().zip(&paths).zip(&weights);
            losses
                .map(|((sequence, path), &w)| {
                    let all = small.all(sequence);
                    let z: f64 = all.iter().map(|(_, score)| score.exp()).sum();
                    let own = all.iter().find(|(p, _)| p == path).unwrap().1;
                    f64::from(w) * (z.ln() - own)
                })
                .sum()
        };
        let losses = crf.negative_log_likelihood(scores.clone(), &paths).unwrap();
        let n = weights.len();
        let loss = (losses * Tensor::from_data(TensorData::new(weights.clone(), [n]), &cpu())).sum();
        let mut gradients = loss.backward();
        let dx = values(scores.grad_remove(&mut gradients).unwrap());
        let own = GradientsParams::from_grads(gradients, &crf);
        let dw = adamw::read_gradients(&crf, &own).unwrap();

        let slope = |change: &dyn Fn(&mut Small, f32)| {
            let at = |step: f32| {
                let mut moved = small.clone();
                change(&mut moved, step);
                total(&moved)
            };
            (at(1e-2) - at(-1e-2)) / 2e-2
        };
        let labels = small.labels;
        let mut expected = Vec::new();
        for i in 0..labels * labels {
            expected.push(slope(&|s, step| s.transitions[i] += step));
        }
        for i in 0..labels {
            expected.push(slope(&|s, step| s.start[i] += step));
        }
        for i in 0..labels {
            expected.push(slope(&|s, step| s.end[i] += step));
        }
        for (got, expected) in dw.iter().zip(expected) {
            prop_assert!((f64::from(*got) - expected).abs() < 2e-3, "{got} {expected}");
        }
        let time = dx.len() / n / labels;
        for (b, sequence) in small.sequences.iter().enumerate() {
            let row = &dx[b * time * labels..][..time * labels];
            for (i, &got) in row.iter().enumerate() {
                let expected = match i < sequence.len() {
                    true => slope(&|s, step| s.sequences[b][i] += step),
                    false => 0.0,
                };
                prop_assert!((f64::from(got) - expected).abs() < 2e-3, "{got} {expected}");
            }
        }
    }
}

#[test]
fn forbidden_moves_are_never_taken_and_long_sequences_stay_finite() {
    let n = 3;
    // 0 → 1 → 2 → 0 and nothing else.
    let mut transitions = vec![-1e4f32; 9];
    for from in 0..n {
        transitions[from * n + (from + 1) % n] = 0.0;
    }
    let crf = Crf::from_scores(&transitions, &[0.0; 3], &[0.0; 3], &cpu()).unwrap();
    let length = 400;
    let scores: Vec<f32> = (0..length * n)
        .map(|i| 30.0 * (i as f32 * 0.7).sin())
        .collect();
    let tensor = Tensor::from_data(TensorData::new(scores.clone(), [1, length, n]), &cpu());
    let best = &crf.viterbi(tensor.clone(), None).unwrap()[0];
    assert!(best.labels.windows(2).all(|p| p[1] == (p[0] + 1) % 3));
    // Only three labellings count.
    let weights = (0..n).map(|first| {
        (0..length)
            .map(|t| f64::from(scores[t * n + (first + t) % n]))
            .sum::<f64>()
    });
    let expected = sum_log(weights);
    let got = values(crf.log_partition(tensor.clone(), None).unwrap())[0];
    assert!((f64::from(got) - expected).abs() < 1e-2, "{got} {expected}");
    let marginals = crf.marginals(tensor, None).unwrap();
    assert!(
        marginals[0]
            .chunks(n)
            .all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5)
    );
}

#[test]
fn a_rule_between_neighbours_is_learned() {
    use crate::engine::Update;
    use crate::train::Decay;
    // Nothing is seen; label 1 always follows 0 and the other way round.
    let device = cpu().autodiff();
    let mut crf = Crf::new(2, 0, &device).unwrap();
    let mut entries = Entries::default();
    for n in [4, 2, 2] {
        entries.push(String::new(), vec![n], Role::Vector, Init::Constant(0.0));
    }
    let mut moments = adamw::moments(&entries.list, None, &device);
    let scores = Tensor::<3>::zeros([1, 6, 2], &cpu());
    let mut losses = Vec::new();
    for step in 1..=60 {
        let loss = crf
            .negative_log_likelihood(scores.clone(), &[&[0, 1, 0, 1, 0, 1]])
            .unwrap();
        losses.push(values(loss.clone().inner())[0]);
        let mut gradients = GradientsParams::from_grads(loss.backward(), &crf);
        let update = Update {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decay: Decay::All,
            clip: None,
            step,
        };
        crf = adamw::step(crf, &mut gradients, &mut moments, &entries.list, &update)
            .unwrap()
            .0;
    }
    assert!(losses[59] < 0.1 * losses[0], "{losses:?}");
    assert_eq!(
        crf.viterbi(scores, None).unwrap()[0].labels,
        [0, 1, 0, 1, 0, 1]
    );
}

#[test]
fn what_does_not_fit_is_an_error() {
    assert!(Crf::new(0, 0, &cpu()).is_err());
    assert!(Crf::new(1 << 20, 0, &cpu()).is_err());
    assert!(Crf::from_scores(&[0.0; 3], &[0.0; 2], &[0.0; 2], &cpu()).is_err());
    assert!(Crf::from_scores(&[0.0; 4], &[0.0; 2], &[0.0; 3], &cpu()).is_err());
    let error = Crf::from_scores(&[0.0; 4], &[f32::NAN; 2], &[0.0; 2], &cpu()).unwrap_err();
    assert!(error.to_string().contains("Crf.start"), "{error}");
    let crf = Crf::new(2, 0, &cpu()).unwrap();
    assert_eq!(crf.labels(), 2);
    let zeros = |shape: [usize; 3]| Tensor::<3>::zeros(shape, &cpu());
    assert!(crf.log_partition(zeros([1, 3, 3]), None).is_err());
    assert!(crf.log_partition(zeros([0, 3, 2]), None).is_err());
    assert!(crf.log_partition(zeros([2, 0, 2]), None).is_err());
    for lengths in [&[3][..], &[3, 0], &[3, 4]] {
        assert!(crf.log_partition(zeros([2, 3, 2]), Some(lengths)).is_err());
        assert!(crf.viterbi(zeros([2, 3, 2]), Some(lengths)).is_err());
        assert!(crf.marginals(zeros([2, 3, 2]), Some(lengths)).is_err());
    }
    for labels in [
        &[&[0u32, 1][..]][..],
        &[&[0], &[]],
        &[&[0], &[0, 1, 0, 1]],
        &[&[0], &[2]],
    ] {
        assert!(
            crf.negative_log_likelihood(zeros([2, 3, 2]), labels)
                .is_err()
        );
    }
    let error = crf
        .score(zeros([1, 3, 2]), &[&[0, 5]])
        .unwrap_err()
        .to_string();
    assert!(error.contains("5 at step 1 of sequence 0"), "{error}");
    // Not a number in, not a number out.
    let lost = zeros([1, 3, 2]) + f32::NAN;
    assert_eq!(crf.viterbi(lost.clone(), None).unwrap()[0].labels.len(), 3);
    assert!(crf.marginals(lost, None).unwrap()[0][0].is_nan());
}
