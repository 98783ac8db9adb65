//! Scores as probabilities: any model's scores, made to mean something by held-out data.
//!
//! A part of the log is set aside, the model is fitted on the rest and scores the items its users have
//! not had; a rising curve is fitted from score to the share of such items that were set aside:
//!
//! ```text
//! Platt      p = 1 / (1 + exp(−(a s + b)))       by maximum likelihood, with Platt's (1999) targets
//! isotonic   the rising steps with the least squared error, joined by lines (Zadrozny and Elkan, 2002)
//! ```
//!
//! Then the model is fitted again on the whole log. A score of 0.2 says: of ten such items with a user,
//! two would be among what is set aside. It compares across users as far as the model's scores do.
//! Neither curve changes the order of a list.
//!
//! **When.** Thresholds ([`Query::above`](crate::Query::above)) that mean the same after a refit, mixing with
//! other probabilities, costs and values. Isotonic needs more data and fits any shape.
//!
//! **Cost.** Fitting the model twice. **Determinism.** As the model's.

mod curve;

use std::sync::Arc;

use rand::seq::index;
use rayon::prelude::*;
use refrain_core::kernels::Scored;
use refrain_core::{ModelFile, ModelWriter, Monitor, rng};
use refrain_data::{Interactions, ItemFeatures, split};
use serde::{Deserialize, Serialize};

use crate::evaluate::liked;
use crate::load::{duplicate, nested};
use crate::{Change, Contribution, Error, Memory, Query, Reason, Recommender, Result, Who};
use curve::{Curve, Judged};

const KIND: &str = "recommenders.probability";
const NAME: &str = "probabilities";

/// The kind of curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Method {
    /// A logistic curve.
    #[default]
    Platt,
    /// Rising steps, joined by lines.
    Isotonic,
}

/// How scores become probabilities.
///
/// ```
/// # use refrain_recommenders::*;
/// # let log = refrain_data::Interactions::from_events(
/// #     (0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
/// let model = Probabilities::default().fit(&log, |log| ItemKnn::default().fit(log))?;
/// let list = model.recommend_where("7", &Query::top(5).above(0.01))?;
/// assert!(list.iter().all(|r| r.score > 0.01 && r.score < 1.0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Probabilities {
    /// The kind of curve.
    pub method: Method,
    /// The share of the events that is set aside.
    pub validation: f64,
    /// At most this many users with events are looked at, the first by number.
    pub max_users: usize,
    /// At most this many items per user that were not set aside; each counts for those left out.
    pub negatives: usize,
    /// The seed of the split and of the draws.
    pub seed: u64,
}

impl Default for Probabilities {
    fn default() -> Self {
        Self {
            method: Method::Platt,
            validation: 0.2,
            max_users: 2000,
            negatives: 500,
            seed: 0,
        }
    }
}

