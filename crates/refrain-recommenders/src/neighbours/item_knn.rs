//! Item-based nearest neighbours: *you had X, and Y is had by the same people*.
//!
//! Items are compared by who had them. With c(i, j) the product of their weighted user columns and
//! |i| their length,
//!
//! ```text
//! s(j ← i) = c(i, j) / ( |j|^2(1−a) · |i|^2a + shrinkage )        score(u, j) = Σ_{i ∈ u} w_ui · s(j ← i)
//! ```
//!
//! where `a` is the asymmetry: ½ is the cosine, above ½ what is widely had scores higher. Other ways
//! to compare are in [`Similarity`]. Each item keeps the K others it listens to. Sarwar et al., *Item-based collaborative filtering
//! recommendation algorithms*, 2001; the asymmetric cosine is Aiolli, *Efficient top-N recommendation
//! for very large scale binary rated datasets*, 2013.
//!
//! **When.** A strong first model for any size; explains itself by the user's own items; new users
//! need no training. It cannot recommend items nobody had.
//!
//! **Cost.** Fit: Σ over users of (history length)², in parallel. Memory: 16 bytes × K × items.
//! A user's scores: history length × K. Updating and forgetting are exact and cost a fit without
//! building the log.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Chosen on MovieLens-100K by validation splits inside the training part, where
//! TF-IDF beat binary, raw and BM25 weights, and asymmetry 0.6 beat the cosine.

use refrain_core::Monitor;
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::linear::{ItemConfig, ItemModel, Weights, check_neighbours, check_range, item_model};
use super::similarity::Space;
use super::weighting::{decay, strengths};
use super::{Similarity, Weighting};
use crate::{Memory, Result};

/// Settings of item-based nearest neighbours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemKnn {
    /// How many neighbours each item keeps.
    pub neighbours: usize,
    /// What an event is worth when items are compared.
    pub weighting: Weighting,
    /// How items are compared.
    pub similarity: Similarity,
    /// Added to the denominator: similarities that rest on few users shrink towards zero.
    pub shrinkage: f32,
    /// After this long an event counts half, in the unit of the log's times (seconds, mostly); needs
    /// a log with times. The model then remembers the faded weights; with
    /// [`Weighting::Binary`] an old event counts as much as a new one, so it says nothing there.
    /// Histories given later count as they are. [`Similarity::Jaccard`] with [`Weighting::Raw`] and
    /// a half-life of 30 days is Microsoft's SAR. A model with a half-life has to be fitted again to
    /// update it or to forget.
    pub half_life: Option<f64>,
}

impl Default for ItemKnn {
    fn default() -> Self {
        Self {
            neighbours: 200,
            weighting: Weighting::TfIdf,
            similarity: Similarity::Cosine { asymmetry: 0.6 },
            shrinkage: 0.0,
            half_life: None,
        }
    }
}

/// Fitted item-based nearest neighbours.
///
/// A score is a sum of similarities and compares within a user, not across users; it is 0 where
/// there is no evidence.
pub type ItemKnnModel = ItemModel<ItemKnn>;

item_model!(ItemKnn);

impl ItemConfig for ItemKnn {
    const KIND: &'static str = "recommenders.item_knn";
    const NAME: &'static str = "item-kNN";

    fn strength(&self) -> Weighting {
        self.weighting
    }

    fn check(&self) -> Result<()> {
        check_neighbours(Self::NAME, self.neighbours)?;
        check_range(
            Self::NAME,
            "shrinkage",
            self.shrinkage,
            0.0..,
            "must be at least 0",
        )?;
        self.similarity.check(Self::NAME)?;
        self.weighting.check(Self::NAME)
    }

    fn remember(&self, log: &Interactions) -> Result<Memory> {
        let Some(half_life) = self.half_life else {
            return Ok(Memory::new(log));
        };
        let mut worth = decay(Self::NAME, log, half_life)?.into_iter();
        let faded = log.map_weights(|weight| weight * worth.next().unwrap_or(1.0))?;
        Ok(Memory::new(&faded))
    }

    fn learns_from_memory(&self) -> bool {
        self.half_life.is_none()
    }

