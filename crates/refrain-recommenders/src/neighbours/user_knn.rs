//! User-based nearest neighbours: *people whose history is like yours had Y*.
//!
//! Users are compared by what they had, with rare items counting more; the K most similar users vote
//! with what they had:
//!
//! ```text
//! s(u, v) = ( c(u, v) / ( |u|^2(1−a) · |v|^2a + shrinkage ) )^q     score(u, j) = Σ_{v ∈ N(u)} s(u, v) · w_vj
//! ```
//!
//! `q` is the amplification: above 1 the closest users count for more. Herlocker et al., *An
//! algorithmic framework for performing collaborative filtering*, 1999; amplification is from Breese
//! et al., *Empirical analysis of predictive algorithms for collaborative filtering*, 1998.
//!
//! **When.** Fewer users than items, or tastes that items alone do not show. Explains itself by
//! like-minded users. For millions of users item-kNN is cheaper.
//!
//! **Cost.** Fit: Σ over items of (users who had it)², in parallel. Memory: 8 bytes × K × users, and
//! the log by item. A user's scores: K histories; someone unseen costs the log's rows they touch.
//! Updating and forgetting are exact and cost a fit without building the log.
//!
//! **Someone unseen.** [`recommend_for`](Recommender::recommend_for) takes the history for that of a
//! person who is not in the log. Given the history of one who is, it finds that user among the
//! neighbours, the nearest of all, who votes for what is in the history already: ask
//! [`recommend`](Recommender::recommend) for users of the log.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Chosen on MovieLens-100K by validation splits inside the training part.

use std::ops::Bound;
use std::sync::Mutex;

use refrain_core::{ModelFile, ModelWriter, Monitor};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::linear::{check_neighbours, check_range};
use super::product::Sums;
use super::similarity::Space;
use super::sparse::Csr;
use super::weighting::{strengths, strengths_of};
use super::{Similarity, Weighting};
use crate::{Change, Contribution, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.user_knn";
const NAME: &str = "user-kNN";

/// Settings of user-based nearest neighbours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserKnn {
    /// How many neighbours vote.
    pub neighbours: usize,
    /// What an event is worth when users are compared.
    pub weighting: Weighting,
    /// How users are compared.
    pub similarity: Similarity,
    /// Added to the denominator: similarities that rest on few items shrink towards zero.
    pub shrinkage: f32,
    /// The power of the similarity with which a neighbour votes.
    pub amplification: f32,
}

impl Default for UserKnn {
    fn default() -> Self {
        Self {
            neighbours: 100,
            weighting: Weighting::TfIdf,
            similarity: Similarity::Cosine { asymmetry: 0.6 },
            shrinkage: 0.0,
            amplification: 3.0,
        }
    }
}

