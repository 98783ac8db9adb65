use proptest::prelude::*;
use refrain_data::split;

use super::*;
use crate::conformance::blocks_log;
use crate::{Contribution, ItemKnn, Memory, Popularity, Random, Who};
use Metric::*;

/// A model whose scores are given.
struct Table {
    memory: Memory,
    scores: Vec<Vec<f32>>,
}

impl Recommender for Table {
    fn name(&self) -> String {
        "table".into()
    }
    fn memory(&self) -> &Memory {
        &self.memory
    }
    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&self.scores[user as usize]);
        Ok(())
    }
    fn score_history(&self, _: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        out.fill(0.0);
        Ok(())
    }
    fn similarity(&self, _: u32, out: &mut [f32]) -> Result<()> {
        out.fill(0.0);
        Ok(())
    }
    fn contributions(&self, _: Who<'_>, _: u32) -> Result<Vec<Contribution>> {
        Ok(Vec::new())
    }
    fn to_file(&self) -> Result<refrain_core::ModelWriter<'_>> {
        Ok(refrain_core::ModelWriter::new("test.table", 1))
    }
}

fn log_of(cells: [[u8; 8]; 3]) -> Interactions {
    let ids = |n| std::sync::Arc::new(refrain_core::IdMap::from_ids(0..n).unwrap());
    let mut builder = Interactions::builder().ids(ids(3usize), ids(8usize));
    for (u, row) in cells.iter().enumerate() {
        for (i, _) in row.iter().enumerate().filter(|(_, v)| **v > 0) {
            builder.push(u, i, row[i].into(), None).unwrap();
        }
    }
    builder.build().unwrap()
}

// Golden values: `python crates/refrain-recommenders/tests/golden_metrics.py`, which ranks the same
// three users with ranx 0.3.21, scikit-learn 1.9.1 (ndcg_score, roc_auc_score) and numpy 2.4.6.
#[test]
fn equals_ranx_and_scikit_learn() {
    let train = log_of([
        [1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0],
    ]);
    let test = log_of([
        [0, 5, 2, 0, 0, 0, 0, 1],
        [3, 0, 0, 0, 1, 0, 4, 0],
        [0, 0, 0, 2, 0, 0, 0, 0],
    ]);
    let scores = vec![
        vec![0.9, 0.1, 0.8, 0.4, 0.3, 0.7, 0.2, 0.6],
        vec![0.2, 0.5, 0.1, 0.9, 0.8, 0.3, 0.7, 0.4],
        vec![0.3, 0.6, 0.5, 0.1, 0.9, 0.2, 0.8, 0.7],
    ];
    let model = Table {
        memory: Memory::new(&train),
        scores,
    };
    let golden = [
        (Precision(3), 0.4444444444444444),
        (Recall(3), 0.4444444444444444),
        (RecallCapped(3), 0.4444444444444444),
        (Ndcg(3), 0.4897595753409189),
        (NdcgLinear(3), 0.30697430251665375),
        (NdcgExponential(3), 0.2100678836200903),
        (Map(3), 0.4074074074074074),
        (Mrr(3), 0.6666666666666666),
        (HitRate(3), 0.6666666666666666),
        (Auc, 0.4444444444444445),
        (Coverage(3), 0.75),
        (Gini(3), 0.375),
        (Novelty(3), 1.5849625007211563),
        (Serendipity(3), 0.3333333333333333),
        (PopularityLift(3), -0.7777777777777778),
    ];
    let wanted: Vec<Metric> = golden.iter().map(|g| g.0).collect();
    let report = evaluate(&model, &train, &test, &wanted).unwrap();
    for (metric, value) in golden {
        let got = report.get(metric).unwrap();
        assert!(
            (got - value).abs() < 1e-12,
            "{metric}: {got} is not {value}"
        );
        let per_user = report.per_user(metric);
        assert_eq!(per_user.is_some(), metric.is_per_user());
        if let Some(values) = per_user {
            assert!((values.iter().sum::<f64>() / 3.0 - got).abs() < 1e-12);
        }
    }
    assert_eq!((report.users, report.tested()), (3, &[0, 1, 2][..]));
}

