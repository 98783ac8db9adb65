//! Logistic matrix factorisation: *how likely is it that you have this?*
//!
//! Every event is a success and, for each, a number of items that the user has not had are failures:
//!
//! ```text
//! Σ ln(1 + e^−s(u,i)) + Σ_j ln(1 + e^s(u,j)) + λ (…) / 2        s(u, i) = p_u · q_i + b_i
//! ```
//!
//! Johnson, *Logistic matrix factorization for implicit feedback data*, 2014, with sampled failures in
//! place of all pairs. Popular items meet few failures for their many successes, so more `samples`
//! make the list more popular.
//!
//! **When.** As BPR, where items rather than pairs of them should be judged.
//!
//! **Weights.** An event of a weight above 0 was had, however large; one of 0 or below was not, and may
//! be drawn as a negative.
//!
//! **Cost.** An epoch takes a step for each event, and one for each of its
//! `samples` failures, in 8 · f floating-point operations each. Memory: 4 bytes × f × (users + items), twice
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

/// Settings of logistic matrix factorisation.
///
/// ```
/// use refrain_recommenders::{LogisticMf, Recommender};
/// # let log = refrain_data::Interactions::from_events(
/// #     [("ann", "reel", 3.0), ("ann", "jig", 1.0), ("bob", "reel", 2.0), ("bob", "air", 1.0)])?;
/// let model = LogisticMf { factors: 8, ..LogisticMf::default() }.fit(&log)?;
/// let best = model.recommend("ann", 5)?;
/// assert_eq!(best[0].item, "air"); // ann had the other two
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogisticMf {
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
    /// How many failures are drawn for each success.
    pub samples: u32,
    /// Standard deviation of the initial factors, times √f.
    pub init_scale: f32,
    /// Of the initial factors and of all draws.
    pub seed: u64,
}

impl Default for LogisticMf {
    fn default() -> Self {
        Self {
            factors: 64,
            epochs: 30,
            learning_rate: 0.05,
            regularization: 0.015,
            optimizer: Optimizer::Sgd,
            negatives: Negatives::Uniform,
            samples: 4,
            init_scale: 0.1,
            seed: 42,
        }
    }
}

impl LogisticMf {
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
        FactorConfig::LogisticMf(self.clone()).fit(log, monitor)
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            model: "logistic MF",
            factors: self.factors,
            epochs: self.epochs,
            learning_rate: self.learning_rate,
            regularization: self.regularization,
            optimizer: self.optimizer,
            negatives: self.negatives,
            objective: Objective::Logistic {
                negatives: self.samples,
            },
            init_scale: self.init_scale,
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::conformance!(default, personal, |log| LogisticMf::default().fit(log));
}
