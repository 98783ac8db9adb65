//! Biased matrix factorisation by gradient steps, often called “SVD”.
//!
//! ```text
//! r(u, i) = μ + b_u + b_i + p_u · q_i
//! ```
//!
//! A step per rating against its squared error, with penalties on biases and factors (Funk, *Netflix
//! update: try this at home*, 2006; Koren, Bell and Volinsky, *Matrix factorization techniques for
//! recommender systems*, 2009). When the epochs end, users are solved exactly with the items held, at
//! the same penalty: what a stored user is, a fold-in of the same ratings is too.
//!
//! **When.** The usual first model for ratings. [`SvdPlusPlus`](crate::SvdPlusPlus) is more accurate
//! for one more table of items; [`ExplicitAls`](crate::ExplicitAls) needs no learning rate.
//!
//! **Cost.** 10 · ratings · f floating-point operations an epoch on one thread, and one exact solution
//! per user at the end. Memory: 4 bytes × f × (users + items).
//!
//! **Determinism.** The same bits for a seed, whatever the number of threads.
//!
//! **Defaults.** Chosen on a random split inside the training part of MovieLens-100K.

use refrain_core::{ModelFile, Monitor};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::RatingScale;
use super::linear::{Linear, linear_model};
use super::sgd::Sgd;
use crate::{Memory, Recommender, Result};

const KIND: &str = "recommenders.biased_mf";
const NAME: &str = "biased MF";

/// Settings of biased matrix factorisation.
///
/// ```
/// use refrain_recommenders::{BiasedMf, RatingPredictor};
/// # let log = refrain_data::Interactions::from_events(
/// #     (0..600).map(|n| (n / 20, n % 20 + n / 20 % 10, (n % 5 + 1) as f32)))?;
/// let model = BiasedMf { factors: 8, ..BiasedMf::default() }.fit(&log)?;
/// let stars = model.predict("3", "7")?;
/// assert!((1.0..=5.0).contains(&stars));
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BiasedMf {
    /// Length of a user's and an item's vector, 1 to 4096.
    pub factors: usize,
    /// How often each rating is visited.
    pub epochs: usize,
    /// How far a step goes.
    pub learning_rate: f32,
    /// What the learning rate is multiplied by after each epoch.
    pub decay: f32,
    /// λ: pulls factors to zero, once per rating.
    pub regularization: f32,
    /// λ_b: pulls biases to zero, once per rating.
    pub bias_regularization: f32,
    /// Standard deviation of the initial factors.
    pub init_deviation: f32,
    /// The ratings there are; `None`: from the lowest to the highest in the log.
    pub scale: Option<RatingScale>,
    /// Of the initial factors and the order of ratings.
    pub seed: u64,
}

impl Default for BiasedMf {
    fn default() -> Self {
        Self {
            factors: 64,
            epochs: 60,
            learning_rate: 0.01,
            decay: 0.97,
            regularization: 0.1,
            bias_regularization: 0.02,
            init_deviation: 0.1,
            scale: None,
            seed: 42,
        }
    }
}

impl BiasedMf {
    /// Fits biases and factors.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a setting out of range,
    /// [`Error::Data`](crate::Error::Data) for an empty log,
    /// [`Error::Diverged`](crate::Error::Diverged) when steps are too large.
    pub fn fit(&self, log: &Interactions) -> Result<BiasedMfModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor` the training error of each epoch.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::Core`](crate::Error::Core) when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<BiasedMfModel> {
        let (core, errors) = self.sgd().fit(Memory::new(log), self.scale, monitor)?;
        Ok(BiasedMfModel {
            config: self.clone(),
            core,
            errors,
        })
    }

    fn sgd(&self) -> Sgd {
        Sgd {
            model: NAME,
            factors: self.factors,
            epochs: self.epochs,
            learning_rate: self.learning_rate,
            decay: self.decay,
            regularization: self.regularization,
            bias_regularization: self.bias_regularization,
            init_deviation: self.init_deviation,
            seed: self.seed,
            implicit: false,
        }
    }
}

/// Fitted biased matrix factorisation. A score is a predicted rating, not yet clamped, and compares
/// across users.
#[derive(Debug, Clone, PartialEq)]
pub struct BiasedMfModel {
    config: BiasedMf,
    core: Linear,
    errors: Vec<f64>,
}

impl BiasedMfModel {
    /// The settings it was fitted with.
    pub fn config(&self) -> &BiasedMf {
        &self.config
    }

    /// The root of the mean squared error met in each epoch, on training ratings. Empty for a loaded
    /// model.
    pub fn training_errors(&self) -> &[f64] {
        &self.errors
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: BiasedMf = file.config()?;
        let sgd = config.sgd();
        sgd.check()?;
        let core = Linear::read(file, config.factors, false, sgd.ridges())?;
        let errors = Vec::new();
        Ok(Box::new(Self {
            config,
            core,
            errors,
        }))
    }
}

linear_model!(BiasedMfModel, NAME, KIND, approximate);

pub(super) const READER: (&str, crate::load::Reader) = (KIND, BiasedMfModel::read);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ratings::tests::tastes;
    use crate::{Change, Error, RatingPredictor, Who};

    // General: what was not rated says nothing to this model, and all ratings of the suite's
    // checkerboard are alike. `finds_tastes` has the ratings to find one.
    crate::conformance!(default, general, |log| BiasedMf {
        factors: 6,
        ..BiasedMf::default()
    }
    .fit(log));

    #[test]
    fn finds_tastes() {
        crate::ratings::tests::finds_tastes(&BiasedMf::default().fit(&tastes().0).unwrap());
    }

    #[test]
    fn too_large_a_step_is_an_error() {
        let wild = BiasedMf {
            learning_rate: 3.0,
            ..BiasedMf::default()
        };
        let error = wild.fit(&tastes().0).unwrap_err();
        assert!(matches!(error, Error::Diverged { .. }), "{error}");
        let none = BiasedMf {
            learning_rate: 0.0,
            ..BiasedMf::default()
        };
        assert!(matches!(
            none.fit(&tastes().0),
            Err(Error::Config {
                field: "learning_rate",
                ..
            })
        ));
    }

    #[test]
    fn learns_and_forgets() {
        let (log, _) = tastes();
        let mut model = BiasedMf::default().fit(&log).unwrap();
        let more = [("new", "i0", 5.0), ("new", "i1", 1.0), ("u0", "fresh", 5.0)];
        let more = Interactions::from_events(more).unwrap();
        assert_eq!(model.update(&more).unwrap(), Change::Approximate);
        assert!(model.predict("new", "i2").unwrap() > model.predict("new", "i3").unwrap());
        assert!(model.predict("u2", "fresh").unwrap() > 3.0);
        // A user is still their history.
        let user = model.users().get("u1").unwrap();
        let (items, ratings) = model.history(user);
        let history: Vec<(u32, f32)> = items.iter().copied().zip(ratings.iter().copied()).collect();
        assert_eq!(
            model.rating(Who::User(user), Some(3)).unwrap(),
            model.rating(Who::History(&history), Some(3)).unwrap()
        );
        model.forget_item("fresh").unwrap();
        model.forget_user("new").unwrap();
        assert_eq!(model.items().len(), log.n_items());
        assert!(model.users().get("new").is_none());
    }
}
