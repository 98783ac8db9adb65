//! Item-based nearest neighbours: *you had X, and Y is had by the same people*.
//!
//! Items are compared by who had them. With c(i, j) the product of their weighted user columns and
//! |i| their length,
//!
//! ```text
//! s(j ← i) = c(i, j) / ( |j|^2(1−a) · |i|^2a + shrinkage )        score(u, j) = Σ_{i ∈ u} w_ui · s(j ← i)
//! ```
//!
//! where `a` is the asymmetry: ½ is the cosine, above ½ items pull more towards what is widely had.
//! Each item keeps the K others it listens to. Sarwar et al., *Item-based collaborative filtering
//! recommendation algorithms*, 2001; the asymmetric cosine is Aiolli, *Efficient top-N recommendation
//! for very large scale binary rated datasets*, 2013.
//!
//! **When.** A strong first model for any size; explains itself by the user's own items; new users
//! need no training. It cannot recommend items nobody had.
//!
//! **Cost.** Fit: Σ over users of (history length)², in parallel. Memory: 16 bytes × K × items.
//! A user's scores: history length × K.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Chosen on MovieLens-100K by validation splits inside the training part, where
//! TF-IDF beat binary, raw and BM25 weights, and asymmetry 0.6 beat the cosine.

use refrain_core::{ModelFile, ModelWriter, Monitor};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::product::{Scale, nearest_rows};
use super::sparse::Csr;
use super::weighting::{Terms, strengths, strengths_of};
use super::{Weighting, check_settings};
use crate::{Contribution, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.item_knn";
const NAME: &str = "item-kNN";

/// Settings of item-based nearest neighbours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemKnn {
    /// How many neighbours each item keeps.
    pub neighbours: usize,
    /// What an event is worth when items are compared.
    pub weighting: Weighting,
    /// From 0 to 1; ½ is the cosine, more favours widely had items.
    pub asymmetry: f32,
    /// Added to the denominator: similarities that rest on few users shrink towards zero.
    pub shrinkage: f32,
}

impl Default for ItemKnn {
    fn default() -> Self {
        Self {
            neighbours: 200,
            weighting: Weighting::TfIdf,
            asymmetry: 0.6,
            shrinkage: 0.0,
        }
    }
}

impl ItemKnn {
    /// Finds each item's neighbours.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a setting out of range.
    pub fn fit(&self, log: &Interactions) -> Result<ItemKnnModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor`.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<ItemKnnModel> {
        check_settings(NAME, self.neighbours, self.asymmetry, self.shrinkage)?;
        self.weighting.check(NAME)?;
        let memory = Memory::new(log);
        let items = strengths(&memory, self.weighting).transpose();
        let items = Terms::learn(&items, self.weighting).weigh_all(&items);
        let users = items.transpose();
        let stage = monitor.start(NAME, Some(items.n_rows() as u64));
        let scale = Scale::new(&items, 1.0 - self.asymmetry, self.asymmetry, self.shrinkage);
        let nearest = nearest_rows(&items, &users, &scale, self.neighbours, &stage)?;
        Ok(ItemKnnModel::new(self.clone(), memory, nearest))
    }
}

/// Fitted item-based nearest neighbours.
///
/// A score is a sum of similarities and compares within a user, not across users; it is 0 where
/// there is no evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemKnnModel {
    config: ItemKnn,
    memory: Memory,
    /// Row j: the items j listens to, s(j ← i).
    nearest: Csr,
    /// Its transpose: row i, who listens to i.
    listeners: Csr,
}

impl ItemKnnModel {
    fn new(config: ItemKnn, memory: Memory, nearest: Csr) -> Self {
        let listeners = nearest.transpose();
        Self {
            config,
            memory,
            nearest,
            listeners,
        }
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &ItemKnn {
        &self.config
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let memory = Memory::read(file)?;
        let n = memory.n_items();
        let nearest = Csr::read(file, "nearest", n, n)?;
        Ok(Box::new(Self::new(file.config()?, memory, nearest)))
    }

    fn score_items(&self, history: (&[u32], &[f32]), out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        out.fill(0.0);
        for (item, strength) in strengths_of(history, self.config.weighting) {
            for (target, similarity) in self.listeners.pairs(item) {
                if let Some(score) = out.get_mut(target as usize) {
                    *score += strength * similarity;
                }
            }
        }
        Ok(())
    }
}

impl Recommender for ItemKnnModel {
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

    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        out.fill(0.0);
        for (other, similarity) in self.nearest.pairs(item) {
            if let Some(score) = out.get_mut(other as usize) {
                *score = similarity;
            }
        }
        Ok(())
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let (items, weights) = self.memory.history_of(who)?;
        Ok(strengths_of((&items, &weights), self.config.weighting)
            .map(|(had, strength)| {
                let reason = Reason::Item(self.memory.item_name(had));
                Contribution::new(reason, strength * self.nearest.get(item, had))
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

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, ItemKnnModel::read);

#[cfg(test)]
mod tests {
    use super::*;

    crate::conformance!(default, personal, |log| ItemKnn::default().fit(log));
    crate::conformance!(cosine, personal, |log| {
        ItemKnn {
            weighting: Weighting::Binary,
            asymmetry: 0.5,
            shrinkage: 2.0,
            neighbours: 5,
        }
        .fit(log)
    });
    crate::conformance!(bm25, personal, |log| {
        ItemKnn {
            weighting: Weighting::Bm25 { k1: 1.2, b: 0.5 },
            ..ItemKnn::default()
        }
        .fit(log)
    });

    #[test]
    fn the_cosine_of_two_known_columns() {
        // x is had by a, b, c; y by b, c, d: cosine 2/3.
        let log = Interactions::from_events([
            ("a", "x", 5.0),
            ("b", "x", 5.0),
            ("b", "y", 1.0),
            ("c", "x", 2.0),
            ("c", "y", 9.0),
            ("d", "y", 1.0),
        ])
        .unwrap();
        let cosine = ItemKnn {
            weighting: Weighting::Binary,
            asymmetry: 0.5,
            ..ItemKnn::default()
        };
        let model = cosine.fit(&log).unwrap();
        let similar = model.similar_items("x", 5).unwrap();
        assert!((similar[0].score - 2.0 / 3.0).abs() < 1e-6, "{similar:?}");
        let why = model.explain("a", "y").unwrap();
        assert_eq!(why.reasons[0].reason, Reason::Item("x".into()));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let log = Interactions::from_events([("a", "x", 1.0)]).unwrap();
        let error = ItemKnn {
            neighbours: 0,
            ..ItemKnn::default()
        }
        .fit(&log)
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "item-kNN: neighbours is 0, must be at least 1"
        );
        assert!(
            ItemKnn {
                asymmetry: 1.5,
                ..ItemKnn::default()
            }
            .fit(&log)
            .is_err()
        );
        assert!(
            ItemKnn {
                shrinkage: f32::NAN,
                ..ItemKnn::default()
            }
            .fit(&log)
            .is_err()
        );
        let weighting = Weighting::Bm25 { k1: 0.0, b: 0.5 };
        assert!(
            ItemKnn {
                weighting,
                ..ItemKnn::default()
            }
            .fit(&log)
            .is_err()
        );
    }
}
