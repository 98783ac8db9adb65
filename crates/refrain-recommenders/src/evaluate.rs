use std::fmt;

use rayon::prelude::*;
use refrain_data::{FeatureEncoding, Interactions, ItemFeatures, NumericEncoding};

use crate::neighbours::sparse::Csr;
use crate::recommender::pick;
use crate::{Error, Metric, Query, Recommender, Result, metrics};

/// Measures a model on a test log, all items ranked, each user's training items left out.
///
/// The two logs come from one split, so their numbers mean the same. What each metric means, with its
/// denominators and ties, stands on the [`metrics`] page.
///
/// ```
/// use refrain_data::{Interactions, split};
/// use refrain_recommenders::{ItemKnn, Metric::*, evaluate};
///
/// let log = Interactions::from_events((0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
/// let (train, test) = split::random(&log, 0.2, 7)?;
/// let model = ItemKnn::default().fit(&train)?;
/// let report = evaluate(&model, &train, &test, &[Ndcg(10), Recall(20), Coverage(10)])?;
/// println!("{report}");
/// assert!(report.get(Ndcg(10)).is_some_and(|value| (0.0..=1.0).contains(&value)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Mismatch`] when the model or the logs do not share their ids, [`Error::Data`] when no
/// user has anything to find.
pub fn evaluate(
    model: &dyn Recommender,
    train: &Interactions,
    test: &Interactions,
    metrics: &[Metric],
) -> Result<Report> {
    Evaluator::new(train, test)?.run(model, metrics)
}

/// A test that several models take: the split, prepared once.
#[derive(Debug)]
pub struct Evaluator<'a> {
    train: &'a Interactions,
    /// Users with something to find, and what that is, ascending.
    cases: Vec<(u32, Vec<u32>)>,
    /// What diversity compares: item rows of feature vectors, else of training users.
    vectors: Option<Csr>,
}

/// A user's ranked list with what is needed to judge it.
struct Judged {
    values: Vec<f64>,
    /// The longest list any metric asked for.
    list: Vec<u32>,
}

impl<'a> Evaluator<'a> {
    /// Prepares a split.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Data`].
    pub fn new(train: &'a Interactions, test: &Interactions) -> Result<Self> {
        for (what, same) in [
            ("users", train.users() == test.users()),
            ("items", train.items() == test.items()),
        ] {
            if !same {
                let (left, right) = ("the training log".to_string(), "the test log".to_string());
                return Err(Error::Mismatch { left, right, what });
            }
        }
        let cases: Vec<(u32, Vec<u32>)> = (0..test.n_users() as u32)
            .filter_map(|user| {
                let (mut relevant, seen) =
                    (test.user_items(user).0.to_vec(), train.user_items(user).0);
                relevant.retain(|item| seen.binary_search(item).is_err());
                (!relevant.is_empty()).then_some((user, relevant))
            })
            .collect();
        if cases.is_empty() {
            let reason = "no user of the test log has an item they did not have in training".into();
            return Err(Error::Data {
                model: "evaluation",
                reason,
            });
        }
        Ok(Self {
            train,
            cases,
            vectors: None,
        })
    }

    /// Diversity compares these features of the items instead of who had them; numbers count by
    /// bucket.
    ///
    /// # Errors
    /// Those of the encoding.
    pub fn features(mut self, features: &ItemFeatures) -> Result<Self> {
        let encoding = FeatureEncoding {
            numeric: NumericEncoding::Buckets(6),
            ..FeatureEncoding::default()
        };
        let (rows, _) = features.join(&self.train.shared_items())?;
        let encoded = rows.to_matrix(&encoding)?;
        let mut vectors = Csr::with_width(encoded.names.len());
        for item in 0..self.train.n_items() as u32 {
            let (columns, values) = encoded.row(item);
            vectors.push_row(columns.iter().copied().zip(values.iter().copied()));
        }
        self.vectors = Some(vectors);
        Ok(self)
    }

    /// How many users have something to find.
    pub fn n_users(&self) -> usize {
        self.cases.len()
    }

    /// Measures a model.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the model has other ids.
    pub fn run(&self, model: &dyn Recommender, metrics: &[Metric]) -> Result<Report> {
        model
            .memory()
            .same_ids(self.train, &model.name(), "the training log")?;
        let longest = metrics.iter().filter_map(Metric::cutoff).max().unwrap_or(0);
        let judged: Vec<Judged> = self
            .cases
            .par_iter()
            .map_init(
                || vec![0.0; self.train.n_items()],
                |scores, (user, relevant)| {
                    model.score(*user, scores)?;
                    Ok(self.judge(*user, relevant, scores, metrics, longest))
                },
            )
            .collect::<Result<_>>()?;
        let values = metrics
            .iter()
            .enumerate()
            .map(|(at, &metric)| {
                let value = match metric {
                    Metric::Coverage(k) => self.coverage(&judged, k),
                    _ => mean(judged.iter().filter_map(|j| j.values.get(at)).copied()),
                };
                (metric, value)
            })
            .collect();
        let cold = |(user, _): &&(u32, Vec<u32>)| self.train.user_items(*user).0.is_empty();
        let cold_users = self.cases.iter().filter(cold).count();
        Ok(Report {
            model: model.name(),
            users: self.cases.len(),
            cold_users,
            values,
        })
    }

