//! Interactions, features, splits, loaders and bundled data sets for refrain.

#[cfg(feature = "bundled")]
pub mod bundled;
pub mod datasets;
mod error;
mod features;
mod interactions;
pub mod split;
mod table;

pub use error::{Error, Result};
pub use features::{
    FeatureEncoder, FeatureEncoding, FeatureKind, FeatureMatrix, FeatureValue, Features,
    FeaturesBuilder, ItemFeatures, JoinReport, NumericEncoding, Schema, TagEncoding, UserFeatures,
    words,
};
pub use interactions::{Columns, Duplicates, Event, Interactions, InteractionsBuilder, Sparse};
pub use table::{Column, Encoding};
