//! Linear-chain conditional random fields.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::entries::{Entries, Init, Role, initial};
use crate::ragged::{Ragged, check_lengths, check_size, on_host, split};
use crate::{Error, Result};

/// Linear-chain conditional random field: labels of a sequence, judged together (Lafferty et al.,
/// 2001; on top of a recurrent layer: Huang et al., 2015).
///
/// A labelling `y` of a sequence with scores `s` has
///
/// `score(y) = start[y₁] + Σₜ s[t, yₜ] + Σₜ transition[yₜ₋₁, yₜ] + end[y_n]`
///
/// in nats, and the probability `exp(score(y)) / Z`, where `Z` sums over all labellings. The forward
/// algorithm computes `ln Z`, Viterbi's the best labelling, both in `labels²` operations per step.
///
/// It is a burn module with three parameters: `transitions` `[from, to]`, `start` and `end`
/// `[labels]`.
///
/// **Use it** for entities, parts of speech, chords: wherever a label depends on its neighbours.
///
/// ```
/// use burn::tensor::Tensor;
/// use refrain_sequence::Crf;
///
/// let device = refrain_core::device("cpu")?;
/// // Two labels that rather stay than change.
/// let crf = Crf::from_scores(&[1.0, -1.0, -1.0, 1.0], &[0.0; 2], &[0.0; 2], &device)?;
/// // One sequence of three steps; the middle one leans a little to label 1.
/// let scores = Tensor::<3>::from_data([[[1.0, 0.0], [0.0, 0.5], [1.0, 0.0]]], &device);
/// assert_eq!(crf.viterbi(scores.clone(), None)?[0].labels, [0, 0, 0]);
/// let loss = crf.negative_log_likelihood(scores, &[&[0, 0, 0]])?;
/// assert!(loss.into_scalar::<f32>() > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct Crf {
    /// `[from, to]`.
    transitions: Param<Tensor<2>>,
    /// `[labels]`.
    start: Param<Tensor<1>>,
    /// `[labels]`.
    end: Param<Tensor<1>>,
}

/// A labelling with its score.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelPath {
    /// One label per step.
    pub labels: Vec<u32>,
    /// Its unnormalised score, in nats.
    pub score: f32,
}

const MOST_LABELS: usize = 1 << 14;

impl Crf {
    /// A CRF over `labels` labels, its scores drawn from U(-0.1, 0.1) on the host. On an autodiff
    /// device it can be trained.
    ///
    /// # Errors
    /// [`Error::Config`] for no label, or more than 16,384.
    pub fn new(labels: usize, seed: u64, device: &Device) -> Result<Self> {
        check_count(labels)?;
        let mut entries = Entries::default();
        let init = Init::Uniform(0.1);
        for (name, n) in [
            ("transitions", labels * labels),
            ("start", labels),
            ("end", labels),
        ] {
            entries.push(name.to_string(), vec![n], Role::Vector, init);
        }
        let values = initial(&entries.list, seed);
        let (transitions, ends) = values.split_at(labels * labels);
        let (start, end) = ends.split_at(labels);
        Self::from_scores(transitions, start, end, device)
    }

    /// A CRF with these scores: `transitions` `[from, to]` row-major, `start` and `end` `[labels]`.
    /// A label that must not follow another has a very low finite score, -10,000 for instance.
    ///
    /// # Errors
    /// [`Error::Core`] for sizes that do not fit each other, [`Error::Tensor`] for a score that is
    /// not finite.
    pub fn from_scores(
        transitions: &[f32],
        start: &[f32],
        end: &[f32],
        device: &Device,
    ) -> Result<Self> {
        let n = start.len();
        check_count(n)?;
        for (name, values, size) in [
            ("Crf.transitions", transitions, n * n),
            ("Crf.start", start, n),
            ("Crf.end", end, n),
        ] {
            check_size(name, size, values.len())?;
            if let Some(at) = values.iter().position(|x| !x.is_finite()) {
                return Err(Error::tensor(
                    name,
                    format_args!("value {at} is not finite"),
                ));
            }
        }
        let vector =
            |values: &[f32]| Param::from_data(TensorData::new(values.to_vec(), [n]), device);
        Ok(Self {
            transitions: Param::from_data(TensorData::new(transitions.to_vec(), [n, n]), device),
            start: vector(start),
            end: vector(end),
        })
    }

