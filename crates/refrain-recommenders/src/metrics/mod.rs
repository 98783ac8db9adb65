//! What the numbers mean: each metric's formula, denominator and tie rule.
//!
//! **Protocol.** Full ranking: for each user with at least one relevant item, all items of the id
//! table except the user's training items are ranked by the model, equal scores by the lower item
//! number. An item is *relevant* when the user has it in the test log and not in the training log; R
//! is the number of relevant items. Users without relevant items do not count. Averages are over
//! users, each with the same weight.
//!
//! With hᵣ = 1 when the item at rank r (from 1) is relevant:
//!
//! | metric | per user | denominator |
//! |---|---|---|
//! | [`Precision(k)`](Metric::Precision) | Σᵣ hᵣ / k | k, also when fewer than k items remain |
//! | [`Recall(k)`](Metric::Recall) | Σᵣ hᵣ / R | all relevant items, so below 1 when R > k |
//! | [`RecallCapped(k)`](Metric::RecallCapped) | Σᵣ hᵣ / min(k, R) | the most that k places can hold, so 1 can be reached |
//! | [`HitRate(k)`](Metric::HitRate) | 1 if any hᵣ | |
//! | [`Ndcg(k)`](Metric::Ndcg) | Σᵣ hᵣ / log₂(r + 1) / ideal | ideal: the first min(k, R) ranks all relevant |
//! | [`NdcgLinear(k)`](Metric::NdcgLinear) | Σᵣ wᵣ / log₂(r + 1) / ideal | the item's weight w in the test log is its gain; ideal: the k largest gains, falling |
//! | [`NdcgExponential(k)`](Metric::NdcgExponential) | Σᵣ (2^wᵣ − 1) / log₂(r + 1) / ideal | the same with the gain 2^w − 1; weights below 0 gain 0 in both, and users without any gain count 0 |
//! | [`Map(k)`](Metric::Map) | Σᵣ hᵣ · precision(r) / min(k, R) | the best that k places allow |
//! | [`Mrr(k)`](Metric::Mrr) | 1 / rank of the first relevant item, 0 if none in k | |
//! | [`Auc`](Metric::Auc) | P(relevant scores above irrelevant), ties count ½ | all ranked items, no cut-off; users whose ranked items are all relevant count ½ |
//!
//! What a list is like, per user. The popularity of an item is the number of training users who had
//! it; lists may be shorter than k when items run out:
//!
//! | metric | definition |
//! |---|---|
//! | [`Novelty(k)`](Metric::Novelty) | mean over the list of −log₂(share of users who had the item in training, at least one user) |
//! | [`Diversity(k)`](Metric::Diversity) | 1 − mean cosine of the pairs in the list; the vectors are the items' training users, or feature vectors where the evaluator has them; lists shorter than 2 count 0 |
//! | [`Serendipity(k)`](Metric::Serendipity) | Σᵣ hᵣ · (not among the k most popular items that the user had not had) / k: hits that popularity would not have found |
//! | [`PopularityLift(k)`](Metric::PopularityLift) | mean popularity of the list / mean popularity of the user's training items − 1: 0 keeps the user's taste, above 0 drifts to hits; 0 when one of the two is empty |
//!
//! Over all lists together:
//!
//! | metric | definition |
//! |---|---|
//! | [`Coverage(k)`](Metric::Coverage) | share of the catalogue that is in at least one user's top k |
//! | [`Gini(k)`](Metric::Gini) | Σᵢ (2i − n − 1) xᵢ / (n Σ xᵢ), xᵢ the times an item is in a top k, ascending, over all n items: 0 when all are shown alike, near 1 when a few are shown always |
//!
//! Rating errors (RMSE, MAE) stand with the models that predict ratings.

mod lists;
mod ranking;

use std::fmt;

pub use lists::{gini, popularity_lift, serendipity};
pub use ranking::{
    Gain, auc, average_precision, hit_rate, ndcg, ndcg_graded, precision, recall, recall_capped,
    reciprocal_rank,
};

/// A measure of recommendation lists; the number is the cut-off k. See the [`metrics`](self) page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// Share of the first k that are relevant.
    Precision(usize),
    /// Share of the relevant items that are among the first k.
    Recall(usize),
    /// Share of the relevant items that could be among the first k.
    RecallCapped(usize),
    /// Normalised discounted cumulative gain, binary.
    Ndcg(usize),
    /// Normalised discounted cumulative gain, the gain being the weight.
    NdcgLinear(usize),
    /// Normalised discounted cumulative gain, the gain being 2 to the weight, less 1.
    NdcgExponential(usize),
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
    /// How unequally the items are recommended.
    Gini(usize),
    /// How little known the recommended items are, in bits.
    Novelty(usize),
    /// How unlike each other the items of a list are.
    Diversity(usize),
    /// Share of the first k that are relevant and not what popularity would have shown.
    Serendipity(usize),
    /// How much more popular the list is than what the user had.
    PopularityLift(usize),
}

impl Metric {
    /// Its cut-off; none for [`Metric::Auc`].
    pub fn cutoff(&self) -> Option<usize> {
        match *self {
            Metric::Precision(k)
            | Metric::Recall(k)
            | Metric::RecallCapped(k)
            | Metric::Ndcg(k)
            | Metric::NdcgLinear(k)
            | Metric::NdcgExponential(k)
            | Metric::Map(k)
            | Metric::Mrr(k)
            | Metric::HitRate(k)
            | Metric::Coverage(k)
            | Metric::Gini(k)
            | Metric::Novelty(k)
            | Metric::Diversity(k)
            | Metric::Serendipity(k)
            | Metric::PopularityLift(k) => Some(k),
            Metric::Auc => None,
        }
    }

    /// Whether it has a value for each user, as all do but those over all lists together.
    pub fn is_per_user(&self) -> bool {
        !matches!(self, Metric::Coverage(_) | Metric::Gini(_))
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Metric::Precision(_) => "precision",
            Metric::Recall(_) => "recall",
            Metric::RecallCapped(_) => "capped recall",
            Metric::Ndcg(_) => "NDCG",
            Metric::NdcgLinear(_) => "linear NDCG",
            Metric::NdcgExponential(_) => "exp. NDCG",
            Metric::Map(_) => "MAP",
            Metric::Mrr(_) => "MRR",
            Metric::HitRate(_) => "hit rate",
            Metric::Auc => "AUC",
            Metric::Coverage(_) => "coverage",
            Metric::Gini(_) => "Gini",
            Metric::Novelty(_) => "novelty",
            Metric::Diversity(_) => "diversity",
            Metric::Serendipity(_) => "serendipity",
            Metric::PopularityLift(_) => "pop. lift",
        };
        match self.cutoff() {
            Some(k) => f.pad(&format!("{name}@{k}")),
            None => f.pad(name),
        }
    }
}