impl Probabilities {
    /// Fits a model by `fit` on a part of the log and the curve on the rest, then the model on all.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Data`] when the scores say nothing, and whatever `fit` returns.
    pub fn fit<M: Recommender + 'static>(
        &self,
        log: &Interactions,
        fit: impl Fn(&Interactions) -> Result<M>,
    ) -> Result<ProbabilityModel> {
        self.fit_with(log, fit, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor`.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when cancelled.
    pub fn fit_with<M: Recommender + 'static>(
        &self,
        log: &Interactions,
        fit: impl Fn(&Interactions) -> Result<M>,
        monitor: &Monitor,
    ) -> Result<ProbabilityModel> {
        let stage = monitor.start(NAME, Some(2));
        let (train, valid) = split::random(log, self.validation, self.seed)?;
        let curve = self.curve(&fit(&train)?, &train, &valid)?;
        stage.advance(1, "validation")?;
        let model = Arc::new(fit(log)?);
        stage.advance(1, "")?;
        Ok(ProbabilityModel { model, curve })
    }

    fn curve(
        &self,
        model: &dyn Recommender,
        train: &Interactions,
        valid: &Interactions,
    ) -> Result<Curve> {
        for (field, value) in [("max_users", self.max_users), ("negatives", self.negatives)] {
            if value == 0 {
                return Err(Error::Config {
                    model: NAME,
                    field,
                    value: value.to_string(),
                    expected: "must be at least 1",
                });
            }
        }
        let users: Vec<u32> = (0..valid.n_users() as u32)
            .filter(|&user| valid.user_items(user).0.len() + train.user_items(user).0.len() > 0)
            .take(self.max_users)
            .collect();
        let judged: Vec<Vec<Judged>> = users
            .par_iter()
            .map_init(
                || vec![0.0; train.n_items()],
                |scores, &user| {
                    model.score(user, scores)?;
                    let found: Vec<u32> = liked(valid, user).collect();
                    Ok(self.judge(user, scores, train.user_items(user).0, &found))
                },
            )
            .collect::<Result<_>>()?;
        let judged = judged.concat();
        match self.method {
            Method::Platt => curve::platt(&judged),
            Method::Isotonic => curve::isotonic(judged),
        }
    }

    fn judge(&self, user: u32, scores: &[f32], seen: &[u32], found: &[u32]) -> Vec<Judged> {
        let of = |item: u32| scores.get(item as usize).copied().unwrap_or_default();
        let is_seen = |item: &u32| seen.binary_search(item).is_ok();
        let new = found.iter().filter(|item| !is_seen(item));
        let mut judged: Vec<Judged> = new
            .map(|&item| Judged {
                score: of(item),
                hit: true,
                weight: 1.0,
            })
            .collect();
        let others: Vec<u32> = (0..scores.len() as u32)
            .filter(|item| !is_seen(item) && found.binary_search(item).is_err())
            .collect();
        let drawn = self.negatives.min(others.len());
        let weight = others.len() as f64 / drawn.max(1) as f64;
        let mut rng = rng::stream(self.seed, user.into());
        let places = index::sample(&mut rng, others.len(), drawn);
        let negatives = places.iter().filter_map(|at| others.get(at));
        judged.extend(negatives.map(|&item| Judged {
            score: of(item),
            hit: false,
            weight,
        }));
        judged
    }
}

/// A model whose scores are probabilities; see [`Probabilities`].
pub struct ProbabilityModel {
    model: Arc<dyn Recommender>,
    curve: Curve,
}

impl std::fmt::Debug for ProbabilityModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProbabilityModel")
            .field("model", &self.model.name())
            .field("curve", &self.curve)
            .finish()
    }
}

impl ProbabilityModel {
    /// The model beneath.
    pub fn model(&self) -> &dyn Recommender {
        &*self.model
    }

    /// The probability that a score of the model beneath stands for.
    pub fn probability(&self, score: f32) -> f32 {
        self.curve.at(score)
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let curve: Curve = file.config()?;
        curve.check()?;
        let model = nested(file, "model")?.into();
        Ok(Box::new(Self { model, curve }))
    }

    fn map(&self, query: &Query, list: Vec<Scored>) -> Vec<Scored> {
        let mapped = list.into_iter().map(|s| Scored {
            score: self.curve.at(s.score),
            ..s
        });
        mapped.filter(|s| s.score > query.threshold()).collect()
    }

    /// Changes the model beneath; the curve stays, so all is approximate.
    fn change(
        &mut self,
        change: impl Fn(&mut dyn Recommender) -> Result<Change>,
    ) -> Result<Change> {
        let mut model = duplicate(&*self.model)?;
        change(&mut *model)?;
        self.model = model.into();
        Ok(Change::Approximate)
    }
}

impl Recommender for ProbabilityModel {
    fn name(&self) -> String {
        format!("{}, as probabilities", self.model.name())
    }

    fn memory(&self) -> &Memory {
        self.model.memory()
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.model.score(user, out)?;
        out.iter_mut().for_each(|s| *s = self.curve.at(*s));
        Ok(())
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.model.score_history(history, out)?;
        out.iter_mut().for_each(|s| *s = self.curve.at(*s));
        Ok(())
    }

    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.model.similarity(item, out)
    }

    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.model.user_similarity(user, out)
    }

    /// The probability of a score of 0 as a constant, and the way from there divided among the model's
    /// parts by their size.
    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        let parts = self.model.contributions(who, item)?;
        let mut scores = vec![0.0; self.memory().n_items()];
        match who {
            Who::User(user) => self.model.score(user, &mut scores)?,
            Who::History(history) => self.model.score_history(history, &mut scores)?,
        }
        let score = scores.get(item as usize).copied().unwrap_or_default();
        let (from, to) = (self.curve.at(0.0), self.curve.at(score));
        let total: f32 = parts.iter().map(|part| part.weight).sum();
        let scale = (to - from) / total;
        let base = Reason::Constant("the chance at a score of 0");
        if !scale.is_finite() {
            return Ok(vec![Contribution::new(base, to)]);
        }
        let mut all = vec![Contribution::new(base, from)];
        let parts = parts.into_iter();
        all.extend(parts.map(|part| Contribution::new(part.reason, part.weight * scale)));
        Ok(all)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let bytes = self.model.to_file()?.to_bytes()?;
        Ok(ModelWriter::new(KIND, 1)
            .config(&self.curve)?
            .u8("model", &[bytes.len()], bytes)?)
    }

    fn top(&self, users: &[u32], query: &Query) -> Result<Vec<Vec<Scored>>> {
        let lists = self.model.top(users, &query.clone().at_any_score())?;
        Ok(lists
            .into_iter()
            .map(|list| self.map(query, list))
            .collect())
    }

    fn top_for(&self, history: &[(u32, f32)], query: &Query) -> Result<Vec<Scored>> {
        let list = self.model.top_for(history, &query.clone().at_any_score())?;
        Ok(self.map(query, list))
    }

    fn add_items(&mut self, features: &ItemFeatures) -> Result<usize> {
        let mut model = duplicate(&*self.model)?;
        let added = model.add_items(features)?;
        self.model = model.into();
        Ok(added)
    }

    fn update(&mut self, events: &Interactions) -> Result<Change> {
        self.change(|model| model.update(events))
    }

    fn forget_user(&mut self, user: &str) -> Result<Change> {
        self.memory().user(user)?;
        self.change(|model| model.forget_user(user))
    }

    fn forget_item(&mut self, item: &str) -> Result<Change> {
        self.memory().item(item)?;
        self.change(|model| model.forget_item(item))
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, ProbabilityModel::read);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::blocks_log;
    use crate::{ItemKnn, Random};

    fn fitted(log: &Interactions, method: Method) -> Result<ProbabilityModel> {
        let how = Probabilities {
            method,
            ..Probabilities::default()
        };
        how.fit(log, |log| ItemKnn::default().fit(log))
    }

    crate::conformance!(platt, general, |log| fitted(log, Method::Platt));
    crate::conformance!(isotonic, general, |log| fitted(log, Method::Isotonic));

    #[test]
    fn probabilities_are_as_frequent_as_they_say_and_keep_the_order() {
        let log = blocks_log();
        let plain = ItemKnn::default().fit(&log).unwrap();
        for method in [Method::Platt, Method::Isotonic] {
            let model = fitted(&log, method).unwrap();
            let (train, valid) = split::random(&log, 0.2, 0).unwrap();
            let knn = ItemKnn::default().fit(&train).unwrap();
            let mut scores = vec![0.0; 30];
            let (mut expected, mut found) = (0.0, 0.0);
            for user in 0..36 {
                knn.score(user, &mut scores).unwrap();
                let seen = train.user_items(user).0;
                let unseen = (0..30u32).filter(|item| !seen.contains(item));
                for item in unseen {
                    expected += model.probability(scores[item as usize]);
                    found += f32::from(u8::from(valid.user_items(user).0.contains(&item)));
                }
            }
            assert!(
                (expected - found).abs() < 0.05 * found,
                "{expected} {found}"
            );
            let names = |model: &dyn Recommender| -> Vec<String> {
                let list = model.recommend("u3", 30).unwrap();
                list.into_iter().map(|r| r.item).collect()
            };
            assert_eq!(names(&model), names(&plain));
            let high = model
                .recommend_where("u3", &Query::top(30).above(0.5))
                .unwrap();
            assert!(high.iter().all(|r| r.score > 0.5));
        }
    }

    #[test]
    fn what_cannot_be_calibrated_is_refused() {
        let log = blocks_log();
        let none = Probabilities {
            negatives: 0,
            ..Probabilities::default()
        };
        let refused = none.fit(&log, |log| ItemKnn::default().fit(log));
        assert!(matches!(refused, Err(Error::Config { .. })));
        // Chance gives a flat or a falling curve: never one that turns a list around.
        let how = Probabilities::default();
        match how.fit(&log, |log| Random::default().fit(log)) {
            Ok(model) => assert!(model.probability(1.0) >= model.probability(0.0)),
            Err(error) => assert!(matches!(error, Error::Data { .. }), "{error}"),
        }
    }
}
