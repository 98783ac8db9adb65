//! Interactions, features, splits, loaders and bundled data sets for refrain.

#[cfg(feature = "bundled")]
pub mod bundled;
mod error;
mod interactions;
pub mod split;

pub use error::{Error, Result};
pub use interactions::{Duplicates, Event, Interactions, InteractionsBuilder, Sparse};