    fn judge(
        &self,
        user: u32,
        relevant: &[u32],
        scores: &[f32],
        wanted: &[Metric],
        longest: usize,
    ) -> Judged {
        let seen = self.train.user_items(user).0;
        let list: Vec<u32> = pick(scores, seen, None, &Query::top(longest))
            .iter()
            .map(|s| s.index)
            .collect();
        let is_relevant = |item: u32| relevant.binary_search(&item).is_ok();
        let hits: Vec<bool> = list.iter().map(|&item| is_relevant(item)).collect();
        let n = relevant.len();
        let values = wanted.iter().map(|metric| match *metric {
            Metric::Precision(k) => metrics::precision(&hits, k),
            Metric::Recall(k) => metrics::recall(&hits, k, n),
            Metric::Ndcg(k) => metrics::ndcg(&hits, k, n),
            Metric::Map(k) => metrics::average_precision(&hits, k, n),
            Metric::Mrr(k) => metrics::reciprocal_rank(&hits, k),
            Metric::HitRate(k) => metrics::hit_rate(&hits, k),
            Metric::Auc => {
                let ranked = (0u32..)
                    .zip(scores)
                    .filter(|(i, _)| seen.binary_search(i).is_err());
                let mut ranked: Vec<(f32, bool)> = ranked
                    .map(|(item, &score)| (score, is_relevant(item)))
                    .collect();
                metrics::auc(&mut ranked)
            }
            Metric::Novelty(k) => {
                let users = self.train.n_users().max(1) as f64;
                let known = |&i: &u32| self.train.item_users(i).0.len().max(1) as f64 / users;
                mean(list.iter().take(k).map(|item| -known(item).log2()))
            }
            Metric::Diversity(k) => self.diversity(list.get(..k.min(list.len())).unwrap_or(&list)),
            Metric::Coverage(_) => 0.0, // judged over all lists together
        });
        Judged {
            values: values.collect(),
            list,
        }
    }

    fn coverage(&self, judged: &[Judged], k: usize) -> f64 {
        let mut shown = vec![false; self.train.n_items()];
        for item in judged.iter().flat_map(|j| j.list.iter().take(k)) {
            if let Some(flag) = shown.get_mut(*item as usize) {
                *flag = true;
            }
        }
        shown.iter().filter(|s| **s).count() as f64 / shown.len().max(1) as f64
    }

    fn vector(&self, item: u32) -> (&[u32], &[f32]) {
        match &self.vectors {
            Some(vectors) => vectors.row(item),
            None => self.train.item_users(item),
        }
    }

    fn diversity(&self, list: &[u32]) -> f64 {
        let mut pairs = 0usize;
        let mut alike = 0.0;
        for (at, &a) in list.iter().enumerate() {
            for &b in list.iter().skip(at + 1) {
                alike += self.cosine(a, b);
                pairs += 1;
            }
        }
        if pairs == 0 {
            0.0
        } else {
            1.0 - alike / pairs as f64
        }
    }

    /// Cosine of two items' vectors; training users count 1 each.
    fn cosine(&self, a: u32, b: u32) -> f64 {
        let binary = self.vectors.is_none();
        let worth = |v: f32| if binary { 1.0 } else { f64::from(v) };
        let (left, right) = (self.vector(a), self.vector(b));
        let norm = |row: (&[u32], &[f32])| row.1.iter().map(|&v| worth(v).powi(2)).sum::<f64>();
        let mut others = right.0.iter().zip(right.1).peekable();
        let mut dot = 0.0;
        for (&column, &value) in left.0.iter().zip(left.1) {
            while others.next_if(|(other, _)| **other < column).is_some() {}
            if let Some((_, &other)) = others.next_if(|(other, _)| **other == column) {
                dot += worth(value) * worth(other);
            }
        }
        match norm(left) * norm(right) {
            0.0 => 0.0,
            square => dot / square.sqrt(),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

/// What a model scored; displayed, it is a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// How many users had something to find.
    pub users: usize,
    /// How many of them had no training history.
    pub cold_users: usize,
    /// The metrics in the order they were asked for.
    pub values: Vec<(Metric, f64)>,
}

impl Report {
    /// The value of a metric, when it was asked for.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.values
            .iter()
            .find(|(m, _)| *m == metric)
            .map(|&(_, value)| value)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} users", self.model, self.users)?;
        if self.cold_users > 0 {
            write!(f, " ({} without a training history)", self.cold_users)?;
        }
        for (metric, value) in &self.values {
            write!(f, "\n  {metric:<14} {value:.4}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
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
                builder.push(u, i, 1.0, None).unwrap();
            }
        }
        builder.build().unwrap()
    }

    // Golden values: `python crates/refrain-recommenders/tests/golden_metrics.py`, which ranks the
    // same three users with scikit-learn 1.9.1 (ndcg_score, roc_auc_score) and numpy 2.4.6.
    #[test]
    fn equals_scikit_learn() {
        let train = log_of([
            [1, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 1, 0, 0, 0, 0],
            [0, 0, 0, 0, 1, 1, 0, 0],
        ]);
        let test = log_of([
            [0, 1, 1, 0, 0, 0, 0, 1],
            [1, 0, 0, 0, 1, 0, 1, 0],
            [0, 0, 0, 1, 0, 0, 0, 0],
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
            (Ndcg(3), 0.4897595753409189),
            (Map(3), 0.4074074074074074),
            (Mrr(3), 0.6666666666666666),
            (HitRate(3), 0.6666666666666666),
            (Auc, 0.4444444444444445),
            (Coverage(3), 0.75),
            (Novelty(3), 1.5849625007211563),
        ];
        let wanted: Vec<Metric> = golden.iter().map(|g| g.0).collect();
        let report = evaluate(&model, &train, &test, &wanted).unwrap();
        for (metric, value) in golden {
            let got = report.get(metric).unwrap();
            assert!(
                (got - value).abs() < 1e-12,
                "{metric}: {got} is not {value}"
            );
        }
        assert_eq!(report.users, 3);
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
}