/// What a log, its test part and a table of scores are judged at, with users and items numbered by
/// these permutations.
fn judged(
    cells: &[(u8, u8, bool)],
    scores: &[Vec<f32>],
    (users, items): (&[usize], &[usize]),
    metrics: &[Metric],
) -> Option<Vec<f64>> {
    let ids = |n| std::sync::Arc::new(refrain_core::IdMap::from_ids(0..n).unwrap());
    let log = |test: bool| {
        let mut builder = Interactions::builder().ids(ids(users.len()), ids(items.len()));
        for &(u, i, _) in cells.iter().filter(|cell| cell.2 == test) {
            builder
                .push(users[u as usize], items[i as usize], 1.0, None)
                .unwrap();
        }
        builder.build().ok()
    };
    let (train, test) = (log(false)?, log(true)?);
    let mut table = vec![vec![0.0; items.len()]; users.len()];
    for (u, row) in scores.iter().enumerate() {
        for (i, &score) in row.iter().enumerate() {
            table[users[u]][items[i]] = score;
        }
    }
    let model = Table {
        memory: Memory::new(&train),
        scores: table,
    };
    let report = evaluate(&model, &train, &test, metrics).ok()?;
    metrics.iter().map(|&metric| report.get(metric)).collect()
}

proptest! {
    /// Names do not matter, and no metric leaves its range.
    #[test]
    fn relabelled_logs_are_judged_alike(
        cells in proptest::collection::vec((0u8..6, 0u8..9, any::<bool>()), 8..50),
        order in Just((0..54u32).collect::<Vec<_>>()).prop_shuffle(),
        users in Just((0..6usize).collect::<Vec<_>>()).prop_shuffle(),
        items in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle(),
        k in 1usize..12,
    ) {
        // What is in training is not in test; all scores differ.
        let mut cells = cells;
        cells.sort();
        cells.dedup_by_key(|cell| (cell.0, cell.1));
        let scores: Vec<Vec<f32>> = order.chunks(9).map(|c| c.iter().map(|&x| x as f32).collect()).collect();
        let metrics = [
            Precision(k), Recall(k), RecallCapped(k), Ndcg(k), Map(k), Mrr(k), HitRate(k), Auc,
            Coverage(k), Gini(k), Diversity(k), Novelty(k), PopularityLift(k), Serendipity(k),
        ];
        let plain: (Vec<usize>, Vec<usize>) = ((0..6).collect(), (0..9).collect());
        let found = judged(&cells, &scores, (&plain.0, &plain.1), &metrics);
        let again = judged(&cells, &scores, (&users, &items), &metrics);
        let (Some(found), Some(again)) = (found, again) else {
            return Ok(()); // one of the logs is empty
        };
        // Serendipity asks for the most popular items, of which equals are taken by number.
        for ((metric, a), b) in metrics.iter().zip(&found).zip(&again).take(13) {
            prop_assert!((a - b).abs() < 1e-9, "{} {} {}", metric, a, b);
        }
        for (metric, &value) in metrics.iter().zip(&found) {
            let (low, high) = match metric {
                Novelty(_) => (0.0, 6f64.log2() + 1e-9),
                PopularityLift(_) => (-1.0, 5.0),
                _ => (0.0, 1.0 + 1e-9),
            };
            prop_assert!((low..=high).contains(&value), "{} is {}", metric, value);
        }
        prop_assert!(found[13] <= found[0] + 1e-12, "surprising hits are hits");
        prop_assert!(found[0] <= found[2] + 1e-12 && found[1] <= found[6] + 1e-12);
    }
}

