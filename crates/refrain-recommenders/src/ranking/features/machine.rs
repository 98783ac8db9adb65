//! Factorisation machine: *every feature goes with every other one, more or less*.
//!
//! A pair of a user and an item is one row of features x, of both; each feature g has a weight w_g and
//! a vector v_g, and
//!
//! ```text
//! score = Σ_g w_g x_g + Σ_{g < h} v_g · v_h x_g x_h
//! ```
//!
//! Rendle, *Factorization machines*, 2010. Split by side, that is the sum of the user's vectors times
//! the sum of the item's, as in [`LightFm`](crate::LightFm), and besides how the item's features go
//! with each other: `½ (‖Σ v x‖² − Σ ‖v x‖²)`. Terms of the user alone order no items and are left
//! out.
//!
//! **When.** As LightFM, when combinations within an item matter (a genre that aged badly). The loss
//! is any that ranks, or logistic with sampled failures.
//!
//! **Weights, cost, determinism, defaults.** As for [`LightFm`](crate::LightFm).

use refrain_core::Monitor;
use refrain_data::{FeatureEncoding, Interactions, ItemFeatures, UserFeatures};
use serde::{Deserialize, Serialize};

use super::train::Settings;
use super::{FeatureConfig, FeatureModel, RankingLoss, buckets};
use crate::Result;

/// Settings of the factorisation machine.
///
/// ```
/// use refrain_data::{Features, Interactions};
/// use refrain_recommenders::{FactorizationMachine, Recommender};
/// let log = Interactions::from_events(
///     [("ann", "reel", 1.0), ("ann", "jig", 1.0), ("bob", "reel", 1.0), ("bob", "air", 1.0)])?;
/// let people = Features::builder().category("plays", [("ann", "flute"), ("bob", "fiddle")])?.build()?;
/// let model = FactorizationMachine { factors: 8, ..Default::default() }.fit(&log, None, Some(&people))?;
/// assert_eq!(model.recommend("ann", 5)?[0].item, "air");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactorizationMachine {
    /// Length of a feature's vector, 1 to 4095.
    pub factors: usize,
    /// What is minimised.
    pub loss: RankingLoss,
    /// How often each event is learned from.
    pub epochs: usize,
    /// Size of the first epoch's steps; it falls linearly to near 0.
    pub learning_rate: f32,
    /// How strongly each step pulls the vectors it touches to zero.
    pub regularization: f32,
    /// How features become numbers. The default puts numbers into six buckets.
    pub encoding: FeatureEncoding,
    /// The length of a row of features beside the user or item itself, which counts 1; above 0.
    pub feature_weight: f32,
    /// Standard deviation of the initial vectors, times √f.
    pub init_scale: f32,
    /// Of the initial vectors and of all draws.
    pub seed: u64,
}

impl Default for FactorizationMachine {
    fn default() -> Self {
        Self {
            factors: 64,
            loss: RankingLoss::Warp { trials: 20 },
            epochs: 30,
            learning_rate: 0.1,
            regularization: 0.08,
            encoding: buckets(),
            feature_weight: 0.5,
            init_scale: 0.1,
            seed: 42,
        }
    }
}

impl FactorizationMachine {
    /// Learns from the log and from what is known of its items and users, as
    /// [`LightFm::fit`](crate::LightFm::fit).
    ///
    /// # Errors
    /// As [`LightFm::fit`](crate::LightFm::fit).
    pub fn fit(
        &self,
        log: &Interactions,
        items: Option<&ItemFeatures>,
        users: Option<&UserFeatures>,
    ) -> Result<FeatureModel> {
        self.fit_with(log, items, users, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor` the mean loss of each epoch.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::Core`](crate::Error::Core) when cancelled.
    pub fn fit_with(
        &self,
        log: &Interactions,
        items: Option<&ItemFeatures>,
        users: Option<&UserFeatures>,
        monitor: &Monitor,
    ) -> Result<FeatureModel> {
        FeatureConfig::FactorizationMachine(self.clone()).fit(log, items, users, monitor)
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            model: "factorisation machine",
            factors: self.factors,
            epochs: self.epochs,
            learning_rate: self.learning_rate,
            regularization: self.regularization,
            objective: self.loss.objective(),
            pairs: true,
            init_scale: self.init_scale,
            seed: self.seed,
        }
    }
}
