//! The losses and their gradients in closed form.
//!
//! A step has candidates, one matrix for all its targets; logits are `[targets, candidates]`. For the
//! full softmax they are all items. Otherwise they are drawn negatives, the target's own logit stands
//! apart, and where the target was drawn too its column is left out.

use rand::RngExt;
use refrain_core::rng;
use refrain_sequence::parts::{exp, largest, run, sum1};

use super::training::NextItemLoss;

/// No column.
pub(super) const NONE: u32 = u32::MAX;

/// The items of a step's logits.
#[derive(Debug)]
pub(super) struct Candidates {
    pub(super) items: Vec<u32>,
    /// Added to a column's logits: `log(times drawn / (draws · probability))`.
    pub(super) bias: Vec<f32>,
    /// What each counts in a sum over negatives: how often it was drawn, corrected so that the sum
    /// expects what it would if all items were drawn alike.
    pub(super) times: Vec<f32>,
    /// How many were drawn.
    pub(super) draws: f32,
    /// Whether these are all items, in their order.
    pub(super) all: bool,
}

/// Draws negatives.
#[derive(Debug)]
pub(super) struct Draws {
    /// Running sums of the items' weights.
    sums: Vec<f64>,
}

impl Draws {
    pub(super) fn new(users: &[u32], power: f32) -> Self {
        let mut sum = 0.0;
        let weight = |&n: &u32| f64::from(n.max(1)).powf(power.into());
        let sums = users.iter().map(|n| {
            sum += weight(n);
            sum
        });
        Self {
            sums: sums.collect(),
        }
    }

    pub(super) fn candidates(&self, loss: NextItemLoss, seed: u64, step: u64) -> Candidates {
        let n = self.sums.len();
        let Some(draws) = loss.negatives(n) else {
            return Candidates {
                items: (0..n as u32).collect(),
                bias: Vec::new(),
                times: Vec::new(),
                draws: n as f32,
                all: true,
            };
        };
        let mut rng = rng::stream(seed ^ 0x6e65_6761, step);
        let total = self.sums.last().copied().unwrap_or_default();
        let mut drawn: Vec<u32> = (0..draws)
            .map(|_| {
                let at = rng.random::<f64>() * total;
                self.sums.partition_point(|&sum| sum <= at).min(n - 1) as u32
            })
            .collect();
        drawn.sort_unstable();
        self.count(&drawn)
    }

    /// The targets of a batch.
    pub(super) fn in_batch(&self, targets: &[u32]) -> Candidates {
        let targets = targets.iter().copied().filter(|&target| target != NONE);
        let mut drawn: Vec<u32> = targets.collect();
        drawn.sort_unstable();
        self.count(&drawn)
    }

    fn count(&self, drawn: &[u32]) -> Candidates {
        let (n, draws) = (self.sums.len(), drawn.len());
        let total = self.sums.last().copied().unwrap_or_default();
        let mut candidates = Candidates {
            items: Vec::new(),
            bias: Vec::new(),
            times: Vec::new(),
            draws: draws as f32,
            all: false,
        };
        for same in drawn.chunk_by(|a, b| a == b) {
            let Some(&item) = same.first() else { continue };
            let at = item as usize;
            let before = at.checked_sub(1).and_then(|b| self.sums.get(b));
            let weight = self.sums.get(at).copied().unwrap_or_default() - before.unwrap_or(&0.0);
            let expected = draws as f64 * weight / total;
            candidates.items.push(item);
            candidates
                .bias
                .push((same.len() as f64 / expected).ln() as f32);
            let alike = draws as f64 / n as f64;
            candidates
                .times
                .push((same.len() as f64 * alike / expected) as f32);
        }
        candidates
    }
}

impl Candidates {
    /// The column of each target, or [`NONE`].
    pub(super) fn columns(&self, targets: &[u32]) -> Vec<u32> {
        let column = |&target: &u32| match self.all {
            true => target,
            false => self
                .items
                .binary_search(&target)
                .map_or(NONE, |at| at as u32),
        };
        targets.iter().map(column).collect()
    }

    /// `β` of the generalised binary cross-entropy among `n` items.
    pub(super) fn beta(&self, calibration: f32, n: usize) -> f32 {
        let share = (self.draws / (n.max(2) - 1) as f32).min(1.0);
        share * (calibration * (1.0 - 1.0 / share) + 1.0 / share)
    }

