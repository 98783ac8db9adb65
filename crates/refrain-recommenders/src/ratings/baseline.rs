//! The baseline: some people rate higher than others, some items are rated higher.
//!
//! ```text
//! r(u, i) = μ + b_u + b_i        min Σ (r_ui − μ − b_u − b_i)² + λ_u Σ b_u² + λ_i Σ b_i²
//! ```
//!
//! Solved by turns, all items and then all users, a few times: Koren, *Factor in the neighbors:
//! scalable and accurate collaborative filtering*, 2010, section 2.1.
//!
//! **When.** The floor for every other rating model, and what they all start from. Everyone gets the
//! same order of items.
//!
//! **Cost.** Two passes over the log an iteration. Learning and forgetting fit again, which is exact
//! and costs no more.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Koren's and Surprise's penalties; on MovieLens-100K others gain less than 0.001.

use refrain_core::{ModelFile, Monitor};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::RatingScale;
use super::linear::{Linear, linear_model, ratings_by_user};
use super::predictor::mean_rating;
use super::ridge::{Ridge, Side, half_step};
use crate::{Change, Error, Memory, Recommender, Result};

const KIND: &str = "recommenders.baseline";
const NAME: &str = "baseline";

/// Settings of the baseline.
///
/// ```
/// use refrain_recommenders::{Baseline, RatingPredictor, Recommender};
/// # let log = refrain_data::Interactions::from_events(
/// #     [("ann", "reel", 5.0), ("ann", "jig", 4.0), ("bob", "reel", 4.0), ("bob", "air", 1.0)])?;
/// let model = Baseline::default().fit(&log)?;
/// assert!(model.predict("ann", "air")? > model.predict("bob", "air")?); // ann rates higher
/// println!("{}", model.explain("ann", "air")?);
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// How often both sides are solved.
    pub iterations: usize,
    /// λ_u: as many ratings of exactly the mean are added to each user's.
    pub user_regularization: f32,
    /// λ_i: the same for items.
    pub item_regularization: f32,
    /// The ratings there are; `None`: from the lowest to the highest in the log.
    pub scale: Option<RatingScale>,
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            iterations: 10,
            user_regularization: 15.0,
            item_regularization: 10.0,
            scale: None,
        }
    }
}

impl Baseline {
    /// Fits the biases.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of range, [`Error::Data`] for an empty log,
    /// [`Error::Diverged`] for ratings too large to square.
    pub fn fit(&self, log: &Interactions) -> Result<BaselineModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor` the loss of each iteration.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::Core`] when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<BaselineModel> {
        self.train(Memory::new(log), monitor)
    }

    pub(super) fn train(&self, memory: Memory, monitor: &Monitor) -> Result<BaselineModel> {
        self.check()?;
        let scale = RatingScale::of(self.scale, &memory, NAME)?;
        let mean = mean_rating(&memory);
        let by_user = ratings_by_user(&memory);
        let by_item = by_user.transpose();
        let ridges = self.ridges();
        let items = Side::zeros(memory.n_items(), 0);
        let mut core = Linear::new(memory, scale, mean, ridges, items, Vec::new());
        let stage = monitor.start(NAME, Some(self.iterations as u64));
        for iteration in 0..self.iterations {
            half_step(&ridges.1, &by_item, mean, &core.users, &mut core.items)
                .and_then(|_| half_step(&ridges.0, &by_user, mean, &core.items, &mut core.users))
                .ok_or_else(|| Error::Diverged {
                    model: NAME,
                    iteration,
                    reason: "ratings are too large".to_string(),
                })
                .and_then(|loss| Ok(stage.advance(1, format_args!("loss {loss:.4e}"))?))?;
        }
        core.solve_users()?;
        Ok(BaselineModel {
            config: self.clone(),
            core,
        })
    }

    pub(super) fn ridges(&self) -> (Ridge, Ridge) {
        let ridge = |lambda: f32| Ridge {
            bias: Some(f64::from(lambda)),
            factors: 0.0,
            exponent: 0.0,
            nonnegative: false,
        };
        (
            ridge(self.user_regularization),
            ridge(self.item_regularization),
        )
    }

    fn check(&self) -> Result<()> {
        let (field, value, expected) = match () {
            () if self.iterations == 0 => ("iterations", 0.0, "must be at least 1"),
            () if !in_range(self.user_regularization) => (
                "user_regularization",
                self.user_regularization,
                "must be at least 0 and finite",
            ),
            () if !in_range(self.item_regularization) => (
                "item_regularization",
                self.item_regularization,
                "must be at least 0 and finite",
            ),
            () => return Ok(()),
        };
        Err(Error::Config {
            model: NAME,
            field,
            value: value.to_string(),
            expected,
        })
    }
}

fn in_range(lambda: f32) -> bool {
    lambda.is_finite() && lambda >= 0.0
}

