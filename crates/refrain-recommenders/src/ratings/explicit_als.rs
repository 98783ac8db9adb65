//! Explicit alternating least squares: matrix factorisation of ratings in closed form.
//!
//! ```text
//! r(u, i) = μ + b_u + b_i + p_u · q_i
//! min Σ (r_ui − r(u, i))² + Σ_u n_u (λ_b b_u² + λ ‖p_u‖²) + Σ_i n_i (λ_b b_i² + λ ‖q_i‖²)
//! ```
//!
//! With the users held, each item's bias and factors are a small regression, and the other way round:
//! Zhou, Wilkinson, Schreiber and Pan, *Large-scale parallel collaborative filtering for the Netflix
//! prize*, 2008, whose weighted-λ this is, with biases. Only ratings count; for listens and clicks,
//! where everything not had counts too, take [`Als`](crate::Als).
//!
//! **When.** Large logs: no learning rate to find, and rows are solved on all cores.
//! [`SvdPlusPlus`](crate::SvdPlusPlus) predicts better.
//!
//! **Cost.** 2 · ratings · f² + ⅓ · (users + items) · f³ floating-point operations an iteration.
//! Memory: 4 bytes × f × (users + items), and 8 bytes a rating, twice.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Chosen on a random split inside the training part of MovieLens-100K.

use refrain_core::{ModelFile, Monitor};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::RatingScale;
use super::alternate::Alternate;
use super::linear::{Linear, linear_model};
use crate::{Memory, Recommender, Result};

const KIND: &str = "recommenders.explicit_als";
const NAME: &str = "explicit ALS";

/// Settings of explicit ALS.
///
/// ```
/// use refrain_recommenders::{ExplicitAls, RatingPredictor};
/// # let log = refrain_data::Interactions::from_events(
/// #     (0..600).map(|n| (n / 20, (n * n + n / 20) % 30, (n % 5 + 1) as f32)))?;
/// let model = ExplicitAls { factors: 8, ..ExplicitAls::default() }.fit(&log)?;
/// let stars = model.predict("3", "7")?;
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplicitAls {
    /// Length of a user's and an item's vector, 1 to 1024.
    pub factors: usize,
    /// How often both sides are solved.
    pub iterations: usize,
    /// λ: pulls factors to zero, once per rating.
    pub regularization: f32,
    /// λ_b: pulls biases to zero, once per rating.
    pub bias_regularization: f32,
    /// Standard deviation of the initial factors.
    pub init_deviation: f32,
    /// The ratings there are; `None`: from the lowest to the highest in the log.
    pub scale: Option<RatingScale>,
    /// Of the initial factors.
    pub seed: u64,
}

impl Default for ExplicitAls {
    fn default() -> Self {
        Self {
            factors: 32,
            iterations: 15,
            regularization: 0.15,
            bias_regularization: 0.02,
            init_deviation: 0.1,
            scale: None,
            seed: 42,
        }
    }
}

impl ExplicitAls {
    /// Fits biases and factors.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a setting out of range,
    /// [`Error::Data`](crate::Error::Data) for an empty log,
    /// [`Error::Diverged`](crate::Error::Diverged) when numbers overflow.
    pub fn fit(&self, log: &Interactions) -> Result<ExplicitAlsModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor` the loss of each iteration.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::Core`](crate::Error::Core) when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<ExplicitAlsModel> {
        let (core, losses) = self
            .alternate()
            .train(Memory::new(log), self.scale, monitor)?;
        Ok(ExplicitAlsModel {
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
            biased: true,
            nonnegative: false,
            init_deviation: self.init_deviation,
            seed: self.seed,
        }
    }
}

/// Fitted explicit ALS. A score is a predicted rating, not yet clamped, and compares across users.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplicitAlsModel {
    config: ExplicitAls,
    core: Linear,
    losses: Vec<f64>,
}

impl ExplicitAlsModel {
    /// The settings it was fitted with.
    pub fn config(&self) -> &ExplicitAls {
        &self.config
    }

    /// The loss after each iteration, penalties included. Empty for a loaded model.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: ExplicitAls = file.config()?;
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

linear_model!(ExplicitAlsModel, NAME, KIND, approximate);

pub(super) const READER: (&str, crate::load::Reader) = (KIND, ExplicitAlsModel::read);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::ratings::tests::{finds_tastes, tastes};

    // General: what was not rated says nothing to this model, and all ratings of the suite's
    // checkerboard are alike.
    crate::conformance!(default, general, |log| ExplicitAls {
        factors: 6,
        ..ExplicitAls::default()
    }
    .fit(log));

    #[test]
    fn finds_the_tastes_and_its_loss_falls() {
        let model = ExplicitAls::default().fit(&tastes().0).unwrap();
        finds_tastes(&model);
        assert_eq!(model.losses().len(), 15);
        for pair in model.losses().windows(2) {
            assert!(pair[1] <= pair[0] * (1.0 + 1e-6), "{:?}", model.losses());
        }
    }

    #[test]
    fn refuses_settings_out_of_range() {
        for config in [
            ExplicitAls {
                factors: 0,
                ..ExplicitAls::default()
            },
            ExplicitAls {
                regularization: 0.0,
                ..ExplicitAls::default()
            },
        ] {
            let error = config.fit(&tastes().0).unwrap_err();
            assert!(matches!(error, Error::Config { .. }), "{error}");
        }
    }
}
