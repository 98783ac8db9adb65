//! Blends of recommenders: several models answer as one.

mod blend;
mod cascade;
mod members;
mod mix;
mod model;
mod stack;
mod switch;
mod tune;
mod wider;

pub use blend::{Blend, FitMember, Tuning};
pub use cascade::CascadeModel;
pub use mix::Mix;
pub use model::BlendModel;
pub use stack::{StackModel, StackWeights};
pub use switch::SwitchModel;

pub(crate) use cascade::READER as CASCADE;
pub(crate) use model::READER as BLEND;
pub(crate) use stack::READER as STACK;
pub(crate) use switch::READER as SWITCH;
