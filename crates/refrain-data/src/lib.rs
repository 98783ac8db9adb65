//! Interactions, features, splits, loaders and bundled data sets for refrain.

#[cfg(feature = "bundled")]
pub mod bundled;
