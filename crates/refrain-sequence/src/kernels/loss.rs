//! Cross-entropy over the vocabulary, forward and backward in one pass.

use super::{exp, largest, run, sum1};
use crate::batch::UNSCORED;

/// Turns each row of logits into the gradient of `scale` × its loss, `scale · (softmax - target)`,
/// and returns the sum of the losses; rows without a target become 0. `smoothing` of the target's
/// probability is spread over all classes.
pub(crate) fn softmax_cross_entropy(
    logits: &mut [f32],
    targets: &[u32],
    scale: f32,
    smoothing: f32,
) -> f64 {
    run(kernel, (logits, targets, scale, smoothing))
}

/// The same, each row's loss times its weight; without weights each counts once.
pub(crate) fn weighted_cross_entropy(
    logits: &mut [f32],
    targets: &[u32],
    weights: &[f32],
    scale: f32,
    smoothing: f32,
) -> f64 {
    if weights.is_empty() {
        return softmax_cross_entropy(logits, targets, scale, smoothing);
    }
    let vocabulary = (logits.len() / targets.len().max(1)).max(1);
    let rows = logits.chunks_exact_mut(vocabulary).zip(targets.chunks(1));
    rows.zip(weights)
        .map(|((row, target), &weight)| {
            f64::from(weight) * softmax_cross_entropy(row, target, scale * weight, smoothing)
        })
        .sum()
}

#[inline(always)]
fn kernel((logits, targets, scale, smoothing): (&mut [f32], &[u32], f32, f32)) -> f64 {
    let vocabulary = logits.len() / targets.len().max(1);
    let mut total = 0.0f64;
    for (row, &target) in logits.chunks_exact_mut(vocabulary.max(1)).zip(targets) {
        let Some(&score) = row.get(target as usize).filter(|_| target != UNSCORED) else {
            row.fill(0.0);
            continue;
        };
        let most = largest(row);
        let mean = match smoothing > 0.0 {
            true => sum1(row, |x| x) / row.len() as f32,
            false => 0.0,
        };
        for x in row.iter_mut() {
            *x = exp(*x - most);
        }
        let sum = sum1(row, |x| x);
        total += f64::from(sum).ln() - f64::from(score - most);
        total += f64::from(smoothing * (score - mean));
        let factor = scale / sum;
        for x in row.iter_mut() {
            *x *= factor;
        }
        row[target as usize] -= scale * (1.0 - smoothing);
        if smoothing > 0.0 {
            let spread = scale * smoothing / row.len() as f32;
            row.iter_mut().for_each(|x| *x -= spread);
        }
    }
    total
}