    fn learn(&self, memory: &Memory, monitor: &Monitor) -> Result<Weights> {
        let stage = monitor.start(Self::NAME, Some(memory.n_items() as u64));
        let items = strengths(memory, self.weighting).transpose();
        let (weighting, similarity) = (self.weighting, self.similarity);
        let space = Space::new(Self::NAME, items, weighting, similarity, self.shrinkage)?;
        Ok(Weights::sparse(space.nearest_all(self.neighbours, &stage)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Reason, Recommender};

    crate::conformance!(default, personal, |log| ItemKnn::default().fit(log));
    crate::conformance!(cosine, personal, |log| {
        ItemKnn {
            weighting: Weighting::Binary,
            similarity: Similarity::COSINE,
            shrinkage: 2.0,
            neighbours: 5,
            ..ItemKnn::default()
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

    crate::conformance!(pearson, general, |log| {
        ItemKnn {
            weighting: Weighting::Raw,
            similarity: Similarity::Pearson,
            ..ItemKnn::default()
        }
        .fit(log)
    });
    crate::conformance!(adjusted, general, |log| {
        ItemKnn {
            weighting: Weighting::Raw,
            similarity: Similarity::AdjustedCosine,
            ..ItemKnn::default()
        }
        .fit(log)
    });
    crate::conformance!(jaccard, personal, |log| {
        ItemKnn {
            weighting: Weighting::Raw,
            similarity: Similarity::Jaccard,
            ..ItemKnn::default()
        }
        .fit(log)
    });

    #[test]
    fn old_events_fade() {
        let mut builder = Interactions::builder();
        for (user, item, time) in [
            ("a", "x", 0),
            ("a", "y", 100),
            ("b", "x", 100),
            ("b", "v", 100),
            ("c", "y", 100),
            ("c", "w", 100),
        ] {
            builder.push(user, item, 1.0, Some(time)).unwrap();
        }
        let log = builder.build().unwrap();
        let fading = ItemKnn {
            weighting: Weighting::Raw,
            similarity: Similarity::Jaccard,
            half_life: Some(50.0),
            ..ItemKnn::default()
        };
        let mut model = fading.fit(&log).unwrap();
        let best = model.recommend("a", 2).unwrap();
        let scores: Vec<(&str, f32)> = best.iter().map(|r| (r.item.as_str(), r.score)).collect();
        assert_eq!(scores, [("w", 0.5), ("v", 0.125)]); // ½ for each, v's event two half-lives old
        let now = model.recommend_for(&[("x", 1.0), ("y", 1.0)], 2).unwrap();
        assert_eq!(now[0].score, now[1].score);
        let stuck = model.forget_user("b").unwrap_err();
        assert!(matches!(stuck, Error::Unsupported { .. }), "{stuck}");

        let timeless = Interactions::from_events([("a", "x", 1.0)]).unwrap();
        assert!(matches!(fading.fit(&timeless), Err(Error::Data { .. })));
        let never = ItemKnn {
            half_life: Some(0.0),
            ..fading
        };
        assert!(matches!(never.fit(&log), Err(Error::Config { .. })));
    }

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
            similarity: Similarity::COSINE,
            ..ItemKnn::default()
        };
        let model = cosine.fit(&log).unwrap();
        let similar = model.similar_items("x", 5).unwrap();
        assert!((similar[0].score - 2.0 / 3.0).abs() < 1e-6, "{similar:?}");
        let why = model.explain("a", "y").unwrap();
        assert_eq!(why.reasons[0].reason, Reason::Item("x".into()));
    }

    #[test]
    fn weights_too_large_to_square_are_refused() {
        let log = Interactions::from_events([
            ("a", "x", 1e20),
            ("a", "y", 3e20),
            ("b", "x", 3e20),
            ("b", "y", 1e20),
        ])
        .unwrap();
        for similarity in [
            Similarity::COSINE,
            Similarity::Pearson,
            Similarity::AdjustedCosine,
        ] {
            let raw = ItemKnn {
                weighting: Weighting::Raw,
                similarity,
                ..ItemKnn::default()
            };
            assert_eq!(
                raw.fit(&log).unwrap_err().to_string(),
                "item-kNN cannot be fitted: its weights are too large"
            );
        }
        let jaccard = ItemKnn {
            weighting: Weighting::Raw,
            similarity: Similarity::Jaccard,
            ..ItemKnn::default()
        };
        let similar = jaccard.fit(&log).unwrap().similar_items("x", 1).unwrap();
        assert_eq!(similar[0].score, 1.0);
    }

    /// Asking for more neighbours than there can be, in the model or in a list, keeps them all.
    #[test]
    fn all_neighbours_can_be_kept() {
        let log = crate::conformance::blocks_log();
        let with = |neighbours| {
            let config = ItemKnn {
                neighbours,
                ..ItemKnn::default()
            };
            config.fit(&log).unwrap()
        };
        let (all, enough) = (with(usize::MAX), with(log.n_items()));
        for u in 0..36 {
            let user = format!("u{u}");
            let lists = (
                all.recommend(&user, usize::MAX),
                enough.recommend(&user, 30),
            );
            assert_eq!(lists.0.unwrap(), lists.1.unwrap());
        }
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
                similarity: Similarity::Cosine { asymmetry: 1.5 },
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
