//! Ratings: how many stars someone would give.
//!
//! The other families rank; these predict a number on the scale of the log, and are judged by how far
//! off they are ([`evaluate_ratings`]: RMSE and MAE). Each is a [`RatingPredictor`] and a
//! [`Recommender`](crate::Recommender): the score of an item is its predicted rating, before it is
//! clamped to the scale, so that items beyond the best rating still have an order.
//!
//! | model | what it knows | take it for |
//! |---|---|---|
//! | [`Baseline`] | who rates high, what is rated high | the floor; an exact update |
//! | [`SlopeOne`] | mean differences of pairs of items | reasons anyone can follow; an exact update |
//! | [`KnnBaseline`] | how alike items, or users, are rated | accuracy with reasons |
//! | [`ExplicitAls`] | factors, solved in closed form | large logs: no learning rate, uses all cores |
//! | [`Nmf`] | factors that only add | factors that can be read |
//! | [`BiasedMf`] | factors, by gradient steps (“SVD”) | the usual first model |
//! | [`SvdPlusPlus`] | the same, and that something was rated at all | the best single model |
//! | [`RatingBlend`] | a weighted sum of any of these | the best of all |
//!
//! **A person is their history.** Every model here ends by solving for its users exactly with the
//! items held, so someone new with the same ratings as a user gets that user's predictions, and every
//! prediction is explained by the ratings it came from.
//!
//! **Rated again.** The last rating counts, in an `update` and in a history that is given. In a log
//! [`Duplicates`](refrain_data::Duplicates) says what counts: `Last` suits ratings.
//!
//! **Unseen.** An unknown person is one without a history: the item's mean tendency is left. An
//! unknown item leaves the person's. Neither leaves the average rating. No prediction is NaN.

mod alternate;
mod baseline;
mod biased_mf;
mod blend;
mod evaluate;
mod explicit_als;
mod knn_baseline;
mod linear;
mod nmf;
mod predictor;
mod ridge;
mod sgd;
mod slope_one;
mod svd_plus_plus;

pub use baseline::{Baseline, BaselineModel};
pub use biased_mf::{BiasedMf, BiasedMfModel};
pub use blend::{RatingBlend, RatingBlendModel};
pub use evaluate::{RatingReport, UserRatings, cross_validate_ratings, evaluate_ratings};
pub use explicit_als::{ExplicitAls, ExplicitAlsModel};
pub use knn_baseline::{KnnBaseline, KnnBaselineModel, Neighbours};
pub use nmf::{Nmf, NmfModel};
pub use predictor::{RatingPredictor, RatingScale};
pub use slope_one::{SlopeOne, SlopeOneModel};
pub use svd_plus_plus::{SvdPlusPlus, SvdPlusPlusModel};

/// Every kind of model file this family writes, and who reads it.
pub(crate) const READERS: &[(&str, crate::load::Reader)] = &[
    baseline::READER,
    biased_mf::READER,
    blend::READER,
    explicit_als::READER,
    knn_baseline::READER,
    nmf::READER,
    slope_one::READER,
    svd_plus_plus::READER,
];

#[cfg(test)]
pub(crate) mod tests;
