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
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Chosen on MovieLens-100K by validation splits inside the training part.

use std::sync::Mutex;

use refrain_core::{ModelFile, ModelWriter, Monitor};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::product::{Scale, Sums, nearest_rows};
use super::sparse::Csr;
use super::weighting::{Terms, strengths, strengths_of};
use super::{Weighting, check_settings};
use crate::{Contribution, Error, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.user_knn";
const NAME: &str = "user-kNN";

/// Settings of user-based nearest neighbours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserKnn {
    /// How many neighbours vote.
    pub neighbours: usize,
    /// What an event is worth when users are compared.
    pub weighting: Weighting,
    /// From 0 to 1; ½ is the cosine, less favours neighbours with long histories.
    pub asymmetry: f32,
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
            asymmetry: 0.6,
            shrinkage: 0.0,
            amplification: 3.0,
        }
    }
}

impl UserKnn {
    /// Finds each user's neighbours.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of range.
    pub fn fit(&self, log: &Interactions) -> Result<UserKnnModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor`.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<UserKnnModel> {
        check_settings(NAME, self.neighbours, self.asymmetry, self.shrinkage)?;
        self.weighting.check(NAME)?;
        if !(self.amplification.is_finite() && self.amplification > 0.0) {
            return Err(Error::Config {
                model: NAME,
                field: "amplification",
                value: self.amplification.to_string(),
                expected: "must be above 0",
            });
        }
        let memory = Memory::new(log);
        let space = Space::new(self, &memory);
        let stage = monitor.start(NAME, Some(memory.n_users() as u64));
        let k = self.neighbours;
        let nearest = nearest_rows(&space.users, &space.items, &space.scale, k, &stage)?;
        Ok(UserKnnModel::new(self.clone(), memory, space, nearest))
    }
}

/// Users as weighed documents, kept so that someone unseen can be compared with them.
#[derive(Debug, Clone)]
struct Space {
    terms: Terms,
    users: Csr,
    items: Csr,
    scale: Scale,
}

impl Space {
    fn new(config: &UserKnn, memory: &Memory) -> Self {
        let users = strengths(memory, config.weighting);
        let terms = Terms::learn(&users, config.weighting);
        let users = terms.weigh_all(&users);
        let items = users.transpose();
        let scale = Scale::new(
            &users,
            1.0 - config.asymmetry,
            config.asymmetry,
            config.shrinkage,
        );
        Self {
            terms,
            users,
            items,
            scale,
        }
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
    fn new(config: UserKnn, memory: Memory, space: Space, nearest: Csr) -> Self {
        Self {
            config,
            memory,
            space,
            nearest,
            spare: Mutex::new(Vec::new()),
        }
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &UserKnn {
        &self.config
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let memory = Memory::read(file)?;
        let config: UserKnn = file.config()?;
        let n = memory.n_users();
        let nearest = Csr::read(file, "nearest", n, n)?;
        let space = Space::new(&config, &memory);
        Ok(Box::new(Self::new(config, memory, space, nearest)))
    }

    /// The users most like someone with this tidy history, ascending, with their similarity.
    fn neighbours_of(&self, history: (&[u32], &[f32])) -> Vec<(u32, f32)> {
        let (items, mut values): (Vec<u32>, Vec<f32>) =
            strengths_of(history, self.config.weighting).unzip();
        self.space.terms.weigh(&items, &mut values);
        let square: f32 = values.iter().map(|v| v * v).sum();
        let own = square.powf(1.0 - self.config.asymmetry);
        let spare = self.spare.lock().ok().and_then(|mut spare| spare.pop());
        let mut sums = spare.unwrap_or_else(|| Sums::new(self.memory.n_users()));
        let (space, k) = (&self.space, self.config.neighbours);
        let found = sums.nearest((&items, &values), &space.items, &space.scale, own, None, k);
        if let Ok(mut spare) = self.spare.lock() {
            spare.push(sums);
        }
        let mut found: Vec<(u32, f32)> = found.into_iter().map(|s| (s.index, s.score)).collect();
        found.sort_unstable_by_key(|&(user, _)| user);
        found
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
        let items = &self.space.items;
        for (user, weight) in items.pairs(item) {
            for (other, value) in self.space.users.pairs(user) {
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