    /// Added to every logit under that loss, so that training begins at odds at which positives and
    /// negatives pull alike. Without it all vectors, which are inputs too, would first drift one way
    /// and look the same.
    pub(super) fn odds(&self, beta: f32) -> f32 {
        (beta / self.draws).ln()
    }
}

/// Turns logits, and the targets' own logits, into their gradients times `scale`; returns the sum of
/// the losses. `columns` has the target's column of each row or [`NONE`].
pub(super) fn gradients(
    loss: NextItemLoss,
    candidates: &Candidates,
    n: usize,
    columns: &[u32],
    logits: &mut [f32],
    own: &mut [f32],
    scale: f32,
) -> f64 {
    let width = candidates.items.len();
    let mut sum = 0.0;
    let rows = logits.chunks_exact_mut(width.max(1)).zip(own).zip(columns);
    for ((row, own), &column) in rows {
        sum += match loss {
            NextItemLoss::Gbce { calibration, .. } => {
                let beta = candidates.beta(calibration, n);
                run(gbce, (row, own, column, candidates, beta, scale))
            }
            _ if candidates.all => run(softmax, (row, column, scale)),
            _ => run(sampled, (row, own, column, &candidates.bias[..], scale)),
        };
    }
    sum
}

#[inline(always)]
fn softmax((row, column, scale): (&mut [f32], u32, f32)) -> f64 {
    let most = largest(row);
    let target = row.get(column as usize).copied().unwrap_or_default();
    for x in row.iter_mut() {
        *x = exp(*x - most);
    }
    let sum = sum1(row, |x| x);
    let factor = scale / sum;
    for x in row.iter_mut() {
        *x *= factor;
    }
    if let Some(x) = row.get_mut(column as usize) {
        *x -= scale;
    }
    f64::from(sum.ln()) - f64::from(target - most)
}

#[inline(always)]
fn sampled((row, own, column, bias, scale): (&mut [f32], &mut f32, u32, &[f32], f32)) -> f64 {
    for (x, &bias) in row.iter_mut().zip(bias) {
        *x += bias;
    }
    if let Some(x) = row.get_mut(column as usize) {
        *x = f32::NEG_INFINITY;
    }
    let target = *own;
    let most = largest(row).max(target);
    for x in row.iter_mut() {
        *x = exp(*x - most);
    }
    if let Some(x) = row.get_mut(column as usize) {
        *x = 0.0;
    }
    let sum = sum1(row, |x| x) + exp(target - most);
    let factor = scale / sum;
    for x in row.iter_mut() {
        *x *= factor;
    }
    *own = factor * exp(target - most) - scale;
    f64::from(sum.ln()) - f64::from(target - most)
}

/// `log(1 + eˣ)`, without overflow.
#[inline(always)]
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

type Gbce<'a> = (&'a mut [f32], &'a mut f32, u32, &'a Candidates, f32, f32);

