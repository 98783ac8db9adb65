//! Blends of recommenders: several models answer as one.

mod blend;
mod model;
mod tune;

pub use blend::{Blend, FitMember, Tuning};
pub use model::{BlendModel, Mix};

pub(crate) use model::READER;
