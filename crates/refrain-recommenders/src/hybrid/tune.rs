//! The weights of a blend, by search on validation data.
//!
//! NDCG has no gradient, so the search is by coordinates on the simplex: from the best of the equal
//! blend and each member alone, one weight at a time is moved up and down by a shrinking step and
//! the move is kept when NDCG@k rises. Each member's levelled scores are computed once and only for
//! candidates that can get into a list: the best 100 of each member.

use rayon::prelude::*;
use refrain_core::kernels::TopK;

use super::Mix;
use crate::recommender::pick;
use crate::{Query, Recommender, Result, metrics};

/// Candidates that each member proposes.
const POOL: usize = 100;

/// One user's candidates.
pub(super) struct Case {
    /// Which candidates are relevant.
    pub relevant: Vec<bool>,
    /// [candidate, member, mix]
    pub scores: Vec<f32>,
    pub n_relevant: usize,
    /// How long the user's history is.
    pub history: usize,
}

impl Case {
    /// One user's candidates, with each member's scores levelled by each of `mixes`; `relevant` is
    /// ascending.
    pub(super) fn new(
        members: &[&dyn Recommender],
        mixes: &[Mix],
        user: u32,
        seen: &[u32],
        relevant: &[u32],
    ) -> Result<Self> {
        let mut levelled = Vec::with_capacity(members.len() * mixes.len());
        let mut pool = Vec::new();
        for member in members {
            let mut scores = vec![0.0; member.items().len()];
            member.score(user, &mut scores)?;
            pool.extend(
                pick(&scores, seen, None, &Query::top(POOL))
                    .iter()
                    .map(|s| s.index),
            );
            for mix in mixes {
                let mut own = scores.clone();
                mix.level(&mut own, seen);
                levelled.push(own);
            }
        }
        pool.sort_unstable();
        pool.dedup();
        let of = |scores: &Vec<f32>, item: u32| scores.get(item as usize).copied();
        let scores = pool.iter().flat_map(|&item| {
            levelled
                .iter()
                .map(move |scores| of(scores, item).unwrap_or_default())
        });
        let scores = scores.collect();
        let flags = pool.iter().map(|item| relevant.binary_search(item).is_ok());
        Ok(Self {
            relevant: flags.collect(),
            scores,
            n_relevant: relevant.len(),
            history: seen.len(),
        })
    }

    pub(super) fn ndcg(&self, weights: &[f32], k: usize) -> f64 {
        let mut best = TopK::new(k);
        for (candidate, row) in (0u32..).zip(self.scores.chunks_exact(weights.len().max(1))) {
            best.push(candidate, row.iter().zip(weights).map(|(s, w)| s * w).sum());
        }
        let hit = |index: u32| self.relevant.get(index as usize).copied().unwrap_or(false);
        let hits: Vec<bool> = best.into_sorted().iter().map(|s| hit(s.index)).collect();
        metrics::ndcg(&hits, k, self.n_relevant)
    }
}

/// Mean NDCG@k of a blend with these weights.
pub(super) fn quality(cases: &[Case], weights: &[f32], k: usize) -> f64 {
    let all: Vec<f64> = cases.par_iter().map(|case| case.ndcg(weights, k)).collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

/// The weights found, adding up to 1, and their mean NDCG@k.
pub(super) fn search(cases: &[Case], members: usize, k: usize) -> (Vec<f32>, f64) {
    let equal = vec![1.0 / members.max(1) as f32; members];
    let alone = (0..members).map(|m| (0..members).map(|i| f32::from(u8::from(i == m))).collect());
    let mut best = (equal.clone(), quality(cases, &equal, k));
    for weights in alone {
        consider(&mut best, weights, cases, k);
    }
    for step in [0.4f32, 0.2, 0.1, 0.05] {
        // Each pass either improves or ends the step, and quality is bounded.
        for _ in 0..20 {
            let before = best.1;
            for member in 0..members {
                for by in [step, -step] {
                    let mut moved = best.0.clone();
                    if let Some(weight) = moved.get_mut(member) {
                        *weight = (*weight + by).max(0.0);
                    }
                    let total: f32 = moved.iter().sum();
                    if total > 0.0 {
                        moved.iter_mut().for_each(|weight| *weight /= total);
                        consider(&mut best, moved, cases, k);
                    }
                }
            }
            if best.1 <= before {
                break;
            }
        }
    }
    best
}

fn consider(best: &mut (Vec<f32>, f64), weights: Vec<f32>, cases: &[Case], k: usize) {
    let found = quality(cases, &weights, k);
    if found > best.1 {
        *best = (weights, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_member_that_knows() {
        // Member 0 is right, member 1 is wrong, member 2 is noise.
        let case = |shift: usize| {
            let n = 30;
            let relevant: Vec<bool> = (0..n).map(|i| (i + shift).is_multiple_of(10)).collect();
            let scores = relevant.iter().enumerate().flat_map(|(i, &hit)| {
                let sign = if hit { 1.0 } else { -1.0 };
                [sign, -sign, ((i * 7 + shift * 3) % 11) as f32 / 5.0 - 1.0]
            });
            Case {
                scores: scores.collect(),
                relevant,
                n_relevant: 3,
                history: 9,
            }
        };
        let cases: Vec<Case> = (0..20).map(case).collect();
        let (weights, found) = search(&cases, 3, 5);
        assert!(found > 0.999, "{weights:?} {found}");
        assert!(weights[0] > 0.5 && (weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(quality(&cases, &weights, 5), found);
    }
}
