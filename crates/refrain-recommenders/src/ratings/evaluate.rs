use std::fmt;

use rayon::prelude::*;
use refrain_data::{Interactions, split};

use super::RatingPredictor;
use crate::{Bootstrap, Error, Interval, Paired, Result, Who};

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

impl RatingReport {
    /// Where RMSE and MAE would lie for other such users, who are drawn with all their ratings: in this
    /// order.
    ///
    /// # Errors
    /// [`Error::Config`] for settings out of range.
    pub fn intervals(&self, bootstrap: &Bootstrap) -> Result<(Interval, Interval)> {
        let rmse = bootstrap.resample(self.users.len(), |users| self.errors(users).0)?;
        let mae = bootstrap.resample(self.users.len(), |users| self.errors(users).1)?;
        Ok((rmse, mae))
    }

    /// The RMSE of this model less another's on the same test log, below 0 when this one is better, and
    /// how likely such a difference is if neither were: the two models' predictions for each user are
    /// swapped at random.
    ///
    /// ```
    /// use refrain_data::{Interactions, split};
    /// use refrain_recommenders::{Baseline, BiasedMf, Bootstrap, evaluate_ratings};
    /// let log = Interactions::from_events((0..900).map(|n| (n / 30, (n * n) % 40, (n % 5) as f32)))?;
    /// let (train, test) = split::random(&log, 0.2, 1)?;
    /// let a = evaluate_ratings(&Baseline::default().fit(&train)?, &test)?;
    /// let b = evaluate_ratings(&BiasedMf::default().fit(&train)?, &test)?;
    /// println!("{a}, RMSE within {}", a.intervals(&Bootstrap::default())?.0);
    /// println!("difference {}", a.against(&b, &Bootstrap::default())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for settings out of range, [`Error::Data`] when the reports are of different
    /// test logs.
    pub fn against(&self, other: &Self, bootstrap: &Bootstrap) -> Result<Paired> {
        let users = self.users.iter().zip(&other.users);
        let alike = users.filter(|(a, b)| a.user == b.user && a.ratings == b.ratings);
        if alike.count() != self.users.len() || self.users.len() != other.users.len() {
            return Err(Error::Data {
                model: "evaluation",
                reason: "the reports are of different test logs".to_string(),
            });
        }
        let n = self.users.len();
        let difference = bootstrap.resample(n, |users| {
            let users: Vec<usize> = users.collect();
            self.errors(&mut users.iter().copied()).0 - other.errors(&mut users.iter().copied()).0
        })?;
        let p = bootstrap.randomise(n, |swaps| {
            let (mut left, mut right, mut ratings) = (0.0, 0.0, 0.0);
            for ((a, b), swap) in self.users.iter().zip(&other.users).zip(swaps) {
                let (a, b) = if swap { (b, a) } else { (a, b) };
                let n = a.ratings as f64;
                left += n * a.rmse * a.rmse;
                right += n * b.rmse * b.rmse;
                ratings += n;
            }
            (left / ratings).sqrt() - (right / ratings).sqrt()
        });
        Ok(Paired { difference, p })
    }

    /// RMSE and MAE over the ratings of these users.
    fn errors(&self, users: &mut dyn Iterator<Item = usize>) -> (f64, f64) {
        let (mut squares, mut absolute, mut ratings) = (0.0, 0.0, 0.0);
        for user in users.filter_map(|user| self.users.get(user)) {
            let n = user.ratings as f64;
            squares += n * user.rmse * user.rmse;
            absolute += n * user.mae;
            ratings += n;
        }
        ((squares / ratings).sqrt(), absolute / ratings)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn report(errors: &[(u32, f64)]) -> RatingReport {
        let users: Vec<UserRatings> = errors
            .iter()
            .enumerate()
            .map(|(i, &(n, rmse))| UserRatings {
                user: i.to_string(),
                ratings: n as usize,
                rmse,
                mae: 0.8 * rmse,
            })
            .collect();
        let mut report = RatingReport {
            model: "made up".to_string(),
            ratings: errors.iter().map(|e| e.0 as usize).sum(),
            rmse: 0.0,
            mae: 0.0,
            users,
        };
        (report.rmse, report.mae) = report.errors(&mut (0..errors.len()));
        report
    }

    /// Golden values: `python crates/refrain-recommenders/tests/golden_rmse.py`, numpy's percentiles of
    /// 200,000 draws of users, and as many random swaps.
    #[test]
    fn intervals_and_tests_equal_numpy_but_for_the_draws() {
        let left: Vec<(u32, f64)> = (0..40u32)
            .map(|i| (1 + i % 5, 0.5 + f64::from((i * 37 + 11) % 101) / 100.0))
            .collect();
        let right: Vec<(u32, f64)> = left
            .iter()
            .zip(0u32..)
            .map(|(&(n, e), i)| (n, e + f64::from((i * 53 + 7) % 29) / 150.0 - 0.07))
            .collect();
        let (left, right) = (report(&left), report(&right));
        let bootstrap = Bootstrap {
            samples: 50_000,
            ..Bootstrap::default()
        };
        let close = |found: f64, expected: f64, by: f64| {
            assert!((found - expected).abs() < by, "{found} {expected}");
        };
        let (rmse, mae) = left.intervals(&bootstrap).unwrap();
        assert_eq!((rmse.mean, mae.mean), (left.rmse, left.mae));
        close(rmse.mean, GOLDEN[0], 1e-9);
        close(rmse.low, GOLDEN[1], 2e-3);
        close(rmse.high, GOLDEN[2], 2e-3);
        let paired = left.against(&right, &bootstrap).unwrap();
        close(paired.difference.mean, GOLDEN[3], 1e-9);
        close(paired.difference.low, GOLDEN[4], 1e-3);
        close(paired.difference.high, GOLDEN[5], 1e-3);
        close(paired.p, GOLDEN[6], 0.01);
        let same = left.against(&left, &bootstrap).unwrap();
        assert_eq!((same.difference.mean, same.p), (0.0, 1.0));
        let shorter = report(&[(1, 0.5)]);
        assert!(left.against(&shorter, &bootstrap).is_err());
    }

    const GOLDEN: [f64; 7] = [
        1.008818616,
        0.914042,
        1.09939,
        -0.018886036,
        -0.038225,
        -0.000304,
        0.056465,
    ];
}
