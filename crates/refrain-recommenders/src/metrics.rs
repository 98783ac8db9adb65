//! What the numbers mean: each metric's formula, denominator and tie rule.
//!
//! **Protocol.** Full ranking: for each user with at least one relevant item, all items of the id
//! table except the user's training items are ranked by score, equal scores by the lower item
//! number. An item is *relevant* when the user has it in the test log and not in the training log;
//! relevance is binary and R is the number of relevant items. Users without relevant items do not
//! count. Averages are over users, each with the same weight.
//!
//! With hᵣ = 1 when the item at rank r (from 1) is relevant:
//!
//! | metric | per user | denominator |
//! |---|---|---|
//! | [`Precision(k)`](Metric::Precision) | Σᵣ hᵣ / k | k, also when fewer than k items remain |
//! | [`Recall(k)`](Metric::Recall) | Σᵣ hᵣ / R | all relevant items, so below 1 when R > k |
//! | [`HitRate(k)`](Metric::HitRate) | 1 if any hᵣ | |
//! | [`Ndcg(k)`](Metric::Ndcg) | Σᵣ hᵣ / log₂(r + 1) / ideal | ideal: the first min(k, R) ranks all relevant |
//! | [`Map(k)`](Metric::Map) | Σᵣ hᵣ · precision(r) / min(k, R) | the best that k places allow |
//! | [`Mrr(k)`](Metric::Mrr) | 1 / rank of the first relevant item, 0 if none in k | |
//! | [`Auc`](Metric::Auc) | P(relevant scores above irrelevant), ties count ½ | all ranked items, no cut-off; users whose ranked items are all relevant count ½ |
//!
//! Over all lists together:
//!
//! | metric | definition |
//! |---|---|
//! | [`Coverage(k)`](Metric::Coverage) | share of the catalogue that is in at least one user's top k |
//! | [`Novelty(k)`](Metric::Novelty) | mean over users of the mean of −log₂(share of users who had the item in training, at least one user) |
//! | [`Diversity(k)`](Metric::Diversity) | mean over users of 1 − mean cosine of the pairs in the list; the vectors are the items' training users, or feature vectors where the evaluator has them; lists shorter than 2 count 0 |

use std::fmt;

/// A measure of recommendation lists; the number is the cut-off k. See the [`metrics`](self) page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// Share of the first k that are relevant.
    Precision(usize),
    /// Share of the relevant items that are among the first k.
    Recall(usize),
    /// Normalised discounted cumulative gain, binary.
    Ndcg(usize),
    /// Mean average precision.
    Map(usize),
    /// Mean reciprocal rank.
    Mrr(usize),
    /// Share of users with a relevant item among the first k.
    HitRate(usize),
    /// Area under the ROC curve.
    Auc,
    /// Share of the catalogue that anyone is recommended.
    Coverage(usize),
    /// How little known the recommended items are, in bits.
    Novelty(usize),
    /// How unlike each other the items of a list are.
    Diversity(usize),
}

impl Metric {
    /// Its cut-off; none for [`Metric::Auc`].
    pub fn cutoff(&self) -> Option<usize> {
        match *self {
            Metric::Precision(k)
            | Metric::Recall(k)
            | Metric::Ndcg(k)
            | Metric::Map(k)
            | Metric::Mrr(k)
            | Metric::HitRate(k)
            | Metric::Coverage(k)
            | Metric::Novelty(k)
            | Metric::Diversity(k) => Some(k),
            Metric::Auc => None,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Metric::Precision(_) => "precision",
            Metric::Recall(_) => "recall",
            Metric::Ndcg(_) => "NDCG",
            Metric::Map(_) => "MAP",
            Metric::Mrr(_) => "MRR",
            Metric::HitRate(_) => "hit rate",
            Metric::Auc => "AUC",
            Metric::Coverage(_) => "coverage",
            Metric::Novelty(_) => "novelty",
            Metric::Diversity(_) => "diversity",
        };
        match self.cutoff() {
            Some(k) => f.pad(&format!("{name}@{k}")),
            None => f.pad(name),
        }
    }
}

/// Σ hᵣ / k over the first `k` places of `hits`.
pub fn precision(hits: &[bool], k: usize) -> f64 {
    ratio(count(hits, k), k)
}

/// Σ hᵣ / R over the first `k` places of `hits`.
pub fn recall(hits: &[bool], k: usize, relevant: usize) -> f64 {
    ratio(count(hits, k), relevant)
}

/// 1 when one of the first `k` places is a hit.
pub fn hit_rate(hits: &[bool], k: usize) -> f64 {
    f64::from(u8::from(count(hits, k) > 0))
}