#[test]
fn diversity_by_hand() {
    let train = log_of([
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 1],
    ]);
    let test = log_of([[0, 0, 1, 0, 0, 0, 0, 0], [0; 8], [0; 8]]);
    let judge = Evaluator::new(&train, &test).unwrap();
    // Items 0 and 2 share one of two users each: cosine ½. Items 0 and 7 share none.
    assert!((judge.diversity(&[0, 2]) - 0.5).abs() < 1e-12);
    assert!((judge.diversity(&[0, 7]) - 1.0).abs() < 1e-12);
    assert_eq!(judge.diversity(&[0]), 0.0);
    let features = ItemFeatures::builder()
        .category("kind", (0..8).map(|i| (i, i / 4)))
        .unwrap()
        .build()
        .unwrap();
    let judge = judge.features(&features).unwrap();
    assert!(judge.diversity(&[0, 2]).abs() < 1e-12);
    assert!((judge.diversity(&[0, 7, 6]) - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn better_models_score_better_and_threads_do_not_matter() {
    let (train, test) = split::random(&blocks_log(), 0.25, 5).unwrap();
    let all = [
        Ndcg(5),
        Recall(5),
        Map(5),
        Mrr(5),
        Auc,
        Coverage(5),
        Novelty(5),
        Diversity(5),
    ];
    let knn = ItemKnn::default().fit(&train).unwrap();
    let random = Random::default().fit(&train).unwrap();
    let good = evaluate(&knn, &train, &test, &all).unwrap();
    let chance = evaluate(&random, &train, &test, &all).unwrap();
    for metric in [Ndcg(5), Recall(5), Map(5), Mrr(5), Auc] {
        assert!(
            good.get(metric) > chance.get(metric),
            "{metric}\n{good}\n{chance}"
        );
    }
    assert!((chance.get(Auc).unwrap() - 0.5).abs() < 0.1);
    let one = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    assert_eq!(
        one.install(|| evaluate(&knn, &train, &test, &all)).unwrap(),
        good
    );
    assert!(good.to_string().contains("NDCG@5"));

    let bootstrap = Bootstrap::default();
    let interval = good.interval(Ndcg(5), &bootstrap).unwrap();
    assert_eq!(Some(interval.mean), good.get(Ndcg(5)));
    assert!(interval.low < interval.mean && interval.mean < interval.high);
    let better = good.versus(&chance, Ndcg(5), &bootstrap).unwrap();
    assert!(better.p < 0.01 && better.difference.low > 0.0, "{better}");
    for metric in [Coverage(5), Ndcg(7)] {
        let refused = good.interval(metric, &bootstrap);
        assert!(matches!(refused, Err(Error::Config { .. })));
    }
    let (train, test) = split::random(&blocks_log(), 0.05, 6).unwrap();
    let other = evaluate(&random, &train, &test, &all).unwrap();
    let refused = good.versus(&other, Ndcg(5), &bootstrap);
    assert!(matches!(refused, Err(Error::Mismatch { .. })));
}

#[test]
fn logs_that_do_not_fit_are_refused() {
    let log = blocks_log();
    let (train, test) = split::random(&log, 0.25, 5).unwrap();
    let other = Interactions::from_events([("a", "x", 1.0)]).unwrap();
    let model = Popularity::default().fit(&other).unwrap();
    let error = evaluate(&model, &train, &test, &[Auc]).unwrap_err();
    assert!(
        matches!(error, Error::Mismatch { what: "users", .. }),
        "{error}"
    );
    let error = Evaluator::new(&train, &other).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }));
    let error = Evaluator::new(&train, &train).unwrap_err();
    assert!(matches!(error, Error::Data { .. }));
}

#[test]
fn what_was_disliked_is_not_there_to_be_found() {
    let train = Interactions::from_events([("u", "a", 1.0), ("v", "b", 1.0)]).unwrap();
    let mut builder = Interactions::builder().ids(train.shared_users(), train.shared_items());
    builder.push("u", "b", 1.0, None).unwrap();
    builder.push("v", "a", -1.0, None).unwrap();
    let test = builder.build().unwrap();
    let model = Popularity::default().fit(&train).unwrap();
    let report = evaluate(&model, &train, &test, &[HitRate(1)]).unwrap();
    assert_eq!(
        (report.tested(), report.get(HitRate(1))),
        (&[0][..], Some(1.0))
    );
    let mut builder = Interactions::builder().ids(train.shared_users(), train.shared_items());
    builder.push("v", "a", -1.0, None).unwrap();
    let only = builder.build().unwrap();
    assert!(matches!(
        Evaluator::new(&train, &only),
        Err(Error::Data { .. })
    ));
}
