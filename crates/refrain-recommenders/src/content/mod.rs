//! Content-based: *you like reels in D, and this is a reel in D*.
//!
//! Each item is a vector of its features, each user the weighted sum of their items' vectors:
//!
//! ```text
//! p_u = Σ_{i ∈ u} ln(1 + w_ui) · x_i        score(u, j) = Σ_f  θ_f · p_uf · x_jf / |p_u|
//! ```
//!
//! Item vectors have length 1. θ says how much a feature matters for what people choose: given
//! (all 1, or the columns' weights of the encoding), or learned from the log by pairwise ranking
//! (Rendle et al., *BPR: Bayesian personalized ranking from implicit feedback*, 2009): each item of a
//! history should score above items outside it, judged by the rest of the history. Pazzani and
//! Billsus, *Content-based recommendation systems*, 2007.
//!
//! **When.** New items, small logs, and reasons a person understands. Alone it is weaker than
//! collaborative models where there is data for them; blend it.
//!
//! **Cost.** Fit: one pass over the features; learning adds `samples` short sparse products. A user's
//! scores: one sparse row per item. Memory: the encoded features.
//!
//! **Determinism.** The same bits for any number of threads.

mod learn;

use refrain_core::{IdMap, ModelFile, ModelWriter, Monitor};
use refrain_data::{FeatureEncoder, FeatureEncoding, Interactions, ItemFeatures, NumericEncoding};
use serde::{Deserialize, Serialize};

use crate::memory::finite;
use crate::neighbours::Weighting;
use crate::neighbours::sparse::Csr;
use crate::neighbours::weighting::strengths_of;
use crate::{Change, Contribution, Error, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.content";
const NAME: &str = "content";

/// Settings of the content-based model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContentBased {
    /// How features become numbers. The default puts numbers into six buckets, so that a reason reads
    /// `tempo in [90, 110)`.
    pub encoding: FeatureEncoding,
    /// Where the features' weights come from.
    pub weights: FeatureWeights,
}

/// Where the features' weights come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FeatureWeights {
    /// From the encoding alone: 1, or what `encoding.weights` gives the columns.
    Given,
    /// Learned from the log, starting from what is given.
    Learned {
        /// How many (user, item, other item) triples to learn from, at most 20 per event.
        samples: usize,
        /// The size of a step.
        rate: f32,
        /// How strongly weights are pulled back towards 1.
        regularisation: f32,
        /// The seed of the triples.
        seed: u64,
    },
}

impl Default for FeatureWeights {
    fn default() -> Self {
        Self::Learned {
            samples: 200_000,
            rate: 0.1,
            regularisation: 0.001,
            seed: 0,
        }
    }
}

impl Default for ContentBased {
    fn default() -> Self {
        let encoding = FeatureEncoding {
            numeric: NumericEncoding::Buckets(6),
            ..FeatureEncoding::default()
        };
        Self {
            encoding,
            weights: FeatureWeights::default(),
        }
    }
}

