//! WARP: *find something that ranks too high, and push it down the more the easier it was found*.
//!
//! For every event of a user u with an item i, items j that u has not had are drawn until one scores
//! above i less a margin of 1; a gradient step is then taken on
//!
//! ```text
//! w · max(0, 1 − x) + λ (…) / 2     x = score(u, i) − score(u, j)     w = ln⌊(items − 1) / draws⌋ / ln(items)
//! ```
//!
//! Few draws mean that many items lie above i: its rank is about (items − 1) / draws. Weston, Bengio
//! and Usunier, *WSABIE: scaling up to large vocabulary image annotation*, 2011, as in LightFM (Kula,
//! 2015).
//!
//! **When.** The top of the list counts and there is time for more than BPR's one draw: usually the
//! most accurate of the ranking losses.
//!
//! **Weights.** An event of a weight above 0 was had, however large; one of 0 or below was not, and may
//! be drawn as a negative.
//!
//! **Cost.** An epoch takes a step for each event, in 10 · f
//! floating-point operations and 2 · f for each of the draws, which grow in number as learning goes on. Memory: 4 bytes × f × (users + items), twice
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

/// Settings of WARP.
///
/// ```
/// use refrain_recommenders::{Warp, Recommender};
/// # let log = refrain_data::Interactions::from_events(
/// #     [("ann", "reel", 3.0), ("ann", "jig", 1.0), ("bob", "reel", 2.0), ("bob", "air", 1.0)])?;
/// let model = Warp { factors: 8, ..Warp::default() }.fit(&log)?;
/// let best = model.recommend("ann", 5)?;
/// assert_eq!(best[0].item, "air"); // ann had the other two
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Warp {
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
    /// After so many draws without a violation the event is let go.
    pub trials: u32,
    /// Where the items that are tried are drawn from. The search is for a hard one already, so that
    /// [`Negatives::Hardest`] draws like [`Negatives::Uniform`].
    pub negatives: Negatives,
    /// Standard deviation of the initial factors, times √f.
    pub init_scale: f32,
    /// Of the initial factors and of all draws.
    pub seed: u64,
}

impl Default for Warp {
    fn default() -> Self {
        Self {
            factors: 64,
            epochs: 30,
            learning_rate: 0.1,
            regularization: 0.1,
            optimizer: Optimizer::Sgd,
            trials: 20,
            negatives: Negatives::Uniform,
            init_scale: 0.1,
            seed: 42,
        }
    }
}

impl Warp {
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
        FactorConfig::Warp(self.clone()).fit(log, monitor)
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            model: "WARP",
            factors: self.factors,
            epochs: self.epochs,
            learning_rate: self.learning_rate,
            regularization: self.regularization,
            optimizer: self.optimizer,
            negatives: self.negatives,
            objective: Objective::Warp {
                trials: self.trials,
            },
            init_scale: self.init_scale,
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::conformance!(small, personal, |log| Warp {
        factors: 8,
        ..Warp::default()
    }
    .fit(log));
}
