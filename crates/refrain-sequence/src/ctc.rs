//! Connectionist temporal classification: the loss and its decoders.

use std::collections::HashMap;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::ragged::{Ragged, check_lengths, check_size, on_host};
use crate::{Error, Result};

/// Connectionist temporal classification: labels in order, without knowing when (Graves et al.,
/// 2006).
///
/// At each step the model scores every label and a blank. An alignment is one of them per step;
/// without repeats and then without blanks it reads as a labelling. The loss of a labelling is
/// `-ln Σ P(alignment)` over all its alignments, summed by a forward-backward algorithm in
/// `time · labels` operations.
///
/// **Use it** for speech and handwriting, where many steps make one label. **Cost**: the sums run
/// on the host in double precision, one sequence per thread; they are small beside any model.
///
/// ```
/// use burn::tensor::Tensor;
/// use refrain_sequence::Ctc;
///
/// let device = refrain_core::device("cpu")?;
/// let ctc = Ctc::default(); // class 0 is the blank
/// // One sequence of four steps over a blank and two labels.
/// let scores = Tensor::<3>::from_data(
///     [[[0.0, 3.0, 0.0], [0.0, 3.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 3.0]]],
///     &device,
/// );
/// assert_eq!(ctc.greedy(scores.clone(), None)?, [[1, 2]]);
/// assert_eq!(ctc.beam(scores.clone(), None, 4)?[0][0].labels, [1, 2]);
/// let loss = ctc.loss(scores, None, &[&[1, 2]])?.into_scalar::<f32>();
/// assert!(loss < 0.4, "{loss}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ctc {
    /// The class that stands for no label.
    pub blank: u32,
}

/// A labelling that a beam search has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Its labels.
    pub labels: Vec<u32>,
    /// The natural logarithm of its probability, over all alignments the beam has kept.
    pub log_probability: f32,
}

impl Ctc {
    /// The loss of each target, `[batch]`, in nats, given scores `[batch, time, classes]` (logits,
    /// or log-probabilities, which stay as they are) and the length of each sequence (all of them
    /// full where `None`). Differentiable in the scores; padding has no say. A target of
    /// probability 0 costs infinity and has no gradient.
    ///
    /// # Errors
    /// [`Error::TooShort`] naming a sequence with fewer steps than its target needs: one per label
    /// and one between equal neighbours. [`Error::Config`] for a label that is the blank or no
    /// class, and for a length beyond the time. [`Error::Core`] for sizes that do not fit.
    pub fn loss(
        &self,
        scores: Tensor<3>,
        lengths: Option<&[usize]>,
        targets: &[&[u32]],
    ) -> Result<Tensor<1>> {
        let [batch, time, classes] = scores.dims();
        self.check([batch, time, classes], lengths)?;
        check_size("CTC targets", batch, targets.len())?;
        for (i, target) in targets.iter().enumerate() {
            let steps = lengths.and_then(|l| l.get(i).copied()).unwrap_or(time);
            self.check_target(i, target, steps, classes)?;
        }
        let plain = scores.device().inner();
        let ragged = Ragged::new(lengths, time, classes, &plain);
        let flat = ragged.clean(scores.swap_dims(0, 1).reshape([time * batch, classes]));
        let clean = flat.reshape([time, batch, classes]).swap_dims(0, 1);
        let logs = log_softmax(clean, 2);

        let rows = on_host(logs.clone(), lengths)?;
        let work: Vec<(f64, Vec<f32>)> = rows
            .par_iter()
            .zip(targets)
            .map(|(rows, target)| self.forward_backward(rows, classes, target))
            .collect();
        let mut gradient = Vec::with_capacity(batch * time * classes);
        let mut losses = Vec::with_capacity(batch);
        for (i, (loss, own)) in work.into_iter().enumerate() {
            losses.push(loss as f32);
            gradient.extend(own);
            gradient.resize((i + 1) * time * classes, 0.0);
        }
        // The loss has this gradient, and this value: what is added is zero.
        let shape = [batch, time, classes];
        let gradient = Tensor::<3>::from_data(TensorData::new(gradient, shape), &plain);
        let unused = gradient.clone().equal_scalar(0.0);
        let slope = logs.mask_fill(unused, 0.0) * gradient;
        let slope = slope
            .reshape([batch, time * classes])
            .sum_dim(1)
            .reshape([batch]);
        let losses = Tensor::<1>::from_data(TensorData::new(losses, [batch]), &plain);
        Ok(slope.clone() - slope.detach() + losses)
    }

