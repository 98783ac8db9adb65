//! Non-negative matrix factorisation: tastes that only add.
//!
//! ```text
//! r(u, i) = μ + b_u + b_i + p_u · q_i        p, q ≥ 0        (not biased: p_u · q_i alone)
//! min Σ (r_ui − r(u, i))² + Σ_u n_u λ ‖p_u‖² + Σ_i n_i λ ‖q_i‖²
//! ```
//!
//! over the ratings there are. A factor is something an item has more or less of and a user cares
//! more or less for; nothing cancels, so factors can be read. Both sides are solved by turns, each
//! row by coordinate descent over what is not negative (Lee and Seung, *Learning the parts of objects
//! by non-negative matrix factorization*, 1999; in rows: Kim and Park, *Nonnegative matrix
//! factorization based on alternating nonnegativity constrained least squares*, 2008).
//!
//! **When.** To understand a log. [`BiasedMf`](crate::BiasedMf) predicts better.
//!
//! **Unseen.** Without biases, someone without ratings has the mean factors of all users, and an
//! unknown item those of all items.
//!
//! **Cost.** As [`ExplicitAls`](crate::ExplicitAls), with a few hundred passes over an f × f matrix a
//! row in place of its factorisation.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Chosen on a random split inside the training part of MovieLens-100K, where biases
//! lowered the RMSE from 0.935 to 0.925.

use refrain_core::{ModelFile, Monitor};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::RatingScale;
use super::alternate::Alternate;
use super::linear::{Linear, linear_model};
use crate::{Memory, Recommender, Result};

const KIND: &str = "recommenders.nmf";
const NAME: &str = "NMF";

/// Settings of non-negative matrix factorisation.
///
/// ```
/// use refrain_recommenders::{Nmf, RatingPredictor};
/// # let log = refrain_data::Interactions::from_events(
/// #     (0..600).map(|n| (n / 20, (n * n + n / 20) % 30, (n % 5 + 1) as f32)))?;
/// let model = Nmf { factors: 4, ..Nmf::default() }.fit(&log)?;
/// let stars = model.predict("3", "7")?;
/// assert!(model.item_factors("7").unwrap().iter().all(|&x| x >= 0.0));
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nmf {
    /// How many tastes there are, 1 to 1024.
    pub factors: usize,
    /// How often both sides are solved.
    pub iterations: usize,
    /// λ: pulls factors to zero, once per rating.
    pub regularization: f32,
    /// Whether factors only explain what the mean and biases leave.
    pub biased: bool,
    /// λ_b: pulls biases to zero, once per rating; without biases it does nothing.
    pub bias_regularization: f32,
    /// Standard deviation of the initial factors.
    pub init_deviation: f32,
    /// The ratings there are; `None`: from the lowest to the highest in the log.
    pub scale: Option<RatingScale>,
    /// Of the initial factors.
    pub seed: u64,
}

impl Default for Nmf {
    fn default() -> Self {
        Self {
            factors: 16,
            iterations: 15,
            regularization: 0.1,
            biased: true,
            bias_regularization: 0.02,
            init_deviation: 0.5,
            scale: None,
            seed: 42,
        }
    }
}

impl Nmf {
    /// Fits the factors.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a setting out of range,
    /// [`Error::Data`](crate::Error::Data) for an empty log,
    /// [`Error::Diverged`](crate::Error::Diverged) when numbers overflow.
    pub fn fit(&self, log: &Interactions) -> Result<NmfModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor` the loss of each iteration.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::Core`](crate::Error::Core) when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<NmfModel> {
        let (core, losses) = self
            .alternate()
            .train(Memory::new(log), self.scale, monitor)?;
        Ok(NmfModel {
            config: self.clone(),
            core,
            losses,
        })
    }

    fn alternate(&self) -> Alternate {
        Alternate {
            model: NAME,
            factors: self.factors,
            iterations: self.iterations,
            regularization: self.regularization,
            bias_regularization: self.bias_regularization,
            biased: self.biased,
            nonnegative: true,
            init_deviation: self.init_deviation,
            seed: self.seed,
        }
    }
}

/// Fitted non-negative matrix factorisation. A score is a predicted rating, not yet clamped, and
/// compares across users.
#[derive(Debug, Clone, PartialEq)]
pub struct NmfModel {
    config: Nmf,
    core: Linear,
    losses: Vec<f64>,
}

impl NmfModel {
    /// The settings it was fitted with.
    pub fn config(&self) -> &Nmf {
        &self.config
    }

    /// The loss after each iteration, penalties included. Empty for a loaded model.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// How much a user cares for each factor.
    pub fn user_factors(&self, user: &str) -> Option<&[f32]> {
        Some(self.core.users.row(self.core.memory.users().get(user)?))
    }

    /// How much an item has of each factor.
    pub fn item_factors(&self, item: &str) -> Option<&[f32]> {
        Some(self.core.items.row(self.core.memory.items().get(item)?))
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: Nmf = file.config()?;
        let alternate = config.alternate();
        alternate.check()?;
        let core = Linear::read(file, config.factors, false, alternate.ridges())?;
        let losses = Vec::new();
        Ok(Box::new(Self {
            config,
            core,
            losses,
        }))
    }
}

linear_model!(NmfModel, NAME, KIND, approximate);

pub(super) const READER: (&str, crate::load::Reader) = (KIND, NmfModel::read);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratings::tests::{finds_tastes, tastes};

    // General: what was not rated says nothing to this model, and all ratings of the suite's
    // checkerboard are alike.
    crate::conformance!(default, general, |log| Nmf {
        factors: 6,
        ..Nmf::default()
    }
    .fit(log));
    crate::conformance!(unbiased, general, |log| Nmf {
        factors: 6,
        biased: false,
        ..Nmf::default()
    }
    .fit(log));

    #[test]
    fn finds_the_tastes_by_adding() {
        let (log, _) = tastes();
        for biased in [false, true] {
            let config = Nmf {
                factors: 8,
                biased,
                ..Nmf::default()
            };
            let model = config.fit(&log).unwrap();
            finds_tastes(&model);
            for id in log.users().iter() {
                assert!(model.user_factors(id).unwrap().iter().all(|&x| x >= 0.0));
            }
            for pair in model.losses().windows(2) {
                assert!(pair[1] <= pair[0] * (1.0 + 1e-6), "{:?}", model.losses());
            }
        }
    }
}
