//! Interactions, features, splits, loaders and bundled data sets for refrain.

#[cfg(feature = "bundled")]
pub mod bundled;
mod error;
mod interactions;
pub mod split;
mod table;

pub use error::{Error, Result};
pub use interactions::{Columns, Duplicates, Event, Interactions, InteractionsBuilder, Sparse};
pub use table::{Column, Encoding};