    /// The labelling of the best alignment of each sequence: at each step the best class, of
    /// equals the first. Quick; not always the best labelling.
    ///
    /// # Errors
    /// As [`Ctc::loss`], for what concerns the scores.
    pub fn greedy(&self, scores: Tensor<3>, lengths: Option<&[usize]>) -> Result<Vec<Vec<u32>>> {
        let shape = scores.dims();
        self.check(shape, lengths)?;
        let rows = on_host(scores, lengths)?;
        let decode = |rows: &Vec<f32>| {
            let best = rows.chunks_exact(shape[2]).map(|row| {
                let (mut at, mut most) = (0, f32::NEG_INFINITY);
                for (class, &score) in row.iter().enumerate() {
                    if score > most {
                        (at, most) = (class as u32, score);
                    }
                }
                at
            });
            self.read(best)
        };
        Ok(rows.iter().map(decode).collect())
    }

    /// The likeliest labellings of each sequence, the best first, by prefix beam search (Graves,
    /// 2008; Hannun et al., 2014): alignments that read alike are summed, and after each step the
    /// `width` likeliest beginnings are kept. Exact where nothing had to be dropped.
    ///
    /// # Errors
    /// As [`Ctc::greedy`], and [`Error::Config`] for a width of 0.
    pub fn beam(
        &self,
        scores: Tensor<3>,
        lengths: Option<&[usize]>,
        width: usize,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        let [batch, time, classes] = scores.dims();
        self.check([batch, time, classes], lengths)?;
        if width == 0 {
            return Err(Error::config("the width of a beam", width, "at least 1"));
        }
        let rows = on_host(log_softmax(scores.inner(), 2), lengths)?;
        let found = rows.par_iter().map(|rows| {
            let mut beam = Beam::new(self.blank);
            rows.chunks_exact(classes)
                .for_each(|row| beam.step(row, width));
            beam.hypotheses()
        });
        Ok(found.collect())
    }

    /// What an alignment reads as: without repeats, then without blanks.
    fn read(&self, alignment: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut labels = Vec::new();
        let mut before = None;
        for class in alignment {
            if class != self.blank && before != Some(class) {
                labels.push(class);
            }
            before = Some(class);
        }
        labels
    }

    fn check(&self, [batch, time, classes]: [usize; 3], lengths: Option<&[usize]>) -> Result<()> {
        if self.blank as usize >= classes {
            return Err(Error::config("Ctc.blank", self.blank, "one of the classes"));
        }
        if batch == 0 || time == 0 {
            return Err(Error::TooShort {
                what: "CTC scores: sequences and steps".to_string(),
                needed: 1,
                found: 0,
            });
        }
        check_lengths([batch, time], lengths)
    }

    fn check_target(&self, i: usize, target: &[u32], steps: usize, classes: usize) -> Result<()> {
        let wrong = |&&label: &&u32| label == self.blank || label as usize >= classes;
        if let Some(label) = target.iter().find(wrong) {
            let value = format_args!("{label} in target {i}");
            let expected = "a class other than the blank";
            return Err(Error::config("label", value, expected));
        }
        let repeats = target.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let needed = target.len() + repeats;
        if needed > steps {
            return Err(Error::TooShort {
                what: format!("sequence {i}: steps for its target"),
                needed,
                found: steps,
            });
        }
        Ok(())
    }

    /// The loss of one target and its gradient in `rows`, the log-probabilities
    /// `[length, classes]`.
    fn forward_backward(&self, rows: &[f32], classes: usize, target: &[u32]) -> (f64, Vec<f32>) {
        // Labels with blanks around each; `skips` where the blank before may be left out.
        let states: Vec<usize> = std::iter::once(self.blank)
            .chain(target.iter().flat_map(|&label| [label, self.blank]))
            .map(|class| class as usize)
            .collect();
        let skips: Vec<bool> = (0..states.len())
            .map(|s| s % 2 == 1 && s >= 2 && states[s] != states[s - 2])
            .collect();
        let n = states.len();
        let rows: Vec<&[f32]> = rows.chunks_exact(classes).collect();
        let mut gradient = vec![0.0; rows.len() * classes];
        let Some((first, later)) = rows.split_first() else {
            return (0.0, gradient); // no step, no label
        };

        // All ways to be in a state at a step, with that step.
        let mut forward = vec![vec![f64::NEG_INFINITY; n]];
        for (s, weight) in forward[0].iter_mut().enumerate().take(2) {
            *weight = f64::from(first[states[s]]);
        }
        for (t, row) in later.iter().enumerate() {
            let before = &forward[t];
            let next = (0..n).map(|s| {
                let mut weight = before[s];
                if s >= 1 {
                    weight = log_add(weight, before[s - 1]);
                }
                if skips[s] {
                    weight = log_add(weight, before[s - 2]);
                }
                weight + f64::from(row[states[s]])
            });
            let next = next.collect();
            forward.push(next);
        }
        let last = &forward[rows.len() - 1];
        let total = match n {
            1 => last[0],
            _ => log_add(last[n - 1], last[n - 2]),
        };
        if !total.is_finite() {
            return (-total, gradient);
        }

        // All ways to go on after a state.
        let mut after = vec![f64::NEG_INFINITY; n];
        after
            .iter_mut()
            .rev()
            .take(2)
            .for_each(|weight| *weight = 0.0);
        for (t, row) in rows.iter().enumerate().rev() {
            let here = &mut gradient[t * classes..][..classes];
            for (s, &class) in states.iter().enumerate() {
                here[class] -= (forward[t][s] + after[s] - total).exp() as f32;
            }
            let weight = |s: usize| after[s] + f64::from(row[states[s]]);
            after = (0..n)
                .map(|s| {
                    let mut ways = weight(s);
                    if s + 1 < n {
                        ways = log_add(ways, weight(s + 1));
                    }
                    if s + 2 < n && skips[s + 2] {
                        ways = log_add(ways, weight(s + 2));
                    }
                    ways
                })
                .collect();
        }
        (-total, gradient)
    }
}

