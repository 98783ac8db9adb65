//! Measuring models: [`evaluate`] for one, [`Evaluator`] for several on one split, [`Report`] for what
//! came out, with intervals and paired tests.

mod report;
mod sampled;
mod significance;

use rayon::prelude::*;
use refrain_core::kernels::Scored;
use refrain_data::{FeatureEncoding, Interactions, ItemFeatures, NumericEncoding};

use crate::metrics::{self, Gain, Metric};
use crate::neighbours::sparse::Csr;
use crate::{Error, Query, Recommender, Result};

pub use report::Report;
pub use sampled::evaluate_sampled_biased;
pub use significance::{Bootstrap, Interval, Paired};

/// Users whose lists are asked for at once, which bounds memory.
const CHUNK: usize = 1024;

/// Measures a model on a test log, all items ranked, each user's training items left out.
///
/// The two logs come from one split, so their numbers mean the same. There to be found is what a user
/// has in the test log with a weight above 0: to recommend what was disliked is no success. What each metric means, with its
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
    cases: Vec<Case>,
    /// All items, the most popular in training first.
    popular: Vec<u32>,
    /// What diversity compares: item rows of feature vectors, else of training users.
    vectors: Option<Csr>,
}

/// A user with something to find.
#[derive(Debug)]
struct Case {
    user: u32,
    /// What there is to find, ascending, and its weights in the test log.
    relevant: Vec<u32>,
    weights: Vec<f32>,
}

impl Case {
    fn weight(&self, item: u32) -> Option<f32> {
        let at = self.relevant.binary_search(&item).ok()?;
        self.weights.get(at).copied()
    }
}

/// A user's ranked list with what is needed to judge it.
struct Judged {
    values: Vec<f64>,
    /// The longest list any metric asked for.
    list: Vec<u32>,
}

