use serde::{Deserialize, Serialize};

use crate::{Error, Memory, Recommender, Result, Who};

/// The lowest and the highest rating there is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RatingScale {
    /// The lowest rating.
    pub min: f32,
    /// The highest rating.
    pub max: f32,
}

impl RatingScale {
    /// The nearest rating on the scale.
    pub fn clamp(&self, rating: f32) -> f32 {
        rating.max(self.min).min(self.max)
    }

    /// The given scale, or the extremes of what is remembered.
    pub(super) fn of(
        given: Option<RatingScale>,
        memory: &Memory,
        model: &'static str,
    ) -> Result<Self> {
        if let Some(scale) = given {
            scale.check(model)?;
            return Ok(scale);
        }
        let mut scale = Self {
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
        };
        for user in 0..memory.n_users() as u32 {
            for &rating in memory.history(user).1 {
                scale.min = scale.min.min(rating);
                scale.max = scale.max.max(rating);
            }
        }
        match scale.min.is_finite() && scale.max.is_finite() {
            true => Ok(scale),
            false => Err(Error::Data {
                model,
                reason: "the log has no events".to_string(),
            }),
        }
    }

    fn check(&self, model: &'static str) -> Result<()> {
        match self.min.is_finite() && self.max.is_finite() && self.min <= self.max {
            true => Ok(()),
            false => Err(Error::Config {
                model,
                field: "scale",
                value: format!("{} to {}", self.min, self.max),
                expected: "must be finite and ascend",
            }),
        }
    }
}

/// A fitted model that predicts ratings.
///
/// A prediction lies on the [`scale`](Self::scale): the extremes of the training data, unless the
/// config gave others. Who or what is unknown is no error: an unknown user counts as one without
/// ratings, so the item's own tendency is left, and an unknown item leaves the user's. As a
/// [`Recommender`] the model ranks by the rating before it is clamped.
///
/// ```
/// use refrain_data::Interactions;
/// use refrain_recommenders::{Baseline, RatingPredictor};
///
/// let log = Interactions::from_events([
///     ("ann", "reel", 5.0), ("ann", "jig", 4.0), ("bob", "reel", 4.0), ("bob", "air", 1.0),
/// ])?;
/// let model = Baseline::default().fit(&log)?;
/// let stars = model.predict("ann", "air")?;
/// assert!((1.0..=5.0).contains(&stars));
/// let unheard = model.predict("ann", "a tune of tomorrow")?; // how ann rates
/// assert!(unheard > model.predict("nobody", "air")?);
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
pub trait RatingPredictor: Recommender {
    /// The ratings there are.
    fn scale(&self) -> RatingScale;

    /// The rating before it is clamped, in dense numbers. `None` is an item the model does not know;
    /// someone it does not know has no history.
    ///
    /// # Errors
    /// [`Error::Index`] for a number out of range, [`Error::Weight`] for a rating that is not finite.
    fn rating(&self, who: Who<'_>, item: Option<u32>) -> Result<f32>;

    /// The rating someone would give to an item, in dense numbers.
    ///
    /// # Errors
    /// As [`rating`](Self::rating).
    fn predict_number(&self, who: Who<'_>, item: Option<u32>) -> Result<f32> {
        Ok(self.scale().clamp(self.rating(who, item)?))
    }

    /// The rating `user` would give to `item`; either may be unknown.
    ///
    /// # Errors
    /// None today for models of this crate.
    fn predict(&self, user: &str, item: &str) -> Result<f32> {
        let who = self.users().get(user).map_or(Who::History(&[]), Who::User);
        self.predict_number(who, self.items().get(item))
    }

    /// The rating that someone with these ratings would give to `item`, which may be unknown.
    ///
    /// # Errors
    /// [`Error::UnknownItem`] for an item of the history, [`Error::Weight`].
    fn predict_for(&self, history: &[(&str, f32)], item: &str) -> Result<f32> {
        let history = history
            .iter()
            .map(|&(id, rating)| Ok((self.memory().item(id)?, rating)))
            .collect::<Result<Vec<_>>>()?;
        self.predict_number(Who::History(&history), self.items().get(item))
    }
}

/// The mean of all ratings; 0 without any.
pub(super) fn mean_rating(memory: &Memory) -> f32 {
    let users = 0..memory.n_users() as u32;
    let ratings = users.flat_map(|user| memory.history(user).1);
    let sum: f64 = ratings.map(|&rating| f64::from(rating)).sum();
    (sum / memory.n_events().max(1) as f64) as f32
}