    /// How many labels there are.
    pub fn labels(&self) -> usize {
        self.start.val().dims()[0]
    }

    /// `ln Z` of each sequence, `[batch]`, given scores `[batch, time, labels]` and the length of
    /// each sequence (all of them full where `None`). Differentiable; padding has no say.
    ///
    /// # Errors
    /// [`Error::Core`] for shapes that do not fit, [`Error::TooShort`] for a sequence without a
    /// step, [`Error::Config`] for a length beyond the time.
    pub fn log_partition(&self, scores: Tensor<3>, lengths: Option<&[usize]>) -> Result<Tensor<1>> {
        let [batch, time, labels] = scores.dims();
        self.check(&scores, lengths)?;
        let ragged = Ragged::new(lengths, time, labels, &scores.device().inner());
        let flat = scores.swap_dims(0, 1).reshape([time * batch, labels]);
        let mut steps = Vec::with_capacity(time);
        split(ragged.clean(flat), batch, time, &mut steps);

        let transitions = self.transitions.val().unsqueeze::<3>();
        let mut steps = steps.into_iter().enumerate();
        let first = steps.next().map(|(_, step)| step);
        let first = first.ok_or_else(|| Error::device("a batch without steps"))?;
        let mut alpha = first + self.start.val().unsqueeze();
        for (t, step) in steps {
            // [batch, from, to] → [batch, to]
            let paths = alpha.clone().unsqueeze_dim::<3>(2) + transitions.clone();
            let next = log_sum_exp(paths).reshape([batch, labels]) + step;
            alpha = ragged.keep(t, alpha, next);
        }
        let ends = (alpha + self.end.val().unsqueeze()).unsqueeze_dim::<3>(2);
        Ok(log_sum_exp(ends).reshape([batch]))
    }

