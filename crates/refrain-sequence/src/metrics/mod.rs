//! How good what a model wrote is.

mod rouge;

pub use rouge::{Overlap, Rouge};