/// `ln (eᵃ + eᵇ)`.
fn log_add(a: f64, b: f64) -> f64 {
    let (most, least) = if a > b { (a, b) } else { (b, a) };
    match least == f64::NEG_INFINITY {
        true => most,
        false => most + (least - most).exp().ln_1p(),
    }
}

/// A beginning of a labelling: its probability ending in a blank, and ending in its last label.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    node: usize,
    blank: f64,
    label: f64,
}

impl Prefix {
    fn total(&self) -> f64 {
        log_add(self.blank, self.label)
    }
}

/// A prefix beam search; prefixes are nodes of a tree.
struct Beam {
    blank: u32,
    /// Of each node the one before it and its label; node 0 is the empty prefix.
    nodes: Vec<(usize, u32)>,
    children: HashMap<(usize, u32), usize>,
    kept: Vec<Prefix>,
}

impl Beam {
    fn new(blank: u32) -> Self {
        Self {
            blank,
            nodes: vec![(0, blank)],
            children: HashMap::new(),
            kept: vec![Prefix {
                node: 0,
                blank: 0.0,
                label: f64::NEG_INFINITY,
            }],
        }
    }

    /// One more step, `row` being its log-probabilities.
    fn step(&mut self, row: &[f32], width: usize) {
        let mut next = Grown::default();
        for prefix in std::mem::take(&mut self.kept) {
            let (_, last) = self
                .nodes
                .get(prefix.node)
                .copied()
                .unwrap_or((0, self.blank));
            for (class, &score) in row.iter().enumerate() {
                let (class, score) = (class as u32, f64::from(score));
                if class == self.blank {
                    next.add(prefix.node, prefix.total() + score, f64::NEG_INFINITY);
                    continue;
                }
                // The last label again goes on with it, or stands anew after a blank.
                let mut before = prefix.total();
                if class == last {
                    next.add(prefix.node, f64::NEG_INFINITY, prefix.label + score);
                    before = prefix.blank;
                }
                if before + score > f64::NEG_INFINITY {
                    let child = self.child(prefix.node, class);
                    next.add(child, f64::NEG_INFINITY, before + score);
                }
            }
        }
        next.list.sort_by(|a, b| {
            let order = b.total().total_cmp(&a.total());
            order.then(a.node.cmp(&b.node))
        });
        next.list.truncate(width);
        self.kept = next.list;
    }

    fn child(&mut self, node: usize, label: u32) -> usize {
        *self.children.entry((node, label)).or_insert_with(|| {
            self.nodes.push((node, label));
            self.nodes.len() - 1
        })
    }

    fn hypotheses(&self) -> Vec<Hypothesis> {
        let labels = |mut node: usize| {
            let mut labels = Vec::new();
            while node != 0 {
                let (before, label) = self.nodes.get(node).copied().unwrap_or((0, self.blank));
                labels.push(label);
                node = before;
            }
            labels.reverse();
            labels
        };
        let kept = self.kept.iter().map(|prefix| Hypothesis {
            labels: labels(prefix.node),
            log_probability: prefix.total() as f32,
        });
        kept.collect()
    }
}

/// Prefixes after a step, in the order of their discovery.
#[derive(Default)]
struct Grown {
    list: Vec<Prefix>,
    place: HashMap<usize, usize>,
}

impl Grown {
    fn add(&mut self, node: usize, blank: f64, label: f64) {
        let place = *self.place.entry(node).or_insert(self.list.len());
        match self.list.get_mut(place) {
            Some(prefix) => {
                prefix.blank = log_add(prefix.blank, blank);
                prefix.label = log_add(prefix.label, label);
            }
            None => self.list.push(Prefix { node, blank, label }),
        }
    }
}

#[cfg(test)]
#[path = "ctc_tests.rs"]
mod tests;
