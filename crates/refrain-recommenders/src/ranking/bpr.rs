//! Bayesian personalised ranking: *what you had goes above what you had not*.
//!
//! For every event of a user u with an item i, an item j that u has not had is drawn, and a gradient
//! step taken on
//!
//! ```text
//! ln(1 + e^−x) + λ (‖p_u‖² + ‖q_i‖² + ‖q_j‖²) / 2        x = p_u · (q_i − q_j) + b_i − b_j
//! ```
//!
//! which is large while j scores above i: the area under the curve, made smooth. Rendle,
//! Freudenthaler, Gantner and Schmidt-Thieme, *BPR: Bayesian personalized ranking from implicit
//! feedback*, 2009. Most items drawn at random lie far below already and teach nothing; by default j
//! is therefore the best of a few ([`Negatives::Hardest`]), which turns the area under the curve into
//! something closer to the top of the list.
//!
//! **When.** To rank by pairs, on logs where [`Warp`](crate::Warp) overfits; with
//! [`Negatives::Uniform`] as the well-known baseline and the fastest of the family.
//!
//! **Weights.** An event of a weight above 0 was had, however large; one of 0 or below was not, and may
//! be drawn as a negative.
//!
//! **Cost.** An epoch takes a step for each event, in 10 · f
//! floating-point operations and 2 · f more for each candidate. Memory: 4 bytes × f × (users + items), twice
//! while learning, and 8 bytes an event on top of the log.
//!
//! **Determinism.** The same bits for any number of threads, on processors with the same vector width.
//!
//! **Defaults.** Chosen on MovieLens-100K by a validation split inside the training part.

use refrain_core::Monitor;
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::engine::Settings;
use super::objective::Objective;
use super::{FactorConfig, FactorModel, Negatives, Optimizer};
use crate::Result;

/// Settings of Bayesian personalised ranking.
///
/// ```
/// use refrain_recommenders::{Bpr, Recommender};
/// # let log = refrain_data::Interactions::from_events(
/// #     [("ann", "reel", 3.0), ("ann", "jig", 1.0), ("bob", "reel", 2.0), ("bob", "air", 1.0)])?;
/// let model = Bpr { factors: 8, ..Bpr::default() }.fit(&log)?;
/// let best = model.recommend("ann", 5)?;
/// assert_eq!(best[0].item, "air"); // ann had the other two
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bpr {
    /// Length of a user's and an item's vector, 1 to 4095; a bias comes on top.
    pub factors: usize,
    /// How often each event is learned from.
    pub epochs: usize,
    /// Size of the first epoch's steps; it falls linearly to near 0.
    pub learning_rate: f32,
    /// How strongly each step pulls the rows it touches to zero.
    pub regularization: f32,
    /// How the size of a step is chosen.
    pub optimizer: Optimizer,
    /// Where negatives come from.
    pub negatives: Negatives,
    /// Standard deviation of the initial factors, times √f.
    pub init_scale: f32,
    /// Of the initial factors and of all draws.
    pub seed: u64,
}

impl Default for Bpr {
    fn default() -> Self {
        Self {
            factors: 64,
            epochs: 30,
            learning_rate: 0.05,
            regularization: 0.03,
            optimizer: Optimizer::Sgd,
            negatives: Negatives::Hardest { of: 6 },
            init_scale: 0.1,
            seed: 42,
        }
    }
}

impl Bpr {
    /// Learns from the log.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a setting out of range,
    /// [`Error::Data`](crate::Error::Data) for a log without events of a weight above 0,
    /// [`Error::Diverged`](crate::Error::Diverged) when factors leave all bounds.
    pub fn fit(&self, log: &Interactions) -> Result<FactorModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor` the mean loss of each epoch.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::Core`](crate::Error::Core) when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<FactorModel> {
        FactorConfig::Bpr(self.clone()).fit(log, monitor)
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            model: "BPR",
            factors: self.factors,
            epochs: self.epochs,
            learning_rate: self.learning_rate,
            regularization: self.regularization,
            optimizer: self.optimizer,
            negatives: self.negatives,
            objective: Objective::Bpr,
            init_scale: self.init_scale,
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Few factors for few items: more would learn the log by heart.
    crate::conformance!(small, personal, |log| Bpr {
        factors: 8,
        ..Bpr::default()
    }
    .fit(log));
}
