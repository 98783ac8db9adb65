use rand::RngExt;
use rayon::prelude::*;
use refrain_core::kernels::Scored;
use refrain_core::rng;
use refrain_data::Interactions;

use super::{Evaluator, Judged, Report};
use crate::{Error, Metric, Recommender, Result};

/// Ranks each user's relevant items among a few random others instead of all items. **The numbers are
/// too high and can order models wrongly** (Krichene and Rendle, 2020: sampled metrics are inconsistent
/// with the full ones for every metric but AUC). It is here to compare with papers that did so;
/// [`evaluate`](crate::evaluate) is what decides.
///
/// `negatives` items that the user has in neither log are drawn per user without replacement; where
/// fewer are left, all of them. Coverage, the Gini coefficient and the metrics of what lists are like
/// make no sense here and are refused.
///
/// # Errors
/// As [`evaluate`](crate::evaluate), and [`Error::Config`] for such a metric.
pub fn evaluate_sampled_biased(
    model: &dyn Recommender,
    train: &Interactions,
    test: &Interactions,
    metrics: &[Metric],
    negatives: usize,
    seed: u64,
) -> Result<Report> {
    use Metric::*;
    let judge = Evaluator::new(train, test)?;
    model
        .memory()
        .same_ids(train, &model.name(), "the training log")?;
    for metric in metrics {
        if matches!(
            metric,
            Coverage(_) | Gini(_) | Novelty(_) | Diversity(_) | Serendipity(_) | PopularityLift(_)
        ) {
            return Err(Error::Config {
                model: "sampled evaluation",
                field: "metrics",
                value: metric.to_string(),
                expected: "must be about relevance: it needs whole lists",
            });
        }
    }
    let judged: Vec<Judged> = judge
        .cases
        .par_iter()
        .map_init(
            || vec![0.0; train.n_items()],
            |scores, case| {
                model.score(case.user, scores)?;
                let seen = train.user_items(case.user).0;
                let known = |item: &u32| {
                    seen.binary_search(item).is_ok() || case.relevant.binary_search(item).is_ok()
                };
                let mut others: Vec<u32> =
                    (0..train.n_items() as u32).filter(|i| !known(i)).collect();
                let mut rng = rng::stream(seed, case.user.into());
                let drawn = negatives.min(others.len());
                for at in 0..drawn {
                    let other = rng.random_range(at..others.len());
                    others.swap(at, other);
                }
                others.truncate(drawn);
                let candidates = others.iter().chain(&case.relevant);
                let mut list: Vec<Scored> = candidates
                    .map(|&index| Scored {
                        index,
                        score: scores.get(index as usize).copied().unwrap_or_default(),
                    })
                    .collect();
                list.sort_unstable_by(|a, b| {
                    b.score.total_cmp(&a.score).then(a.index.cmp(&b.index))
                });
                let mut judged = judge.judge(case, &list, &[], metrics);
                for (value, _) in judged
                    .values
                    .iter_mut()
                    .zip(metrics)
                    .filter(|v| *v.1 == Auc)
                {
                    let mut ranked: Vec<(f32, bool)> = list
                        .iter()
                        .map(|s| (s.score, case.weight(s.index).is_some()))
                        .collect();
                    *value = crate::metrics::auc(&mut ranked);
                }
                Ok(judged)
            },
        )
        .collect::<Result<_>>()?;
    Ok(judge.report(format!("{} (sampled)", model.name()), metrics, &judged))
}

#[cfg(test)]
mod tests {
    use refrain_data::split;

    use super::*;
    use crate::conformance::blocks_log;
    use crate::{ItemKnn, evaluate};

    #[test]
    fn sampling_flatters_and_all_items_are_the_full_ranking() {
        let (train, test) = split::random(&blocks_log(), 0.25, 5).unwrap();
        let model = ItemKnn::default().fit(&train).unwrap();
        let wanted = [Metric::Ndcg(5), Metric::Recall(5), Metric::Auc];
        let full = evaluate(&model, &train, &test, &wanted).unwrap();
        let few = evaluate_sampled_biased(&model, &train, &test, &wanted, 5, 1).unwrap();
        assert!(few.get(Metric::Ndcg(5)) > full.get(Metric::Ndcg(5)));
        let all = evaluate_sampled_biased(&model, &train, &test, &wanted, 1000, 1).unwrap();
        assert_eq!(all.values, full.values);
        assert!(all.model.contains("sampled"));
        let refused = evaluate_sampled_biased(&model, &train, &test, &[Metric::Gini(5)], 5, 1);
        assert!(matches!(refused, Err(Error::Config { .. })));
    }
}
