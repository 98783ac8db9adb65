//! Collaborative, content-based and hybrid recommenders with explanations and evaluation.

mod als;
#[cfg(test)]
mod conformance;
mod content;
mod error;
mod evaluate;
mod explain;
mod hybrid;
mod leaderboard;
mod load;
mod memory;
pub mod metrics;
mod neighbours;
mod popularity;
mod query;
mod random;
mod recommender;

#[cfg(test)]
pub(crate) use conformance::conformance;
pub use als::{Als, AlsModel, Confidence, Regularization, Solver};
pub use content::{ContentBased, ContentBasedModel, FeatureWeights};
pub use error::{Error, Result};
pub use evaluate::{Evaluator, Report, evaluate};
pub use explain::{Contribution, Explanation, Reason, Who};
pub use hybrid::{Blend, BlendModel, Mix, Tuning};
pub use leaderboard::{Leaderboard, Row};
pub use load::{from_file, load};
pub use memory::Memory;
pub use metrics::Metric;
pub use neighbours::{ItemKnn, ItemKnnModel, UserKnn, UserKnnModel, Weighting};
pub use popularity::{Popularity, PopularityModel};
pub use query::Query;
pub use random::{Random, RandomModel};
pub use recommender::{Recommendation, Recommender};
