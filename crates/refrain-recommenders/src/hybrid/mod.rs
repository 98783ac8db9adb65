//! Blends of recommenders: several models answer as one.

mod blend;
mod model;
mod tune;

pub use blend::{Blend, Tuning};
pub use model::{BlendModel, Mix};

pub(crate) use model::READER;