/// The fitted baseline. A score is a predicted rating, not yet clamped, and compares across users.
#[derive(Debug, Clone, PartialEq)]
pub struct BaselineModel {
    config: Baseline,
    pub(super) core: Linear,
}

impl BaselineModel {
    /// The settings it was fitted with.
    pub fn config(&self) -> &Baseline {
        &self.config
    }

    /// The average rating.
    pub fn mean(&self) -> f32 {
        self.core.mean
    }

    /// How far a user's ratings lie above what their items get.
    pub fn user_bias(&self, user: &str) -> Option<f32> {
        Some(self.core.users.bias(self.core.memory.users().get(user)?))
    }

    /// How far an item's ratings lie above what its raters give.
    pub fn item_bias(&self, item: &str) -> Option<f32> {
        Some(self.core.items.bias(self.core.memory.items().get(item)?))
    }

    fn refit(&mut self, memory: Memory) -> Result<Change> {
        *self = self.config.train(memory, &Monitor::silent())?;
        Ok(Change::Exact)
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: Baseline = file.config()?;
        config.check()?;
        let core = Linear::read(file, 0, false, config.ridges())?;
        Ok(Box::new(Self { config, core }))
    }
}

linear_model!(BaselineModel, NAME, KIND, exact);

pub(super) const READER: (&str, crate::load::Reader) = (KIND, BaselineModel::read);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RatingPredictor;
    use crate::conformance::blocks_log;

    // General: the same order for everyone is what it is.
    crate::conformance!(default, general, |log| Baseline::default().fit(log));

    #[test]
    fn one_turn_by_hand() {
        let log = Interactions::from_events([("a", "x", 5.0), ("b", "x", 3.0), ("b", "y", 1.0)]);
        let config = Baseline {
            iterations: 1,
            user_regularization: 1.0,
            item_regularization: 2.0,
            ..Baseline::default()
        };
        let model = config.fit(&log.unwrap()).unwrap();
        // μ = 3; x: (2 + 0) / (2 + 2), y: −2 / (1 + 2); a: 1.5 / 2, b: (−0.5 − 4/3) / 3.
        let close = |value: Option<f32>, expected: f32| {
            assert!((value.unwrap() - expected).abs() < 1e-6, "{value:?}");
        };
        close(model.item_bias("x"), 0.5);
        close(model.item_bias("y"), -2.0 / 3.0);
        close(model.user_bias("a"), 0.75);
        close(model.user_bias("b"), -11.0 / 18.0);
        close(model.predict("a", "y").ok(), 3.0 - 2.0 / 3.0 + 0.75);
        // Unknown ones leave what is known.
        close(model.predict("nobody", "x").ok(), 3.5);
        close(model.predict("a", "nothing").ok(), 3.75);
        close(model.predict("nobody", "nothing").ok(), 3.0);
    }

    #[test]
    fn changes_are_exact() {
        let log = blocks_log();
        let mut model = Baseline::default().fit(&log).unwrap();
        let more = Interactions::from_events([("new", "i3", 5.0), ("u1", "inew", 1.0)]).unwrap();
        assert_eq!(model.update(&more).unwrap(), Change::Exact);
        let again = Baseline::default()
            .fit(&model.memory().to_log().unwrap())
            .unwrap();
        assert_eq!(model, again);
        assert_eq!(model.forget_user("new").unwrap(), Change::Exact);
        assert_eq!(model.forget_item("inew").unwrap(), Change::Exact);
        assert_eq!(model, Baseline::default().fit(&log).unwrap());
        assert!(model.forget_user("nobody").is_err());
    }

    #[test]
    fn predictions_stay_on_the_scale() {
        let log = blocks_log();
        let model = Baseline::default().fit(&log).unwrap();
        assert_eq!(model.scale(), RatingScale { min: 1.0, max: 5.0 });
        let given = Baseline {
            scale: Some(RatingScale { min: 2.9, max: 3.0 }),
            ..Baseline::default()
        };
        let model = given.fit(&log).unwrap();
        let high = model
            .predict_for(&[("i1", 5.0), ("i2", 5.0)], "i4")
            .unwrap();
        assert_eq!(high, 3.0);
        let upside_down = Baseline {
            scale: Some(RatingScale { min: 3.0, max: 2.0 }),
            ..Baseline::default()
        };
        assert!(matches!(
            upside_down.fit(&log),
            Err(Error::Config { field: "scale", .. })
        ));
    }

    #[test]
    fn refuses_what_it_cannot_use() {
        let log = blocks_log();
        let empty = log.filter(|_| false).unwrap();
        assert!(matches!(
            Baseline::default().fit(&empty),
            Err(Error::Data { .. })
        ));
        let bad = Baseline {
            user_regularization: f32::NAN,
            ..Baseline::default()
        };
        assert!(matches!(bad.fit(&log), Err(Error::Config { .. })));
    }
}
