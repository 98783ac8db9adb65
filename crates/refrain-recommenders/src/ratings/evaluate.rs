use std::fmt;

use rayon::prelude::*;
use refrain_data::{Interactions, split};

use super::RatingPredictor;
use crate::{Error, Result, Who};

/// How far a model's predictions are from the ratings of a test log.
///
/// ```text
/// RMSE = √(Σ (predicted − true)² / ratings)        MAE = Σ |predicted − true| / ratings
/// ```
///
/// Both over all ratings of the log, each counting once; predictions are clamped to the scale.
#[derive(Debug, Clone, PartialEq)]
pub struct RatingReport {
    /// The model's name.
    pub model: String,
    /// How many ratings were predicted.
    pub ratings: usize,
    /// The root of the mean squared error.
    pub rmse: f64,
    /// The mean absolute error.
    pub mae: f64,
    /// The same for each user of the test log who has a rating there.
    pub users: Vec<UserRatings>,
}

/// How far predictions are from one user's ratings.
#[derive(Debug, Clone, PartialEq)]
pub struct UserRatings {
    /// The user's id.
    pub user: String,
    /// How many ratings were predicted.
    pub ratings: usize,
    /// The root of the mean squared error.
    pub rmse: f64,
    /// The mean absolute error.
    pub mae: f64,
}

impl fmt::Display for RatingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: RMSE {:.4}, MAE {:.4} on {} ratings of {} users",
            self.model,
            self.rmse,
            self.mae,
            self.ratings,
            self.users.len()
        )
    }
}

/// Predicts every rating of `test`, matched by id, and says how far off the model is. Users and items
/// that the model does not know are predicted too, from what is known.
///
/// # Errors
/// [`Error::Data`] for a log without events.
pub fn evaluate_ratings(model: &dyn RatingPredictor, test: &Interactions) -> Result<RatingReport> {
    let numbers: Vec<Option<u32>> = test
        .items()
        .iter()
        .map(|id| model.items().get(id))
        .collect();
    let users = (0..test.n_users() as u32).into_par_iter();
    let errors: Vec<Vec<f64>> = users
        .map_init(
            || vec![0.0f32; model.items().len()],
            |scores, user| errors_of(model, test, &numbers, user, scores),
        )
        .collect::<Result<_>>()?;
    let (mut squares, mut absolute, mut ratings) = (0.0, 0.0, 0);
    let mut users = Vec::new();
    for (user, errors) in test.users().iter().zip(errors) {
        if errors.is_empty() {
            continue;
        }
        let own_squares: f64 = errors.iter().map(|e| e * e).sum();
        let own_absolute: f64 = errors.iter().map(|e| e.abs()).sum();
        let n = errors.len() as f64;
        users.push(UserRatings {
            user: user.to_string(),
            ratings: errors.len(),
            rmse: (own_squares / n).sqrt(),
            mae: own_absolute / n,
        });
        squares += own_squares;
        absolute += own_absolute;
        ratings += errors.len();
    }
    if ratings == 0 {
        return Err(Error::Data {
            model: "evaluation",
            reason: "the test log has no ratings".to_string(),
        });
    }
    Ok(RatingReport {
        model: model.name(),
        ratings,
        rmse: (squares / ratings as f64).sqrt(),
        mae: absolute / ratings as f64,
        users,
    })
}

/// Predicted less true, for each of a user's test ratings.
fn errors_of(
    model: &dyn RatingPredictor,
    test: &Interactions,
    numbers: &[Option<u32>],
    user: u32,
    scores: &mut [f32],
) -> Result<Vec<f64>> {
    let (items, ratings) = test.user_items(user);
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let known = test.users().name(user).and_then(|id| model.users().get(id));
    let who = match known {
        Some(known) => {
            model.score(known, scores)?;
            Who::User(known)
        }
        None => {
            model.score_history(&[], scores)?;
            Who::History(&[])
        }
    };
    let scale = model.scale();
    items
        .iter()
        .zip(ratings)
        .map(|(&item, &rating)| {
            let number = numbers.get(item as usize).copied().flatten();
            let predicted = match number.and_then(|number| scores.get(number as usize)) {
                Some(&score) => scale.clamp(score),
                None => model.predict_number(who, None)?,
            };
            Ok(f64::from(predicted) - f64::from(rating))
        })
        .collect()
}

/// Fits on `folds − 1` parts of the log and judges on the other, for each part in turn.
///
/// ```
/// use refrain_data::Interactions;
/// use refrain_recommenders::{Baseline, cross_validate_ratings};
///
/// let log = Interactions::from_events((0..900).map(|n| (n / 30, (n * n) % 40, (n % 5) as f32)))?;
/// let reports = cross_validate_ratings(&log, 5, 7, |train| Baseline::default().fit(train))?;
/// let rmse = reports.iter().map(|report| report.rmse).sum::<f64>() / 5.0;
/// assert!(rmse < 2.0);
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
///
/// # Errors
/// [`Error::Interactions`] unless there are at least 2 folds and as many events, and what `fit`
/// returns.
pub fn cross_validate_ratings<M: RatingPredictor>(
    log: &Interactions,
    folds: usize,
    seed: u64,
    fit: impl Fn(&Interactions) -> Result<M>,
) -> Result<Vec<RatingReport>> {
    split::k_fold(log, folds, seed)?
        .iter()
        .map(|(train, test)| evaluate_ratings(&fit(train)?, test))
        .collect()
}
