//! Recommenders that compare histories: user-kNN, and the linear item–item models, which differ only
//! in how they find their weights: item-kNN, P3α, RP3β, SLIM and EASE.

mod ease;
mod gram;
mod item_knn;
mod linear;
mod product;
mod similarity;
mod slim;
pub(crate) mod sparse;
mod user_knn;
mod walks;
pub(crate) mod weighting;

pub use ease::{Ease, EaseModel};
pub use item_knn::{ItemKnn, ItemKnnModel};
pub use linear::ItemModel;
pub use similarity::Similarity;
pub use slim::{Slim, SlimModel};
pub use user_knn::{UserKnn, UserKnnModel};
pub use walks::{P3Alpha, P3AlphaModel, Rp3Beta, Rp3BetaModel};
pub use weighting::Weighting;

pub(crate) use user_knn::READER as USER_KNN;