/// What a user of a log had and did not dislike, ascending.
pub(crate) fn liked(log: &Interactions, user: u32) -> impl Iterator<Item = u32> + '_ {
    let (items, weights) = log.user_items(user);
    let all = items.iter().copied().zip(weights);
    all.filter(|(_, weight)| **weight > 0.0)
        .map(|(item, _)| item)
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
        let cases: Vec<Case> = (0..test.n_users() as u32)
            .filter_map(|user| {
                let seen = train.user_items(user).0;
                // What was disliked is not to be recommended.
                let (items, weights) = test.user_items(user);
                let new = items.iter().copied().zip(weights.iter().copied());
                let (relevant, weights): (Vec<u32>, Vec<f32>) = new
                    .filter(|&(item, weight)| weight > 0.0 && seen.binary_search(&item).is_err())
                    .unzip();
                (!relevant.is_empty()).then_some(Case {
                    user,
                    relevant,
                    weights,
                })
            })
            .collect();
        if cases.is_empty() {
            let reason =
                "no user of the test log liked an item they did not have in training".into();
            return Err(Error::Data {
                model: "evaluation",
                reason,
            });
        }
        let counts = train.item_counts();
        let mut popular: Vec<u32> = (0..train.n_items() as u32).collect();
        popular.sort_by_key(|&item| std::cmp::Reverse(counts.get(item as usize).copied()));
        Ok(Self {
            train,
            cases,
            popular,
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

    /// Measures a model: the lists it recommends, and its scores for AUC.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the model has other ids.
    pub fn run(&self, model: &dyn Recommender, metrics: &[Metric]) -> Result<Report> {
        model
            .memory()
            .same_ids(self.train, &model.name(), "the training log")?;
        let longest = metrics.iter().filter_map(Metric::cutoff).max().unwrap_or(0);
        let query = Query::top(longest);
        let mut judged = Vec::with_capacity(self.cases.len());
        for cases in self.cases.chunks(CHUNK) {
            let users: Vec<u32> = cases.iter().map(|case| case.user).collect();
            let lists = match longest {
                0 => vec![Vec::new(); users.len()],
                _ => model.top(&users, &query)?,
            };
            let part: Vec<Judged> = cases
                .par_iter()
                .zip(lists)
                .map_init(Vec::new, |scores: &mut Vec<f32>, (case, list)| {
                    if metrics.contains(&Metric::Auc) {
                        scores.resize(self.train.n_items(), 0.0);
                        model.score(case.user, scores)?;
                    }
                    Ok(self.judge(case, &list, scores, metrics))
                })
                .collect::<Result<_>>()?;
            judged.extend(part);
        }
        Ok(self.report(model.name(), metrics, &judged))
    }

    fn report(&self, model: String, metrics: &[Metric], judged: &[Judged]) -> Report {
        let mut values = Vec::new();
        let mut per_user = Vec::new();
        for (at, &metric) in metrics.iter().enumerate() {
            let own: Vec<f64> = match metric.is_per_user() {
                true => judged
                    .iter()
                    .filter_map(|j| j.values.get(at))
                    .copied()
                    .collect(),
                false => Vec::new(),
            };
            let value = match metric {
                Metric::Coverage(k) => {
                    let shown = self.shown(judged, k);
                    shown.iter().filter(|n| **n > 0).count() as f64 / shown.len().max(1) as f64
                }
                Metric::Gini(k) => metrics::gini(&mut self.shown(judged, k)),
                _ => mean(own.iter().copied()),
            };
            values.push((metric, value));
            per_user.push(own);
        }
        let cold = |case: &&Case| self.train.user_items(case.user).0.is_empty();
        Report {
            model,
            users: self.cases.len(),
            cold_users: self.cases.iter().filter(cold).count(),
            values,
            tested: self.cases.iter().map(|case| case.user).collect(),
            per_user,
        }
    }

    fn judge(&self, case: &Case, list: &[Scored], scores: &[f32], wanted: &[Metric]) -> Judged {
        let seen = self.train.user_items(case.user).0;
        let list: Vec<u32> = list.iter().map(|s| s.index).collect();
        let found: Vec<Option<f32>> = list.iter().map(|&item| case.weight(item)).collect();
        let hits: Vec<bool> = found.iter().map(Option::is_some).collect();
        let n = case.relevant.len();
        let graded = |k, gain| {
            let found: Vec<f32> = found.iter().map(|w| w.unwrap_or(0.0)).collect();
            metrics::ndcg_graded(&found, k, &case.weights, gain)
        };
        let listeners = |&item: &u32| self.train.item_users(item).0.len() as f64;
        let values = wanted.iter().map(|metric| match *metric {
            Metric::Precision(k) => metrics::precision(&hits, k),
            Metric::Recall(k) => metrics::recall(&hits, k, n),
            Metric::RecallCapped(k) => metrics::recall_capped(&hits, k, n),
            Metric::Ndcg(k) => metrics::ndcg(&hits, k, n),
            Metric::NdcgLinear(k) => graded(k, Gain::Linear),
            Metric::NdcgExponential(k) => graded(k, Gain::Exponential),
            Metric::Map(k) => metrics::average_precision(&hits, k, n),
            Metric::Mrr(k) => metrics::reciprocal_rank(&hits, k),
            Metric::HitRate(k) => metrics::hit_rate(&hits, k),
            Metric::Auc => {
                let ranked = (0u32..)
                    .zip(scores)
                    .filter(|(i, _)| seen.binary_search(i).is_err());
                let mut ranked: Vec<(f32, bool)> = ranked
                    .map(|(item, &score)| (score, case.weight(item).is_some()))
                    .collect();
                metrics::auc(&mut ranked)
            }
            Metric::Novelty(k) => {
                let users = self.train.n_users().max(1) as f64;
                let known = |item: &u32| listeners(item).max(1.0) / users;
                mean(list.iter().take(k).map(|item| -known(item).log2()))
            }
            Metric::Diversity(k) => self.diversity(list.get(..k).unwrap_or(&list)),
            Metric::Serendipity(k) => {
                let new = |item: &&u32| seen.binary_search(item).is_err();
                let expected: Vec<u32> = self.popular.iter().filter(new).take(k).copied().collect();
                metrics::serendipity(&list, &hits, &expected, k)
            }
            Metric::PopularityLift(k) => metrics::popularity_lift(
                list.iter().take(k).map(listeners),
                seen.iter().map(listeners),
            ),
            Metric::Coverage(_) | Metric::Gini(_) => 0.0, // judged over all lists together
        });
        Judged {
            values: values.collect(),
            list,
        }
    }

    /// How often each item is among the first `k` of a list.
    fn shown(&self, judged: &[Judged], k: usize) -> Vec<u64> {
        let mut shown = vec![0; self.train.n_items()];
        for item in judged.iter().flat_map(|j| j.list.iter().take(k)) {
            if let Some(count) = shown.get_mut(*item as usize) {
                *count += 1;
            }
        }
        shown
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

#[cfg(test)]
mod tests;
