use refrain_core::kernels::Scored;
use serde::{Deserialize, Serialize};

use super::{Groups, Kinds, best_place, relevance};

/// A list with the mix of groups that the user's history has (Steck, 2018, “Calibrated
/// recommendations”): who listens to 70 % reels and 30 % jigs gets about seven reels and three jigs.
///
/// ```text
/// p(g) = share of g in the history (by weight)      q(g) = share of g in the list
/// next = argmax over the pool of (1 − λ) · relevance(j) − λ · KL(p ‖ (1 − α) q + α p)
/// ```
///
/// Relevance is the score, stretched to 0 … 1 over the pool; q is that of the list with j in it, and
/// α = 0.01 keeps the divergence finite. People without a history of known groups get the model's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibrate {
    /// How much the mix counts against relevance, from 0 to 1; at 0 nothing changes.
    pub lambda: f32,
    /// The groups.
    pub groups: Groups,
}

impl Calibrate {
    /// By these groups, with λ = 0.5.
    pub fn new(groups: Groups) -> Self {
        Self {
            lambda: 0.5,
            groups,
        }
    }

    pub(super) fn order(
        &self,
        kinds: &Kinds,
        history: (&[u32], &[f32]),
        pool: &[Scored],
        k: usize,
    ) -> Vec<Scored> {
        let had = history.0.iter().copied().zip(history.1.iter().copied());
        let wanted = kinds.mix(had);
        if wanted.iter().all(|share| *share == 0.0) {
            return pool.iter().take(k).copied().collect();
        }
        let relevance = relevance(pool);
        let lambda = f64::from(self.lambda);
        let mut sums = vec![0.0; kinds.n];
        let mut open: Vec<bool> = vec![true; pool.len()];
        let mut list: Vec<Scored> = Vec::new();
        while list.len() < k {
            let places = pool.iter().enumerate().zip(&relevance).zip(&open);
            let values = places
                .filter(|(_, open)| **open)
                .map(|(((at, item), r), _)| {
                    let far = divergence_with(&wanted, &sums, kinds.of(item.index));
                    (at, (1.0 - lambda) * f64::from(*r) - lambda * far)
                });
            let Some(chosen) = best_place(values) else {
                break;
            };
            let Some(&item) = pool.get(chosen) else { break };
            if let Some(open) = open.get_mut(chosen) {
                *open = false;
            }
            for &(group, share) in kinds.of(item.index) {
                if let Some(sum) = sums.get_mut(group as usize) {
                    *sum += f64::from(share);
                }
            }
            list.push(item);
        }
        list
    }
}

/// KL(p ‖ (1 − α) q + α p), q being the mix of `sums` and one more item's groups.
fn divergence_with(wanted: &[f64], sums: &[f64], more: &[(u32, f32)]) -> f64 {
    const ALPHA: f64 = 0.01;
    let added = |group: usize| {
        let found = more.iter().find(|(g, _)| *g as usize == group);
        found.map_or(0.0, |(_, share)| f64::from(*share))
    };
    let extra: f64 = more.iter().map(|(_, share)| f64::from(*share)).sum();
    let total = sums.iter().sum::<f64>() + extra;
    let parts = wanted.iter().zip(sums).enumerate();
    parts
        .filter(|(_, (p, _))| **p > 0.0)
        .map(|(group, (p, sum))| {
            let q = match total > 0.0 {
                true => (sum + added(group)) / total,
                false => 0.0,
            };
            p * (p / ((1.0 - ALPHA) * q + ALPHA * p)).ln()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    // By `scipy.stats.entropy([.7, .3], [.99 * q + .01 * p …])`, scipy 1.17.1:
    // python -c "from scipy.stats import entropy; import numpy as np; p = np.array([.7, .3]);
    // print([entropy(p, .99 * np.array(q) + .01 * p) for q in ([.5, .5], [1, 0])])"
    #[test]
    fn divergence_equals_scipy() {
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        };
        close(
            divergence_with(&[0.7, 0.3], &[1.0, 0.0], &[(1, 1.0)]),
            0.08069087003563724,
        );
        close(
            divergence_with(&[0.7, 0.3], &[1.0, 0.0], &[(0, 1.0)]),
            1.133981751353524,
        );
        assert!(divergence_with(&[0.7, 0.3], &[0.7, 0.3], &[]).abs() < 1e-12);
        assert!(divergence_with(&[0.7, 0.3], &[0.0, 0.0], &[]).is_finite());
    }
}