impl UserKnn {
    /// Finds each user's neighbours.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a setting out of range,
    /// [`Error::Data`](crate::Error::Data) for weights too large to square.
    pub fn fit(&self, log: &Interactions) -> Result<UserKnnModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor`.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<UserKnnModel> {
        self.check()?;
        UserKnnModel::learn(self, Memory::new(log), monitor)
    }

    fn check(&self) -> Result<()> {
        check_neighbours(NAME, self.neighbours)?;
        let at_least_0 = "must be at least 0";
        check_range(NAME, "shrinkage", self.shrinkage, 0.0.., at_least_0)?;
        let above_0 = (Bound::Excluded(0.0), Bound::Unbounded);
        let amplification = self.amplification;
        check_range(
            NAME,
            "amplification",
            amplification,
            above_0,
            "must be above 0",
        )?;
        self.similarity.check(NAME)?;
        self.weighting.check(NAME)
    }

    /// Users as vectors, kept so that someone unseen can be compared with them.
    fn space(&self, memory: &Memory) -> Result<Space> {
        let users = strengths(memory, self.weighting);
        Space::new(NAME, users, self.weighting, self.similarity, self.shrinkage)
    }
}

/// Fitted user-based nearest neighbours.
///
/// A score is a sum of the neighbours' votes and compares within a user, not across users; it is 0
/// where no neighbour had the item.
#[derive(Debug)]
pub struct UserKnnModel {
    config: UserKnn,
    memory: Memory,
    space: Space,
    /// Row u: the users most like u.
    nearest: Csr,
    /// Rows of sums for comparing someone unseen, kept between calls.
    spare: Mutex<Vec<Sums>>,
}

impl UserKnnModel {
    fn learn(config: &UserKnn, memory: Memory, monitor: &Monitor) -> Result<Self> {
        let stage = monitor.start(NAME, Some(memory.n_users() as u64));
        let space = config.space(&memory)?;
        let nearest = space.nearest_all(config.neighbours, &stage)?;
        Ok(Self {
            config: config.clone(),
            memory,
            space,
            nearest,
            spare: Mutex::new(Vec::new()),
        })
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &UserKnn {
        &self.config
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: UserKnn = file.config()?;
        config.check()?;
        let memory = Memory::read(file)?;
        let n = memory.n_users();
        let nearest = Csr::read(file, "nearest", n, n)?;
        let space = config.space(&memory)?;
        Ok(Box::new(Self {
            config,
            memory,
            space,
            nearest,
            spare: Mutex::new(Vec::new()),
        }))
    }

    /// The users most like someone with this tidy history, ascending, with their similarity.
    fn neighbours_of(&self, history: (&[u32], &[f32])) -> Vec<(u32, f32)> {
        let (items, strengths): (Vec<u32>, Vec<f32>) =
            strengths_of(history, self.config.weighting).unzip();
        let spare = self.spare.lock().ok().and_then(|mut spare| spare.pop());
        let mut sums = spare.unwrap_or_else(|| Sums::new(self.memory.n_users()));
        let k = self.config.neighbours;
        let found = self.space.nearest(&items, strengths, k, &mut sums);
        if let Ok(mut spare) = self.spare.lock() {
            spare.push(sums);
        }
        found.into_iter().map(|s| (s.index, s.score)).collect()
    }

    fn learn_again(&mut self, memory: Memory) -> Result<Change> {
        *self = Self::learn(&self.config, memory, &Monitor::silent())?;
        Ok(Change::Exact)
    }

    fn vote(&self, similarity: f32) -> f32 {
        similarity.powf(self.config.amplification)
    }

    fn score_votes(
        &self,
        neighbours: impl Iterator<Item = (u32, f32)>,
        out: &mut [f32],
    ) -> Result<()> {
        self.memory.check_scores(out)?;
        out.fill(0.0);
        for (other, similarity) in neighbours {
            let vote = self.vote(similarity);
            for (item, strength) in strengths_of(self.memory.history(other), self.config.weighting)
            {
                if let Some(score) = out.get_mut(item as usize) {
                    *score += vote * strength;
                }
            }
        }
        Ok(())
    }
}

impl Recommender for UserKnnModel {
    fn name(&self) -> String {
        NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.score_votes(self.nearest.pairs(user), out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        let (items, weights) = self.memory.tidy(history)?;
        self.score_votes(self.neighbours_of((&items, &weights)).into_iter(), out)
    }

    /// The cosine of the items' weighed users.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        out.fill(0.0);
        let items = self.space.turned();
        for (user, weight) in items.pairs(item) {
            for (other, value) in self.space.rows().pairs(user) {
                if let Some(score) = out.get_mut(other as usize) {
                    *score += weight * value;
                }
            }
        }
        let norm = |i: u32| items.row(i).1.iter().map(|v| v * v).sum::<f32>().sqrt();
        let own = norm(item);
        for (other, score) in (0u32..).zip(out) {
            if *score != 0.0 {
                *score /= own * norm(other);
            }
        }
        Ok(())
    }

    /// Of the neighbours; 0 for all others.
    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.memory.check_user_scores(out)?;
        out.fill(0.0);
        for (other, similarity) in self.nearest.pairs(user) {
            if let Some(score) = out.get_mut(other as usize) {
                *score = similarity;
            }
        }
        Ok(())
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let neighbours: Vec<(u32, f32)> = match who {
            Who::User(user) => {
                self.memory.check_user(user)?;
                self.nearest.pairs(user).collect()
            }
            Who::History(history) => {
                let (items, weights) = self.memory.tidy(history)?;
                self.neighbours_of((&items, &weights))
            }
        };
        Ok(neighbours
            .into_iter()
            .filter_map(|(other, similarity)| {
                let (items, weights) = self.memory.history(other);
                let weight = weights.get(items.binary_search(&item).ok()?)?;
                let strength = self.config.weighting.strength(*weight);
                let reason = Reason::User(self.memory.user_name(other));
                Some(Contribution::new(reason, self.vote(similarity) * strength))
            })
            .filter(|part| part.weight != 0.0)
            .collect())
    }

    /// Exact, at the cost of a fit without building the log.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        self.learn_again(self.memory.extended(events)?)
    }

    /// Exact, at the cost of a fit without building the log.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        self.learn_again(self.memory.without_user(self.memory.user(user)?)?)
    }

    /// Exact, at the cost of a fit without building the log.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        self.learn_again(self.memory.without_item(self.memory.item(item)?)?)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let writer = self
            .memory
            .write(ModelWriter::new(KIND, 1).config(&self.config)?)?;
        self.nearest.write(writer, "nearest")
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, UserKnnModel::read);

#[cfg(test)]
mod tests {
    use super::*;

    crate::conformance!(default, personal, |log| UserKnn::default().fit(log));
    crate::conformance!(bm25, personal, |log| {
        UserKnn {
            weighting: Weighting::Bm25 { k1: 1.2, b: 0.5 },
            ..UserKnn::default()
        }
        .fit(log)
    });

    crate::conformance!(jaccard, personal, |log| {
        UserKnn {
            similarity: Similarity::Jaccard,
            ..UserKnn::default()
        }
        .fit(log)
    });
    crate::conformance!(adjusted, general, |log| {
        UserKnn {
            weighting: Weighting::Raw,
            similarity: Similarity::AdjustedCosine,
            ..UserKnn::default()
        }
        .fit(log)
    });

    /// A history is asked as that of someone who is not there.
    #[test]
    fn an_unseen_history_is_answered_as_if_its_user_had_left() {
        let log = crate::conformance::blocks_log();
        let config = UserKnn {
            weighting: Weighting::Binary, // with others a leaver changes what items are worth
            neighbours: 5,
            ..UserKnn::default()
        };
        let model = config.fit(&log).unwrap();
        for user in ["u1", "u8", "u20"] {
            let (items, weights) = model.history(model.users().get(user).unwrap());
            let names = items.iter().map(|&item| model.items().name(item).unwrap());
            let history: Vec<(&str, f32)> = names.zip(weights.iter().copied()).collect();
            let mut without = config.fit(&log).unwrap();
            without.forget_user(user).unwrap();
            let (own, unseen) = (
                model.recommend(user, 8).unwrap(),
                without.recommend_for(&history, 8).unwrap(),
            );
            for (a, b) in own.iter().zip(&unseen) {
                assert_eq!(a.item, b.item);
                assert!((a.score - b.score).abs() < 1e-5, "{a:?} {b:?}");
            }
            // With the user there, one of the five neighbours is the user.
            let twin = model.recommend_for(&history, 8).unwrap();
            assert!(
                twin.iter().zip(&own).any(|(a, b)| a.score < b.score),
                "{twin:?}"
            );
        }
    }

    #[test]
    fn a_file_with_settings_out_of_range_is_refused() {
        let mut model = UserKnn::default()
            .fit(&crate::conformance::blocks_log())
            .unwrap();
        model.config.amplification = -1.0;
        let bytes = model.to_file().unwrap().to_bytes().unwrap();
        let file = ModelFile::from_bytes(bytes).unwrap();
        let error = UserKnnModel::read(&file).map(drop).unwrap_err();
        assert_eq!(
            error.to_string(),
            "user-kNN: amplification is -1, must be above 0"
        );
    }

    #[test]
    fn weights_too_large_to_square_are_refused() {
        let log = Interactions::from_events([("a", "x", 1e20), ("b", "x", 1e20)]).unwrap();
        let raw = UserKnn {
            weighting: Weighting::Raw,
            ..UserKnn::default()
        };
        assert_eq!(
            raw.fit(&log).unwrap_err().to_string(),
            "user-kNN cannot be fitted: its weights are too large"
        );
        assert!(UserKnn::default().fit(&log).is_ok());
    }

    #[test]
    fn the_like_minded_vote() {
        let log = Interactions::from_events([
            ("a", "x", 1.0),
            ("b", "x", 1.0),
            ("b", "y", 1.0),
            ("c", "z", 1.0),
        ])
        .unwrap();
        let model = UserKnn::default().fit(&log).unwrap();
        let best = model.recommend("a", 1).unwrap();
        assert_eq!(best[0].item, "y");
        let why = model.explain("a", "y").unwrap();
        assert_eq!(why.reasons[0].reason, Reason::User("b".into()));
        let alike = model.similar_users("a", 5).unwrap();
        assert_eq!(alike.len(), 1);
        assert_eq!(alike[0].user, "b");
        assert!(alike[0].score > 0.0 && alike[0].score <= 1.0);
        assert!(model.similar_users("c", 5).unwrap().is_empty());
        let error = UserKnn {
            amplification: 0.0,
            ..UserKnn::default()
        }
        .fit(&log)
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "user-kNN: amplification is 0, must be above 0"
        );
    }
}