    /// The score of each given labelling, `[batch]`; their lengths are those of the sequences.
    ///
    /// # Errors
    /// As [`Crf::log_partition`], and [`Error::Config`] for a label that does not exist.
    pub fn score(&self, scores: Tensor<3>, labels: &[&[u32]]) -> Result<Tensor<1>> {
        let [batch, time, count] = scores.dims();
        let lengths: Vec<usize> = labels.iter().map(|l| l.len()).collect();
        self.check(&scores, Some(&lengths))?;
        for (i, path) in labels.iter().enumerate() {
            if let Some(at) = path.iter().position(|&l| l as usize >= count) {
                let label = path.get(at).copied().unwrap_or_default();
                let value = format_args!("{label} at step {at} of sequence {i}");
                return Err(Error::config("label", value, "below the number of labels"));
            }
        }
        let plain = scores.device().inner();
        // Where a path passes: indices, and 1 where it does.
        let mut emitted = (vec![0i32; batch * time], vec![0.0f32; batch * time]);
        let mut moved = emitted.clone();
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for (b, path) in labels.iter().enumerate() {
            let at = b * time;
            for (t, &label) in path.iter().enumerate() {
                emitted.0[at + t] = label as i32;
                emitted.1[at + t] = 1.0;
            }
            for (t, pair) in path.windows(2).enumerate() {
                moved.0[at + t] = pair[0] as i32 * count as i32 + pair[1] as i32;
                moved.1[at + t] = 1.0;
            }
            first.extend(path.first().map(|&l| l as i32));
            last.extend(path.last().map(|&l| l as i32));
        }
        let table = |values: Vec<f32>| {
            Tensor::<2>::from_data(TensorData::new(values, [batch, time]), &plain)
        };
        let index = |values: Vec<i32>| {
            let n = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &plain)
        };
        let ragged = Ragged::new(Some(&lengths), time, count, &plain);
        let flat = ragged.clean(scores.swap_dims(0, 1).reshape([time * batch, count]));
        let scores = flat.reshape([time, batch, count]).swap_dims(0, 1);
        let emissions = scores.gather(2, index(emitted.0).reshape([batch, time, 1]));
        let emissions = emissions.reshape([batch, time]) * table(emitted.1);
        let flat = self.transitions.val().reshape([count * count]);
        let moves = flat.select(0, index(moved.0)).reshape([batch, time]) * table(moved.1);
        let ends = self.start.val().select(0, index(first)) + self.end.val().select(0, index(last));
        Ok((emissions + moves).sum_dim(1).reshape([batch]) + ends)
    }

    /// The loss of the given labellings, `ln Z - score`, `[batch]`, in nats; their lengths are
    /// those of the sequences. Differentiable in the scores and in the CRF's own.
    ///
    /// # Errors
    /// As [`Crf::score`].
    pub fn negative_log_likelihood(
        &self,
        scores: Tensor<3>,
        labels: &[&[u32]],
    ) -> Result<Tensor<1>> {
        let score = self.score(scores.clone(), labels)?;
        let lengths: Vec<usize> = labels.iter().map(|l| l.len()).collect();
        Ok(self.log_partition(scores, Some(&lengths))? - score)
    }

    /// The best labelling of each sequence (Viterbi, 1967); among equals the one with the lowest
    /// labels, compared from the end.
    ///
    /// # Errors
    /// As [`Crf::log_partition`].
    pub fn viterbi(&self, scores: Tensor<3>, lengths: Option<&[usize]>) -> Result<Vec<LabelPath>> {
        self.check(&scores, lengths)?;
        let (chain, sequences) = (self.chain()?, on_host(scores, lengths)?);
        Ok(sequences.iter().map(|rows| chain.viterbi(rows)).collect())
    }

    /// The probability of each label at each step of each sequence, `[length, labels]` row-major,
    /// summed over all labellings (the forward-backward algorithm).
    ///
    /// # Errors
    /// As [`Crf::log_partition`].
    pub fn marginals(&self, scores: Tensor<3>, lengths: Option<&[usize]>) -> Result<Vec<Vec<f32>>> {
        self.check(&scores, lengths)?;
        let (chain, sequences) = (self.chain()?, on_host(scores, lengths)?);
        Ok(sequences.iter().map(|rows| chain.marginals(rows)).collect())
    }

    fn check(&self, scores: &Tensor<3>, lengths: Option<&[usize]>) -> Result<()> {
        let [batch, time, labels] = scores.dims();
        check_size("CRF scores: labels", self.labels(), labels)?;
        check_lengths([batch, time], lengths)?;
        if batch == 0 || lengths.map_or(time == 0, |all| all.contains(&0)) {
            return Err(Error::TooShort {
                what: "a sequence to label".to_string(),
                needed: 1,
                found: 0,
            });
        }
        Ok(())
    }

    fn chain(&self) -> Result<Chain> {
        let crf = self.valid();
        let read = |values: Result<Vec<f32>, _>| values.map_err(Error::device);
        Ok(Chain {
            labels: self.labels(),
            transitions: read(crf.transitions.val().try_into_vec_as::<f32>())?,
            start: read(crf.start.val().try_into_vec_as::<f32>())?,
            end: read(crf.end.val().try_into_vec_as::<f32>())?,
        })
    }
}

fn check_count(labels: usize) -> Result<()> {
    match labels {
        1..=MOST_LABELS => Ok(()),
        _ => Err(Error::config("labels", labels, "between 1 and 16384")),
    }
}

/// Over the middle dimension.
fn log_sum_exp(x: Tensor<3>) -> Tensor<3> {
    let most = x.clone().detach().max_dim(1);
    (x - most.clone()).exp().sum_dim(1).log() + most
}

