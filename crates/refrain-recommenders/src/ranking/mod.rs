//! Factor models trained to *rank*: stochastic gradients on sampled comparisons.
//!
//! [`Bpr`], [`Warp`], [`KosWarp`] and [`LogisticMf`] are losses for one engine and one fitted type, the
//! [`FactorModel`]; [`LightFm`] and the [`FactorizationMachine`] learn embeddings of features with the
//! same losses. [`PureSvd`] stands beside them: the same form without a ranking loss.

mod bpr;
mod engine;
mod features;
mod fold;
mod kos_warp;
mod logistic;
mod model;
mod negatives;
mod objective;
mod pure_svd;
#[cfg(test)]
mod reference;
mod step;
#[cfg(test)]
mod tests;
mod warp;

pub use bpr::Bpr;
pub(crate) use features::READER as FEATURES;
pub use features::{FactorizationMachine, FeatureConfig, FeatureModel, LightFm, RankingLoss};
pub use kos_warp::KosWarp;
pub use logistic::LogisticMf;
pub(crate) use model::READER as FACTORS;
pub use model::{FactorConfig, FactorModel};
pub use negatives::Negatives;
pub(crate) use pure_svd::READER as PURE_SVD;
pub use pure_svd::{PureSvd, PureSvdModel};
pub use warp::Warp;

use serde::{Deserialize, Serialize};

/// How the size of a step is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optimizer {
    /// The learning rate itself.
    Sgd,
    /// The learning rate divided by the root of what a row's squared gradients have summed to: rows
    /// met often move less. Duchi, Hazan and Singer, *Adaptive subgradient methods*, 2011, with one
    /// sum for a row.
    AdaGrad,
}