/// Discounted gain of the first `k` places over the best possible with `relevant` items.
pub fn ndcg(hits: &[bool], k: usize, relevant: usize) -> f64 {
    let discount = |place: usize| 1.0 / (place as f64 + 2.0).log2();
    let ideal: f64 = (0..k.min(relevant)).map(discount).sum();
    let gain: f64 = hits
        .iter()
        .take(k)
        .enumerate()
        .filter(|(_, hit)| **hit)
        .map(|(r, _)| discount(r))
        .sum();
    if ideal > 0.0 { gain / ideal } else { 0.0 }
}

/// Precision at each hit within the first `k`, over min(k, R).
pub fn average_precision(hits: &[bool], k: usize, relevant: usize) -> f64 {
    let mut found = 0usize;
    let mut sum = 0.0;
    for (place, _) in hits.iter().take(k).enumerate().filter(|(_, hit)| **hit) {
        found += 1;
        sum += found as f64 / (place + 1) as f64;
    }
    match k.min(relevant) {
        0 => 0.0,
        best => sum / best as f64,
    }
}

/// 1 / rank of the first hit within the first `k`.
pub fn reciprocal_rank(hits: &[bool], k: usize) -> f64 {
    hits.iter()
        .take(k)
        .position(|hit| *hit)
        .map_or(0.0, |place| 1.0 / (place + 1) as f64)
}

/// The chance that a relevant score is above an irrelevant one, ties counted half.
///
/// Sorts by score and sums the mean ranks of the relevant ones (Mann–Whitney). ½ when one of the two
/// kinds is missing. Takes (score, relevant) pairs and reorders them.
pub fn auc(scored: &mut [(f32, bool)]) -> f64 {
    scored.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let positive = scored.iter().filter(|s| s.1).count();
    let negative = scored.len() - positive;
    if positive == 0 || negative == 0 {
        return 0.5;
    }
    let mut below = 0usize;
    let mut rank_sum = 0.0;
    for ties in scored.chunk_by(|a, b| a.0 == b.0) {
        let mean_rank = below as f64 + (ties.len() as f64 + 1.0) / 2.0;
        rank_sum += mean_rank * ties.iter().filter(|s| s.1).count() as f64;
        below += ties.len();
    }
    let (p, n) = (positive as f64, negative as f64);
    (rank_sum - p * (p + 1.0) / 2.0) / (p * n)
}

fn count(hits: &[bool], k: usize) -> usize {
    hits.iter().take(k).filter(|hit| **hit).count()
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// AUC by its definition, all pairs.
    fn auc_reference(scored: &[(f32, bool)]) -> f64 {
        let (mut wins, mut pairs) = (0.0, 0.0);
        for (a, _) in scored.iter().filter(|s| s.1) {
            for (b, _) in scored.iter().filter(|s| !s.1) {
                wins += if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                };
                pairs += 1.0;
            }
        }
        if pairs == 0.0 { 0.5 } else { wins / pairs }
    }

    proptest! {
        #[test]
        fn auc_equals_its_definition(
            scored in proptest::collection::vec(((0u8..6).prop_map(f32::from), any::<bool>()), 0..40)
        ) {
            let expected = auc_reference(&scored);
            prop_assert!((auc(&mut scored.clone()) - expected).abs() < 1e-12);
        }

        #[test]
        fn all_lie_between_zero_and_one(
            hits in proptest::collection::vec(any::<bool>(), 0..30), k in 1usize..40, more in 0usize..9
        ) {
            let relevant = hits.iter().filter(|h| **h).count() + more;
            for value in [
                precision(&hits, k), recall(&hits, k, relevant), hit_rate(&hits, k),
                ndcg(&hits, k, relevant), average_precision(&hits, k, relevant),
                reciprocal_rank(&hits, k),
            ] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{value}");
            }
        }

        #[test]
        fn a_hit_moved_up_never_hurts(mut hits in proptest::collection::vec(any::<bool>(), 2..30)) {
            let relevant = hits.iter().filter(|h| **h).count();
            let before = (ndcg(&hits, 10, relevant), average_precision(&hits, 10, relevant));
            if let Some(at) = (1..hits.len()).find(|&i| hits[i] && !hits[i - 1]) {
                hits.swap(at, at - 1);
            }
            prop_assert!(ndcg(&hits, 10, relevant) >= before.0 - 1e-12);
            prop_assert!(average_precision(&hits, 10, relevant) >= before.1 - 1e-12);
        }
    }

    #[test]
    fn a_perfect_list_scores_one() {
        let hits = [true, true, true, false];
        assert_eq!(ndcg(&hits, 10, 3), 1.0);
        assert_eq!(average_precision(&hits, 10, 3), 1.0);
        assert_eq!(reciprocal_rank(&hits, 10), 1.0);
        assert_eq!(precision(&hits, 10), 0.3);
        assert_eq!(recall(&hits, 2, 3), 2.0 / 3.0);
    }
}
