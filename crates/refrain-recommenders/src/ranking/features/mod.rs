//! LightFM-style factors: *a user and an item are the sum of what they are*.
//!
//! Every user and every item has features: itself, and whatever else is known (genre, year, tags; age,
//! country). Each feature has an embedding, and
//!
//! ```text
//! p_u = Σ_{f ∈ u} x_uf e_f      q_i = Σ_{g ∈ i} x_ig e_g      score(u, i) = p_u · q_i + Σ_g x_ig b_g
//! ```
//!
//! is trained by one of the ranking losses with AdaGrad. With no features but themselves users and
//! items are a matrix factorisation; an item that nobody had yet is the sum of its features. Kula,
//! *Metadata embeddings for user and item cold-start recommendations*, 2015.
//!
//! **When.** Items or users come that the log does not have yet: [`FeatureModel::add_items`],
//! [`FeatureModel::add_users`]. Also logs so thin that what is known of an item helps to place it.
//!
//! **Weights.** An event of a weight above 0 was had, however large; one of 0 or below was not.
//!
//! **Cost.** An event costs f · (features of the user + those of two items or, for WARP, of each item
//! drawn) multiply-adds, on one thread: embeddings are shared by many events, and this way the same
//! bits come out every time. Solving for the users at the end uses all threads.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Chosen on MovieLens-100K by a validation split inside the training part.

mod machine;
mod model;
mod train;

pub use machine::FactorizationMachine;
pub(crate) use model::READER;
pub use model::{FeatureConfig, FeatureModel};

use refrain_core::Monitor;
use refrain_data::{FeatureEncoding, Interactions, ItemFeatures, NumericEncoding, UserFeatures};
use serde::{Deserialize, Serialize};

use super::objective::Objective;
use crate::Result;
use train::Settings;

/// A loss to rank by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RankingLoss {
    /// As in [`Bpr`](crate::Bpr), with uniform negatives.
    Bpr,
    /// As in [`Warp`](crate::Warp).
    Warp {
        /// After so many draws without a violation the event is let go.
        trials: u32,
    },
    /// As in [`KosWarp`](crate::KosWarp).
    KosWarp {
        /// Which of the drawn items counts, from the best: 1 to `of`.
        k: u32,
        /// How many of the user's items are drawn.
        of: u32,
        /// After so many draws without a violation the event is let go.
        trials: u32,
    },
    /// As in [`LogisticMf`](crate::LogisticMf).
    Logistic {
        /// How many failures are drawn for each success.
        samples: u32,
    },
}

impl RankingLoss {
    fn objective(self) -> Objective {
        match self {
            Self::Bpr => Objective::Bpr,
            Self::Warp { trials } => Objective::Warp { trials },
            Self::KosWarp { k, of, trials } => Objective::KosWarp { k, of, trials },
            Self::Logistic { samples } => Objective::Logistic { negatives: samples },
        }
    }
}

/// Numbers in buckets, so that a reason reads `year in [1990, 1995)`.
fn buckets() -> FeatureEncoding {
    FeatureEncoding {
        numeric: NumericEncoding::Buckets(6),
        min_rows: 2,
        ..FeatureEncoding::default()
    }
}

/// Settings of the LightFM-style hybrid.
///
/// ```
/// use refrain_data::{Features, Interactions};
/// use refrain_recommenders::{LightFm, Recommender};
/// let log = Interactions::from_events([
///     ("ann", "Banshee", 1.0), ("ann", "Cooley's", 1.0), ("bob", "Kesh", 1.0), ("bob", "Old Favourite", 1.0),
///     ("cat", "Banshee", 1.0), ("cat", "Sally Gardens", 1.0)])?;
/// let tunes = Features::builder()
///     .category("rhythm", [("Banshee", "reel"), ("Cooley's", "reel"), ("Sally Gardens", "reel"),
///         ("Kesh", "jig"), ("Old Favourite", "jig"), ("Drowsy Maggie", "reel"), ("Blarney", "jig")])?
///     .build()?;
/// let mut model = LightFm { factors: 8, ..LightFm::default() }.fit(&log, Some(&tunes), None)?;
/// model.add_items(&tunes)?; // Drowsy Maggie and Blarney, which nobody has had yet
/// assert_eq!(model.items().len(), 7);
/// println!("{}", model.explain("ann", "Drowsy Maggie")?); // for its rhythm=reel …
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LightFm {
    /// Length of an embedding, 1 to 4095; a bias comes on top.
    pub factors: usize,
    /// What is minimised.
    pub loss: RankingLoss,
    /// How often each event is learned from.
    pub epochs: usize,
    /// Size of the first epoch's steps; it falls linearly to near 0.
    pub learning_rate: f32,
    /// How strongly each step pulls the embeddings it touches to zero.
    pub regularization: f32,
    /// How features become numbers. The default puts numbers into six buckets.
    pub encoding: FeatureEncoding,
    /// The length of a row of features beside the user or item itself, which counts 1; above 0.
    pub feature_weight: f32,
    /// Standard deviation of the initial embeddings, times √f.
    pub init_scale: f32,
    /// Of the initial embeddings and of all draws.
    pub seed: u64,
}

impl Default for LightFm {
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

impl LightFm {
    /// Learns from the log and from what is known of its items and users. Rows of features whose ids
    /// the log does not have are not used; ids without features have only themselves.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a setting out of range,
    /// [`Error::Data`](crate::Error::Data) for a log without events of a weight above 0 or features
    /// of which none belongs to it, [`Error::Diverged`](crate::Error::Diverged) when embeddings leave
    /// all bounds.
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
        FeatureConfig::LightFm(self.clone()).fit(log, items, users, monitor)
    }

    fn settings(&self) -> Settings {
        Settings {
            model: "LightFM",
            factors: self.factors,
            epochs: self.epochs,
            learning_rate: self.learning_rate,
            regularization: self.regularization,
            objective: self.loss.objective(),
            pairs: false,
            init_scale: self.init_scale,
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests;