impl ContentBased {
    /// Encodes the items' features and learns their weights.
    ///
    /// Items without features score 0 and say nothing about their users.
    ///
    /// # Errors
    /// [`Error::Data`] when no item of the log has features, [`Error::Config`] for a setting out of
    /// range.
    pub fn fit(&self, log: &Interactions, features: &ItemFeatures) -> Result<ContentBasedModel> {
        self.fit_with(log, features, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor`.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when cancelled.
    pub fn fit_with(
        &self,
        log: &Interactions,
        features: &ItemFeatures,
        monitor: &Monitor,
    ) -> Result<ContentBasedModel> {
        let (rows, joined) = features.join(&log.shared_items())?;
        if joined.matched == 0 {
            let reason = "no item of the log has features; are the ids the same?".to_string();
            return Err(Error::Data {
                model: NAME,
                reason,
            });
        }
        let encoder = self.encoding.fit(&rows)?;
        let encoded = encoder.encode(&rows)?;
        let mut names = IdMap::new();
        for (at, name) in encoder.names().iter().enumerate() {
            if names.insert(name)? as usize != at {
                names.insert(format!("{name} (feature {at})"))?;
            }
        }
        let mut vectors = Csr::with_width(names.len());
        for item in 0..log.n_items() as u32 {
            vectors.push_row(of_length_one(encoded.row(item)));
        }
        let memory = Memory::new(log);
        let theta = match &self.weights {
            FeatureWeights::Given => vec![1.0; names.len()],
            FeatureWeights::Learned {
                samples,
                rate,
                regularisation,
                seed,
            } => {
                let learning = learn::Learning {
                    samples: *samples,
                    rate: *rate,
                    regularisation: *regularisation,
                    seed: *seed,
                };
                learning.run(&memory, &vectors, monitor)?
            }
        };
        Ok(ContentBasedModel {
            config: self.clone(),
            memory,
            encoder,
            names,
            vectors,
            theta,
        })
    }
}

/// The features of an item as a direction.
fn of_length_one((columns, values): (&[u32], &[f32])) -> impl Iterator<Item = (u32, f32)> {
    let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    let pairs = columns.iter().copied().zip(values.iter().copied());
    let kept = pairs.filter(|&(_, v)| v != 0.0 && v.is_finite());
    kept.map(move |(column, value)| (column, value / length))
}

/// Fitted content-based model.
///
/// With given weights a score is the cosine of user and item, from −1 to 1, and compares across
/// users; with learned weights it is a weighted cosine.
///
/// `update`, `forget_user` and `forget_item` change what is remembered, at the cost of copying it;
/// encoding and weights stay. With given weights it is exact to forget a user, or to learn of events on
/// items that are there; everything else is approximate. New items come with their features by
/// [`add_items`](Self::add_items); one that an `update` brings has none and scores 0.
#[derive(Debug, Clone, PartialEq)]
pub struct ContentBasedModel {
    config: ContentBased,
    memory: Memory,
    encoder: FeatureEncoder,
    names: IdMap,
    /// Items × features, rows of length 1.
    vectors: Csr,
    theta: Vec<f32>,
}

impl ContentBasedModel {
    /// The settings it was fitted with.
    pub fn config(&self) -> &ContentBased {
        &self.config
    }

    /// The features and how much each matters, the most important first.
    pub fn feature_weights(&self) -> Vec<(&str, f32)> {
        let mut all: Vec<(&str, f32)> = self.names.iter().zip(self.theta.iter().copied()).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    /// What a user's history says about them: features and their share in the profile, the strongest
    /// first.
    ///
    /// # Errors
    /// [`Error::UnknownUser`].
    pub fn profile(&self, user: &str) -> Result<Vec<(&str, f32)>> {
        let user = self.memory.user(user)?;
        let profile = self.profile_of(self.memory.history(user));
        let mut all: Vec<(&str, f32)> = self
            .names
            .iter()
            .zip(profile)
            .filter(|(_, value)| *value != 0.0)
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(all)
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let (memory, names) = (Memory::read(file)?, file.ids("features")?);
        let vectors = Csr::read(file, "vectors", memory.n_items(), names.len())?;
        let theta = finite(file, "theta", &[names.len()])?;
        let (config, encoder): (ContentBased, FeatureEncoder) = file.config()?;
        if encoder.names().len() != names.len() {
            return Err(refrain_core::Error::ModelFile {
                origin: file.origin().to_string(),
                reason: "another number of features than the encoder has".to_string(),
            }
            .into());
        }
        Ok(Box::new(Self {
            config,
            memory,
            encoder,
            names,
            vectors,
            theta,
        }))
    }

    /// What a change is that leaves all items: exact, unless the weights were learned from the log.
    fn change(&self) -> Change {
        match self.config.weights {
            FeatureWeights::Given => Change::Exact,
            FeatureWeights::Learned { .. } => Change::Approximate,
        }
    }

    /// θ_f · p_uf / |p_u| for each feature.
    fn profile_of(&self, history: (&[u32], &[f32])) -> Vec<f32> {
        let mut profile = vec![0.0f32; self.names.len()];
        for (item, strength) in strengths_of(history, Weighting::Log) {
            for (feature, value) in self.vectors.pairs(item) {
                if let Some(sum) = profile.get_mut(feature as usize) {
                    *sum += strength * value;
                }
            }
        }
        let length = profile.iter().map(|p| p * p).sum::<f32>().sqrt();
        if length > 0.0 {
            profile
                .iter_mut()
                .zip(&self.theta)
                .for_each(|(p, theta)| *p *= theta / length);
        }
        profile
    }

    fn score_items(&self, history: (&[u32], &[f32]), out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        let profile = self.profile_of(history);
        let at = |feature: u32| profile.get(feature as usize).copied().unwrap_or_default();
        for (item, score) in (0u32..).zip(out) {
            *score = self
                .vectors
                .pairs(item)
                .map(|(f, value)| value * at(f))
                .sum();
        }
        Ok(())
    }
}

impl Recommender for ContentBasedModel {
    fn name(&self) -> String {
        NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.score_items(self.memory.history(user), out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        let (items, weights) = self.memory.tidy(history)?;
        self.score_items((&items, &weights), out)
    }

    /// The score for someone whose whole history is `item`.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.score_items((&[item], &[1.0]), out)
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let (items, weights) = self.memory.history_of(who)?;
        let profile = self.profile_of((&items, &weights));
        let part = |(feature, value): (u32, f32)| {
            let name = self.names.name(feature).unwrap_or_default().to_string();
            let share = profile.get(feature as usize).copied().unwrap_or_default();
            Contribution::new(Reason::Feature(name), value * share)
        };
        Ok(self
            .vectors
            .pairs(item)
            .map(part)
            .filter(|part| part.weight != 0.0)
            .collect())
    }

    fn add_items(&mut self, features: &ItemFeatures) -> Result<usize> {
        let rows = self.encoder.encode(features)?;
        let before = self.memory.n_items();
        let memory = self.memory.with_ids(IdMap::new(), features.ids().clone())?;
        for id in memory.items().iter().skip(before) {
            let row = features.ids().get(id).map(|at| rows.row(at));
            self.vectors
                .push_row(of_length_one(row.unwrap_or_default()));
        }
        self.memory = memory;
        Ok(self.memory.n_items() - before)
    }

    /// Their histories change; new items have no features, and weights stay.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        let memory = self.memory.extended(events)?;
        let new = memory.n_items() - self.memory.n_items();
        (0..new).for_each(|_| self.vectors.push_row([]));
        self.memory = memory;
        Ok(match new {
            0 => self.change(),
            _ => Change::Approximate,
        })
    }

    /// The user's history is gone; what weights learned from it stays.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        self.memory = self.memory.without_user(self.memory.user(user)?)?;
        Ok(self.change())
    }

    /// The item's features are gone; what encoding and weights learned from it stays.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        let item = self.memory.item(item)?;
        self.memory = self.memory.without_item(item)?;
        let mut vectors = Csr::with_width(self.names.len());
        for other in (0..self.vectors.n_rows() as u32).filter(|&other| other != item) {
            vectors.push_row(self.vectors.pairs(other));
        }
        self.vectors = vectors;
        Ok(Change::Approximate)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let writer = self
            .memory
            .write(ModelWriter::new(KIND, 1).config(&(&self.config, &self.encoder))?)?;
        let writer = self
            .vectors
            .write(writer, "vectors")?
            .ids("features", &self.names)?;
        Ok(writer.f32("theta", &[self.theta.len()], &self.theta)?)
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, ContentBasedModel::read);

#[cfg(test)]
mod tests {
    use super::*;

    /// Features that say which side of the checkerboard and which block an item is in.
    fn features() -> ItemFeatures {
        let numbers = || 0..30usize;
        Features::builder()
            .category(
                "side",
                numbers().map(|i| (format!("i{i}"), ["even", "odd"][i % 2])),
            )
            .unwrap()
            .category(
                "block",
                numbers().map(|i| (format!("i{i}"), ["a", "b", "c"][i % 3])),
            )
            .unwrap()
            .numeric(
                "size",
                numbers().map(|i| (format!("i{i}"), (i * 7 % 11) as f32)),
            )
            .unwrap()
            .build()
            .unwrap()
    }
    use refrain_data::Features;

    crate::conformance!(learned, general, |log| ContentBased::default()
        .fit(log, &features()));
    crate::conformance!(given, general, |log| {
        ContentBased {
            weights: FeatureWeights::Given,
            ..ContentBased::default()
        }
        .fit(log, &features())
    });

    #[test]
    fn learns_what_matters() {
        let log = crate::conformance::blocks_log();
        let model = ContentBased::default().fit(&log, &features()).unwrap();
        let weights = model.feature_weights();
        let of = |prefix: &str| -> f32 {
            let all = weights.iter().filter(|(name, _)| name.starts_with(prefix));
            all.clone().map(|w| w.1).sum::<f32>() / all.count() as f32
        };
        assert!(of("block=") > 1.5 * of("side="), "{weights:?}");
        assert!(of("block=") > 1.5 * of("size"), "{weights:?}");
        // A user of block a hears about a, and is recommended a.
        assert_eq!(model.profile("u0").unwrap()[0].0, "block=a");
        let best = model.recommend("u0", 1).unwrap();
        let why = model.explain("u0", &best[0].item).unwrap();
        assert_eq!(why.reasons[0].reason.to_string(), "for its block=a");
    }

    #[test]
    fn changes_are_exact_with_given_weights() {
        let given = ContentBased {
            weights: FeatureWeights::Given,
            ..ContentBased::default()
        };
        let log = crate::conformance::blocks_log();
        let mut model = given.fit(&log, &features()).unwrap();
        let events = [("u3", "i1", 2.0), ("new", "i5", 1.0)];
        let events = Interactions::from_events(events).unwrap();
        assert_eq!(model.update(&events).unwrap(), Change::Exact);
        assert_eq!(model.forget_user("u7").unwrap(), Change::Exact);
        let left = model.memory().to_log().unwrap();
        assert_eq!(model, given.fit(&left, &features()).unwrap());
        // An item without features, and one less: the others score as before.
        let before = model.recommend("u4", 30).unwrap();
        let bare = Interactions::from_events([("new", "bare", 1.0)]).unwrap();
        assert_eq!(model.update(&bare).unwrap(), Change::Approximate);
        assert_eq!(model.forget_item("i0").unwrap(), Change::Approximate);
        let unseen = model.recommend("u4", 30).unwrap();
        let left = before.iter().filter(|r| r.item != "i0");
        assert!(left.eq(unseen.iter().filter(|r| r.item != "bare")));
        let bare = unseen.iter().find(|r| r.item == "bare").unwrap();
        assert_eq!(bare.score, 0.0);

        let mut learned = ContentBased::default().fit(&log, &features()).unwrap();
        assert_eq!(learned.forget_user("u7").unwrap(), Change::Approximate);
    }

    #[test]
    fn new_items_are_recommended_by_their_features() {
        let log = crate::conformance::blocks_log();
        let mut model = ContentBased::default().fit(&log, &features()).unwrap();
        // An item like i4 in all, one that was there, and one of which nothing is said.
        let of = |column: &'static str, value: &str| {
            ItemFeatures::builder().category(column, [("i90", value), ("i4", value)])
        };
        let new = of("side", "even")
            .unwrap()
            .category("block", [("i90", "b"), ("i91", "?")]);
        let new = new.unwrap().numeric("size", [("i90", 6.0)]).unwrap();
        let new = new.build().unwrap();
        assert_eq!(model.add_items(&new).unwrap(), 2);
        assert_eq!(model.add_items(&new).unwrap(), 0);
        let bytes = model.to_file().unwrap().to_bytes().unwrap();
        let read = crate::from_file(&ModelFile::from_bytes(bytes).unwrap()).unwrap();
        for model in [&model as &dyn Recommender, &*read] {
            let score = |item: &str| model.explain("u4", item).unwrap().score;
            assert!((score("i90") - score("i4")).abs() < 1e-6);
            assert_eq!(score("i91"), 0.0);
        }
        let lacking = ItemFeatures::builder().numeric("size", [("i92", 6.0)]);
        let lacking = lacking.unwrap().build().unwrap();
        assert!(matches!(
            model.add_items(&lacking),
            Err(Error::Interactions(_))
        ));
    }

    #[test]
    fn a_file_whose_weights_are_no_numbers_is_refused() {
        let log = crate::conformance::blocks_log();
        let mut model = ContentBased::default().fit(&log, &features()).unwrap();
        model.theta[1] = f32::NAN;
        let file = ModelFile::from_bytes(model.to_file().unwrap().to_bytes().unwrap()).unwrap();
        let error = ContentBasedModel::read(&file).map(drop).unwrap_err();
        assert!(matches!(error, Error::Core(_)), "{error}");
        assert!(error.to_string().contains("theta"), "{error}");
    }

    #[test]
    fn features_of_other_items_are_refused() {
        let log = Interactions::from_events([("a", "x", 1.0)]).unwrap();
        let error = ContentBased::default().fit(&log, &features()).unwrap_err();
        assert!(matches!(error, Error::Data { .. }), "{error}");
        let weights = FeatureWeights::Learned {
            samples: 10,
            rate: f32::NAN,
            regularisation: 0.0,
            seed: 0,
        };
        let model = ContentBased {
            weights,
            ..ContentBased::default()
        };
        let log = crate::conformance::blocks_log();
        assert!(matches!(
            model.fit(&log, &features()),
            Err(Error::Config { .. })
        ));
    }
}