#[inline(always)]
fn gbce((row, own, column, candidates, beta, scale): Gbce<'_>) -> f64 {
    let sigmoid = |x: f32| 1.0 / (1.0 + exp(-x));
    let draws = candidates.draws + 1.0;
    let odds = candidates.odds(beta);
    *own += odds;
    let mut loss = beta * softplus(-*own);
    for (at, (x, &times)) in row.iter_mut().zip(&candidates.times).enumerate() {
        if at as u32 == column {
            *x = 0.0;
            continue;
        }
        let logit = *x + odds;
        loss += times * softplus(logit);
        *x = scale * times * sigmoid(logit) / draws;
    }
    *own = -scale * beta * sigmoid(-*own) / draws;
    f64::from(loss / draws)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The loss of one row in `f64`, as its definition reads.
    pub(in super::super) fn loss_reference(
        loss: NextItemLoss,
        candidates: &Candidates,
        n: usize,
        column: u32,
        logits: &[f64],
        own: f64,
    ) -> f64 {
        let others = |f: &dyn Fn(usize, f64) -> f64| -> f64 {
            let kept = logits
                .iter()
                .enumerate()
                .filter(|&(j, _)| j as u32 != column);
            kept.map(|(j, &x)| f(j, x)).sum()
        };
        match loss {
            NextItemLoss::Gbce { calibration, .. } => {
                let times = |j: usize| f64::from(candidates.times[j]);
                let draws = f64::from(candidates.draws);
                let share = (draws / (n - 1) as f64).min(1.0);
                let t = f64::from(calibration);
                let beta = share * (t * (1.0 - 1.0 / share) + 1.0 / share);
                let odds = (beta / draws).ln();
                let likely = |x: f64| -(1.0 / (1.0 + (-x).exp())).ln();
                let others = others(&|j, x| times(j) * likely(-x - odds));
                (beta * likely(own + odds) + others) / (draws + 1.0)
            }
            _ if candidates.all => {
                let sum: f64 = logits.iter().map(|x| x.exp()).sum();
                sum.ln() - logits[column as usize]
            }
            _ => {
                let sum = others(&|j, x| (x + f64::from(candidates.bias[j])).exp());
                (sum + own.exp()).ln() - own
            }
        }
    }

    #[test]
    fn gradients_are_the_differences_of_the_losses() {
        let draws = Draws::new(&[5, 1, 1, 9, 2, 3, 4, 1, 1, 7], 0.5);
        for loss in [
            NextItemLoss::Softmax,
            NextItemLoss::SampledSoftmax { negatives: 6 },
            NextItemLoss::Gbce {
                negatives: 6,
                calibration: 0.75,
            },
        ] {
            let candidates = draws.candidates(loss, 3, 1);
            let width = candidates.items.len();
            let values: Vec<f64> = (0..width).map(|j| (j as f64 * 1.7).sin() * 2.0).collect();
            for target in [candidates.items[1], 9] {
                let column = candidates.columns(&[target])[0];
                let at = |logits: &[f64], own| {
                    loss_reference(loss, &candidates, 10, column, logits, own)
                };
                let mut logits: Vec<f32> = values.iter().map(|&x| x as f32).collect();
                let mut own = [0.4f32];
                let sum = gradients(loss, &candidates, 10, &[column], &mut logits, &mut own, 0.5);
                assert!((sum - at(&values, 0.4)).abs() < 1e-5, "{loss:?}");
                let step = 1e-5;
                for j in 0..width {
                    let moved = |by: f64| {
                        let mut values = values.clone();
                        values[j] += by;
                        at(&values, 0.4)
                    };
                    let slope = 0.5 * (moved(step) - moved(-step)) / (2.0 * step);
                    assert!((f64::from(logits[j]) - slope).abs() < 1e-5, "{loss:?} {j}");
                }
                if !candidates.all {
                    let slope =
                        0.5 * (at(&values, 0.4 + step) - at(&values, 0.4 - step)) / (2.0 * step);
                    assert!((f64::from(own[0]) - slope).abs() < 1e-5, "{loss:?}");
                }
            }
        }
    }

    #[test]
    fn the_correction_makes_the_partition_sum_right_on_average() {
        let users = [50, 1, 1, 9, 2, 30, 4, 1, 1, 7];
        let logits: Vec<f64> = (0..10).map(|j| (j as f64).cos()).collect();
        let exact: f64 = logits.iter().map(|x| x.exp()).sum();
        let draws = Draws::new(&users, 0.75);
        let loss = NextItemLoss::SampledSoftmax { negatives: 5 };
        let mean: f64 = (0..4000)
            .map(|step| {
                let drawn = draws.candidates(loss, 7, step);
                let parts = drawn.items.iter().zip(&drawn.bias);
                parts
                    .map(|(&i, &b)| (logits[i as usize] + f64::from(b)).exp())
                    .sum::<f64>()
            })
            .sum::<f64>()
            / 4000.0;
        assert!((mean / exact - 1.0).abs() < 0.02, "{mean} {exact}");
    }

    #[test]
    fn negatives_count_as_if_drawn_alike() {
        let users = [50, 1, 1, 9, 2, 30, 4, 1, 1, 7];
        let draws = Draws::new(&users, 0.75);
        let loss = NextItemLoss::Gbce {
            negatives: 5,
            calibration: 0.75,
        };
        let mut mean = [0.0; 10];
        for step in 0..4000 {
            let drawn = draws.candidates(loss, 7, step);
            for (&item, &times) in drawn.items.iter().zip(&drawn.times) {
                mean[item as usize] += f64::from(times) / 4000.0;
            }
        }
        for (item, mean) in mean.iter().enumerate() {
            assert!((mean - 0.5).abs() < 0.06, "{item}: {mean}");
        }
    }
}