/// The scores of a CRF on the host.
struct Chain {
    labels: usize,
    transitions: Vec<f32>,
    start: Vec<f32>,
    end: Vec<f32>,
}

impl Chain {
    /// `rows` `[length, labels]`.
    fn viterbi(&self, rows: &[f32]) -> LabelPath {
        let n = self.labels;
        let mut rows = rows.chunks_exact(n);
        let first = rows.next().unwrap_or_default();
        let mut best: Vec<f64> = add(first, &self.start);
        // Of each later step, the best label before each label.
        let mut back: Vec<Vec<u32>> = Vec::new();
        for row in rows {
            let mut from = vec![0u32; n];
            let mut next = vec![f64::NEG_INFINITY; n];
            for (i, (&before, moves)) in best
                .iter()
                .zip(self.transitions.chunks_exact(n))
                .enumerate()
            {
                for ((next, from), &step) in next.iter_mut().zip(&mut from).zip(moves) {
                    let score = before + f64::from(step);
                    if score > *next {
                        (*next, *from) = (score, i as u32);
                    }
                }
            }
            next.iter_mut()
                .zip(row)
                .for_each(|(x, &s)| *x += f64::from(s));
            back.push(from);
            best = next;
        }
        let (mut label, mut score) = (0, f64::NEG_INFINITY);
        for (i, (&b, &e)) in best.iter().zip(&self.end).enumerate() {
            if b + f64::from(e) > score {
                (label, score) = (i as u32, b + f64::from(e));
            }
        }
        let mut labels = vec![label];
        for from in back.iter().rev() {
            label = from.get(label as usize).copied().unwrap_or(0);
            labels.push(label);
        }
        labels.reverse();
        LabelPath {
            labels,
            score: score as f32,
        }
    }

    fn marginals(&self, rows: &[f32]) -> Vec<f32> {
        let n = self.labels;
        let rows: Vec<&[f32]> = rows.chunks_exact(n).collect();
        // What the steps before and at a label weigh, and those after it.
        let mut forward: Vec<Vec<f64>> = Vec::with_capacity(rows.len());
        for row in &rows {
            let next = match forward.last() {
                None => add(row, &self.start),
                Some(before) => (0..n)
                    .zip(*row)
                    .map(|(to, &s)| {
                        let column = self.transitions.iter().skip(to).step_by(n);
                        let paths = before.iter().zip(column).map(|(b, &t)| b + f64::from(t));
                        sum_log(paths) + f64::from(s)
                    })
                    .collect(),
            };
            forward.push(next);
        }
        let mut after: Vec<f64> = self.end.iter().map(|&e| f64::from(e)).collect();
        let mut out = Vec::with_capacity(rows.len());
        for (row, forward) in rows.iter().zip(&forward).rev() {
            let both: Vec<f64> = forward.iter().zip(&after).map(|(f, a)| f + a).collect();
            let total = sum_log(both.iter().copied());
            out.push(
                both.iter()
                    .map(|x| (x - total).exp() as f32)
                    .collect::<Vec<_>>(),
            );
            let here: Vec<f64> = after
                .iter()
                .zip(*row)
                .map(|(a, &s)| a + f64::from(s))
                .collect();
            after = self
                .transitions
                .chunks_exact(n)
                .map(|moves| sum_log(moves.iter().zip(&here).map(|(&t, h)| f64::from(t) + h)))
                .collect();
        }
        out.into_iter().rev().flatten().collect()
    }
}

fn add(a: &[f32], b: &[f32]) -> Vec<f64> {
    let pairs = a.iter().zip(b);
    pairs.map(|(&x, &y)| f64::from(x) + f64::from(y)).collect()
}

/// `ln Σ eˣ`.
pub(crate) fn sum_log(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + values.map(|x| (x - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
#[path = "crf_tests.rs"]
mod tests;
